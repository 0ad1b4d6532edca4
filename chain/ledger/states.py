"""States of blocks that are not in memory, worked out from the deltas on disk."""

from __future__ import annotations

from typing import Final

from chain.errors import DamagedStore
from chain.hashing import BlockId, show_id
from chain.ledger.disk import BaseRow, Cache, Disk
from chain.ledger.tree import BlockTree, Entry, bodiless_entry
from chain.state.tree import StateTree

STATES_KEPT: Final = 16
"""States below the floor that are kept: whoever extends an old branch does it block by block."""


class States:
    """The state after any known block; where no deltas are kept, only after those in memory."""

    def __init__(self, disk: Disk, tree: BlockTree) -> None:
        self._disk, self._tree = disk, tree
        self._kept: Cache[BlockId, StateTree] = Cache(STATES_KEPT)

    def keep(self, block: BlockId, state: StateTree) -> None:
        """Remembers the state of a block that is not held in memory."""
        self._kept.put(block, state)

    def after(self, block: BlockId) -> StateTree:
        """From the nearest state on the block's branch: up from it, or down from the base."""
        tree = self._tree
        path: list[BlockId] = []
        at = block
        while True:
            entry = tree.entries.get(at)
            state = entry.state if entry is not None else self._kept.get(at)
            if state is not None:
                break
            height = tree.height(at)
            if height < tree.base.height and tree.id_at(height) == at:
                state = self._below_base(height)
                break
            path.append(at)
            at = tree.row(at).head.previous
        for each in reversed(path):
            state = state.update({key: after for key, _, after in self._delta(each)})
        if block not in tree.entries:
            self.keep(block, state)
        return state

    def load(self, block: BlockId) -> Entry:
        """A block that left memory, taken back with its state."""
        return self.from_disk(block, self.after(block))

    def from_disk(self, block: BlockId, state: StateTree) -> Entry:
        """The entry of a stored block whose state is at hand."""
        row = self._tree.row(block)
        body = self._disk.body(row.head.height, block)
        result = self._disk.result(block)
        if body is None and self._disk.is_pruned(row.head.height):
            return bodiless_entry(row, state)
        if body is None or result is None:
            raise _missing(block)
        changes = self._delta(block) if row.head.height else ()
        return Entry(body, row, state, result, changes, stored=True, synced=True)

    def _below_base(self, height: int) -> StateTree:
        """The state at ``height`` of the main chain: the base's, with deltas taken back."""
        state = self._tree.base.state
        for each in range(self._tree.base.height, height, -1):
            block = self._tree.id_at(each)
            assert block is not None, "the main chain has no gaps"
            state = state.update({key: before for key, before, _ in self._delta(block)})
        return state

    def _delta(self, block: BlockId) -> tuple[tuple[bytes, bytes | None, bytes | None], ...]:
        row = self._disk.delta(block)
        if row is None:
            raise _missing(block)
        return row.changes


def load_base(disk: Disk, base: BaseRow) -> Entry:
    """The base with its flat state. Raises DamagedStore unless that is the block's."""
    row, body = disk.index(base.block), disk.body(base.height, base.block)
    result = disk.result(base.block)
    pruned = disk.is_pruned(base.height)
    if row is None or ((body is None or result is None) and not pruned):
        raise _missing(base.block)
    state = StateTree.build(disk.state_items())
    if state.root != row.head.manifest.state_root:
        raise DamagedStore(
            f"the stored state is not that of block {show_id(base.block)} at height "
            f"{base.height} (state-root); delete the database and let the node sync again"
        )
    if body is None or result is None:
        return bodiless_entry(row, state)
    return Entry(body, row, state, result, (), stored=True, synced=True)


def _missing(block: BlockId) -> DamagedStore:
    return DamagedStore(
        f"a part of block {show_id(block)} is missing from the database; "
        "delete the database and let the node sync again"
    )
