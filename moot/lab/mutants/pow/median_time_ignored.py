"""A header may be dated as far back as its miner likes."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="median-time-ignored",
    engine="pow",
    rule="a header's time exceeds the median of the eleven before it",
    source="Bitcoin Core, GetMedianTimePast; BIP113",
    rewrites=(
        Rewrite(
            "consensus.pow.rules:PowRules._check_time",
            "if time_s < earliest:",
            "if False:",
        ),
    ),
    under="pow",
    nodes=5,
    minutes=0.8,
    liars=("header-roller", "header-roller"),
)
