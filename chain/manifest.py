"""The manifest: leaf 0 of a block's Merkle tree, in the place of Bitcoin's coinbase.

It commits to what the 80-byte header has no room for. The extra-nonce stands last and has a fixed
length, so that a Bitcoin miner can roll it as it rolls a coinbase's.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

import msgspec

from chain import codec
from chain.address import Address
from chain.codec import Hash, Uint
from chain.hashing import sha256d

CLAIMS_SIZE_MAX = 64 * 1024
"""Bytes of an engine's claims: room for a certificate of some hundred signatures."""
EXTRA_NONCE_SIZE = 8


class Manifest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True):
    """What a block says of itself.

    ``time_ms``: wall clock in milliseconds. ``state_root``: root of the state after this block.
    ``next_validators``: hash of the ValidatorSet entitled to decide this block's children.
    ``claims``: the engine's own encoded statements. ``reward``: base units minted by this block
    (not counting fees).
    """

    height: Uint
    time_ms: Uint
    producer: Address
    state_root: Hash
    next_validators: Hash
    claims: Annotated[bytes, msgspec.Meta(max_length=CLAIMS_SIZE_MAX)]
    reward: Uint
    extra_nonce: Annotated[
        bytes, msgspec.Meta(min_length=EXTRA_NONCE_SIZE, max_length=EXTRA_NONCE_SIZE)
    ]

    @cached_property
    def raw(self) -> bytes:
        """The canonical encoding."""
        return codec.encode(self)

    @cached_property
    def leaf(self) -> bytes:
        """Its hash in the Merkle tree."""
        return sha256d(self.raw)
