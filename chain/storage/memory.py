"""A store in memory. It knows which writes a power loss would take, so that a simulator can."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple
from weakref import WeakSet

from chain.storage import SCHEMA_KEY, Changes, prefix_end

INSERTIONS_ONE_BY_ONE_MAX = 64
"""Above this many new keys in a batch, sorting once is cheaper than inserting each."""


AT_RISK_MAX = 256
"""Writes kept in the log: a log file of LevelDB is settled in a table after some megabytes."""


class _Write(NamedTuple):
    changes: tuple[tuple[bytes, bytes | None], ...]
    sync: bool


class _Scan:
    """A range of keys as it was when the scan began.

    Values are read lazily; before the store changes, it lets each scan under way take what it
    still needs.
    """

    __slots__ = ("__weakref__", "_items", "_keys", "_values")

    def __init__(self, keys: list[bytes], values: dict[bytes, bytes]) -> None:
        self._keys = iter(keys)
        self._values = values
        self._items: Iterator[tuple[bytes, bytes]] | None = None

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return self

    def __next__(self) -> tuple[bytes, bytes]:
        if self._items is not None:
            return next(self._items)
        key = next(self._keys)
        return key, self._values[key]

    def freeze(self) -> None:
        if self._items is None:
            self._items = iter([(key, self._values[key]) for key in self._keys])


class MemoryStore:
    """A Store that forgets everything with the process."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []
        self._safe: dict[bytes, bytes] = {}  # what no power loss can take any more
        self._log: deque[_Write] = deque()  # what was written since, oldest first
        self._unsynced = 0  # writes at the end of the log that no synced write follows
        self._scans: WeakSet[_Scan] = WeakSet()
        self._open = True

    @property
    def unsynced(self) -> int:
        """How many writes a plain lose_unsynced() would drop."""
        return self._unsynced

    def get(self, key: bytes) -> bytes | None:
        assert self._open, "the store is closed"
        return self._values.get(key)

    def write(self, changes: Changes, sync: bool) -> None:
        assert self._open, "the store is closed"
        assert all(key != SCHEMA_KEY for key, _ in changes), "the schema key is the store's own"
        self._freeze_scans()
        self._apply(changes)
        self._log.append(_Write(tuple(changes), sync))
        self._unsynced = 0 if sync else self._unsynced + 1
        self._settle()

    def scan(
        self, prefix: bytes, *, start: bytes = b"", reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        assert self._open, "the store is closed"
        keys = self._keys
        end = prefix_end(prefix)
        low, high = bisect_left(keys, prefix), len(keys) if end is None else bisect_left(keys, end)
        if start and reverse:
            high = bisect_right(keys, prefix + start)
        elif start:
            low = bisect_left(keys, prefix + start)
        chosen = keys[low:high]
        if reverse:
            chosen.reverse()
        scan = _Scan(chosen, self._values)
        self._scans.add(scan)
        return scan

    def close(self) -> None:
        self._open = False

    def _freeze_scans(self) -> None:
        for scan in self._scans:
            scan.freeze()

    def _apply(self, changes: Changes) -> None:
        values, keys = self._values, self._keys
        final = dict(changes)
        added = [key for key, value in final.items() if value is not None and key not in values]
        removed = [key for key, value in final.items() if value is None and key in values]
        _apply_to(values, changes)
        for key in removed:
            del keys[bisect_left(keys, key)]
        if len(added) > INSERTIONS_ONE_BY_ONE_MAX:
            keys.extend(added)
            keys.sort()
        else:
            for key in added:
                insort(keys, key)

    def _settle(self) -> None:
        """Moves out of the log what can no longer be lost."""
        log = self._log
        while len(log) > self._unsynced and (log[0].sync or len(log) > AT_RISK_MAX):
            _apply_to(self._safe, log.popleft().changes)

    def lose_unsynced(self, rng: random.Random | None = None, *, rotated: bool = False) -> None:
        """What a power loss does: every write after the last synced one is gone.

        With ``rotated`` (which needs ``rng``) each unsynced write is lost or kept by chance, also
        those that a synced write followed, as when LevelDB had begun a new log file in between
        and only that one was synced. Scans under way keep what they saw.
        """
        self._freeze_scans()
        synced = len(self._log) - self._unsynced
        values = dict(self._safe)
        for position, write in enumerate(self._log):
            if rotated:
                assert rng is not None, "chance needs a generator"
                kept = write.sync or rng.random() < 0.5
            else:
                kept = position < synced
            if kept:
                _apply_to(values, write.changes)
        self._values, self._keys = values, sorted(values)
        self._safe, self._unsynced = dict(values), 0
        self._log.clear()

    def reopen(self) -> MemoryStore:
        """The store as the next process finds it: the same contents, whoever closed it.

        They are safe from then on: to open, LevelDB writes what its logs hold into a table, and
        syncs that (db_impl.cc, RecoverLogFile and WriteLevel0Table).
        """
        self._freeze_scans()
        self._safe, self._unsynced = dict(self._values), 0
        self._log.clear()
        self._open = True
        return self


def _apply_to(values: dict[bytes, bytes], changes: Changes) -> None:
    for key, value in changes:
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value
