"""Linearizable reads by a majority, on any member and without a leader.

After Charapko, Ailijiang and Demirbas, "Linearizable Quorum Reads in Paxos" (HotStorage 2019):
ask a majority how far it is, and answer once everything that it accepted is final here. What was
decided before the read began was accepted by a majority, of which one member is among those asked;
it says the open height if it accepted anything there, since that may be decided by now.
"""

from __future__ import annotations

from chain.validators import ValidatorSet, majority
from consensus.contract import NodeId, RequestId
from consensus.paxos.messages import Tell

READ_PATIENCE_MS = 5_000
"""How long a read waits for a majority before it is refused: a client's usual patience."""


class QuorumReads:
    """One question is under way; whoever comes meanwhile waits for the next one.

    A read may only lean on answers that were given after it came.
    """

    def __init__(self, number: int) -> None:
        """``number``: the last question's; must differ from those of earlier lives."""
        self.number = number
        self.reading: dict[RequestId, int] = {}
        """Reads of the present question, and since when they wait (steady milliseconds)."""
        self.queued: dict[RequestId, int] = {}
        self.told: dict[NodeId, Tell] = {}

    def add(self, request: RequestId, now_ms: int) -> None:
        self.queued[request] = now_ms

    def begin(self) -> bool:
        """Begins the next question if none is under way; whether there is one to ask now."""
        if self.reading or not self.queued:
            return False
        self.number += 1
        self.reading, self.queued, self.told = self.queued, {}, {}
        return True

    def hear(self, member: NodeId, tell: Tell) -> None:
        """An answer; it counts if it belongs to the present question and its sender is whole."""
        if self.reading and tell.number == self.number and tell.is_whole:
            self.told[member] = tell

    def answered(self, members: ValidatorSet) -> tuple[int, list[RequestId]] | None:
        """The height that must be final here, and the reads that wait for it."""
        if not self.reading or not members.decided_by(self.told, majority):
            return None
        told = [tell for member, tell in self.told.items() if member in members]
        height = max(tell.height if tell.has_accepted else tell.height - 1 for tell in told)
        requests, self.reading, self.told = list(self.reading), {}, {}
        return height, requests

    def expired(self, now_ms: int) -> list[RequestId]:
        """Reads that waited too long for a majority; they are forgotten."""
        late = [
            request
            for table in (self.reading, self.queued)
            for request, since_ms in table.items()
            if now_ms - since_ms >= READ_PATIENCE_MS
        ]
        for request in late:
            self.reading.pop(request, None)
            self.queued.pop(request, None)
        return late

    def drop_all(self) -> list[RequestId]:
        """All that wait: this node may not speak any more."""
        dropped = [*self.reading, *self.queued]
        self.reading, self.queued, self.told = {}, {}, {}
        return dropped
