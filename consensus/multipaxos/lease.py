"""Leases, from both sides (Chandra, Griesemer, Redstone, "Paxos Made Live", 2007, section 5.2).

An acceptor that grants a lease promises no ballot to anyone else until it ends, counted by its own
clock from *receipt*. The leader counts from *sending*, by its own clock, and shortens that by the
bound on how differently the clocks may run. So the leader's lease ends first, and while it holds
nobody else can have been promised a ballot by a majority.

Only reads lean on this. What is decided is safe with any clock.
"""

from __future__ import annotations

from chain.validators import ValidatorSet, majority
from consensus.contract import NodeId
from consensus.paxos.ballot import NO_BALLOT, Ballot


class GrantedLease:
    """An acceptor's side: to whom it is bound, and until when (steady milliseconds)."""

    def __init__(self) -> None:
        self.ballot = NO_BALLOT
        self.holder: NodeId | None = None
        self.until_ms = 0

    def quarantine(self, until_ms: int) -> None:
        """After a restart: a lease was perhaps granted just before, and to whom is forgotten."""
        self.until_ms = max(self.until_ms, until_ms)

    def grant(self, ballot: Ballot, now_ms: int, lease_ms: int) -> None:
        """Binds the acceptor to the leader of ``ballot``, which it has promised, durably.

        Thus whoever has promised nothing has granted nothing, and knows so after a restart.
        """
        self.ballot, self.holder = ballot, ballot.node
        self.until_ms = now_ms + lease_ms

    def release(self, ballot: Ballot, now_ms: int) -> bool:
        """The holder gives it back; False where it does not hold it."""
        if ballot != self.ballot:
            return False
        self.holder, self.until_ms = None, now_ms
        return True

    def binds_against(self, node: NodeId, now_ms: int) -> bool:
        """Whether ``node`` must not be promised anything now."""
        return now_ms < self.until_ms and node != self.holder


class LeaderLease:
    """The leader's side: for each acceptor the sending time of the last renewal it granted."""

    def __init__(self, began_ms: int) -> None:
        self.began_ms = began_ms
        self.sent_ms: dict[NodeId, int] = {}

    def hear(self, acceptor: NodeId, sent_ms: int) -> None:
        self.sent_ms[acceptor] = max(sent_ms, self.sent_ms.get(acceptor, 0))

    def since_ms(self, members: ValidatorSet) -> int | None:
        """The latest moment from which on a majority has granted; None: none yet."""
        moments = sorted({self.sent_ms[one] for one in self.sent_ms if one in members})
        for moment in reversed(moments):
            if members.decided_by(
                (one for one, sent in self.sent_ms.items() if sent >= moment), majority
            ):
                return moment
        return None

    def holds(self, members: ValidatorSet, now_ms: int, leader_lease_ms: int) -> bool:
        since_ms = self.since_ms(members)
        return since_ms is not None and now_ms < since_ms + leader_lease_ms
