"""Snapshots made here: written slice by slice beside the chain, kept until newer ones replace them.

First the chunks, each in a synced write of its own; the row that names the snapshot comes last and
makes it count. The same write takes the oldest off; its chunks are deleted in slices after that. So
whatever a crash falls on, either the old snapshot is whole or the new one is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from chain import codec
from chain.ledger.disk import Disk, Rows
from chain.snapshot import Snapshot
from chain.state.chunks import StateChunk, chunks_of
from chain.state.tree import StateTree

KEPT: Final = b"Mkept"
CHUNK: Final = b"P"
SWEEP_ROWS: Final = 32
"""Chunks deleted in one slice: 4 MB."""


def left_behind(disk: Disk, bodies_from: int) -> Rows:
    """What takes off the snapshots below ``bodies_from`` - 1.

    They are true, but the bodies kept here do not lead on from them: who took one here would lack
    the next blocks. What opens a Shelf after that sweeps their chunks.
    """
    keys = [key for key, _ in disk.store.scan(KEPT)]
    return {key: None for key in keys if int.from_bytes(key[len(KEPT) :], "big") + 1 < bodies_from}


def chunk_key(height: int, start: bytes) -> bytes:
    return CHUNK + height.to_bytes(8, "big") + start


class Shelf:
    """What lies under ``P`` and ``Mkept``. At most one snapshot is in the making."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._kept: dict[int, Snapshot] = {
            int.from_bytes(key[len(KEPT) :], "big"): disk.snapshot(key)
            for key, _ in disk.store.scan(KEPT)
        }
        self._making: int | None = None
        self._chunks: Iterator[StateChunk] = iter(())
        self._sweep_from = 0

    @property
    def kept(self) -> tuple[Snapshot, ...]:
        """Complete ones, lowest first."""
        return tuple(self._kept[height] for height in sorted(self._kept))

    @property
    def making(self) -> int | None:
        """Height of the one in the making."""
        return self._making

    def begin(self, height: int, state: StateTree) -> None:
        """Starts on the state after the block at ``height``; it need not stay in the ledger."""
        assert self._making is None and height not in self._kept
        self._making = height
        self._chunks = chunks_of(state)

    def work(self) -> bool:
        """Writes the next chunk; False: all are written, and ``finish`` may come."""
        assert self._making is not None
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        self._disk.write(
            {chunk_key(self._making, chunk.start): codec.encode(chunk)},
            sync=True,
        )
        return True

    def finish(self, snapshot: Snapshot, keep: int) -> None:
        """Makes it count; of all that count the ``keep`` newest stay."""
        assert snapshot.height == self._making and keep >= 1
        kept = {**self._kept, snapshot.height: snapshot}
        rows: Rows = {_kept_key(snapshot.height): codec.encode(snapshot)}
        for height in sorted(kept)[:-keep]:
            rows[_kept_key(height)] = None
            del kept[height]
        self._disk.write(rows, sync=True)
        self._kept, self._making, self._sweep_from = kept, None, 0

    def abandon(self) -> None:
        """Gives up the one in the making; its chunks are swept."""
        self._making, self._chunks, self._sweep_from = None, iter(()), 0

    def sweep(self) -> bool:
        """Deletes a slice of chunks that belong to no snapshot; True: there may be more."""
        rows: Rows = {}
        while len(rows) < SWEEP_ROWS:
            start = self._sweep_from.to_bytes(8, "big")
            found = next(self._disk.store.scan(CHUNK, start=start), None)
            if found is None:
                break
            height = int.from_bytes(found[0][1:9], "big")
            if height in self._kept or height == self._making:
                self._sweep_from = height + 1
                continue
            prefix = CHUNK + height.to_bytes(8, "big")
            for key, _ in self._disk.store.scan(prefix):
                rows[key] = None
                if len(rows) >= SWEEP_ROWS:
                    break
            else:
                self._sweep_from = height + 1
        self._disk.write(rows, sync=False)
        return bool(rows)

    def find(self, block: bytes) -> Snapshot | None:
        """The complete snapshot of the state after ``block``."""
        return next((each for each in self._kept.values() if each.block == block), None)

    def chunk(self, height: int, path: bytes) -> StateChunk | None:
        """The chunk that covers ``path`` in the snapshot at ``height``."""
        prefix = CHUNK + height.to_bytes(8, "big")
        found = next(self._disk.store.scan(prefix, start=path, reverse=True), None)
        return None if found is None else self._disk.chunk(*found)

    def chunks(self, height: int) -> Iterator[StateChunk]:
        """All of them, in order of path."""
        for key, raw in self._disk.store.scan(CHUNK + height.to_bytes(8, "big")):
            yield self._disk.chunk(key, raw)


def _kept_key(height: int) -> bytes:
    return KEPT + height.to_bytes(8, "big")
