"""Sync: how a node catches up, keeps up, and lets others do so. Sans-I/O.

Headers first (heads are small and judged before a body is asked for), bodies from many peers at
once, handed on parents first; then announcements at the tip. ``now_ms`` is steady time in
milliseconds; each call returns the actions to carry out, in order.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, NamedTuple

from chain.block import BlockHead
from chain.errors import InvalidBlock, NotYet
from chain.hashing import BlockId
from p2p.actions import Action, Misbehaved, PeerKey, ProofReceived, SyncingChanged
from p2p.sync.bodies import Bodies
from p2p.sync.chain import SyncChain
from p2p.sync.headers import HEADS_AHEAD_MAX, Headers
from p2p.sync.holdings import SnapshotDesk
from p2p.sync.peers import SyncPeer
from p2p.sync.proofs import Proofs
from p2p.sync.relay import Relay
from p2p.sync.serving import Server
from p2p.sync.snapshots import SnapshotSync
from p2p.wire import (
    AnnounceBlock,
    BlockBody,
    ChunkBody,
    FinalityProof,
    GetBlocks,
    GetChunk,
    GetHeads,
    GetSnapshot,
    Heads,
    Hello,
    Holdings,
    NoBlocks,
    NoSnapshot,
    SnapshotBody,
    Status,
)

SnapshotMessage = Holdings | GetSnapshot | SnapshotBody | GetChunk | ChunkBody | NoSnapshot

BEHIND_MIN: Final = 3
"""A peer ahead by fewer blocks is ordinary relay, not a reason to call ourselves syncing."""
PROGRESS_TIMEOUT_MS: Final = 15_000
"""Nobody is "syncing" who made no progress for this long, whatever its peers claim."""


class Progress(NamedTuple):
    """For people. ``target``: the best height claimed by a peer that we trust."""

    syncing: bool
    height: int
    target: int
    heads_ahead: int
    bodies_asked: int
    peers: int


class Sync:
    """One per node. ``rng`` only spreads load over equal peers."""

    def __init__(
        self, chain: SyncChain, rng: random.Random, desk: SnapshotDesk | None = None
    ) -> None:
        """``desk``: snapshots of this node; None: it neither serves nor takes any."""
        self._chain = chain
        self._peers: dict[PeerKey, SyncPeer] = {}
        self._headers = Headers(chain, self._peers, rng)
        self._bodies = Bodies(chain, self._peers, self._headers.path, rng)
        self._headers.pending = self._bodies.pending
        self._server = Server(chain)
        self._relay = Relay(chain, self._peers)
        self._proofs = Proofs(chain, self._peers)
        self._snapshots = None if desk is None else SnapshotSync(chain, self._peers, desk, rng)
        self._syncing = False
        self._was_behind = False
        self._progress_ms = 0
        self._highest = 0  # height that the path has reached so far

    @property
    def syncing(self) -> bool:
        """Whether a peer that we trust is clearly ahead and we are catching up with it."""
        return self._syncing

    def progress(self) -> Progress:
        """How far, for people and metrics."""
        height = self._chain.height(self._chain.head())
        claims = [peer.height for peer in self._peers.values() if not peer.broken_claims]
        return Progress(
            syncing=self._syncing,
            height=height,
            target=max([height, *claims]),
            heads_ahead=len(self._headers.path),
            bodies_asked=self._bodies.counts()["asked"],
            peers=len(self._peers),
        )

    def claims(self) -> dict[bytes, tuple[int, int]]:
        """Height and finalized height that each peer told last, believed or not."""
        return {key: (peer.height, peer.finalized_height) for key, peer in self._peers.items()}

    def counts(self) -> dict[str, int]:
        """Sizes of what is held, for metrics and tests."""
        return {"path": len(self._headers.path), **self._bodies.counts()}

    # ------------------------------------------------------------------------- peers come and go

    def joined(self, peer: PeerKey, hello: Hello, now_ms: int) -> list[Action]:
        """A link is up; its hello says how high the peer is."""
        actions = self.left(peer, now_ms) if peer in self._peers else []
        state = SyncPeer(peer, hello.height, min(hello.finalized_height, hello.height))
        state.refilled_ms = now_ms
        self._peers[peer] = state
        if self._snapshots is not None:
            actions += self._snapshots.joined(peer, hello.features)
        actions += self._relay.tell_status(state, now_ms)
        return actions + self._advance(now_ms)

    def left(self, peer: PeerKey, now_ms: int) -> list[Action]:
        """A link is down: what it owed is asked of others."""
        state = self._peers.get(peer)
        if state is None:
            return []
        self._headers.left(state)
        self._bodies.left(state)
        self._proofs.left(peer)
        if self._snapshots is not None:
            self._snapshots.left(peer, now_ms)
        del self._peers[peer]
        return self._advance(now_ms)

    # -------------------------------------------------------------------------------- claims

    def on_status(self, peer: PeerKey, message: Status, now_ms: int) -> list[Action]:
        """What the peer says of its head; believed until it fails to show it."""
        state = self._peers.get(peer)
        if state is None:
            return []
        if message.finalized_height > message.height:
            return [Misbehaved(peer, "invalid-status")]
        state.head = message.head
        state.height = message.height
        state.finalized_height = message.finalized_height
        state.weight = int.from_bytes(message.weight, "big")
        state.known.add(message.head)
        state.settle(self._chain)
        return self._advance(now_ms)

    def on_announce_block(self, peer: PeerKey, message: AnnounceBlock, now_ms: int) -> list[Action]:
        """A new head of the peer's: fetch its body, or the heads that lead to it."""
        state = self._peers.get(peer)
        if state is None:
            return []
        head = message.head
        state.known.add(head.id)
        state.head = head.id
        state.height = head.height
        if message.has_proof:
            state.finalized_height = max(state.finalized_height, head.height)
        state.finalized_height = min(state.finalized_height, head.height)
        if self._chain.knows(head.id):
            state.settle(self._chain)
        elif not self._bodies.pending(head.id) and state.usable(now_ms):
            try:
                self._take_announced(state, head, now_ms)
            except InvalidBlock as error:
                state.demote(now_ms)
                return [Misbehaved(peer, error.code), *self._advance(now_ms)]
        return self._advance(now_ms)

    def _take_announced(self, peer: SyncPeer, head: BlockHead, now_ms: int) -> None:
        """Raises InvalidBlock."""
        head.check_branch()
        path = self._headers.path
        tip = path.tip
        parent_height = head.height - 1
        if self._chain.knows(head.previous):
            parent_height = self._chain.height(head.previous)
            if self._chain.finalizes and parent_height < self._chain.height(
                self._chain.finalized()
            ):
                return  # stale: it cannot become ours any more
            earlier: list[BlockHead] = []
        elif tip is not None and tip.id == head.previous and len(path) < HEADS_AHEAD_MAX:
            earlier, parent_height = path.upto(tip.id), tip.height
        else:
            run = self._bodies.tip_run(head.previous)
            if run is None:
                peer.announced = True
                return
            earlier, parent_height = run, run[-1].height
        if head.height != parent_height + 1:
            raise InvalidBlock("unlinked-heads", "its height is not its parent's plus one")
        with suppress(NotYet):  # whoever imports it holds it back until its time
            self._chain.check_heads((head,), earlier)
        if tip is not None and tip.id == head.previous:
            self._headers.append(head)
        else:
            self._bodies.add_tip(head, now_ms)

    # ------------------------------------------------------------------------ heads and bodies

    def on_heads(self, peer: PeerKey, message: Heads, now_ms: int) -> list[Action]:
        """The answer to our header request."""
        state = self._peers.get(peer)
        if state is None:
            return []
        actions, grew = self._headers.on_heads(state, message.heads, now_ms)
        if grew:
            self._path_grew(now_ms)
        self._bodies.path_cut()
        return actions + self._advance(now_ms)

    def on_block(self, peer: PeerKey, message: BlockBody, now_ms: int) -> list[Action]:
        """A body that we asked for."""
        state = self._peers.get(peer)
        if state is None:
            return []
        found = self._proofs.on_block(peer, message)
        if found is not None:
            return found
        return self._bodies.on_block(state, message, now_ms) + self._advance(now_ms)

    def on_no_blocks(self, peer: PeerKey, message: NoBlocks, now_ms: int) -> list[Action]:
        """The peer has not got what we asked for."""
        state = self._peers.get(peer)
        if state is None:
            return []
        self._proofs.on_no_blocks(peer, message)
        self._bodies.on_no_blocks(state, message, now_ms)
        return self._advance(now_ms)

    def on_finality_proof(self, peer: PeerKey, message: FinalityProof, now_ms: int) -> list[Action]:
        """A proof for a block that we should have: handed on if it is news."""
        state = self._peers.get(peer)
        if state is None or not self._chain.finalizes:
            return []
        state.known.add(message.block)
        if not self._chain.knows(message.block):
            return []  # status and heads will lead there; the body brings its proof along
        height = self._chain.height(message.block)
        state.finalized_height = max(state.finalized_height, height)
        state.height = max(state.height, height)
        if height <= self._chain.height(self._chain.finalized()):
            return []
        return [ProofReceived(peer, message.block, message.proof)]

    # ----------------------------------------------------------------------------- snapshots

    def on_snapshot_message(
        self, peer: PeerKey, message: SnapshotMessage, now_ms: int
    ) -> list[Action]:
        """Whatever is about snapshots, asked or answered."""
        state, snapshots = self._peers.get(peer), self._snapshots
        if state is None:
            return []
        if snapshots is None:
            return [Misbehaved(peer, "unexpected-message")]
        match message:
            case Holdings():
                state.bodies_from, state.heads_from = message.bodies_from, message.heads_from
                return snapshots.on_holdings(peer, message, now_ms) + self._advance(now_ms)
            case SnapshotBody():
                return snapshots.on_snapshot(peer, message, now_ms)
            case ChunkBody():
                return snapshots.on_chunk(peer, message, now_ms)
            case NoSnapshot():
                return snapshots.on_no_snapshot(peer, message, now_ms)
            case GetSnapshot():
                return snapshots.on_get_snapshot(peer, message)
            case GetChunk():
                return snapshots.on_get_chunk(peer, message)

    @property
    def takes_snapshot(self) -> bool:
        """Whether a snapshot is on its way in, for which blocks wait."""
        return self._snapshots is not None and self._snapshots.active

    # ------------------------------------------------------------------------------- serving

    def on_get_heads(self, peer: PeerKey, message: GetHeads, now_ms: int) -> list[Action]:
        """Heads of our main chain."""
        state = self._peers.get(peer)
        return [] if state is None else self._server.on_get_heads(state, message, now_ms)

    def on_get_blocks(self, peer: PeerKey, message: GetBlocks, now_ms: int) -> list[Action]:
        """Bodies of any block that we know."""
        state = self._peers.get(peer)
        return [] if state is None else self._server.on_get_blocks(state, message)

    # ------------------------------------------------------------------------ the node's side

    def want(self, ids: Iterable[BlockId], hint: PeerKey | None, now_ms: int) -> list[Action]:
        """Fetch these and their unknown ancestors; ``hint`` is who seems to have them."""
        for block in ids:
            self._bodies.want(block, hint, now_ms)
        return self._advance(now_ms)

    def imported(self, block_id: BlockId, now_ms: int) -> list[Action]:
        """A block is known now, wherever it came from."""
        on_path = block_id in self._headers.path
        self._bodies.imported(block_id)
        if on_path:  # keeping up at the tip is no progress towards what a peer claims
            self._progress_ms = now_ms
        for peer in self._peers.values():
            if peer.head == block_id:
                peer.settle(self._chain)
        return self._advance(now_ms)

    def rejected(self, block_id: BlockId, now_ms: int) -> list[Action]:
        """A block is invalid for good: what follows on it is not wanted either.

        Reporting the sender is the caller's; here its claims lose their credit.
        """
        self._headers.cut_from(block_id)
        sender = self._bodies.rejected(block_id)
        self._bodies.path_cut()
        if sender is not None and sender in self._peers:
            self._peers[sender].demote(now_ms)
        return self._advance(now_ms)

    def head_moved(self, now_ms: int) -> list[Action]:
        """Our head is another: tell the peers that have not got it, unless we are catching up."""
        actions = self._advance(now_ms)
        return actions if self._syncing else actions + self._relay.head_moved()

    def finalized(self, now_ms: int) -> list[Action]:
        """More is final here; peers that lag get the proof after a moment's grace."""
        actions = self._advance(now_ms)
        actions += self._relay.finalized(self._syncing)
        return actions + self._relay.push_proofs(now_ms)

    def tick(self, now_ms: int) -> list[Action]:
        """Call it a few times in a second."""
        actions, grew = self._headers.tick(now_ms)
        if grew:
            self._path_grew(now_ms)
        actions += self._bodies.tick(now_ms)
        if self._bodies.leads_nowhere(now_ms):
            lead = self._peers.get(self._headers.lead) if self._headers.lead else None
            if lead is not None and lead.break_claim(self._chain, now_ms):
                actions.append(Misbehaved(lead.key, "false-claim"))
            self._headers.abandon(None)
        self._bodies.path_cut()
        for peer in self._peers.values():
            actions += self._server.tick(peer)
            actions += self._relay.tell_status(peer, now_ms)
        actions += self._relay.flush(self._syncing)
        actions += self._relay.push_proofs(now_ms)
        actions += self._proofs.tick(now_ms)
        if self._snapshots is not None:
            actions += self._snapshots.tick(now_ms)
        return actions + self._advance(now_ms)

    # -------------------------------------------------------------------------------- common

    def _advance(self, now_ms: int) -> list[Action]:
        """After any change: hand on, ask on, and say whether we are syncing."""
        self._headers.path.drop_known(self._chain.knows)
        actions = self._bodies.deliver(now_ms)
        if not self.takes_snapshot:
            actions += self._headers.pump(now_ms)
            actions += self._bodies.pump(now_ms)
        return actions + self._judge_syncing(now_ms)

    def _path_grew(self, now_ms: int) -> None:
        """Progress, if it reaches higher than ever: a path laid twice is none."""
        tip = self._headers.path.tip
        if tip is not None and tip.height > self._highest:
            self._highest = tip.height
            self._progress_ms = now_ms

    def _judge_syncing(self, now_ms: int) -> list[Action]:
        height_min = self._chain.height(self._chain.head()) + BEHIND_MIN
        # A snapshot that is only asked for shows nothing: anybody can offer one.
        begun = self._snapshots is not None and self._snapshots.begun
        behind = begun or any(
            peer.height >= height_min and self._clearly_ahead(peer, now_ms)
            for peer in self._peers.values()
        )
        if self._snapshots is not None:
            self._progress_ms = max(self._progress_ms, self._snapshots.progress_ms)
        if behind and not self._was_behind:
            self._progress_ms = now_ms
        self._was_behind = behind
        syncing = behind and now_ms - self._progress_ms < PROGRESS_TIMEOUT_MS
        if syncing == self._syncing:
            return []
        self._syncing = syncing
        return [SyncingChanged(syncing)]

    def _clearly_ahead(self, peer: SyncPeer, now_ms: int) -> bool:
        """A claim that is high enough counts, is better than ours, and is not here already."""
        if not peer.usable(now_ms):
            return False
        if peer.head is not None and self._chain.knows(peer.head):
            return False
        return self._headers.better_than_ours(peer)
