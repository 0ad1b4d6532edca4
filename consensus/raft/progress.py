"""What a leader knows of one follower, and how much it sends ahead of the answers.

A follower is *probed*, one append at a time, until an answer shows where its log and the leader's
part; then appends are pipelined within a window (thesis 10.2.1).
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from chain.hashing import BlockId
from consensus.raft.messages import Place, Statement

APPENDS_IN_FLIGHT_MAX: Final = 16
"""Appends sent to a follower and not answered: a round trip's worth at some hundred a second."""
BYTES_IN_FLIGHT_MAX: Final = 8 * 1024 * 1024
"""Their bytes: what a slow link can be made to hold; one larger append may go alone."""


class Sent(NamedTuple):
    """An append with entries on its way."""

    height: int
    size: int


class Progress:
    """``matched``: the follower's log is known to equal the leader's up to there, and to be
    durable; it only grows. ``next``: the entry before the next one to send."""

    def __init__(self, next_: Place, now_ms: int) -> None:
        self.matched = 0
        self.next = next_
        self.probing = True
        self.probed = False
        """Whether a probe with entries is out; no second one goes until it is answered."""
        self.heard_ms = now_ms
        self.round = 0
        self.stated: dict[BlockId, Statement] = {}
        """Its statements on entries that the leader has no vote on (consensus.raft.statements)."""
        self.asked_round = 0
        """The round of heartbeats in which it was asked for them last."""
        self._in_flight: deque[Sent] = deque()
        self._bytes = 0

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def may_send(self) -> bool:
        """Whether the window is open."""
        if self.probing:
            return not self.probed
        return len(self._in_flight) < APPENDS_IN_FLIGHT_MAX and self._bytes < BYTES_IN_FLIGHT_MAX

    def sent(self, last: Place, size: int) -> None:
        """Entries up to ``last`` are on their way: the next append goes on behind them."""
        if self.probing:
            self.probed = True
        self._in_flight.append(Sent(last.height, size))
        self._bytes += size
        self.next = last

    def accepted(self, height: int) -> None:
        """The follower's log equals the leader's up to ``height``."""
        self.matched = max(self.matched, height)
        while self._in_flight and self._in_flight[0].height <= height:
            self._bytes -= self._in_flight.popleft().size
        if self.probing and height >= self.next.height:
            self.probing = self.probed = False

    def refused(self, common: Place) -> None:
        """The follower lacks the entry before: go on behind the last one in common."""
        self.next = common
        self.probing, self.probed = True, False
        self._in_flight.clear()
        self._bytes = 0
