"""Headers first: from the peer with the best claim, judged before a single body is asked for.

A claim is only a reason to ask. A peer that cannot show what it claimed loses the claim, and after
a few such claims its word counts for nothing for a while (the class of CometBFT's CVE-2025-24371,
a peer that reports a height and then a lower one, and so keeps others syncing for ever).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from chain.block import BlockHead
from chain.errors import InvalidBlock, NotYet
from chain.hashing import ZERO_HASH, BlockId
from p2p.actions import Action, Misbehaved, PeerKey, SendTo
from p2p.sync.chain import SyncChain
from p2p.sync.path import Path
from p2p.sync.peers import SyncPeer
from p2p.wire import HEADS_MAX, LOCATOR_MAX, GetHeads

HEADS_AHEAD_MAX: Final = 2_000
"""Heads on the path, at most: some megabytes, and a liar's chain wastes no more than that."""
HEADS_TIMEOUT_MS: Final = 4_000
"""A peer that answers no header request for this long is passed over."""
POSTPONED_RETRY_MS: Final = 100
"""Heads that were not yet to be judged are looked at again after this long."""
POSTPONED_MAX_MS: Final = 5_000
"""Heads still not to be judged when nothing before them is left to import: a claim to forget."""
UNPROVEN_MAX: Final = 1_024
"""Blocks imported above our finalized one on the word of a peer that calls them final: where
finality does not follow by then, its chain is a forgery or its claim is wrong."""
PATH_LOCATOR_MAX: Final = 24
"""Ids of the path in a locator; the rest is the known chain's."""


class Headers:
    """Chooses whom to ask for heads, judges the answers, and lays the path."""

    def __init__(
        self, chain: SyncChain, peers: dict[PeerKey, SyncPeer], rng: random.Random
    ) -> None:
        self._chain = chain
        self._peers = peers
        self._rng = rng
        self.path = Path()
        self.pending: Callable[[BlockId], bool] = self.path.__contains__
        """Whether a body is on its way in already; the wider answer of whoever fetches bodies."""
        self.lead: PeerKey | None = None  # whose chain the path is
        self._asked: tuple[PeerKey, int] | None = None
        self._postponed: tuple[BlockHead, ...] = ()
        self._retry_ms = 0
        self._waiting_ms: int | None = None  # since when they were all that was left

    # --------------------------------------------------------------------------- whom to ask

    def rank(self, peer: SyncPeer) -> tuple[int, int]:
        """How good its claim is: by finality, or by weight where nothing is final."""
        if self._chain.finalizes:
            return (peer.finalized_height, peer.height)
        return (peer.weight or 0, peer.height)

    def better_than_ours(self, peer: SyncPeer) -> bool:
        """Whether its claim is worth a look: better than our head, or another one as good.

        Equals matter: after a partition two heads of one weight must meet for the tie to be broken.
        """
        head = self._chain.head()
        even = 0 if peer.head is None or peer.head == head else 1
        if not self._chain.finalizes and peer.weight is not None:
            return peer.weight + even > self._chain.weight(head)
        if peer.height + even > self._chain.height(head):
            return True
        ours = self._chain.height(self._chain.finalized())
        return self._chain.finalizes and peer.finalized_height > ours

    def resolved(self, peer: SyncPeer) -> bool:
        """Whether its head is known here, or on its way in."""
        return peer.head is not None and (self._chain.knows(peer.head) or self.pending(peer.head))

    def _candidates(self, now_ms: int) -> list[SyncPeer]:
        # Whoever has forgotten what comes next here can show nothing that leads from it.
        reach = self._chain.height(self._chain.finalized()) + 1
        return [
            peer
            for peer in self._peers.values()
            if not self.resolved(peer)  # of all peers, most of the time
            and peer.usable(now_ms)
            and max(peer.bodies_from, peer.heads_from) <= reach
            and (peer.announced or self.better_than_ours(peer))
        ]

    def pump(self, now_ms: int) -> list[Action]:
        """Ask the best candidate for heads, if it is time to."""
        if self._asked is not None or self._postponed:
            return []
        if len(self.path) > HEADS_AHEAD_MAX - HEADS_MAX:
            return []
        candidates = self._candidates(now_ms)
        if not candidates:
            return []
        best = max(self.rank(peer) for peer in candidates)
        equals = [peer for peer in candidates if self.rank(peer) == best]
        lead = self._peers.get(self.lead) if self.lead is not None else None
        if lead in equals:
            chosen = lead
        else:
            if lead is not None and len(self.path) and best <= self.rank(lead):
                return []  # the lead's chain comes first; theirs can wait
            chosen = equals[self._rng.randrange(len(equals))]
        assert chosen is not None
        self._asked = (chosen.key, now_ms)
        return [SendTo(chosen.key, GetHeads(self._locator(chosen), ZERO_HASH, HEADS_MAX))]

    def _locator(self, peer: SyncPeer) -> tuple[BlockId, ...]:
        """Newest common id first, then the path's, then the chain's, genesis kept."""
        ids = self.path.locator(PATH_LOCATOR_MAX)
        if peer.common is not None and (peer.common in self.path or self._chain.knows(peer.common)):
            ids.insert(0, peer.common)
        chain_ids = list(self._chain.locator())
        room = LOCATOR_MAX - len(ids)
        if len(chain_ids) > room:
            chain_ids = [*chain_ids[: room - 1], chain_ids[-1]]
        return tuple(dict.fromkeys((*ids, *chain_ids)))

    # ------------------------------------------------------------------------------- answers

    def on_heads(
        self, peer: SyncPeer, heads: tuple[BlockHead, ...], now_ms: int
    ) -> tuple[list[Action], bool]:
        """Takes an answer in. Second: whether the path grew."""
        if self._asked is None or self._asked[0] != peer.key:
            if peer.late_heads:
                peer.late_heads -= 1
                return [], False
            return [Misbehaved(peer.key, "unsolicited-heads")], False
        self._asked = None
        peer.head_failures = 0
        self.path.drop_known(self._chain.knows)
        if not heads:
            return self._shown_nothing(peer, now_ms), False
        try:
            new = self._new_part(heads)
            if not new:
                return self._shown_known(peer, heads[-1].id, now_ms), False
            return [], self._follow(peer, new, now_ms)
        except InvalidBlock as error:
            peer.demote(now_ms)
            self.abandon(peer)
            return [Misbehaved(peer.key, error.code)], False

    def _shown_nothing(self, peer: SyncPeer, now_ms: int) -> list[Action]:
        if self.resolved(peer) or not peer.break_claim(self._chain, now_ms):
            return []
        return [Misbehaved(peer.key, "false-claim")]

    def _shown_known(self, peer: SyncPeer, last: BlockId, now_ms: int) -> list[Action]:
        """Nothing new: fine if it brought us further up its chain (a coarse locator)."""
        if peer.common == last:
            return self._shown_nothing(peer, now_ms)
        peer.common = last
        return []

    def _new_part(self, heads: tuple[BlockHead, ...]) -> tuple[BlockHead, ...]:
        """The heads that are neither known nor on the path. Raises InvalidBlock."""
        first = heads[0]
        if not (self._chain.knows(first.previous) or first.previous in self.path):
            raise InvalidBlock("unconnected-heads", "heads that follow on no block of ours")
        for parent, head in pairwise(heads):
            if head.previous != parent.id or head.height != parent.height + 1:
                raise InvalidBlock("unlinked-heads", "heads that do not follow on each other")
        start = 0
        while start < len(heads) and (
            self._chain.knows(heads[start].id) or heads[start].id in self.path
        ):
            start += 1
        new = heads[start:]
        for head in new:
            head.check_branch()
        return new

    def _follow(self, peer: SyncPeer, new: tuple[BlockHead, ...], now_ms: int) -> bool:
        """Lays the path along the peer's heads. Raises InvalidBlock; then nothing changed."""
        parent = new[0].previous
        earlier: list[BlockHead] = []
        if parent in self.path:
            earlier = self.path.upto(parent)
            parent_height = earlier[-1].height
        else:
            parent_height = self._chain.height(parent)
            finalized_height = self._chain.height(self._chain.finalized())
            if self._chain.finalizes and parent_height < finalized_height:
                raise InvalidBlock("conflicts-with-final", "a branch below our finalized block")
        if new[0].height != parent_height + 1:
            raise InvalidBlock("unlinked-heads", "heads that do not follow on each other")
        judged = self._judge(new, earlier)
        if not judged and not earlier:
            self._postpone(peer, new, now_ms)
            return False
        self._cut_above(parent if earlier else None)
        self.path.extend(new[:judged])
        self.lead = peer.key
        if judged:
            self._waiting_ms = None
            peer.common = new[judged - 1].id
        if judged < len(new):
            self._postpone(peer, new[judged:], now_ms)
        return judged > 0

    def _judge(self, heads: Sequence[BlockHead], earlier: Sequence[BlockHead]) -> int:
        """How many of the heads may be taken now. Raises InvalidBlock."""
        try:
            self._chain.check_heads(heads, earlier)
            return len(heads)
        except NotYet:
            good, bad = 0, len(heads)  # heads[:good] pass; heads[:bad] are not yet
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                self._chain.check_heads(heads[:middle], earlier)
                good = middle
            except NotYet:
                bad = middle
        return good

    def _postpone(self, peer: SyncPeer, heads: tuple[BlockHead, ...], now_ms: int) -> None:
        self.lead = peer.key
        self._postponed = heads
        self._retry_ms = now_ms + POSTPONED_RETRY_MS

    # -------------------------------------------------------------------------- path changes

    def _cut_above(self, block: BlockId | None) -> None:
        if self.path.cut_above(block):
            for peer in self._peers.values():
                peer.forgets_refusals()
        self._postponed = ()

    def cut_from(self, block: BlockId) -> None:
        """A block on the path was refused: it and all above it go, and so does the lead."""
        head = self.path.head(block)
        if head is not None:
            self._cut_above(head.previous if head.previous in self.path else None)
            self.lead = None

    def append(self, head: BlockHead) -> None:
        """An announced and judged head that follows on the tip."""
        self.path.extend((head,))

    def abandon(self, peer: SyncPeer | None) -> None:
        """Drop the path if it is the peer's (None: whosever it is)."""
        if peer is None or self.lead == peer.key:
            self._cut_above(None)
            self.lead = None

    def left(self, peer: SyncPeer) -> None:
        """The path stays: others may have its blocks."""
        if self._asked is not None and self._asked[0] == peer.key:
            self._asked = None
        if self.lead == peer.key:
            self.lead = None
            self._postponed = ()

    def tick(self, now_ms: int) -> tuple[list[Action], bool]:
        """Time-outs and postponed heads. Second: whether the path grew."""
        actions: list[Action] = []
        if self._asked is not None and now_ms - self._asked[1] >= HEADS_TIMEOUT_MS:
            peer = self._peers[self._asked[0]]
            self._asked = None
            peer.late_heads += 1
            if peer.fail(now_ms, heads=True):
                actions.append(Misbehaved(peer.key, "stalling"))
                self.abandon(peer)
        actions += self._check_finality(now_ms)
        grew = False
        if self._postponed and now_ms >= self._retry_ms:
            more, grew = self._retry(now_ms)
            actions += more
        return actions, grew

    def _retry(self, now_ms: int) -> tuple[list[Action], bool]:
        heads, self._postponed = self._postponed, ()
        lead = self._peers.get(self.lead) if self.lead is not None else None
        if lead is None:
            return [], False
        self.path.drop_known(self._chain.knows)
        if len(self.path):
            self._waiting_ms = None
        elif self._waiting_ms is None:
            self._waiting_ms = now_ms
        elif now_ms - self._waiting_ms >= POSTPONED_MAX_MS:
            self._waiting_ms = None
            lied = lead.break_claim(self._chain, now_ms)
            return [Misbehaved(lead.key, "false-claim")] if lied else [], False
        parent = heads[0].previous
        tip = self.path.tip
        if not (tip is not None and tip.id == parent) and not self._chain.knows(parent):
            return [], False
        try:
            new = self._new_part(heads)
            return [], bool(new) and self._follow(lead, new, now_ms)
        except InvalidBlock as error:
            lead.demote(now_ms)
            self.abandon(lead)
            return [Misbehaved(lead.key, error.code)], False

    def _check_finality(self, now_ms: int) -> list[Action]:
        """A chain that its peer calls final must become final here as it is imported."""
        lowest = self.path.lowest
        lead = self._peers.get(self.lead) if self.lead is not None else None
        if lowest is None or lead is None or not self._chain.finalizes:
            return []
        finalized_height = self._chain.height(self._chain.finalized())
        if lowest.height - finalized_height <= UNPROVEN_MAX:
            return []
        if lead.finalized_height < lowest.height:
            return []
        lead.demote(now_ms)
        self.abandon(lead)
        return [Misbehaved(lead.key, "false-claim")]
