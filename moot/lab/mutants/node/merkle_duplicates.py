"""A body whose last leaf stands twice counts as the block's own."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="merkle-duplicates",
    engine="node",
    rule="two equal neighbours in the tree are refused, and not held against the id",
    source="CVE-2012-2459",
    rewrites=(
        Rewrite(
            "chain.merkle:_next_level",
            "left == right",
            "False",
        ),
    ),
    liars=("poisoning-proposer",),
    faults=("kill",),
    minutes=0.6,
    load_tps=8.0,
)
