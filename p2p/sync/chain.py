"""What sync must know of the chain. The node's core provides it over its ledger and rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from chain.block import Block, BlockHead
from chain.hashing import BlockId
from chain.proof import Proof


class SyncChain(Protocol):
    """Read-only; answers at once. "Known" means imported: executed and linked to genesis."""

    @property
    def finalizes(self) -> bool:
        """False: weight decides between branches, and "finalized" is only confirmed by policy."""
        ...

    def knows(self, block: BlockId) -> bool: ...

    def head(self) -> BlockId: ...

    def finalized(self) -> BlockId:
        """The newest finalized block (genesis at first)."""
        ...

    def height(self, block: BlockId) -> int:
        """Of a known block; KeyError else."""
        ...

    def weight(self, block: BlockId) -> int:
        """Weight of the whole branch that ends in a known block; KeyError else."""
        ...

    def locator(self) -> Sequence[BlockId]:
        """Main-chain ids from the head down to genesis: dense near the head, then doubling."""
        ...

    def heads_after(
        self, locator: Sequence[BlockId], stop: BlockId, count: int
    ) -> Sequence[BlockHead]:
        """Main-chain heads, lowest first, after the first locator id that is on the main chain.

        At most ``count``, up to and with ``stop`` (32 zero bytes: no stop). Where no locator id
        is on the main chain: after genesis.
        """
        ...

    def head_of(self, block: BlockId) -> BlockHead | None: ...

    def block(self, block: BlockId) -> Block | None:
        """The body; None where unknown or pruned."""
        ...

    def proof(self, block: BlockId) -> Proof | None: ...

    def unproven(self) -> Sequence[tuple[int, BlockId]]:
        """Final blocks that changed the validators and of which the proof is missing, heights and
        ids, lowest first: hardly ever any."""
        ...

    def check_heads(self, heads: Sequence[BlockHead], earlier: Sequence[BlockHead] = ()) -> None:
        """Judges consecutive heads by the rules, seals' signatures included.

        ``earlier`` were judged before and are not imported yet: a linked run, lowest first, whose
        first parent is known; ``heads`` follow on its last (or, if it is empty, on a known block).
        Raises InvalidBlock, or NotYet for heads ahead of the wall clock.
        """
        ...
