"""A block is measured by the target that it states itself."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="target-from-the-block",
    engine="pow",
    rule="every validator recomputes the difficulty",
    source="Bitcoin Core, GetNextWorkRequired",
    rewrites=(
        Rewrite(
            "consensus.pow.rules:PowRules.check_header",
            "header.bits != expected",
            "False",
        ),
    ),
    under="pow",
    liars=("invalid-block-maker",),
    minutes=0.5,
    parameters={"initial_bits": 0x203FFFFF},
)
