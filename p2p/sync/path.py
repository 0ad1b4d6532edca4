"""The path: judged heads above the known chain, towards the best claim, bodies still to come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from chain.block import BlockHead
from chain.hashing import BlockId

DENSE: Final = 10
"""Ids listed one by one from the tip before the locator's steps double."""


class Path:
    """A linked run of heads, lowest first; the lowest one's parent is known."""

    def __init__(self) -> None:
        self._ids: deque[BlockId] = deque()
        self._heads: dict[BlockId, BlockHead] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, block: object) -> bool:
        return block in self._heads

    @property
    def tip(self) -> BlockHead | None:
        return self._heads[self._ids[-1]] if self._ids else None

    @property
    def lowest(self) -> BlockHead | None:
        return self._heads[self._ids[0]] if self._ids else None

    def head(self, block: BlockId) -> BlockHead | None:
        return self._heads.get(block)

    def first(self, count: int) -> list[BlockHead]:
        return [self._heads[block] for block in islice(self._ids, count)]

    def upto(self, block: BlockId) -> list[BlockHead]:
        """The heads from the lowest up to ``block``, which is on the path."""
        assert block in self._heads and self._ids
        count = self._heads[block].height - self._heads[self._ids[0]].height + 1
        return self.first(count)

    def extend(self, heads: Sequence[BlockHead]) -> None:
        """Judged heads that follow on the tip (or, on an empty path, on a known block)."""
        for head in heads:
            assert not self._ids or head.previous == self._ids[-1]
            self._ids.append(head.id)
            self._heads[head.id] = head

    def drop_known(self, knows: Callable[[BlockId], bool]) -> int:
        """Takes imported blocks off the lower end; how many."""
        count = 0
        while self._ids and knows(self._ids[0]):
            del self._heads[self._ids.popleft()]
            count += 1
        return count

    def cut_above(self, block: BlockId | None) -> list[BlockId]:
        """Takes everything above ``block`` (None: everything) off the path; what it took."""
        taken: list[BlockId] = []
        while self._ids and self._ids[-1] != block:
            taken.append(self._ids.pop())
            del self._heads[taken[-1]]
        return taken

    def locator(self, count_max: int) -> list[BlockId]:
        """Ids from the tip down: dense, then doubling."""
        ids: list[BlockId] = []
        position, step = len(self._ids) - 1, 1
        while position >= 0 and len(ids) < count_max:
            ids.append(self._ids[position])
            if len(ids) >= DENSE:
                step *= 2
            position -= step
        return ids
