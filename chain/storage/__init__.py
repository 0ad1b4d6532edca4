"""The storage port: ordered keys and values, atomic batches, and one promise about ``sync``.

Two stores stand behind it: MemoryStore (tests, the simulator) and LevelDB (chain.storage.leveldb).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

Changes = Sequence[tuple[bytes, bytes | None]]
"""Keys with their new values; None deletes. Of one key named twice the last one counts."""

SCHEMA_KEY: Final = b"\x00schema"
"""The store's own key: it marks a database as ours. Nobody else may write it; scans skip it."""


class Store(Protocol):
    """What the ledger needs of a disk."""

    def get(self, key: bytes) -> bytes | None:
        """The value of ``key``, or None. Raises DamagedStore or StoreFailure."""
        ...

    def write(self, changes: Changes, sync: bool) -> None:
        """Applies all changes or none.

        With ``sync`` they are on disk on return. A later synced write does *not* promise that an
        earlier unsynced one survives a power loss: a log that was rotated can lose it, so what
        must be there together goes into one write. Raises StoreFailure (DamagedStore), after
        which every further write is refused.
        """
        ...

    def scan(
        self, prefix: bytes, *, start: bytes = b"", reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Keys that begin with ``prefix``, with their values, in byte order.

        Begins at ``prefix + start`` (included) and goes up; with ``reverse`` it goes down from
        there, or from the last key of the prefix where ``start`` is empty. What it yields is the
        state at the time of the call, whatever is written meanwhile.
        """
        ...

    def close(self) -> None:
        """Releases the database; harmless when repeated. Nothing else may be called after it."""
        ...


def prefix_end(prefix: bytes) -> bytes | None:
    """The least key above all keys with ``prefix``; None where there is none (all 0xff)."""
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        return None
    return stripped[:-1] + bytes([stripped[-1] + 1])
