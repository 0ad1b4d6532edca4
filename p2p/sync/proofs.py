"""Fetching what proves changes of the validator set, where finality was learnt without it.

Rare: messages were lost, and a later block showed the change to be final. The node itself can go
on; but nobody who knows only the members before could be shown anything after it. Bodies are served
with their proofs, so the block is asked for once more. Sans-I/O.
"""

from __future__ import annotations

from typing import Final

from chain.hashing import BlockId
from p2p.actions import Action, PeerKey, ProofReceived, SendTo
from p2p.sync.chain import SyncChain
from p2p.sync.peers import SyncPeer
from p2p.wire import BlockBody, GetBlocks, NoBlocks

REPEAT_MS: Final = 5_000
"""The next one is asked after this long; and the first, since the proof may be on its way."""
WANTED_MAX: Final = 4
"""Blocks asked for at a time: the lowest, which all later ones need too."""


class Proofs:
    """One per node. Each peer is asked for a block at most once at a time, and in turn."""

    def __init__(self, chain: SyncChain, peers: dict[PeerKey, SyncPeer]) -> None:
        self._chain, self._peers = chain, peers
        self._asked: dict[tuple[PeerKey, BlockId], None] = {}
        self._turns: dict[BlockId, int] = {}  # how many were asked
        self._due_ms: int | None = None

    def left(self, peer: PeerKey) -> None:
        for each in [each for each in self._asked if each[0] == peer]:
            del self._asked[each]

    def tick(self, now_ms: int) -> list[Action]:
        """What to ask for, now and then while something is wanted."""
        wanted = self._chain.unproven()[:WANTED_MAX]
        if not wanted:
            self._turns.clear()
            self._due_ms = None
        elif self._due_ms is None:
            self._due_ms = now_ms + REPEAT_MS
        elif now_ms >= self._due_ms:
            self._due_ms = now_ms + REPEAT_MS
            return [action for height, block in wanted for action in self._ask(height, block)]
        return []

    def _ask(self, height: int, block: BlockId) -> list[Action]:
        able = [
            key
            for key, peer in self._peers.items()
            if peer.finalized_height >= height >= peer.bodies_from
            and (key, block) not in self._asked
        ]
        if not able:
            return []
        turn = self._turns[block] = self._turns.get(block, -1) + 1
        peer = able[turn % len(able)]
        self._asked[peer, block] = None
        return [SendTo(peer, GetBlocks((block,)))]

    def on_block(self, peer: PeerKey, message: BlockBody) -> list[Action] | None:
        """None: it was not asked for here."""
        block = message.block.id
        if (peer, block) not in self._asked:
            return None
        del self._asked[peer, block]
        return [] if message.proof is None else [ProofReceived(peer, block, message.proof)]

    def on_no_blocks(self, peer: PeerKey, message: NoBlocks) -> None:
        for block in message.ids:
            self._asked.pop((peer, block), None)
