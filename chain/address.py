"""Addresses: a kind byte and 32 bytes, shown in bech32m (BIP350).

Kind 0 is an Ed25519 public key, kind 1 the hash of a multisig policy. The human-readable prefix
names the kind of network, so that a coin of a test cannot be sent on a network of value.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from chain.errors import InvalidEncoding

KEY: Final = 0
POLICY: Final = 1

Address = Annotated[bytes, msgspec.Meta(min_length=33, max_length=33)]

PREFIXES: Final = {"main": "moot", "test": "tmoot", "dev": "rmoot"}
"""Human-readable prefix by kind of network (none of them is taken in SLIP-0173)."""


def key_address(public_key: bytes) -> Address:
    """The address of a 32-byte Ed25519 public key."""
    assert len(public_key) == 32
    return bytes([KEY]) + public_key


def public_key_of(address: Address) -> bytes:
    """The key behind an address of kind 0; raises InvalidEncoding for another kind."""
    if address[0] != KEY:
        raise InvalidEncoding("not-a-key", "this address is not a single key")
    return address[1:]
