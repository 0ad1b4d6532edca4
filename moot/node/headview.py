"""A ChainView that also knows heads whose bodies have not come yet.

Headers-first sync judges a run of heads before it asks for a single body. The heads given lie above
blocks of the ledger; everything else is answered by the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chain.block import BlockHead
from chain.errors import NotYet
from chain.genesis import Era
from chain.hashing import BlockId
from chain.validators import ValidatorSet
from chain.view import ChainView


class HeadView:
    """Overlay of unexecuted heads over a ChainView.

    The set that decides a pending block's child is known only if a set of the hash that its
    manifest commits to is known; otherwise asking raises NotYet (execute first).
    """

    def __init__(
        self, below: ChainView, set_by_hash: Callable[[bytes], ValidatorSet | None]
    ) -> None:
        self._below = below
        self._set_by_hash = set_by_hash
        self._heads: dict[BlockId, BlockHead] = {}
        self._weights: dict[BlockId, int] = {}

    def add(self, head: BlockHead, weight: int) -> None:
        """Adds a judged head; ``weight`` is what it adds to its branch."""
        self._weights[head.id] = self.weight(head.previous) + weight
        self._heads[head.id] = head

    def head(self) -> BlockId:
        return self._below.head()

    def finalized(self) -> BlockId:
        return self._below.finalized()

    def knows(self, block: BlockId) -> bool:
        return block in self._heads or self._below.knows(block)

    def header(self, block: BlockId) -> BlockHead:
        return self._heads.get(block) or self._below.header(block)

    def height(self, block: BlockId) -> int:
        pending = self._heads.get(block)
        return pending.height if pending is not None else self._below.height(block)

    def weight(self, block: BlockId) -> int:
        weight = self._weights.get(block)
        return weight if weight is not None else self._below.weight(block)

    def ancestor(self, block: BlockId, height: int) -> BlockId:
        while block in self._heads and self._heads[block].height > height:
            block = self._heads[block].previous
        if block in self._heads:
            return block
        return self._below.ancestor(block, height)

    def descends(self, block: BlockId, from_: BlockId) -> bool:
        height = self.height(from_)
        return self.height(block) >= height and self.ancestor(block, height) == from_

    def children(self, block: BlockId) -> Sequence[BlockId]:
        pending = tuple(i for i, head in self._heads.items() if head.previous == block)
        if block in self._heads:
            return pending
        return (*self._below.children(block), *pending)

    def validators(self, parent: BlockId) -> ValidatorSet:
        pending = self._heads.get(parent)
        if pending is None:
            return self._below.validators(parent)
        found = self._set_by_hash(pending.manifest.next_validators)
        if found is None:
            raise NotYet(0)
        return found

    def params(self, parent: BlockId) -> Era:
        while parent in self._heads:
            parent = self._heads[parent].previous
        return self._below.params(parent)
