"""Commits as soon as the proposal is there."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="commits-unprepared",
    engine="pbft",
    rule="a commit needs quorum - 1 matching prepares of other replicas",
    source="Castro and Liskov, OSDI'99, section 4.2",
    rewrites=(
        Rewrite(
            "consensus.pbft.book:Book.prepared",
            "len(prepares) < quorum_byzantine(len(members)) - 1",
            "not prepares",
        ),
    ),
    faults=("loss", "partition"),
)
