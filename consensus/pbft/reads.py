"""Linearizable reads: what a replica asks the others before its own final state may answer.

Castro and Liskov (section 4.1) leave it to the client to compare the replies of f + 1 replicas.
Here the replica that is asked compares, so that one question to one node is enough.

A block was told to anybody as final only when a quorum had said its commit. So the replica asks
everybody at which height they have said a commit, if any, after the read began. As soon as a
quorum has named heights that are all final here, nothing above was final anywhere when the read
began: that quorum shares an honest member with the one that would have committed it. Liars cannot
make an answer stale, since one honest member in common is enough; nor prevent it, since a height
that nobody reaches is simply not among those of the quorum.

The members are those of the height above the final block. Where finality moves on to other
members, these are asked anew: the old ones may not know what the new ones have decided.
"""

from __future__ import annotations

from typing import Final

from chain.validators import ValidatorSet, quorum_byzantine
from consensus.contract import (
    Answer,
    Broadcast,
    CancelTimer,
    Effect,
    NodeId,
    Now,
    RequestId,
    ServeRead,
    SetTimer,
    TimerKey,
)
from consensus.pbft.messages import ReadQuery, ReadReply

READ_TIMER: Final = "read"
READS_MAX: Final = 1_024
"""Open reads; more are refused at once. The node keeps no more of them either."""
QUERIES_MAX: Final = 12
"""How often one question is said before its reads are refused: some ten seconds by default."""

CANNOT_ASK: Final = "refused: this replica follows, and takes no part now; ask another"
TOO_MANY: Final = "refused: too many reads are open"
NO_QUORUM: Final = "refused: no quorum of replicas answered; ask again, or ask another node"


class Reads:
    """One question at a time; reads that come meanwhile are for the next one."""

    def __init__(self, resend_ms: int) -> None:
        self._resend_ms = resend_ms
        self._waiting: list[RequestId] = []
        self._asked: list[RequestId] = []
        """The reads that the open question is for."""
        self._members = ValidatorSet()
        self._replies: dict[NodeId, int] = {}
        self._number = 0
        self._queries = 0
        self._is_due = False
        """Whether the open question is to be said (again)."""
        self._refused: list[RequestId] = []

    @property
    def number(self) -> int:
        """Of the last question."""
        return self._number

    def requested(self, request: RequestId) -> None:
        """Somebody wants to read."""
        if len(self._waiting) + len(self._asked) >= READS_MAX:
            self._refused.append(request)
        else:
            self._waiting.append(request)

    def replied(self, member: NodeId, reply: ReadReply) -> None:
        """The least height that a member has named since the question: it was true then."""
        if self._asked and reply.number == self._number and member in self._members:
            self._replies[member] = min(reply.height, self._replies.get(member, reply.height))

    def timer_fired(self, key: TimerKey) -> None:
        if key == (READ_TIMER, self._number) and self._asked:
            self._is_due = True

    def advance(self, members: ValidatorSet, final: int, may_ask: bool, now: Now) -> list[Effect]:
        """What follows. ``members``: of the height above ``final``; ``may_ask``: as one of them."""
        effects: list[Effect] = [Answer(request, TOO_MANY) for request in self._refused]
        self._refused = []
        if not may_ask:
            return effects + self._refuse([*self._asked, *self._waiting], CANNOT_ASK)
        if self._asked and members != self._members:
            self._begin(self._asked, members, now)
        if self._asked and self._is_answered(final):
            effects += [ServeRead(request, final) for request in self._asked]
            effects.append(self._close())
        if self._asked and self._is_due and self._queries >= QUERIES_MAX:
            effects += self._refuse(self._asked, NO_QUORUM)
        if self._waiting and not self._asked:
            waiting, self._waiting = self._waiting, []
            self._begin(waiting, members, now)
        if self._is_due:
            self._is_due = False
            self._queries += 1
            effects.append(Broadcast(ReadQuery(self._number)))
            effects.append(SetTimer((READ_TIMER, self._number), self._resend_ms))
        return effects

    def _is_answered(self, final: int) -> bool:
        reached = [member for member, height in self._replies.items() if height <= final]
        return self._members.decided_by(reached, quorum_byzantine)

    def _begin(self, requests: list[RequestId], members: ValidatorSet, now: Now) -> None:
        """A new question. Its number rises over restarts as well, as long as the clock does; a
        reply travels on a link that dies with the process, so nothing hangs on that."""
        self._number = max(self._number + 1, now.wall_ms)
        self._asked, self._members, self._replies = requests, members, {}
        self._queries, self._is_due = 0, True

    def _close(self) -> Effect:
        self._asked, self._replies, self._is_due = [], {}, False
        return CancelTimer((READ_TIMER, self._number))

    def _refuse(self, requests: list[RequestId], why: str) -> list[Effect]:
        if not requests:
            return []
        answers: list[Effect] = [Answer(request, why) for request in requests]
        self._waiting = [one for one in self._waiting if one not in requests]
        return [*answers, self._close()]
