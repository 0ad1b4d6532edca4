"""What waits to be sent to one peer: two lanes, bounded, paced (sans-I/O).

Consensus frames go first, always. Bulk frames go in pieces, so that a vote waits for 64 kB at most
and not for a block, and no faster than the receiver's limits allow (p2p/limits.py).
"""

from __future__ import annotations

from collections import deque
from typing import Final

from p2p.limits import MessageLimits
from p2p.wire import (
    FRAME_SIZE_MAX,
    MEGABYTE,
    MESSAGE_TYPES,
    PIECE_SIZE_MAX,
    Lane,
    Piece,
    encode_frame,
)

QUEUE_BYTES_MAX: Final = 128 * MEGABYTE
"""Bytes waiting for one peer: a full answer of 64 middling blocks; beyond it, the peer is slow."""
QUEUE_FRAMES_MAX: Final = 20_000
"""Frames waiting for one peer: a second of consensus at full speed."""

assert QUEUE_BYTES_MAX > 2 * FRAME_SIZE_MAX


class Outbox:
    """Frames in, frames (or their pieces) out, in the order in which they should be sent."""

    def __init__(self, limits: MessageLimits, bytes_max: int = QUEUE_BYTES_MAX) -> None:
        self._limits = limits
        self._bytes_max = bytes_max
        self._consensus: deque[bytes] = deque()
        self._bulk: deque[bytes] = deque()
        self._cut = 0
        self.bytes_waiting = 0

    def __len__(self) -> int:
        return len(self._consensus) + len(self._bulk)

    def put(self, frame: bytes, lane: Lane) -> bool:
        """Queues a frame; False where the peer is too slow for it."""
        if len(self) >= QUEUE_FRAMES_MAX or self.bytes_waiting + len(frame) > self._bytes_max:
            return False
        self.bytes_waiting += len(frame)
        (self._consensus if lane == "consensus" else self._bulk).append(frame)
        return True

    def wait_ms(self, now_ms: int) -> int | None:
        """Milliseconds until ``take`` has something; 0: now; None: not before the next ``put``."""
        if self._consensus:
            return 0
        if not self._bulk:
            return None
        if self._cut:
            return self._limits.wait_ms(Piece.code, PIECE_SIZE_MAX, Piece.lane, now_ms)
        frame = self._bulk[0]
        if len(frame) > PIECE_SIZE_MAX:
            piece = self._limits.wait_ms(Piece.code, PIECE_SIZE_MAX, Piece.lane, now_ms)
            return max(piece, self._limits.wait_ms(frame[0], 1, "bulk", now_ms))
        return self._limits.wait_ms(frame[0], len(frame), "bulk", now_ms)

    def take(self, now_ms: int) -> bytes | None:
        """The next WebSocket message, or None where ``wait_ms`` is not 0."""
        if self._consensus:
            frame = self._consensus.popleft()
            self.bytes_waiting -= len(frame)
            return frame
        if self.wait_ms(now_ms) != 0:
            return None
        frame = self._bulk[0]
        lane = MESSAGE_TYPES[frame[0]].lane
        if len(frame) <= PIECE_SIZE_MAX:
            self._bulk.popleft()
            self.bytes_waiting -= len(frame)
            self._limits.spend(frame[0], len(frame), lane, now_ms)
            return frame
        body = frame[self._cut : self._cut + PIECE_SIZE_MAX]
        self._cut += len(body)
        self.bytes_waiting -= len(body)
        last = self._cut == len(frame)
        if last:
            self._bulk.popleft()
            self._cut = 0
            # The receiver counts the joined frame as a message, its bytes as they come.
            self._limits.spend(frame[0], 0, lane, now_ms)
        piece = encode_frame(Piece(last, body))
        self._limits.spend(Piece.code, len(piece), Piece.lane, now_ms)
        return piece

    def take_consensus(self) -> bytes | None:
        """The next frame of the consensus lane only: what a link that ends still has to say."""
        return self.take(0) if self._consensus else None
