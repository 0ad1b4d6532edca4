"""A promise is forgotten when its height is decided."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="promises-for-one-height",
    engine="multipaxos",
    under="multipaxos",
    rule="one promise holds for all heights from there on",
    source="Lamport, Paxos Made Simple, section 3",
    rewrites=(
        Rewrite(
            "consensus.paxos.participant:Participant._open",
            "self._acceptor.promised if self._keeps_promises else NO_BALLOT",
            "NO_BALLOT",
        ),
    ),
    faults=("partition", "delay", "kill"),
    minutes=0.6,
)
