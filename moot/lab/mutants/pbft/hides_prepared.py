"""View changes say nothing of what was prepared."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="hides-prepared",
    engine="pbft",
    rule="a view change carries the prepared certificate of the highest view",
    source="Castro and Liskov, OSDI'99, section 4.4",
    rewrites=(
        Rewrite(
            "consensus.pbft.replica:Replica._view_change",
            "record.prepared, self._me",
            "None, self._me",
        ),
    ),
    faults=("selective-loss",),
    minutes=0.6,
    parameters={"view_timeout_ms": 300},
)
