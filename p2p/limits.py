"""How much a peer may ask of us: token buckets, rates by message type, points for misbehaviour.

Pure integer arithmetic; the time comes in. A peer that stays within these limits costs a node a
bounded share of one core; an honest peer stays within them because its own outbox paces itself
by the same table (see p2p/outbox.py), so that only a liar ever meets them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from p2p import wire
from p2p.wire import MEGABYTE, Lane


class TokenBucket:
    """``burst`` tokens at most, ``rate`` more each second. Times are integer milliseconds.

    Levels are kept in thousandths of a token, so that no refill is ever rounded away.
    """

    __slots__ = ("_burst_milli", "_level_milli", "_then_ms", "rate")

    def __init__(self, rate: int, burst: int, now_ms: int) -> None:
        assert rate > 0 and burst > 0
        self.rate = rate
        self._burst_milli = burst * 1000
        self._level_milli = self._burst_milli
        self._then_ms = now_ms

    def _refill(self, now_ms: int) -> None:
        elapsed_ms = now_ms - self._then_ms
        if elapsed_ms > 0:
            self._then_ms = now_ms
            if self._level_milli < self._burst_milli:
                self._level_milli = min(
                    self._burst_milli, self._level_milli + elapsed_ms * self.rate
                )

    def take(self, count: int, now_ms: int) -> bool:
        """Takes ``count`` tokens if they are there, else none."""
        self._refill(now_ms)
        if self._level_milli < count * 1000:
            return False
        self._level_milli -= count * 1000
        return True

    def wait_ms(self, count: int, now_ms: int) -> int:
        """Milliseconds until ``count`` tokens (or a full bucket, if smaller) are there."""
        self._refill(now_ms)
        missing = min(count * 1000, self._burst_milli) - self._level_milli
        return 0 if missing <= 0 else -(-missing // self.rate)

    def spend(self, count: int, now_ms: int) -> None:
        """Takes ``count`` tokens even where that leaves a debt."""
        self._refill(now_ms)
        self._level_milli -= count * 1000

    def credit(self, elapsed_ms: int) -> None:
        """Adds what ``elapsed_ms`` would have brought, above the burst if need be."""
        self._level_milli += elapsed_ms * self.rate


class Rate(NamedTuple):
    """Messages a second, and how many may come at once."""

    per_second: int
    burst: int


MESSAGE_RATES: Final[dict[type[wire.PeerMessage], Rate]] = {
    # The handshake's frames have no place in a session: each is misbehaviour anyway.
    wire.Challenge: Rate(1, 10),
    wire.Hello: Rate(1, 10),
    wire.Goodbye: Rate(1, 10),
    # One a quarter of a minute is our own pace; an operator may measure faster.
    wire.Ping: Rate(2, 20),
    wire.Pong: Rate(2, 20),
    # Pieces of 64 kB: as many as the bulk lane's bytes allow, and small last pieces besides.
    wire.Piece: Rate(4_000, 16_000),
    # Seven PBFT replicas at 500 blocks a second send about 1,500 votes a second each. The burst is
    # what outbox and socket buffers can hold while we are stopped (QUEUE_FRAMES_MAX and 10 MB).
    wire.ConsensusFrame: Rate(20_000, 100_000),
    # Gossip gathers what it tells for some milliseconds; at worst it tells each alone, at 2,000 a
    # second, the most that an engine here may reach. Bytes are bounded by the lane.
    wire.AnnounceTransactions: Rate(2_000, 20_000),
    wire.GetTransactions: Rate(2_000, 20_000),
    wire.Transactions: Rate(2_000, 20_000),
    wire.PushTransactions: Rate(2_000, 20_000),
    # A fast crash-fault engine finalizes some hundred blocks a second; each may be announced,
    # followed by a status, asked for by itself, and proven.
    wire.AnnounceBlock: Rate(1_000, 10_000),
    wire.Status: Rate(1_000, 10_000),
    wire.GetBlocks: Rate(1_000, 10_000),
    wire.BlockBody: Rate(2_000, 10_000),
    wire.NoBlocks: Rate(1_000, 10_000),
    wire.FinalityProof: Rate(1_000, 10_000),
    # 500 heads in each: 50,000 a second, more than can be checked.
    wire.GetHeads: Rate(100, 1_000),
    wire.Heads: Rate(100, 1_000),
    wire.EvidenceFound: Rate(5, 50),
    # What one holds changes with each snapshot made, and with each slice that is pruned.
    wire.Holdings: Rate(2, 20),
    # A description weighs up to 8 MB, and a node has use for one.
    wire.GetSnapshot: Rate(1, 10),
    wire.SnapshotBody: Rate(1, 10),
    wire.NoSnapshot: Rate(100, 1_000),
    # Chunks of 128 kB, sixteen in flight: 25 MB a second, more than can be checked and kept.
    wire.GetChunk: Rate(200, 1_000),
    wire.ChunkBody: Rate(200, 1_000),
    # Peer exchange happens once a link and then every few minutes.
    wire.GetPeers: Rate(1, 5),
    wire.Peers: Rate(1, 5),
}
"""By message type; every type must be here (a test checks it)."""

LANE_BYTES: Final[dict[Lane, Rate]] = {
    # Eight full proposals a second, and a backlog of 32 after a pause.
    "consensus": Rate(64 * MEGABYTE, 288 * MEGABYTE),
    # Half a gigabit a second from each peer; a full sync request is 64 bodies.
    "bulk": Rate(64 * MEGABYTE, 128 * MEGABYTE),
}
"""Bytes a second by lane; a burst must hold the largest frame."""

SENDER_SHARE: Final = (9, 10)
"""Our own outbox keeps to this share of the rates, since networks bunch up what was paced."""
SENDER_BURST_SHARE: Final = (1, 2)
"""... and to this share of the bursts."""


class MessageLimits:
    """The buckets of one direction of one link."""

    def __init__(
        self,
        now_ms: int,
        rates: dict[type[wire.PeerMessage], Rate] = MESSAGE_RATES,
        lane_bytes: dict[Lane, Rate] = LANE_BYTES,
        *,
        sender: bool = False,
    ) -> None:
        def bucket(rate: Rate) -> TokenBucket:
            if not sender:
                return TokenBucket(rate.per_second, rate.burst, now_ms)
            return TokenBucket(
                max(1, rate.per_second * SENDER_SHARE[0] // SENDER_SHARE[1]),
                max(1, rate.burst * SENDER_BURST_SHARE[0] // SENDER_BURST_SHARE[1]),
                now_ms,
            )

        self._messages = {kind.code: bucket(rate) for kind, rate in rates.items()}
        self._bytes = {lane: bucket(rate) for lane, rate in lane_bytes.items()}

    def admit(self, code: int, size: int, lane: Lane, now_ms: int) -> bool:
        """Whether one more message of type ``code`` and ``size`` bytes is within the limits."""
        return self._messages[code].take(1, now_ms) and self._bytes[lane].take(size, now_ms)

    def wait_ms(self, code: int, size: int, lane: Lane, now_ms: int) -> int:
        """How long to wait before it is."""
        return max(self._messages[code].wait_ms(1, now_ms), self._bytes[lane].wait_ms(size, now_ms))

    def spend(self, code: int, size: int, lane: Lane, now_ms: int) -> None:
        """Counts a message that is sent in any case."""
        self._messages[code].spend(1, now_ms)
        self._bytes[lane].spend(size, now_ms)

    def credit(self, elapsed_ms: int) -> None:
        """After a pause of our own: what came meanwhile comes all at once, and is no flood."""
        for bucket in (*self._messages.values(), *self._bytes.values()):
            bucket.credit(elapsed_ms)


BAN_THRESHOLD: Final = 100
"""Points at which a peer is dropped and banned."""
DECAY_MS_PER_POINT: Final = 10_000
"""One point is forgiven every ten seconds: 100 in a quarter of an hour."""
SCORES_MAX: Final = 4_096
"""Keys remembered; the one charged longest ago is forgotten first."""

LATE_ANSWER_MS: Final = 10_000
"""So long after a link ended, answers to what was asked over it may still come over the next one:
when two nodes dial each other at once, a link takes the place of another within a moment."""
LATE_ANSWERS: Final = frozenset({"unsolicited", "unsolicited-heads", "unsolicited-block"})
"""Reasons for which a peer is not charged meanwhile. A node that catches up asks for dozens of
blocks at a time: charged for each, honest peers would be banned for one link that was replaced."""

POINTS: Final[dict[str, int]] = {
    # What no honest program can send, since TLS keeps frames whole.
    "malformed": 50,
    "not-canonical": 50,
    "too-large": 100,
    "empty-frame": 50,
    "text-frame": 50,
    "unexpected-frame": 20,
    "unexpected-message": 20,
    # A newer version may know more types than we do.
    "unknown-message": 10,
    # Each message above the rate; see MESSAGE_RATES for how far above honest traffic that is.
    "rate-limit": 1,
    "unsolicited": 10,
    "unsolicited-heads": 20,
    "unsolicited-block": 20,
    # More questions than a peer has a use for; the answer is not given.
    "too-many-requests": 2,
    # Told by the rooms above: what was signed or mined to deceive ...
    "bad-signature": 100,
    "invalid-block": 100,
    "invalid-proof": 100,
    "invalid-evidence": 50,
    "invalid-snapshot": 100,
    "invalid-chunk": 100,
    "invalid-transaction-encoding": 50,
    "false-claim": 50,
    "invalid-consensus-message": 20,
    # ... and what may also be an accident, or a view of the chain older than ours.
    "invalid-transaction": 5,
    "undelivered": 5,
    "stalling": 5,
}
"""Misbehaviour by reason."""
POINTS_DEFAULT: Final = 20
"""For a reason that is not listed: five of them within minutes are a ban."""


class Scores:
    """Misbehaviour points by key. They outlive links, so that reconnecting washes nobody."""

    def __init__(self) -> None:
        self._scores: dict[bytes, tuple[int, int]] = {}
        self._ended_ms: dict[bytes, int] = {}

    def link_ended(self, key: bytes, now_ms: int) -> None:
        """What was asked over the link may be answered over the next one."""
        self._ended_ms.pop(key, None)
        self._ended_ms[key] = now_ms
        while len(self._ended_ms) > SCORES_MAX:
            del self._ended_ms[next(iter(self._ended_ms))]

    def charge(self, key: bytes, reason: str, now_ms: int) -> int:
        """Adds the reason's points; the score after that."""
        ended_ms = self._ended_ms.get(key)
        if reason in LATE_ANSWERS and ended_ms is not None and now_ms - ended_ms < LATE_ANSWER_MS:
            return self.score(key, now_ms)
        score = self.score(key, now_ms) + POINTS.get(reason, POINTS_DEFAULT)
        self._scores.pop(key, None)
        self._scores[key] = (score, now_ms)
        while len(self._scores) > SCORES_MAX:
            del self._scores[next(iter(self._scores))]
        return score

    def score(self, key: bytes, now_ms: int) -> int:
        """The points that have not decayed yet."""
        points, then_ms = self._scores.get(key, (0, now_ms))
        return max(0, points - max(0, now_ms - then_ms) // DECAY_MS_PER_POINT)

    def forget(self, key: bytes) -> None:
        """After a ban: whoever returns from it starts anew."""
        self._scores.pop(key, None)
