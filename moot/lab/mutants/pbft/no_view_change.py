"""The primary is never left."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="no-view-change",
    engine="pbft",
    rule="a replica whose request waits too long asks for another primary",
    source="Castro and Liskov, OSDI'99, section 4.4",
    rewrites=(
        Rewrite(
            "consensus.pbft.replica:Replica._view_timeout_ms",
            "    record = self._record\n",
            "    return None\n    record = self._record\n",
        ),
    ),
    liars=("silent",),
    faults=("kill",),
    minutes=0.6,
)
