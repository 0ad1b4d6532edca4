"""ChainView: what an engine and its rules may know of the chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from chain.block import BlockHead
from chain.genesis import Era
from chain.hashing import BlockId
from chain.validators import ValidatorSet


class ChainView(Protocol):
    """Read-only and consistent for the length of one call. No bodies, no balances, no waiting.

    All ids given must be of imported blocks; an unknown one is a KeyError, our mistake. Ask
    ``knows`` first about ids that came from outside.
    """

    def head(self) -> BlockId: ...

    def finalized(self) -> BlockId: ...

    def knows(self, block: BlockId) -> bool: ...

    def header(self, block: BlockId) -> BlockHead: ...

    def height(self, block: BlockId) -> int: ...

    def weight(self, block: BlockId) -> int:
        """Weight of the whole branch that ends in ``block``."""
        ...

    def ancestor(self, block: BlockId, height: int) -> BlockId:
        """The block at ``height`` on the branch that ends in ``block`` (itself included)."""
        ...

    def descends(self, block: BlockId, from_: BlockId) -> bool:
        """Whether ``from_`` lies on the branch that ends in ``block`` (itself included)."""
        ...

    def children(self, block: BlockId) -> Sequence[BlockId]:
        """Imported children, in the order in which they came."""
        ...

    def validators(self, parent: BlockId) -> ValidatorSet:
        """The set entitled to decide the child of ``parent``; fixed ``lag`` blocks earlier."""
        ...

    def params(self, parent: BlockId) -> Era:
        """The era (engine and parameters) that rules the child of ``parent``."""
        ...
