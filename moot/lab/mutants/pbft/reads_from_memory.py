"""A replica answers reads from what it knows itself."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="reads-from-memory",
    engine="pbft",
    rule="a read waits for the word of a quorum that was asked after it",
    source="Ongaro, thesis, section 6.4; Castro and Liskov, OSDI'99, section 4.1",
    rewrites=(
        Rewrite(
            "consensus.pbft.reads:Reads._is_answered",
            "self._members.decided_by(reached, quorum_byzantine)",
            "bool(reached)",
        ),
    ),
    faults=("partition",),
    minutes=0.6,
    load_tps=6.0,
)
