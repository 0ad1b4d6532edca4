"""Statements on blocks that the leader has no vote on.

A block is shown final by the statement of somebody with a vote on it. A leader that a joint
configuration brought in may inherit entries that the old configuration alone decides: it can count
them (they are committed by what stands on them), and its word on them is worth nothing to whoever
knows only the old members. So it asks those who hold them and have a vote, and announces nothing
above before it has their word: what becomes final can be shown to a stranger from the first moment.

It never waits in vain. It announces a block that a joint configuration decides, so that a majority
of the old half holds that block and all below it, and any of them may say so. Entries of members
before these are not asked for: their successors left a joint configuration, which nobody does
before they are final, with their statements.
"""

from __future__ import annotations

from chain.address import Address
from chain.block import BlockHead
from chain.errors import InvalidMessage
from chain.hashing import BlockId
from chain.validators import ValidatorSet
from consensus.contract import NodeId
from consensus.raft.follower import Follower
from consensus.raft.messages import (
    STATEMENTS_MAX,
    Place,
    Statement,
    StatementReply,
    StatementRequest,
)
from consensus.raft.rules import may_vote


class Statements(Follower):
    """What proves a block, gathered by the leader and given by others."""

    # ------------------------------------------------------------------------------ the leader

    def _statements_for(self, head: BlockHead, floor: int) -> tuple[Statement, ...]:
        """One for each block above height ``floor`` up to ``head``, which is committed; lowest
        first. Empty as long as one has to come from somebody else, who is asked."""
        view, members = self._view, self._view.validators(head.previous)
        found: list[Statement] = []
        lacking: BlockHead | None = None
        while head.height > floor and len(found) < STATEMENTS_MAX:
            deciding = view.validators(head.previous)
            if may_vote(deciding, self._me):
                found.append(Statement(head.height, head.id, self._term, self._me))
            elif stated := self._stated(head.id):
                found.append(stated)
            elif _share_a_half(deciding, members):
                lacking = lacking or head
            head = view.header(head.previous)
        if lacking is not None:
            self._ask_for_statements(lacking, floor)
            return ()
        return tuple(reversed(found))

    def _stated(self, block: BlockId) -> Statement | None:
        """Somebody's word on an entry, for this leader."""
        words = (progress.stated.get(block) for progress in self._progress.values())
        return next((word for word in words if word is not None), None)

    def _ask_for_statements(self, last: BlockHead, floor: int) -> None:
        """Asks whoever holds ``last`` and has a vote on it, again with each round of heartbeats."""
        deciding = self._view.validators(last.previous)
        message = StatementRequest(self._term, floor, Place(last.height, last.id))
        for member, progress in self._progress.items():
            is_new = progress.asked_round < self._round
            if is_new and progress.matched >= last.height and may_vote(deciding, member):
                progress.asked_round = self._round
                self._say(member, message)

    def _on_statement_reply(self, sender: NodeId, message: StatementReply) -> None:
        progress, view = self._progress.get(sender), self._view
        if self._role != "leader" or message.term != self._term or progress is None:
            return
        for one in message.statements:
            if (one.leader, one.term) != (sender, message.term):
                raise InvalidMessage("malformed-statement", "it is another one's, or of old")
            if view.knows(one.block_id) and view.descends(self._record.tip, one.block_id):
                head = view.header(one.block_id)
                if head.height == one.height and may_vote(view.validators(head.previous), sender):
                    progress.stated[one.block_id] = one

    # ------------------------------------------------------------------------------ the others

    def _on_statement_request(self, sender: NodeId, message: StatementRequest) -> None:
        """The leader has counted ``last``, which is in the own log: it is committed."""
        view, last = self._view, message.last
        if self._listening or sender != self._leader or message.term != self._term:
            return
        if not view.knows(last.block_id) or not view.descends(self._record.tip, last.block_id):
            return
        head = view.header(last.block_id)
        if head.height != last.height:
            raise InvalidMessage("malformed-request", "it names an entry that is another one")
        found: list[Statement] = []
        while head.height > message.after and len(found) < STATEMENTS_MAX:
            if not view.knows(head.previous):
                break  # a snapshot began above it
            if may_vote(view.validators(head.previous), self._me):
                found.append(Statement(head.height, head.id, self._term, self._me))
            head = view.header(head.previous)
        if found:
            self._say(sender, StatementReply(self._term, tuple(reversed(found))))


def _share_a_half(one: ValidatorSet, other: ValidatorSet) -> bool:
    """Whether a majority of one configuration always meets a majority of the other."""
    return bool(set(_halves(one)) & set(_halves(other)))


def _halves(members: ValidatorSet) -> list[frozenset[Address]]:
    return [
        frozenset(voter.address for voter in half)
        for half in (members.voters, members.outgoing)
        if half
    ]
