"""What sync knows of each peer: its claims, what it owes, how far it is trusted."""

from __future__ import annotations

from collections import deque
from typing import Final

from chain.hashing import BlockId
from p2p.actions import PeerKey
from p2p.rolling import RollingSet
from p2p.sync.chain import SyncChain

KNOWN_BLOCKS_MAX: Final = 1_024
"""Ids of blocks that a peer is known to have: enough to cover the blocks in relay."""
IN_FLIGHT_MAX: Final = 16
"""Bodies asked of one peer at a time (as in Bitcoin): keeps its link busy, no more."""
LACKS_MS: Final = 5_000
"""A peer that had not the block a moment ago may have it after this long."""
LACKS_MAX: Final = 512
"""Such answers remembered for each peer."""
BROKEN_CLAIMS_MAX: Final = 3
"""A head that its claimer cannot show happens once (a reorganisation); three times is a lie."""
FAILURES_MAX: Final = 3
"""Stalls in a row, nothing delivered between, that make a peer misbehaved."""
BLOCKED_MS: Final = 5_000
"""How long a peer that stalled is left alone, doubling with each stall."""
DEMOTED_MS: Final = 60_000
"""How long a liar's claims count for nothing, doubling with each lie found..."""
DEMOTED_MS_MAX: Final = 3_600_000
"""...up to an hour."""


class SyncPeer:
    """One peer. ``head`` None: its height is claimed, the block is not named yet."""

    def __init__(self, key: PeerKey, height: int, finalized_height: int) -> None:
        self.key = key
        self.head: BlockId | None = None
        self.height = height
        self.finalized_height = finalized_height
        self.weight: int | None = None
        self.bodies_from = 0  # lowest height of which it serves bodies
        self.heads_from = 0
        self.announced = False  # named a head whose parent we do not know
        self.common: BlockId | None = None  # newest of its heads that we took or had
        self.known: RollingSet[BlockId] = RollingSet(KNOWN_BLOCKS_MAX)
        # requests to it
        self.asked: dict[BlockId, int] = {}  # bodies: id -> when asked
        self.late: RollingSet[BlockId] = RollingSet(8 * IN_FLIGHT_MAX)
        self.late_heads = 0
        self.quota = IN_FLIGHT_MAX
        self.progress_ms = 0  # last body, or first request while it owed none
        self._lacks: dict[BlockId, int] = {}
        self._lacks_from: tuple[int, int] | None = None  # height, until
        # trust
        self.broken_claims = 0
        self.failures = 0  # stalls over bodies in a row
        self.head_failures = 0  # over heads
        self._demotions = 0
        self._blocked_until_ms = 0
        self._demoted_until_ms = 0
        # what it asks of us, what we told it
        self.owed: deque[BlockId] = deque()
        self.burst_bytes = 0
        self.head_requests = 0.0
        self.refilled_ms = 0
        self.status_ms: int | None = None
        self.status_sent: bytes = b""
        self.proof_due_ms: int | None = None
        self.proof_sent_ms = 0
        self.proof_sent: BlockId | None = None

    # --------------------------------------------------------------------------------- trust

    def trusted(self, now_ms: int) -> bool:
        """Whether its claims count."""
        return now_ms >= self._demoted_until_ms

    def usable(self, now_ms: int) -> bool:
        """Whether it may be asked for something."""
        return now_ms >= self._blocked_until_ms and self.trusted(now_ms)

    def demote(self, now_ms: int) -> None:
        """It lied: its claims count for nothing for a while, longer each time."""
        self._demoted_until_ms = now_ms + min(DEMOTED_MS << self._demotions, DEMOTED_MS_MAX)
        self._demotions = min(self._demotions + 1, 16)
        self.broken_claims = 0
        self.announced = False

    def break_claim(self, chain: SyncChain, now_ms: int) -> bool:
        """It could not show what it claimed: forget the claim. True: once too often."""
        shown = 0
        if self.common is not None and chain.knows(self.common):
            shown = chain.height(self.common)
        self.height = min(self.height, shown)
        self.finalized_height = min(self.finalized_height, shown)
        self.head = self.weight = None
        self.announced = False
        self.broken_claims += 1
        if self.broken_claims < BROKEN_CLAIMS_MAX:
            return False
        self.demote(now_ms)
        return True

    def fail(self, now_ms: int, *, heads: bool = False) -> bool:
        """It owed bodies (or heads) and sent none in time. True: that is misbehaviour by now."""
        if heads:
            self.head_failures += 1
        else:
            self.failures += 1
        count = max(self.failures, self.head_failures)
        self._blocked_until_ms = now_ms + (BLOCKED_MS << min(count - 1, 4))
        if count < FAILURES_MAX:
            return False
        self.failures = self.head_failures = 0
        self.demote(now_ms)
        return True

    def settle(self, chain: SyncChain) -> None:
        """A claim about a block that we know is replaced by the truth."""
        if self.head is not None and chain.knows(self.head):
            self.height = chain.height(self.head)
            self.weight = chain.weight(self.head)
            self.finalized_height = min(self.finalized_height, self.height)
            self.common = self.head
            self.announced = False
            self.broken_claims = 0  # it showed what it claimed

    # --------------------------------------------------------------------------- what it has

    def lacks(self, block: BlockId, height: int | None, now_ms: int) -> None:
        """It said that it has not the block; ``height``: of a block on the path, so neither
        has it those above."""
        if len(self._lacks) >= LACKS_MAX:
            del self._lacks[next(iter(self._lacks))]
        self._lacks[block] = now_ms + LACKS_MS
        self.known.discard(block)
        if height is not None:
            lowest = self._lacks_from
            if lowest is not None and lowest[1] > now_ms:
                height = min(height, lowest[0])
            self._lacks_from = (height, now_ms + LACKS_MS)

    def refuses(self, block: BlockId, now_ms: int) -> bool:
        """Whether it said lately that it has not the block."""
        return self._lacks.get(block, 0) > now_ms

    def has(self, block: BlockId, height: int, now_ms: int) -> bool:
        """Whether it can be expected to have a block at ``height`` on the path."""
        if block in self.known:
            return True
        if not self.bodies_from <= height <= self.height or self.refuses(block, now_ms):
            return False
        lowest = self._lacks_from
        return lowest is None or lowest[1] <= now_ms or height < lowest[0]

    def forgets_refusals(self) -> None:
        """The path changed: what it lacked says nothing of the new one."""
        self._lacks_from = None
