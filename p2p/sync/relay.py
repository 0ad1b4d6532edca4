"""Telling peers what is new here: heads, status, and the newest finality proof."""

from __future__ import annotations

from typing import Final

from chain.hashing import BlockId
from p2p.actions import Action, SendTo
from p2p.sync.chain import SyncChain
from p2p.sync.peers import SyncPeer
from p2p.wire import AnnounceBlock, FinalityProof, Status, encode_frame

STATUS_INTERVAL_MS: Final = 2_000
"""A changed status is told at most this often."""
STATUS_REPEAT_MS: Final = 10_000
"""An unchanged one too, so that a claim that was forgotten is heard again."""
PROOF_GRACE_MS: Final = 300
"""Wait this long before a finality proof is pushed: most peers find their own meanwhile."""
PROOF_GRACE_AT_ONCE_MS: Final = STATUS_INTERVAL_MS + 500
"""Where each head is final at once, bodies bring their proofs along, and a peer's next status shows
that it needs none."""
PROOF_REACH: Final = 4
"""Blocks above its head that a peer may hold without saying so: proposals not decided there."""
PROOF_REPEAT_MS: Final = 10_000
"""A proof that did not help is sent again after this long: the block may have come since."""
WEIGHT_BYTES_MAX: Final = 32
"""Bytes of a weight on the wire; a greater one shows as the greatest."""


def weight_bytes(weight: int) -> bytes:
    """Big-endian, without leading zeros."""
    weight = min(weight, 256**WEIGHT_BYTES_MAX - 1)
    return weight.to_bytes((weight.bit_length() + 7) // 8, "big")


class Relay:
    """Announces own heads once to each peer that has not got them."""

    def __init__(self, chain: SyncChain, peers: dict[bytes, SyncPeer]) -> None:
        self._chain = chain
        self._peers = peers
        self._unannounced = False
        self._final_at_once = False  # whether the last finality was the head's own
        self._told: tuple[BlockId, BlockId, Status, bytes] | None = None  # status and its frame

    def head_moved(self) -> list[Action]:
        """Announce our head, at once or (where finality comes with each head) with its proof."""
        self._unannounced = True
        wait = self._chain.finalizes and self._final_at_once
        return [] if wait else self.flush(syncing=False)

    def finalized(self, syncing: bool) -> list[Action]:
        """What waited for its proof goes now."""
        self._final_at_once = self._chain.finalized() == self._chain.head()
        return self.flush(syncing)

    def flush(self, syncing: bool) -> list[Action]:
        """Our head, to every peer that is not known to have it; none while catching up."""
        if not self._unannounced or syncing:
            return []
        self._unannounced = False
        block_id = self._chain.head()
        head = self._chain.head_of(block_id)
        if head is None or head.height == 0:
            return []
        message = AnnounceBlock(head, self._chain.proof(block_id) is not None)
        return [
            SendTo(peer.key, message) for peer in self._peers.values() if peer.known.add(block_id)
        ]

    def _status(self) -> tuple[Status, bytes]:
        """Our head and finality now, and the frame that says so; made once for each change."""
        head, final = self._chain.head(), self._chain.finalized()
        if self._told is None or self._told[:2] != (head, final):
            status = Status(
                head=head,
                height=self._chain.height(head),
                finalized_height=self._chain.height(final),
                weight=weight_bytes(self._chain.weight(head)),
            )
            self._told = (head, final, status, encode_frame(status))
        return self._told[2:]

    def tell_status(self, peer: SyncPeer, now_ms: int) -> list[Action]:
        """At once to a new peer; later when it changed, or after a long while."""
        waited_ms = None if peer.status_ms is None else now_ms - peer.status_ms
        if waited_ms is not None and waited_ms < STATUS_INTERVAL_MS:
            return []
        status, frame = self._status()
        if frame == peer.status_sent and waited_ms is not None and waited_ms < STATUS_REPEAT_MS:
            return []
        peer.status_ms = now_ms
        peer.status_sent = frame
        return [SendTo(peer.key, status)]

    def push_proofs(self, now_ms: int) -> list[Action]:
        """The newest finality proof, to peers that have the block and claim less than it."""
        if not self._chain.finalizes:
            return []
        block_id = self._chain.finalized()
        height = self._chain.height(block_id)
        wanting = []
        for peer in self._peers.values():
            if self._wants_proof(peer, block_id, height, now_ms):
                wanting.append(peer)
            else:
                peer.proof_due_ms = None
        # Looked up only for somebody: it is read from disk, and this runs many times a second.
        proof = self._chain.proof(block_id) if height and wanting else None
        if proof is None:
            return []
        grace_ms = PROOF_GRACE_AT_ONCE_MS if self._final_at_once else PROOF_GRACE_MS
        actions: list[Action] = []
        for peer in wanting:
            if peer.proof_due_ms is None:
                peer.proof_due_ms = now_ms + grace_ms
            elif now_ms >= peer.proof_due_ms:
                peer.proof_due_ms = None
                peer.proof_sent, peer.proof_sent_ms = block_id, now_ms
                actions.append(SendTo(peer.key, FinalityProof(block_id, proof)))
        return actions

    def _wants_proof(self, peer: SyncPeer, block_id: BlockId, height: int, now_ms: int) -> bool:
        """Whether it lacks the proof, and may hold the block although it does not say so.

        A proposal that was imported before a crash is known, but neither head nor final: then the
        proof is all that its holder lacks, and nothing else would bring it.
        """
        if peer.finalized_height >= height:
            return False
        if peer.proof_sent == block_id and now_ms - peer.proof_sent_ms < PROOF_REPEAT_MS:
            return False
        if block_id in peer.known or peer.height + PROOF_REACH >= height:
            return True
        return peer.head is not None and peer.height >= height and self._chain.knows(peer.head)
