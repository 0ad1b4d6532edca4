"""A new leader begins with a block of its own."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="new-leader-new-block",
    engine="multipaxos",
    under="multipaxos",
    rule="a new leader finishes the open height first",
    source="Lamport, Paxos Made Simple, section 3",
    rewrites=(
        Rewrite(
            "consensus.multipaxos.engine:MultiPaxosEngine._value",
            "bound = self._proposer.bound_to(self._height)",
            "bound = None",
        ),
        Rewrite(
            "consensus.multipaxos.engine:MultiPaxosEngine._may_build",
            "and self._proposer.bound_to(self._height) is None",
            "",
        ),
    ),
    faults=("kill", "selective-loss"),
    minutes=0.6,
)
