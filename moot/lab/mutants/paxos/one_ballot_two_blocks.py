"""Asks to accept another block under the same ballot when a newer one is built."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="one-ballot-two-blocks",
    engine="paxos",
    under="paxos",
    rule="a proposer makes one proposal under one number",
    source="Lamport, Paxos Made Simple, section 2.2",
    rewrites=(
        Rewrite(
            "consensus.paxos.engine:PaxosEngine._try_propose",
            "proposer.proposed is not None or",
            "(proposer.proposed is not None and self._waiting == 0) or",
        ),
        Rewrite(
            "consensus.paxos.engine:PaxosEngine._try_propose",
            "block = self._built.id",
            "block = self._built.id\n        self._built = None",
        ),
    ),
)
