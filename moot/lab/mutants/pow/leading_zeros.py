"""The hash is read in the wrong order, as by counting zeros of its hex form."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="leading-zeros",
    engine="pow",
    rule="the hash is a little-endian integer",
    source="Bitcoin Core, UintToArith256",
    rewrites=(
        Rewrite(
            "consensus.pow.target:hash_as_number",
            '"little"',
            '"big"',
        ),
    ),
    under="pow",
    liars=("invalid-block-maker",),
    minutes=0.5,
)
