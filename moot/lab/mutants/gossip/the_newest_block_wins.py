"""The last writer by the clock wins: a wrong clock rules all, and clocks differ."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="the-newest-block-wins",
    engine="gossip",
    rule="the head is a function of the set of blocks: height, then the smaller id",
    source="Demers 1987; HLC 2014 (no last-writer-wins by wall clock)",
    rewrites=(
        Rewrite(
            "consensus.gossip.engine:_rank",
            "view.height(block), bytes(255 - byte for byte in block)",
            "view.header(block).time_ms, block",
        ),
    ),
    under="gossip",
    faults=("partition", "clock-skew"),
)
