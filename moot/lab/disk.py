"""A disk that fails as real ones do, over the store in memory.

Each write has a number, so that a crash can fall at every persistence point of a run.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Literal

from chain.errors import DamagedStore, StoreFailure
from chain.storage import Changes
from chain.storage.memory import MemoryStore

WriteFault = Literal["crash-before", "torn", "crash-after", "full", "sync-fails"]
"""What happens at a write: the process dies before it, in it (the log's record is torn, which its
checksum shows at the next start), or after it; no room is left; the sync reports an error."""

FLIP_SPAN = 8
"""Keys that one flipped bit makes unreadable: a block of a table has one checksum."""


class Crash(Exception):
    """The simulated process dies here and now. ``power``: what was not synced dies with it;
    ``rotated``: also unsynced writes before the last sync may."""

    def __init__(self, *, power: bool = False, rotated: bool = False) -> None:
        super().__init__("a simulated crash")
        self.power = power
        self.rotated = rotated


class _LookedAt:
    """Hides a disk's damage. No generator: this is entered after every step of every node."""

    __slots__ = ("_damaged", "_disk")

    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk

    def __enter__(self) -> None:
        self._damaged = self._disk.damaged
        if self._damaged:
            self._disk.damaged = {}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._disk.damaged = self._damaged


class SimulatedDisk:
    """A chain.storage.Store. Outlives its node's crashes; ``open`` begins a new life."""

    def __init__(self, rng: random.Random) -> None:
        self.memory = MemoryStore()
        self.writes = 0
        self.syncs = 0
        self.is_full = False
        self.injected: Counter[str] = Counter()
        self.on_write: Callable[[Changes, bool], None] | None = None
        """Hears of each write that reached the disk."""
        self._rng = rng
        self._armed: tuple[WriteFault, int] | None = None
        self._refuses = False
        self._unsure = False
        self.damaged: dict[bytes, None] = {}
        """Keys that cannot be read."""

    # ------------------------------------------------------------------------------- faults

    def arm(self, fault: WriteFault, after_writes: int = 0) -> None:
        """The fault comes with the write that follows ``after_writes`` more."""
        self._armed = (fault, after_writes)

    def disarm(self) -> None:
        self._armed = None
        self.is_full = False

    def flip_bit(self) -> None:
        """Some keys cannot be read any more until they are written again; reading says so."""
        keys = [key for key, _ in self.memory.scan(b"")]
        if keys:
            start = self._rng.randrange(len(keys))
            self.damaged = dict.fromkeys(keys[start : start + FLIP_SPAN])
            self.injected["flipped-bit"] += 1

    def looked_at(self) -> _LookedAt:
        """While somebody from outside the simulation reads: no fault comes of it."""
        return _LookedAt(self)

    @property
    def is_damaged(self) -> bool:
        return bool(self.damaged)

    def lose_power(self, rng: random.Random, *, rotated: bool = False) -> None:
        """What was not synced is gone."""
        self.memory.lose_unsynced(rng, rotated=rotated)

    def wipe(self) -> None:
        """A new, empty disk."""
        self.memory = MemoryStore()
        self.damaged.clear()
        self.disarm()
        self.open()

    def open(self) -> None:
        """The next process opens the database. After a failed sync what it finds is the disk's
        word, not the page cache's (Rebello et al., ATC 2020)."""
        if self._unsure:
            self.memory.lose_unsynced(self._rng)
        self._refuses = self._unsure = False
        self.memory.reopen()

    # -------------------------------------------------------------------------------- store

    def get(self, key: bytes) -> bytes | None:
        if key in self.damaged:
            raise DamagedStore("a block's checksum does not fit: a bit flipped")
        return self.memory.get(key)

    def write(self, changes: Changes, sync: bool) -> None:
        if self._refuses:
            raise StoreFailure("the store takes no more writes after one failed")
        if self.is_full:
            self._fail("full-disk", "no space is left on the device")
        self.writes += 1
        self.syncs += sync
        after: WriteFault | None = None
        if self._armed is not None:
            fault, more = self._armed
            self._armed = (fault, more - 1) if more else None
            if not more:
                after = self._strike(fault)
        self.memory.write(changes, sync)
        if self.damaged:
            for key, _ in changes:
                self.damaged.pop(key, None)
        if self.on_write is not None:
            self.on_write(changes, sync)
        if after is not None:
            raise Crash(power=self._rng.random() < 0.5)

    def _strike(self, fault: WriteFault) -> WriteFault | None:
        """Does what comes before the write; returns what is left for after it."""
        if fault == "full":
            self.is_full = True
            self._fail("full-disk", "no space is left on the device")
        if fault == "sync-fails":
            self._unsure = True
            self._fail("failing-sync", "the disk reported an error")
        self.injected["torn-write" if fault == "torn" else "crash-at-write"] += 1
        if fault == "torn":
            raise Crash(power=True, rotated=self._rng.random() < 0.5)
        if fault == "crash-before":
            raise Crash(power=self._rng.random() < 0.5)
        return fault

    def _fail(self, kind: str, sentence: str) -> None:
        self.injected[kind] += 1
        self._refuses = True
        raise StoreFailure(sentence)

    def scan(
        self, prefix: bytes, *, start: bytes = b"", reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        found = self.memory.scan(prefix, start=start, reverse=reverse)
        return found if not self.damaged else self._checked(found)

    def _checked(self, found: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        for key, value in found:
            if key in self.damaged:
                raise DamagedStore("a block's checksum does not fit: a bit flipped")
            yield key, value

    def close(self) -> None:
        self.memory.close()
