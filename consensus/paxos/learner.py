"""The learner: finds out what was chosen (Paxos Made Simple, section 2.3)."""

from __future__ import annotations

from chain.hashing import BlockId
from chain.validators import ValidatorSet, majority
from consensus.contract import NodeId
from consensus.paxos.ballot import Ballot
from consensus.paxos.messages import Accepted, Certificate, Signed


class Learner:
    """The last acceptance of each acceptor at the open height.

    One for each is enough, and bounds the memory: an acceptor that went on to a higher ballot
    is counted there, and if something was chosen below, the higher ballot proposes the same.
    """

    def __init__(self) -> None:
        self.accepted: dict[NodeId, Accepted] = {}

    def forget(self) -> None:
        """The height was decided: the next one begins with nothing."""
        self.accepted = {}

    def hear(self, message: Accepted) -> None:
        """Keeps an acceptance of the open height, unless a newer one of its acceptor is known."""
        known = self.accepted.get(message.acceptor)
        if known is None or known.ballot < message.ballot:
            self.accepted[message.acceptor] = message

    def voters(self, ballot: Ballot, block: BlockId) -> list[NodeId]:
        """Who accepted ``block`` under ``ballot``, in address order."""
        return sorted(
            acceptor
            for acceptor, said in self.accepted.items()
            if said.ballot == ballot and said.block_id == block
        )

    def chosen(self, members: ValidatorSet) -> Certificate | None:
        """Whether a majority of distinct acceptors accepted one block under *one* ballot.

        The same block under different ballots does not add up: a higher ballot whose promises
        do not include these acceptors may still choose another block.
        """
        for ballot in sorted({said.ballot for said in self.accepted.values()}, reverse=True):
            blocks = {s.block_id: s.height for s in self.accepted.values() if s.ballot == ballot}
            for block in sorted(blocks):
                voters = [one for one in self.voters(ballot, block) if one in members]
                if members.decided_by(voters, majority):
                    signatures = tuple(Signed(one, self.accepted[one].signature) for one in voters)
                    return Certificate(blocks[block], ballot, block, signatures)
        return None
