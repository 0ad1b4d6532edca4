"""A restart forgets what was accepted."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="vote-forgotten",
    engine="paxos",
    under="paxos",
    rule="stable storage keeps what the acceptor accepted",
    source="Lamport, Paxos Made Simple, section 2.5",
    rewrites=(
        Rewrite(
            "consensus.paxos.participant:Participant._start",
            "self._acceptor = Acceptor(record.promised, record.accepted)",
            "self._acceptor = Acceptor(record.promised)",
        ),
    ),
    faults=("kill", "kill-all", "crash-at-effect"),
    minutes=0.6,
)
