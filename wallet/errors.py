"""What can go wrong with keys and wallet files, each with a stable code and a plain sentence."""

from __future__ import annotations

from chain.errors import Invalid


class WalletError(Invalid):
    """Base of this package's own errors; raised itself for names and paths that are refused."""


class InvalidMnemonic(WalletError):
    """Words that are no BIP39 sentence."""


class InvalidPath(WalletError):
    """A derivation path that SLIP-0010 does not know for Ed25519."""


class InvalidAmount(WalletError):
    """Text that is not an exact amount of coins."""


class WrongPassword(WalletError):
    """The keystore does not open with this password (or its secret part was damaged)."""


class DamagedKeystore(WalletError):
    """A file that is not a keystore of ours, or no longer whole."""


class KeystoreExists(WalletError):
    """A keystore of that name is there already; a key is never overwritten."""


class KeystoreMissing(WalletError):
    """There is no keystore of that name."""
