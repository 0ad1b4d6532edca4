"""Taking a snapshot from peers chunk by chunk, and serving snapshots to them. Sans-I/O.

A node takes one when it is further behind than it cares to execute, or when nobody has the blocks
any more that it needs; whoever claims to have them must make good. Where nothing is ever final it
takes none. First the description, which is judged by a proof of finality; then chunks, each judged
by itself and durable before the next is looked at, from all peers that offer the same snapshot. A
chunk that does not check costs its sender a ban, and another peer is asked. Blocks wait for a
snapshot only while it comes: whose offers bring nothing is passed over, for longer each time. What
counts is how much comes, not how many chunks: a true one may carry next to nothing.
"""

from __future__ import annotations

import random
from typing import Final

from chain.errors import InvalidProof
from chain.hashing import BlockId
from chain.snapshot import Snapshot
from chain.state.chunks import PATHS, StateChunk
from p2p.actions import Action, Misbehaved, PeerKey, SendTo, SnapshotReady
from p2p.sync.chain import SyncChain
from p2p.sync.holdings import SnapshotDesk
from p2p.sync.peers import SyncPeer
from p2p.wire import (
    ChunkBody,
    GetChunk,
    GetSnapshot,
    Holdings,
    NoSnapshot,
    SnapshotBody,
)

FEATURE: Final = "snapshots"
"""In the hello of whoever understands these messages."""
IN_FLIGHT_MAX: Final = 4
"""Chunks asked of one peer at a time: half a megabyte."""
CHUNKS_MAX: Final = 16
"""Chunks asked of all peers at a time: two megabytes to keep and check."""
TIMEOUT_MS: Final = 10_000
"""A peer that owes an answer for this long is passed over..."""
BLOCKED_MS: Final = 10_000
"""...for this long, twice as long each time, and half as long for each portion that comes..."""
BLOCKED_MS_MAX: Final = 600_000
"""...but never longer than this."""
REFUSED_MS: Final = 600_000
"""A peer whose snapshot is false is not asked for one for so long."""
REFUSALS_MAX: Final = 3
"""Offers of which not even a usable description came: as bad as a stall."""
RECORDS_MAX: Final = 1_024
"""Peers of which it is remembered what asking them brought."""
PORTIONS: Final = 4
"""A quarter of what a chunk may weigh is a portion: two that lie side by side weigh more than one
may, so that few sound ones are lighter. Less counts for nothing until it has added up."""
STARVED_MS: Final = 30_000
"""A snapshot of which nothing came for this long keeps no blocks waiting, and is given up where
there was another way on for as long. Who offered it pays as for a stall, but not the first time."""
NO_OFFENCE: Final = ("snapshot-old", "snapshot-unproven")
"""Why a sound snapshot may be of no use here."""
SETTLE_MS: Final = 1_000
"""After the first offer: time for others to come who may have the blocks."""
STUCK_MS: Final = 30_000
"""Blocks that peers claim to have, and of which none came for this long, are waited for no more."""


class _Record:
    """What asking a peer brought. Outlives its links, so that linking anew washes nobody."""

    def __init__(self) -> None:
        self.blocked_until_ms = 0
        self._pause_ms = BLOCKED_MS
        self._give_up_pause_ms = 0
        self._refusals = 0
        self._bytes = 0

    def block(self, until_ms: int) -> None:
        self.blocked_until_ms = max(self.blocked_until_ms, until_ms)

    def fail(self, now_ms: int) -> None:
        """It was asked and sent nothing."""
        self.block(now_ms + self._pause_ms)
        self._pause_ms = min(2 * self._pause_ms, BLOCKED_MS_MAX)

    def refuse(self, now_ms: int) -> None:
        """What it offered was of no use: that may happen, but not again and again."""
        self._refusals += 1
        if self._refusals == REFUSALS_MAX:
            self._refusals = 0
            self.fail(now_ms)

    def give_up(self, now_ms: int) -> None:
        """A snapshot of its did not come whole. Once is free: it may have made a newer one since.
        For more no chunk makes up, or one of each snapshot would be enough."""
        self.block(now_ms + self._give_up_pause_ms)
        self._give_up_pause_ms = min(max(2 * self._give_up_pause_ms, BLOCKED_MS), BLOCKED_MS_MAX)

    def deliver(self, weight: int, portion: int) -> bool:
        """Bytes came that were missing. True once that is something: it makes up for one stall, not
        for all."""
        self._bytes += weight
        if self._bytes < portion:
            return False
        self._bytes = 0
        self._pause_ms = max(self._pause_ms // 2, BLOCKED_MS)
        self._refusals = 0
        return True


class _Source:
    """One peer that understands snapshots."""

    def __init__(self, record: _Record) -> None:
        self.record = record
        self.held = Holdings(0, 0, ())
        self.told: Holdings | None = None
        self.asked: dict[int, int] = {}  # path -> since when
        self.late = 0
        self.refused: set[BlockId] = set()

    def offers(self, block: BlockId, now_ms: int) -> bool:
        return (
            now_ms >= self.record.blocked_until_ms
            and block not in self.refused
            and any(offer.block == block for offer in self.held.snapshots)
        )


class SnapshotSync:
    """One per node: takes at most one snapshot at a time, and serves any number of peers."""

    def __init__(
        self,
        chain: SyncChain,
        peers: dict[PeerKey, SyncPeer],
        desk: SnapshotDesk,
        rng: random.Random,
    ) -> None:
        self._chain, self._peers, self._desk, self._rng = chain, peers, desk, rng
        self._sources: dict[PeerKey, _Source] = {}
        self._records: dict[PeerKey, _Record] = {}
        self._describer: tuple[PeerKey, BlockId, int] | None = None
        self._width = PATHS  # of the last chunk that was worth something
        self._fed_ms: int | None = None  # when something came, or the first chunk was waited for
        self._elsewhere_ms: int | None = None  # there has been another way on since then
        self._starved = False
        self._taken_from: dict[PeerKey, _Record] = {}  # the staged one: who was asked for any of it
        self._first_ms: int | None = None
        self._stuck_ms: int | None = None  # claimed and not come since then
        self._reached = (0, 0)  # heights of the head and of what is final, at their highest
        self._ready = False
        self.progress_ms = 0
        """When something came last."""

    # ---------------------------------------------------------------------------------- peers

    def joined(self, peer: PeerKey, features: tuple[str, ...]) -> list[Action]:
        """Tells it at once what is held here, before it asks for what is not."""
        self._sources.pop(peer, None)
        if FEATURE not in features:
            return []
        record = self._records[peer] = self._records.pop(peer, _Record())
        while len(self._records) > RECORDS_MAX:
            del self._records[next(iter(self._records))]
        source = self._sources[peer] = _Source(record)
        source.told = self._desk.holdings()
        return [SendTo(peer, source.told)]

    def left(self, peer: PeerKey, now_ms: int) -> None:
        source = self._sources.pop(peer, None)
        if source is not None and self._describer is not None and self._describer[0] == peer:
            self._describer = None
            source.record.refuse(now_ms)

    def held_by(self, peer: PeerKey) -> Holdings | None:
        source = self._sources.get(peer)
        return None if source is None else source.held

    def on_holdings(self, peer: PeerKey, message: Holdings, now_ms: int) -> list[Action]:
        source = self._sources.get(peer)
        if source is None:
            return [Misbehaved(peer, "unexpected-message")]
        source.held = message
        return self.pump(now_ms)

    # ------------------------------------------------------------------------------- deciding

    @property
    def active(self) -> bool:
        """Whether a snapshot is on its way in: blocks wait for it."""
        return self._describer is not None or (self.begun and not self._starved)

    @property
    def begun(self) -> bool:
        """Whether one was shown to be final, and so this node to be behind."""
        return self._desk.staged is not None

    def _best(self, now_ms: int, besides: BlockId | None = None) -> tuple[int, BlockId] | None:
        """The highest offer of a peer that may be asked."""
        found = [
            (offer.height, offer.block)
            for source in self._sources.values()
            for offer in source.held.snapshots
            if offer.block != besides and source.offers(offer.block, now_ms)
        ]
        return max(found, default=None)

    def _wanted(self, now_ms: int) -> tuple[int, BlockId] | None:
        """The offer to take, if it is time to. None where nothing is ever final: there no snapshot
        can be shown to be, and who asks again and again would wait for it as if it were coming."""
        if not self._chain.finalizes:
            return None
        blocks_come = self._blocks_come(now_ms)
        best = self._best(now_ms)
        if best is None:
            self._first_ms = None
            return None
        if self._first_ms is None:
            self._first_ms = now_ms
        gap = best[0] - self._chain.height(self._chain.finalized())
        gap_max = self._desk.gap_max
        if gap <= 0:
            return None
        if gap_max and gap > gap_max:
            return best
        if blocks_come:
            return None
        return best if now_ms - self._first_ms >= SETTLE_MS else None

    def _blocks_come(self, now_ms: int) -> bool:
        """Whether peers claim to have the blocks that come next here, and make good.

        A claim alone must not count for ever: a single liar, the only one to claim what the others
        have pruned, would keep this node from the snapshots that they offer in its place.
        """
        old = self._reached
        head = self._chain.height(self._chain.head())
        final = self._chain.height(self._chain.finalized())
        self._reached = (max(old[0], head), max(old[1], final))
        if not self._served(now_ms):
            self._stuck_ms = None
            return False
        if self._stuck_ms is None or self._reached != old:
            self._stuck_ms = now_ms
        return now_ms - self._stuck_ms < STUCK_MS

    def _served(self, now_ms: int) -> bool:
        """Whether a peer whose word counts is ahead and has the block that comes next here."""
        ours = self._chain.height(self._chain.finalized())
        return any(
            peer.finalized_height > ours
            and max(peer.bodies_from, peer.heads_from) <= ours + 1
            and peer.trusted(now_ms)
            for peer in self._peers.values()
        )

    def _elsewhere(self, staged: BlockId, now_ms: int) -> bool:
        """Whether there is another way on than the staged snapshot."""
        return self._best(now_ms, besides=staged) is not None or self._served(now_ms)

    def _given_up(self, staged: BlockId, now_ms: int) -> bool:
        """Whether to go another way than the staged snapshot, of which nothing comes.

        Who offers it does not count, only what came: a liar that goes on to offer a sound snapshot
        and sends none of it would keep this node from the blocks for ever. Where links were down,
        there was no other way either, and what is here already stays.
        """
        if self._fed_ms is None:
            self._fed_ms = now_ms
        if not self._elsewhere(staged, now_ms):
            self._elsewhere_ms = None
        elif self._elsewhere_ms is None:
            self._elsewhere_ms = now_ms
        self._starved = now_ms - self._fed_ms >= STARVED_MS
        since_ms = self._elsewhere_ms
        return self._starved and since_ms is not None and now_ms - since_ms >= STARVED_MS

    # ---------------------------------------------------------------------------------- asking

    def pump(self, now_ms: int) -> list[Action]:
        """Ask for what comes next."""
        if self._ready:
            return []
        staged = self._desk.staged
        if staged is None:
            return self._ask_description(now_ms)
        if self._is_overtaken(staged):
            self._drop()
            return []
        if not self._desk.gaps():
            self._ready = True
            return [SnapshotReady(staged.block)]
        return self._ask_chunks(staged.block, now_ms)

    def _is_overtaken(self, staged: Snapshot) -> bool:
        """Whether blocks were faster."""
        return staged.height <= self._chain.height(self._chain.finalized())

    def _ask_description(self, now_ms: int) -> list[Action]:
        if self._describer is not None or not self._desk.is_clean:
            return []
        wanted = self._wanted(now_ms)
        if wanted is None:
            return []
        able = [key for key, each in self._sources.items() if each.offers(wanted[1], now_ms)]
        peer = able[self._rng.randrange(len(able))]
        self._describer = (peer, wanted[1], now_ms)
        return [SendTo(peer, GetSnapshot(wanted[1]))]

    def _ask_chunks(self, block: BlockId, now_ms: int) -> list[Action]:
        if self._given_up(block, now_ms):
            for record in self._taken_from.values():
                record.give_up(now_ms)
            self._drop()
            return []
        able = [each for each in self._sources.items() if each[1].offers(block, now_ms)]
        asked = {path for source in self._sources.values() for path in source.asked}
        # Until one has shown how wide they are, one at a time is enough to ask for.
        room = 1 if self._width == PATHS else CHUNKS_MAX
        actions: list[Action] = []
        for path in self._points(asked, room - len(asked)):
            free = [each for each in able if len(each[1].asked) < IN_FLIGHT_MAX]
            if not free:
                break
            peer, source = min(free, key=lambda each: len(each[1].asked))
            source.asked[path] = now_ms
            self._taken_from[peer] = source.record
            actions.append(SendTo(peer, GetChunk(block, path.to_bytes(32, "big"))))
        return actions

    def _points(self, asked: set[int], count: int) -> list[int]:
        """Paths to ask for: the missing ones, as far apart as chunks seem to be wide."""
        found: list[int] = []
        for low, high in self._desk.gaps():
            for path in range(low, high, self._width):
                if len(found) >= count:
                    return found
                if path not in asked:
                    found.append(path)
        return found

    def _drop(self) -> None:
        self._desk.drop()
        self._width = PATHS
        self._fed_ms = self._elsewhere_ms = None
        self._starved = False
        self._taken_from.clear()
        self._stuck_ms = None  # blocks waited for it: that none came says nothing of who has them
        for source in self._sources.values():
            source.late += len(source.asked)
            source.asked.clear()

    # --------------------------------------------------------------------------------- answers

    def on_snapshot(self, peer: PeerKey, message: SnapshotBody, now_ms: int) -> list[Action]:
        """A description."""
        asked, source = self._describer, self._sources.get(peer)
        if source is None or asked is None or asked[0] != peer:
            return self._unasked(peer)
        self._describer = None
        try:
            # The form first: what names no block of its own cannot be compared.
            if message.snapshot.height < 1 or not _names(message, asked[1]):
                raise InvalidProof("snapshot-other", "it is not the snapshot that was asked for")
            self._desk.begin(message.snapshot)
        except InvalidProof as error:
            source.refused.add(asked[1])
            if error.code in NO_OFFENCE:
                source.record.refuse(now_ms)
                return []
            source.record.block(now_ms + REFUSED_MS)
            return [Misbehaved(peer, "invalid-snapshot")]
        self.progress_ms, self._width, self._fed_ms = now_ms, PATHS, now_ms
        self._taken_from[peer] = source.record  # whether or not it goes on to offer it
        return self.pump(now_ms)

    def on_chunk(self, peer: PeerKey, message: ChunkBody, now_ms: int) -> list[Action]:
        """A chunk: kept if it is what the state root says is there."""
        source, staged = self._sources.get(peer), self._desk.staged
        path = int.from_bytes(message.path, "big")
        if source is None or source.asked.pop(path, None) is None:
            return self._unasked(peer)
        if staged is None or message.block != staged.block:
            return []
        try:
            if not message.chunk.first <= path < message.chunk.end:
                raise InvalidProof("chunk-other", "it is not the chunk that was asked for")
            if self._desk.add(message.chunk):
                self._added(source, message.chunk, now_ms)
        except InvalidProof:
            source.refused.add(staged.block)
            source.record.block(now_ms + REFUSED_MS)
            return [Misbehaved(peer, "invalid-chunk"), *self.pump(now_ms)]
        return self.pump(now_ms)

    def _added(self, source: _Source, chunk: StateChunk, now_ms: int) -> None:
        """A chunk that was missing. Of one that carries next to nothing nothing else follows: not
        that the snapshot comes, nor how wide its chunks are."""
        portion = self._desk.chunk_bytes // PORTIONS
        if chunk.weight >= portion:
            self._width = chunk.end - chunk.first
        if source.record.deliver(chunk.weight, portion) or not self._desk.gaps():
            self.progress_ms = self._fed_ms = now_ms
            self._starved = False

    def on_no_snapshot(self, peer: PeerKey, message: NoSnapshot, now_ms: int) -> list[Action]:
        """It has gone there: others are asked."""
        source = self._sources.get(peer)
        if source is None:
            return self._unasked(peer)
        if self._describer is not None and self._describer[:2] == (peer, message.block):
            self._describer = None
            source.record.refuse(now_ms)
        source.asked.clear()
        source.held = Holdings(
            source.held.bodies_from,
            source.held.heads_from,
            tuple(each for each in source.held.snapshots if each.block != message.block),
        )
        return self.pump(now_ms)

    def _unasked(self, peer: PeerKey) -> list[Action]:
        source = self._sources.get(peer)
        if source is not None and source.late:
            source.late -= 1
            return []
        return [Misbehaved(peer, "unsolicited")]

    # --------------------------------------------------------------------------------- serving

    def on_get_snapshot(self, peer: PeerKey, message: GetSnapshot) -> list[Action]:
        found = self._desk.snapshot(message.block)
        return [SendTo(peer, NoSnapshot(message.block) if found is None else SnapshotBody(found))]

    def on_get_chunk(self, peer: PeerKey, message: GetChunk) -> list[Action]:
        found = self._desk.chunk(message.block, message.path)
        if found is None:
            return [SendTo(peer, NoSnapshot(message.block))]
        return [SendTo(peer, ChunkBody(message.block, message.path, found))]

    # ------------------------------------------------------------------------------------ time

    def tick(self, now_ms: int) -> list[Action]:
        """Time-outs; what is held here, where that changed; what to ask for next."""
        actions: list[Action] = []
        if self._describer is not None and now_ms - self._describer[2] >= TIMEOUT_MS:
            actions += self._stalled(self._describer[0], now_ms)
        held = self._desk.holdings()
        for peer, source in self._sources.items():
            if any(now_ms - since_ms >= TIMEOUT_MS for since_ms in source.asked.values()):
                actions += self._stalled(peer, now_ms)
            if source.told != held:
                source.told = held
                actions.append(SendTo(peer, held))
        return actions + self.pump(now_ms)

    def _stalled(self, peer: PeerKey, now_ms: int) -> list[Action]:
        source = self._sources[peer]
        if self._describer is not None and self._describer[0] == peer:
            self._describer = None
            source.late += 1
        source.late += len(source.asked)
        source.asked.clear()
        source.record.fail(now_ms)
        return [Misbehaved(peer, "stalling")]

    def counts(self) -> dict[str, int]:
        """Sizes of what is held, for metrics and tests."""
        return {
            "sources": len(self._sources),
            "records": len(self._records),
            "chunks_asked": sum(len(source.asked) for source in self._sources.values()),
        }


def _names(message: SnapshotBody, block: BlockId) -> bool:
    snapshot = message.snapshot
    return any(head.id == block and head.height == snapshot.height for head in snapshot.heads)
