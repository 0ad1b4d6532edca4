"""Bodies: asked of many peers at once, handed on parents first.

Three lists say what is wanted: the path's window (catching up), announced tips (keeping up), and
ids that the engine or the importer asked for. A body is asked of one peer at a time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from chain.block import Block, BlockHead
from chain.errors import InvalidBlock, NotYet
from chain.hashing import BlockId
from chain.proof import Proof
from p2p.actions import (
    Action,
    BlockOrigin,
    BlockReceived,
    Misbehaved,
    PeerKey,
    ProofReceived,
    SendTo,
)
from p2p.sync.chain import SyncChain
from p2p.sync.path import Path
from p2p.sync.peers import IN_FLIGHT_MAX, SyncPeer
from p2p.wire import MEGABYTE, BlockBody, GetBlocks, NoBlocks

WINDOW: Final = 128
"""Bodies ahead of the import: eight peers' worth of requests."""
DELIVERED_MAX: Final = 32
"""Blocks handed on and not yet answered by imported() or rejected()."""
DELIVERED_TIMEOUT_MS: Final = 30_000
"""A block handed on and never answered (held back for its time, say) frees its place."""
HELD_BYTES_MAX: Final = 64 * MEGABYTE
"""Bodies waiting for their turn; beyond it only the next one to import is asked for."""
TIPS_MAX: Final = 64
"""Announced heads whose bodies are still to come."""
WANTS_MAX: Final = 256
"""Ids asked for by the engine or the importer."""
WANT_DEPTH_MAX: Final = 32
"""Unknown ancestors fetched one by one, backwards; a longer gap is for headers-first."""
WANT_TIMEOUT_MS: Final = 30_000
"""What nobody could serve for this long is forgotten; it can be asked for again."""
STALL_MS: Final = 2_000
"""A peer that owes the window's next body and sends none for this long loses its requests..."""
STALL_MS_MAX: Final = 16_000
"""...where bodies do come; each stall doubles the patience up to this, each body lowers it, so
that a link that is slow for all does not cost every peer (Bitcoin's adaptive stalling time-out)."""
BODY_TIMEOUT_MS: Final = 15_000
"""A peer that owes any body and sends none for this long has stalled too."""
NO_SOURCE_MS: Final = 10_000
"""A path whose next body nobody has, for this long, leads nowhere."""


class _Held(NamedTuple):
    block: Block
    proof: Proof | None
    peer: PeerKey


class _Tip(NamedTuple):
    head: BlockHead
    since_ms: int


class _Want(msgspec.Struct):
    hint: PeerKey | None
    depth: int
    since_ms: int


class Bodies:
    """Requests, receives, orders and hands on block bodies."""

    def __init__(
        self, chain: SyncChain, peers: dict[PeerKey, SyncPeer], path: Path, rng: random.Random
    ) -> None:
        self._chain = chain
        self._peers = peers
        self._path = path
        self._rng = rng
        self._asked: dict[BlockId, PeerKey] = {}
        self._held: dict[BlockId, _Held] = {}
        self._held_bytes = 0
        self._delivered: dict[BlockId, tuple[PeerKey, int]] = {}
        self._tips: dict[BlockId, _Tip] = {}
        self._wants: dict[BlockId, _Want] = {}
        self._stall_ms = STALL_MS
        self._sourceless_ms: int | None = None

    # ------------------------------------------------------------------------ what is wanted

    def pending(self, block: BlockId) -> bool:
        """Whether it is on its way in already."""
        return (
            block in self._delivered
            or block in self._held
            or block in self._tips
            or block in self._path
        )

    def tip_run(self, block: BlockId) -> list[BlockHead] | None:
        """Announced heads from a known parent up to ``block``; None where there is none."""
        run: list[BlockHead] = []
        while (tip := self._tips.get(block)) is not None:
            run.append(tip.head)
            block = tip.head.previous
        return run[::-1] if run and self._chain.knows(block) else None

    def add_tip(self, head: BlockHead, now_ms: int) -> None:
        """An announced, judged head whose parent is known or on its way."""
        while len(self._tips) >= TIPS_MAX:
            self._forget(next(iter(self._tips)))
        self._tips[head.id] = _Tip(head, now_ms)

    def want(self, block: BlockId, hint: PeerKey | None, now_ms: int, depth: int = 0) -> None:
        """Fetch this block, and its ancestors as far as they are unknown."""
        if self._chain.knows(block) or self.pending(block) or block in self._wants:
            return
        while len(self._wants) >= WANTS_MAX:
            self._forget(next(iter(self._wants)))
        self._wants[block] = _Want(hint, depth, now_ms)

    def _needed_now(self) -> Iterator[tuple[BlockId, int | None]]:
        """What to ask for, most urgent first, with its height where that is known."""
        for block in self._wants:
            yield block, None
        for block, tip in self._tips.items():
            yield block, tip.head.height

    # -------------------------------------------------------------------------------- asking

    def pump(self, now_ms: int) -> list[Action]:
        """Ask for what is missing, of peers that have room."""
        usable = [peer for peer in self._peers.values() if peer.usable(now_ms)]
        plan: dict[PeerKey, list[BlockId]] = {}
        for block, height in self._needed_now():
            if not self._open(block):
                continue
            chosen = self._choose_for(block, height, usable, now_ms)
            if chosen is not None:
                self._ask(chosen, block, plan, now_ms)
        self._plan_window(usable, plan, now_ms)
        return [SendTo(peer, GetBlocks(tuple(ids))) for peer, ids in plan.items()]

    def _open(self, block: BlockId) -> bool:
        return not (
            block in self._asked
            or block in self._held
            or block in self._delivered
            or self._chain.knows(block)
        )

    def _choose_for(
        self, block: BlockId, height: int | None, usable: list[SyncPeer], now_ms: int
    ) -> SyncPeer | None:
        """The hint first, then who is known to have it, then (by height) who may."""
        want = self._wants.get(block)
        hint = want.hint if want is not None else None
        choice: tuple[int, int] | None = None
        chosen: SyncPeer | None = None
        for peer in usable:
            if len(peer.asked) >= IN_FLIGHT_MAX or peer.refuses(block, now_ms):
                continue
            if peer.key == hint:
                grade = 0
            elif block in peer.known:
                grade = 1
            elif height is None or peer.height >= height:
                grade = 2
            else:
                continue
            mark = (grade, len(peer.asked))
            if choice is None or mark < choice:
                choice, chosen = mark, peer
        return chosen

    def _plan_window(
        self, usable: list[SyncPeer], plan: dict[PeerKey, list[BlockId]], now_ms: int
    ) -> None:
        """Spread the window over the peers; a peer gets more when half of its quota is free."""
        if not len(self._path):
            return
        room = {
            peer.key: peer.quota - len(peer.asked)
            for peer in usable
            if len(peer.asked) <= peer.quota // 2
        }
        free = [peer for peer in usable if room.get(peer.key, 0) > 0]
        if len(free) > 1:
            self._rng.shuffle(free)
        window = self._path.first(WINDOW if self._held_bytes < HELD_BYTES_MAX else 1)
        for head in window:
            if not free:
                return
            if not self._open(head.id):
                continue
            able = [peer for peer in free if peer.has(head.id, head.height, now_ms)]
            if not able:
                continue
            chosen = min(able, key=lambda peer: len(peer.asked))
            self._ask(chosen, head.id, plan, now_ms)
            room[chosen.key] -= 1
            if room[chosen.key] <= 0:
                free.remove(chosen)

    def _ask(
        self, peer: SyncPeer, block: BlockId, plan: dict[PeerKey, list[BlockId]], now_ms: int
    ) -> None:
        if not peer.asked:
            peer.progress_ms = now_ms
        peer.asked[block] = now_ms
        self._asked[block] = peer.key
        plan.setdefault(peer.key, []).append(block)

    def _release(self, block: BlockId) -> None:
        """Nobody owes it any more; a late body is no offence."""
        key = self._asked.pop(block, None)
        if key is not None:
            peer = self._peers[key]
            del peer.asked[block]
            peer.late.add(block)

    # ----------------------------------------------------------------------------- receiving

    def on_block(self, peer: SyncPeer, message: BlockBody, now_ms: int) -> list[Action]:
        """A body. One that does not fit its header says nothing about the block of that id."""
        block = message.block
        if self._asked.get(block.id) == peer.key:
            del self._asked[block.id]
            del peer.asked[block.id]
        elif not peer.late.discard(block.id):
            return [Misbehaved(peer.key, "unsolicited-block")]
        try:
            block.check_body()
        except InvalidBlock as error:
            peer.lacks(block.id, None, now_ms)
            peer.fail(now_ms)
            return [Misbehaved(peer.key, error.code)]
        peer.known.add(block.id)
        peer.progress_ms = now_ms
        peer.failures = 0
        peer.quota = min(peer.quota + 1, IN_FLIGHT_MAX)
        self._stall_ms = max(STALL_MS, self._stall_ms * 9 // 10)
        return self._take(peer, block, message.proof, now_ms)

    def _take(self, peer: SyncPeer, block: Block, proof: Proof | None, now_ms: int) -> list[Action]:
        if self._chain.knows(block.id):
            if proof is not None and self._chain.proof(block.id) is None:
                return [ProofReceived(peer.key, block.id, proof)]
            return []
        if block.id in self._held or block.id in self._delivered:
            return []
        tip = self._tips.get(block.id)
        judged = tip.head if tip is not None else self._path.head(block.id)
        want = self._wants.get(block.id)
        if judged is not None:
            if block.seal != judged.seal:  # outside the id: the judged one counts
                block = msgspec.structs.replace(block, seal=judged.seal)
        elif want is None:
            return []
        elif self._chain.knows(block.previous):
            try:
                self._chain.check_heads((block.head,))
            except NotYet:
                pass  # whoever imports it holds it back until its time
            except InvalidBlock as error:
                peer.lacks(block.id, None, now_ms)
                return [Misbehaved(peer.key, error.code)]
        elif not self._walk_back(block, want, peer, now_ms):
            del self._wants[block.id]
            return []
        self._release(block.id)
        self._held[block.id] = _Held(block, proof, peer.key)
        self._held_bytes += len(block.raw)
        return []

    def _walk_back(self, block: Block, want: _Want, peer: SyncPeer, now_ms: int) -> bool:
        """Fetch the parent too, unless the gap is for headers-first to close."""
        gap = block.height - self._chain.height(self._chain.head())
        if want.depth >= WANT_DEPTH_MAX or gap > WANT_DEPTH_MAX:
            peer.announced = peer.announced or peer.head is not None
            return False
        self.want(block.previous, peer.key, now_ms, want.depth + 1)
        return True

    def on_no_blocks(self, peer: SyncPeer, message: NoBlocks, now_ms: int) -> None:
        """The peer has not got them: somebody else is asked."""
        for block in message.ids:
            if self._asked.get(block) == peer.key:
                del self._asked[block]
                del peer.asked[block]
                head = self._path.head(block)
                peer.lacks(block, head.height if head is not None else None, now_ms)

    # ---------------------------------------------------------------------------- handing on

    def deliver(self, now_ms: int) -> list[Action]:
        """Hand on what may be imported next, parents first, a bounded number at a time."""
        actions: list[Action] = []
        for head in self._path.first(WINDOW):
            if head.id in self._delivered or self._chain.knows(head.id):
                continue
            held = self._held.get(head.id)
            if held is None or len(self._delivered) >= DELIVERED_MAX:
                break
            actions.append(self._hand_on(held, "sync", now_ms))
        aside = [held for block, held in self._held.items() if block not in self._path]
        for held in sorted(aside, key=lambda item: item.block.height):
            previous = held.block.previous
            if len(self._delivered) >= 2 * DELIVERED_MAX:
                break
            if previous in self._delivered or self._chain.knows(previous):
                origin: BlockOrigin = "gossip" if held.block.id in self._tips else "sync"
                actions.append(self._hand_on(held, origin, now_ms))
        return actions

    def _hand_on(self, held: _Held, origin: BlockOrigin, now_ms: int) -> Action:
        block = held.block
        self._drop_held(block.id)
        self._delivered[block.id] = (held.peer, now_ms)
        return BlockReceived(held.peer, block, held.proof, origin)

    def _drop_held(self, block: BlockId) -> None:
        held = self._held.pop(block, None)
        if held is not None:
            self._held_bytes -= len(held.block.raw)

    def _forget(self, block: BlockId) -> None:
        """Not wanted any more."""
        self._tips.pop(block, None)
        self._wants.pop(block, None)
        self._release(block)
        self._drop_held(block)

    def imported(self, block: BlockId) -> None:
        """It is known now."""
        self._forget(block)
        self._delivered.pop(block, None)

    def rejected(self, block: BlockId) -> PeerKey | None:
        """It and what follows on it is not wanted; who sent it."""
        deliverer = self._delivered.pop(block, None)
        doomed = [block]
        while doomed:
            bad = doomed.pop()
            self._forget(bad)
            doomed += [i for i, tip in self._tips.items() if tip.head.previous == bad]
            doomed += [i for i, held in self._held.items() if held.block.previous == bad]
        return deliverer[0] if deliverer is not None else None

    def path_cut(self) -> None:
        """Give up requests and bodies that nothing wants since the path was cut."""
        for block in [*self._asked, *self._held]:
            if not (block in self._path or block in self._tips or block in self._wants):
                self._forget(block)

    def left(self, peer: SyncPeer) -> None:
        """What the peer owed is open again."""
        for block in peer.asked:
            del self._asked[block]
        peer.asked.clear()

    # ---------------------------------------------------------------------------------- time

    def tick(self, now_ms: int) -> list[Action]:
        """Stalls, and what has waited too long."""
        self._expire(now_ms)
        next_owner = self._owner_of_next()
        actions: list[Action] = []
        for peer in self._peers.values():
            if not peer.asked:
                continue
            patience_ms = self._stall_ms if peer.key == next_owner else BODY_TIMEOUT_MS
            if now_ms - peer.progress_ms >= patience_ms:
                actions += self._stalled(peer, now_ms)
        if next_owner is not None:
            self._relieve(self._peers[next_owner], now_ms)
        return actions

    def _owner_of_next(self) -> PeerKey | None:
        """Who owes the body that everything waits for."""
        for head in self._path.first(WINDOW):
            if head.id in self._held or self._chain.knows(head.id):
                continue
            if head.id not in self._delivered:
                return self._asked.get(head.id)
        return next(
            (self._asked[block] for block, _ in self._needed_now() if block in self._asked), None
        )

    def _stalled(self, peer: SyncPeer, now_ms: int) -> list[Action]:
        for block in list(peer.asked):
            self._release(block)
            peer.lacks(block, None, now_ms)
        peer.quota = 1
        self._stall_ms = min(2 * self._stall_ms, STALL_MS_MAX)
        return [Misbehaved(peer.key, "stalling")] if peer.fail(now_ms) else []

    def _relieve(self, peer: SyncPeer, now_ms: int) -> None:
        """A slow trickle: the one body that everything waits for goes to somebody else."""
        if len(self._peers) < 2:
            return
        for block, asked_ms in list(peer.asked.items())[:1]:
            if now_ms - asked_ms >= 2 * self._stall_ms:
                self._release(block)
                peer.lacks(block, None, now_ms)
                peer.quota = max(1, peer.quota // 2)

    def _expire(self, now_ms: int) -> None:
        for block, (_, since_ms) in list(self._delivered.items()):
            if self._chain.knows(block) or now_ms - since_ms >= DELIVERED_TIMEOUT_MS:
                del self._delivered[block]
        for block, want in list(self._wants.items()):
            if now_ms - want.since_ms >= WANT_TIMEOUT_MS or self._chain.knows(block):
                self._forget(block)
        for block, tip in list(self._tips.items()):
            if now_ms - tip.since_ms >= WANT_TIMEOUT_MS or self._chain.knows(block):
                self._forget(block)

    def leads_nowhere(self, now_ms: int) -> bool:
        """Whether nobody has had the path's next body for NO_SOURCE_MS."""
        lowest = self._path.lowest
        if lowest is None or not self._open(lowest.id):
            self._sourceless_ms = None
            return False
        if self._sourceless_ms is None:
            self._sourceless_ms = now_ms
        if now_ms - self._sourceless_ms < NO_SOURCE_MS:
            return False
        self._sourceless_ms = None
        return True

    def counts(self) -> dict[str, int]:
        """Sizes of what is held, for metrics and tests."""
        return {
            "asked": len(self._asked),
            "held": len(self._held),
            "held_bytes": self._held_bytes,
            "delivered": len(self._delivered),
            "tips": len(self._tips),
            "wants": len(self._wants),
        }
