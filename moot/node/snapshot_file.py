"""The file that ``moot chain snapshot save`` writes: a state, and why it is a final block's.

==============  ====================================================================================
bytes           what
==============  ====================================================================================
14              ``moot-snapshot`` and the format's version, 1
frame           the Genesis (canonical encoding)
frame           the Snapshot: heads, validator sets, proof
frame           a StateChunk
...             the rest of them, in order of path
empty frame     the end of the chunks
32              SHA-256 of all bytes before
==============  ====================================================================================

A frame is its payload's length (4 bytes, big-endian) and the payload. The checksum tells damage
from the end of a file; nothing else rests on it: each chunk is checked against the state root, and
the Snapshot's proof against the validators that the reader knows. Codes: as in
moot.node.chain_file, "not-a-snapshot" for other magic bytes, "incomplete" where chunks are missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO, Final, TypeVar

from chain import codec
from chain.errors import InvalidEncoding
from chain.genesis import Genesis
from chain.snapshot import SNAPSHOT_BYTES_MAX, Snapshot
from chain.state.chunks import PATHS, VALUE_SIZE_MAX, StateChunk
from moot.node.chain_file import GENESIS_FRAME_MAX

T = TypeVar("T")

MAGIC: Final = b"moot-snapshot"
VERSION: Final = 1
CHUNK_FRAME_MAX: Final = VALUE_SIZE_MAX + 1024 * 1024
"""Bytes of an encoded chunk: as on the wire."""


class SnapshotFileWriter:
    """Writes a file from its beginning to its end; ``finish`` must come last."""

    def __init__(self, file: BinaryIO, genesis: Genesis, snapshot: Snapshot) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._write(MAGIC + bytes([VERSION]))
        self._frame(genesis.raw)
        self._frame(codec.encode(snapshot))

    def add(self, chunk: StateChunk) -> None:
        """The next chunk, in order of path."""
        self._frame(codec.encode(chunk))

    def finish(self) -> None:
        self._frame(b"")
        self._file.write(self._digest.digest())

    def _frame(self, payload: bytes) -> None:
        self._write(len(payload).to_bytes(4, "big") + payload)

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)


class SnapshotFileReader:
    """Reads a file of any origin; never holds more of it than one frame.

    Raises InvalidEncoding with the codes named above: at once for the beginning, and out of
    ``chunks`` for the rest.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._where = "at its very beginning"
        self.position = 0
        """Bytes read so far."""
        magic = self._exactly(len(MAGIC) + 1)
        if magic[:-1] != MAGIC:
            raise InvalidEncoding("not-a-snapshot", "this is no file of `moot chain snapshot save`")
        if magic[-1] != VERSION:
            raise InvalidEncoding(
                "unknown-version", f"the file has version {magic[-1]}, this Moot knows {VERSION}"
            )
        self._where = "in its genesis"
        self.genesis = self._decoded(GENESIS_FRAME_MAX, Genesis)
        self._where = "in its description"
        self.snapshot = self._decoded(SNAPSHOT_BYTES_MAX, Snapshot)

    def chunks(self) -> Iterator[StateChunk]:
        """Every chunk, not checked yet; it ends only where the file does, checksum and all."""
        end = number = 0
        while True:
            number += 1
            self._where = f"in chunk {number}"
            raw = self._frame(CHUNK_FRAME_MAX)
            if not raw:
                break
            chunk = self._parsed(raw, StateChunk)
            if chunk.first != end:
                raise InvalidEncoding("incomplete", f"{self._where} the file leaves a gap")
            end = chunk.end
            yield chunk
        if end != PATHS:
            raise InvalidEncoding("incomplete", "the file does not hold the whole state")
        self._where = "at its end"
        expected = self._digest.digest()
        if self._exactly(len(expected)) != expected:
            raise InvalidEncoding("bad-checksum", "the file was changed: its checksum is wrong")
        if self._file.read(1):
            raise InvalidEncoding("trailing-data", "something follows the file's end")

    def _decoded(self, size_max: int, kind: type[T]) -> T:
        return self._parsed(self._frame(size_max), kind)

    def _parsed(self, raw: bytes, kind: type[T]) -> T:
        try:
            return codec.decode(raw, kind)
        except InvalidEncoding as error:
            raise InvalidEncoding(
                "malformed", f"{self._where} the file is damaged: {error.sentence}"
            ) from None

    def _frame(self, size_max: int) -> bytes:
        length = int.from_bytes(self._exactly(4), "big")
        if length > size_max:
            raise InvalidEncoding(
                "frame-too-large",
                f"{self._where} the file claims {length} bytes where at most {size_max} may be",
            )
        return self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = self._file.read(count)
        self._digest.update(data)
        self.position += len(data)
        if len(data) != count:
            raise InvalidEncoding("truncated", f"the file is cut off {self._where}")
        return data
