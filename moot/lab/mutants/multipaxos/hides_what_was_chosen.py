"""Answers phase 1 with what is undecided only, and accepts at heights that are decided."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="hides-what-was-chosen",
    engine="multipaxos",
    under="multipaxos",
    rule="phase 1 returns every accepted height, decided ones too",
    source="Lamport, Paxos Made Simple, section 3; seen in Paxi",
    rewrites=(
        Rewrite(
            "consensus.multipaxos.engine:MultiPaxosEngine._on_prepare",
            "Promise(message.ballot, self._height, accepted, decided)",
            (
                "Promise(message.ballot, min(message.height, self._height), "
                "None if decided else accepted)"
            ),
        ),
        Rewrite(
            "consensus.paxos.conversation:Conversation._on_accept",
            "self._help(sender)",
            (
                "self._send(\n            sender,\n            Accepted("
                "message.ballot, message.height, message.block_id, self._me),\n        )"
            ),
        ),
    ),
    faults=("partition", "kill", "pause"),
    minutes=0.6,
    nodes=3,
    parameters={"lease_ms": 320, "election_ms": 50},
)
