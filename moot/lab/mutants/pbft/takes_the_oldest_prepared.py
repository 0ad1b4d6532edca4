"""A new view proposes the prepared block of the lowest view again."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="takes-the-oldest-prepared",
    engine="pbft",
    rule="a new view proposes the prepared block of the highest view",
    source="Castro and Liskov, OSDI'99, section 4.4",
    rewrites=(
        Rewrite(
            "consensus.pbft.view_change:choice",
            "return max(prepared,",
            "return min(prepared,",
        ),
    ),
    faults=("partition", "cut-at-phase"),
    minutes=1.0,
    parameters={"view_timeout_ms": 300},
)
