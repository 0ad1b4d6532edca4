"""What a LevelDB manifest says ought to lie in the directory.

LevelDB itself notices a missing table, but not a missing log: it would go on without the writes in
it, synced ones included, and an engine that forgets a vote it sent may contradict itself. Nor does
it look at the size of a table before it reads from it. So the manifest is read here too, as far as
that needs, from its bytes alone (LevelDB's doc/log_format.md, and VersionEdit in its
db/version_edit.cc). Checksums are left to LevelDB, which refuses the manifest if they are wrong.
"""

from __future__ import annotations

from typing import Final, NamedTuple

BLOCK_SIZE: Final = 32 * 1024
HEADER_SIZE: Final = 7
"""Checksum (4 bytes), length (2, little-endian), type (1)."""
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4

COMPARATOR, LOG_NUMBER, NEXT_FILE, LAST_SEQUENCE, COMPACT_POINTER = 1, 2, 3, 4, 5
DELETED_FILE, NEW_FILE, PREVIOUS_LOG = 6, 7, 9


class Files(NamedTuple):
    """``log``: number of the oldest log that is needed (0: none). ``tables``: size by number."""

    log: int
    tables: dict[int, int]


def files_of(manifest: bytes) -> Files | None:
    """The files that a manifest needs, or None where it cannot be read (LevelDB will say why)."""
    log = 0
    tables: dict[int, tuple[int, int]] = {}
    try:
        for record in _records(manifest):
            edit = _Edit(record)
            while edit.position < len(record):
                tag = edit.varint()
                if tag == LOG_NUMBER:
                    log = edit.varint()
                elif tag in (NEXT_FILE, LAST_SEQUENCE, PREVIOUS_LOG):
                    edit.varint()
                elif tag == COMPARATOR:
                    edit.skip_string()
                elif tag == COMPACT_POINTER:
                    edit.varint()
                    edit.skip_string()
                elif tag == DELETED_FILE:
                    level, number = edit.varint(), edit.varint()
                    # A table may move to another level in one edit: told apart by the level.
                    if tables.get(number, (level, 0))[0] == level:
                        tables.pop(number, None)
                elif tag == NEW_FILE:
                    level, number, size = edit.varint(), edit.varint(), edit.varint()
                    edit.skip_string()
                    edit.skip_string()
                    tables[number] = (level, size)
                else:
                    return None
    except IndexError:
        return None
    return Files(log, {number: size for number, (_, size) in sorted(tables.items())})


def _records(data: bytes) -> list[bytes]:
    """The whole records of a file in LevelDB's log format; like LevelDB, drops one cut short."""
    records: list[bytes] = []
    parts: list[bytes] = []
    position = 0
    while position < len(data):
        room = BLOCK_SIZE - position % BLOCK_SIZE
        if room < HEADER_SIZE:
            position += room
            continue
        if position + HEADER_SIZE > len(data):
            break
        length = int.from_bytes(data[position + 4 : position + 6], "little")
        kind = data[position + 6]
        body = data[position + HEADER_SIZE : position + HEADER_SIZE + length]
        if len(body) < length:
            break
        position += HEADER_SIZE + length
        if kind in (FULL, FIRST):
            parts = []
        parts.append(body)
        if kind in (FULL, LAST):
            records.append(b"".join(parts))
    return records


class _Edit:
    """Reads a VersionEdit; IndexError where it ends too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self.position]
            self.position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def skip_string(self) -> None:
        length = self.varint()
        self.position += length
