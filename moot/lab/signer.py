"""A cheap stand-in for Ed25519, for simulated runs: not secure, and as strict as the real thing.

A signature is a keyed hash of the message under the *public* key. Anyone can make one, so liars in
a simulation must not forge those of others; everything that depends on a wrong signature being
noticed still works. A real signature costs 50 to 100 times as much.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

from chain.address import Address, key_address
from chain.signatures import Signed


class SigningKey(Protocol):
    """What a node signs with; wallet.keys.Key is one."""

    @property
    def public_key(self) -> bytes: ...
    @property
    def address(self) -> Address: ...
    def sign(self, message: bytes) -> bytes: ...


class CheapKey:
    """Signs like wallet.keys.Key; ``number`` makes keys differ."""

    def __init__(self, number: int) -> None:
        self.public_key = hashlib.sha256(b"moot/lab/key" + number.to_bytes(8, "big")).digest()

    @property
    def address(self) -> Address:
        return key_address(self.public_key)

    def sign(self, message: bytes) -> bytes:
        return cheap_signature(self.public_key, message)


def cheap_signature(public_key: bytes, message: bytes) -> bytes:
    """64 bytes."""
    return hashlib.blake2b(message, key=public_key).digest()


class CheapVerifier:
    """chain.signatures.Verifier for cheap signatures."""

    def verify(self, claims: Sequence[Signed]) -> list[bool]:
        return [
            len(claim.public_key) == 32
            and cheap_signature(claim.public_key, claim.message) == claim.signature
            for claim in claims
        ]
