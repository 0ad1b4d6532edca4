"""BIP37's merkleblock message: a header and a partial Merkle tree that proves one leaf."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from chain.hashing import sha256d
from chain.header import Header


def merkle_block(header: Header, leaves: Sequence[bytes], position: int) -> bytes:
    """The serialized message that proves the leaf at ``position``.

    Header, number of leaves, hashes and flag bits of a depth-first walk (BIP37, "Partial Merkle
    branch format"): a node above the leaf is flagged 1 and opened, any other is given as its hash.
    """
    levels = _levels(leaves)
    bits: list[bool] = []
    hashes: list[bytes] = []

    def walk(level: int, index: int) -> None:
        above = position >> level == index
        bits.append(above)
        if not above or level == 0:
            hashes.append(levels[level][index])
            return
        walk(level - 1, 2 * index)
        if 2 * index + 1 < len(levels[level - 1]):
            walk(level - 1, 2 * index + 1)

    walk(len(levels) - 1, 0)
    flags = bytearray((len(bits) + 7) // 8)
    for place, bit in enumerate(bits):
        flags[place // 8] |= bit << (place % 8)
    return b"".join(
        (
            header.raw,
            struct.pack("<I", len(leaves)),
            compact_size(len(hashes)),
            *hashes,
            compact_size(len(flags)),
            bytes(flags),
        )
    )


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """All levels of Bitcoin's Merkle tree, leaves first."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        pairs = range(0, len(below), 2)
        levels.append([sha256d(below[i] + below[min(i + 1, len(below) - 1)]) for i in pairs])
    return levels


def compact_size(number: int) -> bytes:
    """Bitcoin's variable-length integer."""
    if number < 0xFD:
        return bytes([number])
    if number <= 0xFFFF:
        return b"\xfd" + struct.pack("<H", number)
    return b"\xfe" + struct.pack("<I", number)
