"""The file that ``moot chain export`` writes: a genesis, and its chain's blocks with their proofs.

==============  ====================================================================================
bytes           what
==============  ====================================================================================
16              ``moot-chain-file`` and the format's version, 1
frame           the Genesis (canonical encoding)
frame, frame    the Block at height 1, and its Proof; an empty frame where it has none
...             the same for every height after it, none left out
empty frame     the end of the blocks
8               how many blocks there were (big-endian)
32              SHA-256 of all bytes before
==============  ====================================================================================

A frame is its payload's length (4 bytes, big-endian) and the payload. The checksum tells damage
from the end of a file; nothing else rests on it: whoever reads a file judges every block anew.

==================  ================================================================================
code                when
==================  ================================================================================
not-a-chain-file    other magic bytes
unknown-version     made by a newer Moot
truncated           the file ends before its end
frame-too-large     a length beyond what genesis allows
malformed           a frame that is no Genesis, Block or Proof
not-linked          a block that does not follow on the one before
bad-count           the number of blocks at the end is not that of the blocks
bad-checksum        a byte was changed
trailing-data       something follows the end
==================  ================================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from chain import codec
from chain.block import Block, parse_block
from chain.errors import InvalidEncoding
from chain.genesis import Genesis
from chain.ledger import genesis_block
from chain.proof import PROOF_SIZE_MAX, Proof

MAGIC: Final = b"moot-chain-file"
VERSION: Final = 1
GENESIS_FRAME_MAX: Final = 4 * 1024 * 1024
"""Bytes of the encoded genesis: as many as its people's form may have."""
PROOF_FRAME_MAX: Final = PROOF_SIZE_MAX + 1_024
"""Bytes of an encoded proof: its body, with the engine's name around it."""


class StoredBlock(NamedTuple):
    """One block of a file, with what shows it final (None: nothing does)."""

    block: Block
    proof: Proof | None


class ChainFileWriter:
    """Writes a file from its beginning to its end; ``finish`` must come last."""

    def __init__(self, file: BinaryIO, genesis: Genesis) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._count = 0
        self._write(MAGIC + bytes([VERSION]))
        self._frame(genesis.raw)

    def add(self, block: Block, proof: Proof | None) -> None:
        """The next block; heights begin at 1."""
        assert block.height == self._count + 1, "blocks go into a file in order, none left out"
        self._frame(block.raw)
        self._frame(b"" if proof is None else codec.encode(proof))
        self._count += 1

    def finish(self) -> None:
        """The end, with the count and the checksum."""
        self._frame(b"")
        self._write(self._count.to_bytes(8, "big"))
        self._file.write(self._digest.digest())

    def _frame(self, payload: bytes) -> None:
        self._write(len(payload).to_bytes(4, "big") + payload)

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)


class ChainFileReader:
    """Reads a file of any origin. Never holds more of it than one block and its proof.

    Raises InvalidEncoding with the codes of the table above: at once for the beginning, and out of
    ``blocks`` for the rest, after everything that came before the fault.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._where = "at its very beginning"
        self.position = 0
        """Bytes read so far."""
        magic = file.read(len(MAGIC) + 1)
        self._took(magic)
        if magic[: len(MAGIC)] != MAGIC:
            raise InvalidEncoding("not-a-chain-file", "this is no file of `moot chain export`")
        if len(magic) == len(MAGIC):
            raise self._truncated()
        if magic[-1] != VERSION:
            raise InvalidEncoding(
                "unknown-version", f"the file has version {magic[-1]}, this Moot knows {VERSION}"
            )
        self._where = "in its genesis"
        try:
            self.genesis = codec.decode(self._frame(GENESIS_FRAME_MAX), Genesis)
            self.genesis.check()
        except InvalidEncoding as error:
            raise self._fault(error) from None

    def blocks(self) -> Iterator[StoredBlock]:
        """Every block from height 1 on; it ends only where the file does, checksum and all."""
        previous = genesis_block(self.genesis)
        size_max = self.genesis.limits.block_size_max
        while True:
            height = previous.height + 1
            self._where = f"at height {height}"
            raw = self._frame(size_max)
            if not raw:
                break
            try:
                block = parse_block(raw, size_max)
                raw_proof = self._frame(PROOF_FRAME_MAX)
                proof = codec.decode(raw_proof, Proof) if raw_proof else None
            except InvalidEncoding as error:
                raise self._fault(error) from None
            if block.height != height or block.previous != previous.id:
                raise InvalidEncoding(
                    "not-linked", f"{self._where} the file holds a block that does not belong there"
                )
            yield StoredBlock(block, proof)
            previous = block
        self._end(previous.height)

    def _end(self, count: int) -> None:
        self._where = "at its end"
        claimed = int.from_bytes(self._exactly(8), "big")
        if claimed != count:
            raise InvalidEncoding("bad-count", f"the file says {claimed} blocks and holds {count}")
        expected = self._digest.digest()
        if self._exactly(len(expected)) != expected:
            raise InvalidEncoding("bad-checksum", "the file was changed: its checksum is wrong")
        if self._file.read(1):
            raise InvalidEncoding("trailing-data", "something follows the file's end")

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
        self._took(data)
        if len(data) != count:
            raise self._truncated()
        return data

    def _took(self, data: bytes) -> None:
        self._digest.update(data)
        self.position += len(data)

    def _truncated(self) -> InvalidEncoding:
        return InvalidEncoding("truncated", f"the file is cut off {self._where}")

    def _fault(self, error: InvalidEncoding) -> InvalidEncoding:
        if error.code in ("truncated", "frame-too-large"):
            return error
        return InvalidEncoding("malformed", f"{self._where} the file is damaged: {error.sentence}")
