"""The proposer: one ballot at a time (Paxos Made Simple, sections 2.2 and 2.4).

It gathers promises (phase 1), which bind its choice, and then asks for acceptance (phase 2).
"""

from __future__ import annotations

from chain.hashing import BlockId
from chain.validators import ValidatorSet, majority
from consensus.contract import NodeId
from consensus.paxos.ballot import Ballot
from consensus.paxos.messages import Promise, Vote


class Proposer:
    """The ballot under way, if any, and what its promises say."""

    def __init__(self) -> None:
        self.ballot: Ballot | None = None
        self.promises: dict[NodeId, Promise] = {}
        """The answer of each acceptor; one promise each, however often it is said."""
        self.proposed: BlockId | None = None
        """What this ballot asked to accept at the open height: one value, ever."""

    def begin(self, ballot: Ballot) -> None:
        """Phase 1a under a new ballot, which must be higher than every one before."""
        assert self.ballot is None or ballot > self.ballot
        self.ballot, self.promises, self.proposed = ballot, {}, None

    def abandon(self) -> None:
        """Gives the ballot up. Its number is never used again: it was promised, durably."""
        self.ballot, self.promises, self.proposed = None, {}, None

    def hear(self, acceptor: NodeId, promise: Promise) -> bool:
        """Counts a promise; False where it is for another ballot."""
        if promise.ballot != self.ballot:
            return False
        self.promises[acceptor] = promise
        return True

    def has_majority(self, members: ValidatorSet) -> bool:
        """Whether distinct acceptors, a majority of ``members``, have promised this ballot."""
        return members.decided_by(self.promises, majority)

    def open_height(self) -> int:
        """The highest open height among the promises: everything below it is chosen."""
        return max((promise.height for promise in self.promises.values()), default=0)

    def bound_to(self, height: int) -> Vote | None:
        """The vote of the *highest* ballot that a promise shows at ``height`` (section 2.2, P2c).

        Its block must be proposed. None: nothing can have been chosen there, the choice is free.
        """
        votes = [
            promise.accepted
            for promise in self.promises.values()
            if promise.height == height and promise.accepted is not None
        ]
        return max(votes, key=lambda vote: vote.ballot, default=None)

    def witness(self, vote: Vote) -> NodeId | None:
        """An acceptor that showed ``vote``: it holds the block's body."""
        shown = [one for one, promise in self.promises.items() if promise.accepted == vote]
        return min(shown, default=None)
