"""The block tree: what is held in memory above the base, and the way down through the disk.

Blocks higher than ``floor`` are in memory or unknown; of those at or below it the disk index
knows. The *base* is the block whose state lies flat on disk; the head's branch above it is a list
of ids, so that the main chain is found by height without a walk.
"""

from __future__ import annotations

from collections.abc import Iterator

from chain.block import Block
from chain.hashing import ZERO_HASH, BlockId
from chain.ledger.disk import Disk, IndexRow, ResultRow
from chain.ledger.touches import Touch, touches
from chain.state.tree import StateTree


class Entry:
    """An executed block in memory.

    ``stored``: its rows were written. ``synced``: in a synced write, so that no crash takes them.
    ``changes``: (state key, before, after). ``bodiless``: the block's transactions and results are
    not held (a snapshot began with it, or they were pruned); ``block`` stands in without them.
    """

    __slots__ = (
        "_touches",
        "block",
        "bodiless",
        "changes",
        "children",
        "id",
        "result",
        "row",
        "state",
        "stored",
        "synced",
    )

    def __init__(
        self,
        block: Block,
        row: IndexRow,
        state: StateTree,
        result: ResultRow,
        changes: tuple[tuple[bytes, bytes | None, bytes | None], ...],
        *,
        stored: bool,
        synced: bool,
        bodiless: bool = False,
    ) -> None:
        self.id, self.block, self.row, self.state = block.id, block, row, state
        self.result, self.changes = result, changes
        self.stored, self.synced, self.bodiless = stored, synced, bodiless
        self.children: list[BlockId] = []
        self._touches: list[Touch] | None = None

    @property
    def height(self) -> int:
        return self.block.manifest.height

    @property
    def touches(self) -> list[Touch]:
        """What the block does to addresses; worked out once."""
        if self._touches is None:
            self._touches = touches(self.block, self.result)
        return self._touches


def bodiless_entry(row: IndexRow, state: StateTree) -> Entry:
    """The entry of a block of which only head and state are held."""
    head = row.head
    stand_in = Block(head.header, head.manifest, (), head.seal)
    return Entry(
        stand_in, row, state, ResultRow((), ()), (), stored=True, synced=True, bodiless=True
    )


def skip_height(height: int) -> int:
    """Height of the ancestor that a block's skip link names (Bitcoin Core's GetSkipHeight).

    Such links lead from any block to any ancestor in O(log n) steps.
    """
    if height < 2:
        return 0
    if height & 1:
        return _clear_lowest(_clear_lowest(height - 1)) + 1
    return _clear_lowest(height)


def _clear_lowest(number: int) -> int:
    return number & (number - 1)


class BlockTree:
    """Navigation. An unknown id is a KeyError."""

    def __init__(self, disk: Disk, base: Entry) -> None:
        self.disk = disk
        self.entries: dict[BlockId, Entry] = {}
        self._by_height: dict[int, list[BlockId]] = {}
        self.base = base
        self.floor = base.height
        self.branch: list[BlockId] = []
        """Ids of the head's branch from base + 1 up to the head."""
        self.add(base)

    def add(self, entry: Entry) -> None:
        """Takes an entry into memory; parent and children there learn of each other."""
        if entry.id in self.entries:
            return
        self.entries[entry.id] = entry
        self._by_height.setdefault(entry.height, []).append(entry.id)
        parent = self.entries.get(entry.block.previous)
        if parent is not None and entry.id not in parent.children:
            parent.children.append(entry.id)
        for child in self._by_height.get(entry.height + 1, ()):
            if self.entries[child].block.previous == entry.id and child not in entry.children:
                entry.children.append(child)

    def drop(self, block: BlockId) -> Entry:
        """Takes an entry out of memory."""
        entry = self.entries.pop(block)
        siblings = self._by_height[entry.height]
        siblings.remove(block)
        if not siblings:
            del self._by_height[entry.height]
        return entry

    def at_or_below(self, height: int) -> list[Entry]:
        """Entries in memory at ``height`` and below, except the base; lowest first."""
        heights = sorted(h for h in self._by_height if h <= height)
        ids = [block for h in heights for block in self._by_height[h]]
        return [self.entries[block] for block in ids if block != self.base.id]

    def subtree(self, block: BlockId) -> list[BlockId]:
        """A block in memory and everything that descends from it, parents first."""
        found = [block]
        for each in found:
            found.extend(self.entries[each].children)
        return found

    # ------------------------------------------------------------------------------ main chain

    @property
    def head(self) -> BlockId:
        return self.branch[-1] if self.branch else self.base.id

    @property
    def head_height(self) -> int:
        return self.base.height + len(self.branch)

    def id_at(self, height: int) -> BlockId | None:
        """The main chain's block at ``height``; None above the head."""
        above = height - self.base.height
        if above > 0:
            return self.branch[above - 1] if above <= len(self.branch) else None
        if above == 0:
            return self.base.id
        return self.disk.id_at(height) if height >= 0 else None

    def on_main(self, block: BlockId) -> bool:
        """Whether a known block lies on the head's branch."""
        return self.id_at(self.height(block)) == block

    # ---------------------------------------------------------------------------------- blocks

    def find(self, block: BlockId) -> IndexRow | None:
        """The index row of a known block."""
        entry = self.entries.get(block)
        if entry is not None:
            return entry.row
        row = self.disk.index(block)
        return row if row is not None and row.head.height <= self.floor else None

    def row(self, block: BlockId) -> IndexRow:
        found = self.find(block)
        if found is None:
            raise KeyError(block)
        return found

    def height(self, block: BlockId) -> int:
        entry = self.entries.get(block)  # most questions of all are this one, about the newest
        return (self.row(block) if entry is None else entry.row).head.height

    def body(self, block: BlockId) -> Block | None:
        entry = self.entries.get(block)
        if entry is not None:
            return None if entry.bodiless else entry.block
        row = self.find(block)
        return None if row is None else self.disk.body(row.head.height, block)

    def ancestor(self, block: BlockId, height: int) -> BlockId:
        """The block at ``height`` on the branch that ends in ``block``.

        KeyError below the heads that are kept.
        """
        row = self.row(block)
        at = row.head.height
        assert 0 <= height <= at, f"no ancestor at height {height} of a block at {at}"
        # Below the heads that are kept there is the main chain only, genesis of all of it; skip
        # links that would lead there are zeros, so no walk goes to genesis past them.
        below_kept = height < self.disk.pruned.heads_from
        while at > height:
            if below_kept or self.id_at(at) == block:
                found = self.id_at(height)
                if found is None:  # below the heads that are kept
                    raise KeyError(height)
                return found
            # The skip link, unless the parent's own would come closer to the goal.
            skip, next_skip = skip_height(at), skip_height(at - 1)
            if skip == height or (
                skip > height and not (next_skip < skip - 2 and next_skip >= height)
            ):
                block, at = row.skip, skip
            else:
                block, at = row.head.previous, at - 1
            row = self.row(block)
        return block

    def skip_of(self, parent: BlockId, height: int) -> BlockId:
        """What a block at ``height`` on ``parent`` names as its skip link.

        Zeros where that lies below the heads that are kept: no walk goes there.
        """
        goal = skip_height(height)
        if 0 < goal < self.disk.pruned.heads_from:
            return ZERO_HASH
        return self.ancestor(parent, goal)

    def descends(self, block: BlockId, from_: BlockId) -> bool:
        height = self.height(from_)
        return height <= self.height(block) and self.ancestor(block, height) == from_

    def children(self, block: BlockId) -> tuple[BlockId, ...]:
        """Known children, in the order in which they came; those on disk only: by id.

        At heights whose bodies are pruned only the main chain's: no other branch from there can be
        executed any more, and a walk up from an old ancestor must reach the kept ones.
        """
        height = self.height(block)
        found: list[BlockId] = []
        if self.disk.is_pruned(height + 1):
            child = self.id_at(height + 1)
            return () if child is None or not self.on_main(block) else (child,)
        if height < self.floor:
            for child in self.disk.ids_at(height + 1):
                row = self.find(child)
                if row is not None and row.head.previous == block:
                    found.append(child)
        entry = self.entries.get(block)
        if entry is not None:
            found.extend(child for child in entry.children if child not in found)
        elif height == self.floor:
            # A side block that left memory at the floor: its children are above it, in memory.
            for child in self._by_height.get(height + 1, ()):
                if self.entries[child].block.previous == block:
                    found.append(child)
        return tuple(found)

    def down_to_main(self, block: BlockId) -> Iterator[BlockId]:
        """``block`` and its ancestors, highest first, as far as they are off the main chain."""
        while not self.on_main(block):
            yield block
            block = self.row(block).head.previous
