"""Learners promise, and their promises count."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="counts-learners",
    engine="paxos",
    rule="only acceptors of the height count",
    source="Lamport, Paxos Made Simple, section 2.2",
    under="paxos",
    rewrites=(
        Rewrite(
            "consensus.paxos.proposer:Proposer.has_majority",
            "members.decided_by(self.promises, majority)",
            "len(self.promises) >= majority(len(members))",
        ),
        Rewrite(
            "consensus.paxos.conversation:Conversation._hear",
            "elif sender in self._members:",
            "else:",
        ),
        Rewrite(
            "consensus.paxos.engine:PaxosEngine._on_prepare",
            "if not self._can_speak:",
            "if self._syncing or self._record_lost:",
        ),
        Rewrite(
            "consensus.paxos.participant:Participant._write",
            'assert self._can_speak, "a node that may only listen was about to vote"',
            "pass",
        ),
        Rewrite(
            "moot.node.gate:Gate.unpack",
            "if members and (sender is None or sender not in members):",
            "if members and sender is None:",
        ),
    ),
    nodes=4,
    minutes=1.0,
    faults=("membership",),
)
