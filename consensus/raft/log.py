"""The log: the branch of the block tree that ends in the record's tip, and the bodies at hand."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from chain.block import Block
from chain.hashing import BlockId
from chain.view import ChainView
from consensus.raft.messages import ENTRIES_MAX, HINTS_MAX, Place
from consensus.raft.rules import term_of

BODIES_MAX: Final = 512
"""Bodies kept for followers that are a little behind; who lacks older ones fetches them."""
BODY_BYTES_MAX: Final = 32 * 1024 * 1024
"""Their bytes: four of the largest blocks, or some seconds of full load."""
APPEND_BYTES_MAX: Final = 1024 * 1024
"""Bytes of blocks in one append, which may hold one larger block alone: a follower imports a
megabyte well within an election timeout."""
HINT_WALK_MAX: Final = 256
"""Entries looked at for hints; further back the final block is hint enough."""


class Bodies:
    """The latest blocks of the log, since the view has no bodies; losing one is no harm."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[BlockId, Block] = OrderedDict()
        self._bytes = 0

    def keep(self, block: Block) -> None:
        if block.id in self._blocks:
            return
        self._blocks[block.id] = block
        self._bytes += len(block.raw)
        while len(self._blocks) > BODIES_MAX or self._bytes > BODY_BYTES_MAX:
            _, dropped = self._blocks.popitem(last=False)
            self._bytes -= len(dropped.raw)

    def size_of(self, block: BlockId) -> int:
        """Bytes of a kept block; 0 where it is not kept."""
        kept = self._blocks.get(block)
        return 0 if kept is None else len(kept.raw)

    def between(self, view: ChainView, after: Place, tip: Place) -> tuple[Block, ...]:
        """Blocks of the branch of ``tip`` above ``after``, lowest first, as one append holds them.

        Empty where the first of them is not kept.
        """
        found: list[Block] = []
        size = 0
        top = min(tip.height, after.height + ENTRIES_MAX)
        ids = [view.ancestor(tip.block_id, top)] if top > after.height else []
        while ids and len(ids) < top - after.height:
            ids.append(view.header(ids[-1]).previous)
        for block_id in reversed(ids):
            block = self._blocks.get(block_id)
            if block is None or (found and size + len(block.raw) > APPEND_BYTES_MAX):
                break
            found.append(block)
            size += len(block.raw)
        return tuple(found)

    def __len__(self) -> int:
        return len(self._blocks)


def place_of(view: ChainView, block: BlockId) -> Place:
    return Place(view.height(block), block)


def hints(view: ChainView, tip: BlockId, final: BlockId) -> tuple[Place, ...]:
    """Where a leader may look for the last common entry: section 5.3, last paragraphs.

    The tip, below it the last entry of each earlier term, and what is final: every leader has it.
    """
    found = [place_of(view, tip)]
    head = view.header(tip)
    floor = view.height(final)
    for _ in range(HINT_WALK_MAX):
        if head.height <= floor or len(found) >= HINTS_MAX - 1:
            break
        parent = view.header(head.previous)
        if term_of(parent) != term_of(head):
            found.append(Place(parent.height, parent.id))
        head = parent
    if found[-1].block_id != final:
        found.append(place_of(view, final))
    return tuple(found)


def last_common(view: ChainView, tip: Place, places: tuple[Place, ...]) -> Place | None:
    """The highest of a follower's hints that lies in the leader's log."""
    for one in sorted(places, key=lambda one: one.height, reverse=True):
        if (
            one.height <= tip.height
            and view.knows(one.block_id)
            and view.ancestor(tip.block_id, one.height) == one.block_id
        ):
            return one
    return None
