"""Answering other nodes' questions about the chain, within bounds."""

from __future__ import annotations

from typing import Final

from chain.block import BlockHead
from p2p.actions import Action, Misbehaved, SendTo
from p2p.sync.chain import SyncChain
from p2p.sync.peers import SyncPeer
from p2p.wire import BLOCKS_MAX, MEGABYTE, BlockBody, GetBlocks, GetHeads, Heads, NoBlocks

HEADS_BYTES_MAX: Final = 4 * MEGABYTE
"""Heads in one answer, half the frame's limit: claims can make heads large."""
SERVE_BURST_BYTES: Final = 4 * MEGABYTE
"""Bodies sent to one peer for each tick; the rest of what it asked for waits."""
OWED_MAX: Final = 2 * BLOCKS_MAX
"""Bodies that one peer may have asked for and not yet been sent."""
HEAD_REQUESTS_BURST: Final = 50
"""Header requests that a peer may make at once..."""
HEAD_REQUESTS_PER_SECOND: Final = 20
"""...and in the long run: 10,000 heads a second, more than anyone can import."""


class Server:
    """Serves heads of the main chain, and bodies of any known block with their proofs."""

    def __init__(self, chain: SyncChain) -> None:
        self._chain = chain

    def on_get_heads(self, peer: SyncPeer, message: GetHeads, now_ms: int) -> list[Action]:
        """Always answered, if only by no heads."""
        elapsed_ms = now_ms - peer.refilled_ms
        peer.refilled_ms = now_ms
        used = peer.head_requests - elapsed_ms * HEAD_REQUESTS_PER_SECOND / 1_000
        peer.head_requests = max(0.0, used) + 1
        if peer.head_requests > HEAD_REQUESTS_BURST:
            return [Misbehaved(peer.key, "too-many-requests")]
        heads: list[BlockHead] = []
        size = 0
        for head in self._chain.heads_after(message.locator, message.stop, message.count):
            # Fixed fields are below 400 bytes; the rest is what can be large.
            size += 400 + len(head.manifest.claims) + len(head.seal) + 34 * len(head.branch)
            if heads and size > HEADS_BYTES_MAX:
                break
            heads.append(head)
        return [SendTo(peer.key, Heads(tuple(heads)))]

    def on_get_blocks(self, peer: SyncPeer, message: GetBlocks) -> list[Action]:
        """A frame for each body, NoBlocks for the rest."""
        if len(peer.owed) + len(message.ids) > OWED_MAX:
            return [Misbehaved(peer.key, "too-many-requests")]
        peer.owed.extend(message.ids)
        return self.serve(peer)

    def serve(self, peer: SyncPeer) -> list[Action]:
        """As much of what the peer is owed as fits into this tick's burst."""
        actions: list[Action] = []
        absent: list[bytes] = []
        while peer.owed and peer.burst_bytes < SERVE_BURST_BYTES:
            block_id = peer.owed.popleft()
            block = self._chain.block(block_id)
            if block is None:
                absent.append(block_id)
                continue
            proof = self._chain.proof(block_id)
            peer.known.add(block_id)
            peer.burst_bytes += len(block.raw) + (len(proof.body) if proof is not None else 0)
            actions.append(SendTo(peer.key, BlockBody(block, proof)))
        for start in range(0, len(absent), BLOCKS_MAX):
            actions.append(SendTo(peer.key, NoBlocks(tuple(absent[start : start + BLOCKS_MAX]))))
        return actions

    def tick(self, peer: SyncPeer) -> list[Action]:
        """A new burst for the peer."""
        peer.burst_bytes = 0
        return self.serve(peer)
