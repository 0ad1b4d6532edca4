"""The subsidy stays what it was."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="never-halves",
    engine="pow",
    rule="the subsidy halves every interval",
    source="Nakamoto 2008, section 6; BIP42",
    rewrites=(
        Rewrite(
            "consensus.pow.parameters:subsidy",
            "parameters.subsidy >> halvings",
            "parameters.subsidy",
        ),
    ),
    under="pow",
    parameters={"halving_interval": 10},
)
