"""Ed25519 keys (RFC 8032), through ``cryptography``."""

from __future__ import annotations

from typing import final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chain.address import Address, key_address
from wallet.errors import WalletError

SEED_SIZE = 32


@final
class Key:
    """A private key and what follows from it. Its text forms never show the secret."""

    __slots__ = ("_private", "_seed", "address", "public_key")

    public_key: bytes
    """32 bytes."""
    address: Address
    """The address of kind 0 that this key spends from."""

    def __init__(self, seed: bytes) -> None:
        """From the 32-byte seed of RFC 8032; raises WalletError at another length."""
        if len(seed) != SEED_SIZE:
            raise WalletError("key-size", f"a private key has 32 bytes, not {len(seed)}")
        self._seed = bytes(seed)
        self._private = Ed25519PrivateKey.from_private_bytes(self._seed)
        self.public_key = self._private.public_key().public_bytes_raw()
        self.address = key_address(self.public_key)

    @classmethod
    def from_seed(cls, seed: bytes) -> Key:
        """The key of a 32-byte seed; raises WalletError at another length."""
        return cls(seed)

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes. For the keystore and TLS certificates; never show or log them."""
        return self._seed

    def sign(self, message: bytes) -> bytes:
        """The 64-byte deterministic signature of RFC 8032."""
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"Key(public_key={self.public_key.hex()})"

    def __eq__(self, other: object) -> bool:
        # Comparing public keys is enough, and takes no secret-dependent time.
        return isinstance(other, Key) and other.public_key == self.public_key

    def __hash__(self) -> int:
        return hash(self.public_key)
