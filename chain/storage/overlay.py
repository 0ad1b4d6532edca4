"""A store laid over another: it reads through and keeps what is written to itself.

For looking at a database without changing it.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from itertools import groupby

from chain.storage import Changes, Store
from chain.storage.memory import MemoryStore

_GONE = b"\x00"
_HERE = b"\x01"
"""What stands before a value in the upper store: a deleted key must hide the lower one's."""


class OverlayStore:
    """``below`` with changes that end with this object; ``below`` is only read, and not closed."""

    def __init__(self, below: Store) -> None:
        self._below = below
        self._above = MemoryStore()

    def get(self, key: bytes) -> bytes | None:
        found = self._above.get(key)
        if found is None:
            return self._below.get(key)
        return found[1:] if found[:1] == _HERE else None

    def write(self, changes: Changes, sync: bool) -> None:
        marked = [(key, _GONE if value is None else _HERE + value) for key, value in changes]
        self._above.write(marked, sync)

    def scan(
        self, prefix: bytes, *, start: bytes = b"", reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        above = self._above.scan(prefix, start=start, reverse=reverse)
        below = self._below.scan(prefix, start=start, reverse=reverse)
        return _joined(above, below, reverse)

    def close(self) -> None:
        self._above.close()


def _joined(
    above: Iterator[tuple[bytes, bytes]], below: Iterator[tuple[bytes, bytes]], reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    rows = merge(
        ((key, True, value) for key, value in above),
        ((key, False, value) for key, value in below),
        key=lambda row: row[0],
        reverse=reverse,
    )
    for key, same in groupby(rows, key=lambda row: row[0]):
        # The upper row decides where both have the key.
        _, is_above, value = max(same, key=lambda row: row[1])
        if not is_above:
            yield key, value
        elif value[:1] == _HERE:
            yield key, value[1:]
