"""Bitcoin's 80-byte block header.

A header parser, a miner or a light wallet written for Bitcoin reads Moot's headers as they are.
Engines without work leave ``bits`` and ``nonce`` zero.
"""

from __future__ import annotations

import struct
from functools import cached_property

import msgspec

from chain.codec import Hash, Uint32
from chain.errors import InvalidEncoding
from chain.hashing import BlockId, sha256d

HEADER_SIZE = 80
VERSION = 0x2000_0000
"""BIP9's top bits 001, so that version-rolling miners (BIP320) find their bits free."""

_LAYOUT = struct.Struct("<I32s32sIII")


class Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True):
    """version, previous block id, Merkle root, time in seconds, compact target, nonce."""

    version: Uint32
    previous: Hash
    merkle_root: Hash
    time_s: Uint32
    bits: Uint32
    nonce: Uint32

    @cached_property
    def raw(self) -> bytes:
        """The 80 bytes, little-endian, that are hashed."""
        return _LAYOUT.pack(
            self.version, self.previous, self.merkle_root, self.time_s, self.bits, self.nonce
        )

    @cached_property
    def id(self) -> BlockId:
        """sha256d of the 80 bytes (32 bytes, internal order)."""
        return sha256d(self.raw)


def parse_header(raw: bytes) -> Header:
    """The header in 80 bytes. Raises InvalidEncoding at any other length."""
    if len(raw) != HEADER_SIZE:
        raise InvalidEncoding("malformed-header", f"a header is 80 bytes, not {len(raw)}")
    return Header(*_LAYOUT.unpack(raw))
