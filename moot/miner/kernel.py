"""Searching nonces: sha256d over 80-byte headers, in slices, in plain Python.

The first 64 bytes of a header do not depend on the nonce: their SHA-256 state, the *midstate*, is
computed once and copied. So is the state after the next 14 bytes, time and bits and the nonce's
low half, for 65,536 nonces at a time; a nonce is therefore tried by the order of its *rank*: the
nonce with its 16-bit halves swapped. This module imports nothing but the standard library, so
that a worker process starts in milliseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from hashlib import sha256

HEADER_SIZE = 80
RANKS = 2**32
"""Nonces of one header."""
VERSION_BITS = 16
VERSION_SHIFT = 13
VERSION_MASK = 0x1FFF_E000
"""BIP320 leaves bits 13 to 28 of the version to miners."""
VARIANTS = 2**VERSION_BITS
TIME_ROLL_MAX_S = 3_600
"""Seconds that a header's time is rolled once nonces and versions are spent; the chain allows more
(2 h by default), and at a gigahash a second this lasts for 30 million years."""

Scan = Callable[[bytes, int, int, int], int | None]
"""(header, target, first rank, count) -> a nonce that has work, or None."""

_HALVES = tuple(half.to_bytes(2, "little") for half in range(2**16))


def nonce_of(rank: int) -> int:
    """The nonce tried at ``rank`` (and the other way round: swapping halves undoes itself)."""
    return (rank & 0xFFFF) << 16 | rank >> 16


def scan(header: bytes, target: int, first: int, count: int) -> int | None:
    """The first nonce, by rank from ``first`` on, whose hash is at most ``target``.

    None where none of the ``count`` ranks has one. The header's own nonce is not looked at.
    """
    assert len(header) == HEADER_SIZE and 0 <= first <= first + count <= RANKS
    midstate = sha256(header[:64])
    new, number, top = sha256, int.from_bytes, target >> 248
    rank, end = first, first + count
    while rank < end:
        low, high = divmod(rank, 2**16)
        stop = min(end - (low << 16), 2**16)
        state = midstate.copy()
        state.update(header[64:76] + _HALVES[low])
        copy = state.copy
        position = high
        for half in _HALVES[high:stop]:
            inner = copy()
            inner.update(half)
            digest = new(inner.digest()).digest()
            # The top byte alone refuses nearly all; the whole number decides.
            if digest[31] <= top and number(digest, "little") <= target:
                return position << 16 | low
            position += 1
        rank = (low << 16) + stop
    return None


def scan_plainly(header: bytes, target: int, first: int, count: int) -> int | None:
    """What ``scan`` must agree with, without any trick: the oracle of its tests."""
    for rank in range(first, first + count):
        candidate = header[:76] + struct.pack("<I", nonce_of(rank))
        digest = sha256(sha256(candidate).digest()).digest()
        if int.from_bytes(digest, "little") <= target:
            return nonce_of(rank)
    return None


KERNELS: dict[str, Scan] = {"hashlib-midstate": scan, "hashlib-plain": scan_plainly}
"""By name, the preferred one first."""


def has_work(header: bytes, target: int) -> bool:
    """Whether sha256d of the header is at most ``target``."""
    digest = sha256(sha256(header).digest()).digest()
    return int.from_bytes(digest, "little") <= target


def with_nonce(header: bytes, nonce: int) -> bytes:
    return header[:76] + struct.pack("<I", nonce)


def variants(header: bytes, first: int, stride: int) -> Iterator[bytes]:
    """Headers with nonce spaces of their own: number ``first``, then every ``stride``-th one.

    Number 0 is the header itself; the next ones roll the version's free bits (BIP320), and after
    65,536 of them the time, by a second each. Workers that start at different numbers below a
    common stride never try the same header.
    """
    version = struct.unpack_from("<I", header)[0]
    time_s = struct.unpack_from("<I", header, 68)[0]
    for number in range(first, VARIANTS * TIME_ROLL_MAX_S, stride):
        seconds, roll = divmod(number, VARIANTS)
        rolled = version ^ roll << VERSION_SHIFT
        later = time_s + seconds
        if later >= 2**32:
            return
        yield struct.pack("<I", rolled) + header[4:68] + struct.pack("<I", later) + header[72:]
