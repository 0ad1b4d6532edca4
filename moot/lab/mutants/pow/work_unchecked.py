"""A header is believed to have its work."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="work-unchecked",
    engine="pow",
    rule="the hash, as an integer, is at most the target",
    source="Bitcoin Core, CheckProofOfWork",
    rewrites=(
        Rewrite(
            "consensus.pow.rules:PowRules.check_header",
            "hash_as_number(header.id) > target",
            "False",
        ),
    ),
    under="pow",
    liars=("invalid-block-maker",),
)
