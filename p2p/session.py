"""One link after its handshake: frames in, judged; keep-alive; pieces joined (sans-I/O)."""

from __future__ import annotations

from typing import Final, NamedTuple

from chain.errors import InvalidEncoding
from p2p import wire
from p2p.limits import MessageLimits
from p2p.wire import Challenge, Goodbye, Hello, PeerMessage, Piece, Ping, Pong

PING_INTERVAL_MS: Final = 15_000
"""How often a link is measured; routers forget idle connections after a minute or more."""
IDLE_TIMEOUT_MS: Final = 45_000
"""Three pings without any word: whoever was there is gone."""


class Delivered(NamedTuple):
    """A good message, for the rooms above. ``size``: its frame's bytes."""

    message: PeerMessage
    size: int


class Reply(NamedTuple):
    """To be sent back."""

    message: PeerMessage


class Fault(NamedTuple):
    """The frame broke a rule; ``reason`` is charged by p2p/limits.py and the frame dropped."""

    reason: str
    sentence: str


class Closed(NamedTuple):
    """The link is over: the peer said goodbye, or said nothing for too long."""

    reason: str
    sentence: str


Outcome = Delivered | Reply | Fault | Closed | None


class Session:
    """Judges the frames of one peer. Times are monotonic milliseconds."""

    def __init__(
        self,
        limits: MessageLimits,
        now_ms: int,
        ping_interval_ms: int = PING_INTERVAL_MS,
        idle_timeout_ms: int = IDLE_TIMEOUT_MS,
    ) -> None:
        self._limits = limits
        self._ping_interval_ms = ping_interval_ms
        self._idle_timeout_ms = idle_timeout_ms
        self._heard_ms = now_ms
        self._ticked_ms = now_ms
        self._ping_sent_ms = now_ms
        self._ping_nonce = 0
        self._pong_nonce = 0
        self._pieces: list[bytes] = []
        self._pieces_size = 0
        self.latency_ms: int | None = None

    def receive(self, frame: bytes, now_ms: int) -> Outcome:
        """What a frame means. A frame that breaks a rule changes nothing but the limits."""
        self._heard_ms = now_ms
        if not frame:
            return Fault("empty-frame", "an empty frame")
        kind = wire.MESSAGE_TYPES.get(frame[0])
        if kind is None:
            return Fault("unknown-message", f"no message type has code {frame[0]}")
        # Before decoding: a flood must cost its sender more than it costs us.
        if not self._limits.admit(frame[0], len(frame), kind.lane, now_ms):
            return Fault("rate-limit", f"more {kind.__name__} than anyone may send")
        try:
            message = wire.decode_frame(frame)
        except InvalidEncoding as error:
            return Fault(error.code, error.sentence)
        if isinstance(message, Piece):
            return self._piece(message, now_ms)
        return self._message(message, len(frame), now_ms)

    def _message(self, message: PeerMessage, size: int, now_ms: int) -> Outcome:
        if isinstance(message, Ping):
            return Reply(Pong(message.nonce))
        if isinstance(message, Pong):
            if not self._pong_nonce < message.nonce <= self._ping_nonce:
                return Fault("unsolicited", "an answer to a ping that nobody sent")
            self._pong_nonce = message.nonce
            if message.nonce == self._ping_nonce:
                self.latency_ms = now_ms - self._ping_sent_ms
            return None
        if isinstance(message, Goodbye):
            return Closed(message.reason, message.sentence)
        if isinstance(message, (Hello, Challenge)):
            return Fault("unexpected-message", "a handshake within a session")
        return Delivered(message, size)

    def _piece(self, piece: Piece, now_ms: int) -> Outcome:
        first = self._pieces[0] if self._pieces else piece.body
        kind = wire.MESSAGE_TYPES.get(first[0])
        size = self._pieces_size + len(piece.body)
        # The type is known from the first byte on: no more is held than it may have.
        if kind is None or kind is Piece or kind.lane != "bulk" or size > kind.size_max + 1:
            self._drop_pieces()
            return Fault("malformed", "pieces of what may not be cut, or too many of them")
        self._pieces.append(piece.body)
        self._pieces_size = size
        if not piece.last:
            return None
        frame = b"".join(self._pieces)
        self._drop_pieces()
        if not self._limits.admit(frame[0], 0, kind.lane, now_ms):
            return Fault("rate-limit", f"more {kind.__name__} than anyone may send")
        try:
            return self._message(wire.decode_frame(frame), len(frame), now_ms)
        except InvalidEncoding as error:
            return Fault(error.code, error.sentence)

    def _drop_pieces(self) -> None:
        self._pieces = []
        self._pieces_size = 0

    def tick(self, now_ms: int) -> Outcome:
        """To be called about every second: a ping when it is due, Closed when the peer is gone."""
        pause_ms = now_ms - self._ticked_ms
        self._ticked_ms = now_ms
        if pause_ms > self._ping_interval_ms:
            # It was we who were away (stopped, swapped out): what waits has not been read yet.
            self._heard_ms = now_ms
            self._limits.credit(pause_ms)
        if now_ms - self._heard_ms >= self._idle_timeout_ms:
            return Closed("idle", "nothing heard for too long")
        if now_ms - self._ping_sent_ms >= self._ping_interval_ms:
            self._ping_sent_ms = now_ms
            self._ping_nonce += 1
            return Reply(Ping(self._ping_nonce))
        return None
