"""Derivation of Ed25519 keys from a seed (SLIP-0010), hardened steps only.

Paths follow BIP44 as far as Ed25519 allows: m/44'/COIN'/ACCOUNT'/0'. Coin type 1 is SLIP-0044's for
every test network; Moot has registered none of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from wallet.errors import InvalidPath

HARDENED: Final = 2**31
"""Indices from here on are hardened (BIP32); a path writes them as the rest with an apostrophe."""
COIN_TYPE_TEST: Final = 1
DEPTH_MAX: Final = 255
"""Steps of a path: BIP32 serialises the depth in one byte."""
SEED_SIZES: Final = range(16, 65)
"""Bytes of a master seed (BIP32: 128 to 512 bits)."""

_STEP = re.compile(r"(0|[1-9][0-9]{0,9})(['hH]?)", re.ASCII)


def account_path(account: int, coin_type: int = COIN_TYPE_TEST) -> str:
    """The default path of an account: m/44'/COIN'/ACCOUNT'/0'.

    Raises InvalidPath for numbers outside 0 to 2^31 - 1.
    """
    for number in (account, coin_type):
        if not 0 <= number < HARDENED:
            raise InvalidPath("path-index", f"an index lies between 0 and {HARDENED - 1}")
    return f"m/44'/{coin_type}'/{account}'/0'"


def parse_path(text: str) -> tuple[int, ...]:
    """The steps of a path such as ``m/44'/1'/0'/0'``, without the hardened bit.

    ``h`` and ``H`` may stand for the apostrophe. Raises InvalidPath: Ed25519 has no public
    derivation, so every step must be hardened (SLIP-0010).
    """
    first, *steps = text.split("/")
    if first != "m":
        raise InvalidPath("path-start", "a derivation path begins with m, as in m/44'/1'/0'/0'")
    if len(steps) > DEPTH_MAX:
        raise InvalidPath("path-depth", f"a derivation path has at most {DEPTH_MAX} steps")
    return tuple(_parse_step(position, step) for position, step in enumerate(steps, start=1))


def _parse_step(position: int, step: str) -> int:
    match = _STEP.fullmatch(step)
    if match is None:
        raise InvalidPath(
            "path-step", f"step {position} of the path is not a number with an apostrophe"
        )
    index = int(match[1])
    if index >= HARDENED:
        raise InvalidPath(
            "path-index", f"step {position} of the path is larger than {HARDENED - 1}"
        )
    if not match[2]:
        raise InvalidPath(
            "path-not-hardened",
            f"step {position} of the path needs an apostrophe: Ed25519 has hardened steps only",
        )
    return index


def derive(seed: bytes, path: str) -> bytes:
    """The 32-byte Ed25519 seed (RFC 8032's private key) at ``path`` below a master seed.

    ``seed`` is 16 to 64 bytes, usually a mnemonic's 64. Raises InvalidPath.
    """
    return derive_extended(seed, path)[0]


def derive_extended(seed: bytes, path: str) -> tuple[bytes, bytes]:
    """Private key and chain code, 32 bytes each (SLIP-0010, master key and private child key)."""
    if len(seed) not in SEED_SIZES:
        raise InvalidPath("seed-size", f"a master seed has 16 to 64 bytes, not {len(seed)}")
    node = hmac.new(b"ed25519 seed", seed, hashlib.sha512).digest()
    for index in parse_path(path):
        data = b"\x00" + node[:32] + (index + HARDENED).to_bytes(4, "big")
        node = hmac.new(node[32:], data, hashlib.sha512).digest()
    return node[:32], node[32:]
