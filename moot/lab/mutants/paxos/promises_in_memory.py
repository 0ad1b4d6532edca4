"""Promises without writing it down."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="promises-in-memory",
    engine="paxos",
    under="paxos",
    rule="a promise is durable before it is said",
    source="Lamport, Paxos Made Simple, section 2.5",
    rewrites=(
        Rewrite(
            "consensus.paxos.engine:PaxosEngine._on_prepare",
            "self._write()\n    self._send",
            "self._send",
        ),
    ),
    faults=("kill", "kill-all", "crash-at-effect"),
    minutes=0.6,
)
