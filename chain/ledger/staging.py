"""A snapshot that is being fetched: it gathers beside the chain; one write puts it in its place.

The state gathers in the area that the base does not use; every chunk comes with a note of what it
covers, in one synced write, so that a crash takes nothing that was received and checked. When all
is there and the root is right, ``install`` turns the base over to it: a small synced write, before
which the old chain is whole and after which the new one is. It replaces the ledger under way: the
node starts again on it.
"""

from __future__ import annotations

from typing import Final

from chain import codec
from chain.errors import DamagedStore
from chain.hashing import ZERO_HASH, BlockId
from chain.ledger.disk import (
    AREA_KEY,
    BASE_KEY,
    FINAL_KEY,
    HEAD_KEY,
    PRUNED_KEY,
    REBASED_KEY,
    BaseRow,
    Disk,
    IndexRow,
    PrunedRow,
    Rows,
    body_key,
    delta_key,
    height_key,
    index_key,
    link_key,
    proof_key,
    result_key,
    validators_key,
)
from chain.ledger.flush import weight_bytes
from chain.ledger.shelf import left_behind
from chain.ledger.tree import skip_height
from chain.snapshot import Snapshot
from chain.state.chunks import PATHS, Coverage, StateChunk, check_cut
from chain.state.tree import EMPTY, StateTree

STAGED_KEY: Final = b"Mstaged"
COVERED: Final = b"G"
SWEEP_ROWS: Final = 4_096
"""Rows of an old state deleted in one slice: some 300 kB."""


class Staging:
    """What lies under ``Mstaged``, ``G`` and in the area beside the base's."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._clean = not any(
            next(disk.store.scan(prefix), None) for prefix in (COVERED, disk.other_area)
        )
        self.snapshot: Snapshot | None = None
        """What is being fetched."""
        self._forget()
        if disk.store.get(STAGED_KEY) is not None:
            self.snapshot = disk.snapshot(STAGED_KEY)
            self._take_up()

    def _forget(self) -> None:
        self.coverage = Coverage()
        self._state: StateTree = EMPTY
        self._bytes = 0

    def _take_up(self) -> None:
        """Where a crash interrupted."""
        for key, value in self._disk.store.scan(COVERED):
            end = int.from_bytes(value, "big") or PATHS
            self.coverage.add(int.from_bytes(key[1:], "big"), end)
        self._state = StateTree.build(self._disk.state_items(self._disk.other_area))

    @property
    def bytes_received(self) -> int:
        return self._bytes

    def sweep(self) -> bool:
        """Deletes a slice of what an earlier state left; True: there is more. Only then begin."""
        if self._clean or self.snapshot is not None:
            return False
        rows: Rows = {}
        for prefix in (COVERED, self._disk.other_area):
            for key, _ in self._disk.store.scan(prefix):
                rows[key] = None
                if len(rows) >= SWEEP_ROWS:
                    break
        # Synced: what is left of an old state must never stand among a new one's rows.
        self._disk.write(rows, sync=True)
        self._clean = not rows
        return bool(rows)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left of an earlier state, so that another may begin."""
        return self._clean

    def begin(self, snapshot: Snapshot) -> None:
        """From now on this one is fetched; also after a crash."""
        assert self.snapshot is None and self._clean, "sweep first"
        self._forget()
        self._disk.write({STAGED_KEY: codec.encode(snapshot)}, sync=True)
        self.snapshot, self._clean = snapshot, False

    def check_cut(self, chunk: StateChunk) -> None:
        """Raises InvalidProof where what is here already shows that it is cut too finely."""
        check_cut(chunk, self._state, self.coverage)

    def add(self, chunk: StateChunk) -> bool:
        """Takes a chunk in that was checked against the root. False: nothing new."""
        assert self.snapshot is not None
        if not self.coverage.add(chunk.first, chunk.end):
            return False
        area = self._disk.other_area
        rows: Rows = {area + key: value for key, value in chunk.items}
        rows[COVERED + chunk.start] = (chunk.end % PATHS).to_bytes(32, "big")
        self._disk.write(rows, sync=True)
        self._state = self._state.update(dict(chunk.items))
        self._bytes += sum(len(key) + len(value) for key, value in chunk.items)
        return True

    @property
    def complete(self) -> bool:
        """Whether the whole state is here. Raises DamagedStore where it is not the block's."""
        if self.snapshot is None or not self.coverage.complete:
            return False
        self._check_root()
        return True

    def _check_root(self) -> None:
        assert self.snapshot is not None
        if self._state.root != self.snapshot.root:
            raise DamagedStore("the fetched state is not its block's: it was damaged on this disk")

    def drop(self) -> None:
        """Gives it up; what it left is swept."""
        self._disk.write({STAGED_KEY: None}, sync=True)
        self.snapshot, self._clean = None, False
        self._forget()

    def install(self, lag: int) -> None:
        """Makes it the base, in one synced write. Whoever has a Ledger open must make it anew.

        ``lag``: the chain's validator lag. The head goes to the snapshot's block; blocks that were
        stored up to its height and are not its ancestors are forgotten with everything of theirs;
        with those that stood on them the engine's record may name some, and that is noted. Own
        snapshots below it go: the bodies between are not here.
        """
        assert self.complete and self.snapshot is not None
        disk, snapshot = self._disk, self.snapshot
        base = disk.base()
        assert base is not None
        assert base.height < snapshot.height, "a snapshot never goes back"
        rows: Rows = {}
        for height, block in _stored_between(disk, base.height + 1, snapshot.height):
            for key in (body_key(height, block), index_key(block), result_key(block)):
                rows[key] = None
            rows[delta_key(block)] = rows[proof_key(block)] = None
        rows.update(_head_rows(snapshot, lag))
        for members in snapshot.sets:
            rows[validators_key(members.hash)] = codec.encode(members)
        for link in snapshot.links:
            rows[link_key(link.head.height)] = codec.encode(link)
            rows[validators_key(link.members.hash)] = codec.encode(link.members)
        heads_from = snapshot.lowest
        if heads_from <= base.height + 1:
            heads_from = disk.pruned.heads_from  # no gap to what is here
        pruned = PrunedRow(snapshot.height + 1, heads_from, 0)
        rows[PRUNED_KEY] = codec.encode(pruned)
        rows.update(left_behind(disk, pruned.bodies_from))
        rows[BASE_KEY] = codec.encode(BaseRow(snapshot.block, snapshot.height))
        rows[AREA_KEY] = disk.other_area
        rows[HEAD_KEY] = rows[FINAL_KEY] = snapshot.block
        rows[REBASED_KEY] = b"\x01"
        rows[STAGED_KEY] = None
        disk.write(rows, sync=True)
        self.snapshot = None


def _stored_between(disk: Disk, low: int, high: int) -> list[tuple[int, BlockId]]:
    """Bodies stored at these heights: what was not final when the node looked last."""
    found: list[tuple[int, BlockId]] = []
    for key, _ in disk.store.scan(b"B", start=low.to_bytes(8, "big")):
        height = int.from_bytes(key[1:9], "big")
        if height > high:
            break
        found.append((height, key[9:]))
    return found


def _head_rows(snapshot: Snapshot, lag: int) -> Rows:
    """Index rows of the snapshot's heads up to its block.

    Weight: the height, since all of this is final and no branch is compared with it.
    """
    ids = {head.height: head.id for head in snapshot.heads}
    ids[0] = snapshot.chain_id
    named = {head.height: head.manifest.next_validators for head in snapshot.heads}
    rows: Rows = {}
    for head in snapshot.heads:
        if head.height > snapshot.height:
            break
        row = IndexRow(
            head,
            weight_bytes(head.height),
            ids.get(skip_height(head.height), ZERO_HASH),
            # The set in the state after a block is the one that manifests name lag - 1 later.
            named.get(head.height + lag - 1, named[snapshot.top.height]),
        )
        rows[index_key(head.id)] = codec.encode(row)
        rows[height_key(head.height)] = head.id
    return rows
