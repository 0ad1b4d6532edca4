"""Hashes and how they are shown.

Block and transaction ids are Bitcoin's: double SHA-256, shown in reversed hex, so that every
Bitcoin tool reads them as Bitcoin's own.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from chain.errors import InvalidEncoding

BlockId = bytes
TxId = bytes

ZERO_HASH = bytes(32)


def sha256(data: bytes) -> bytes:
    """SHA-256 (FIPS 180-4), 32 bytes."""
    return hashlib.sha256(data).digest()


def sha256d(data: bytes) -> bytes:
    """SHA-256 of SHA-256, 32 bytes: ids and Merkle trees, as in Bitcoin."""
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def tagged(domain: str, *parts: bytes) -> bytes:
    """Domain-separated bytes for signing: the tag's hash twice (as in BIP340), then the parts.

    Each part is preceded by its length, so that no two lists of parts give the same bytes.
    """
    pieces = [_tag(domain)]
    for part in parts:
        pieces += (len(part).to_bytes(4, "big"), part)
    return b"".join(pieces)


@lru_cache(maxsize=64)
def _tag(domain: str) -> bytes:
    """The tag's hash, twice; there are a handful of domains, and a signature needs one each."""
    return sha256(domain.encode()) * 2


def show_id(identifier: bytes) -> str:
    """An id as people see it: reversed, in lower-case hex."""
    return identifier[::-1].hex()


def parse_id(text: str) -> bytes:
    """The inverse of show_id. Raises InvalidEncoding unless it is 64 hex digits."""
    try:
        identifier = bytes.fromhex(text)[::-1]
    except ValueError:
        identifier = b""
    if len(text) != 64 or len(identifier) != 32:  # fromhex lets spaces pass
        raise InvalidEncoding("malformed-id", "an id is 64 hexadecimal digits")
    return identifier
