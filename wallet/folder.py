"""Named wallets in one folder: each a keystore file that holds one account's key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from wallet.derivation import account_path, derive
from wallet.errors import DamagedKeystore, WalletError
from wallet.keys import Key
from wallet.keystore import (
    STANDARD,
    ScryptCost,
    change_password,
    keystore_names,
    load_key,
    read_address,
    save_key,
)
from wallet.mnemonics import new_mnemonic, seed_from_mnemonic

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)


class WalletEntry(NamedTuple):
    """One wallet as listed: its address, or the sentence that says why it cannot be read."""

    name: str
    address: str | None
    problem: str | None


class NewWallet(NamedTuple):
    """A wallet just made. ``mnemonic`` is shown to its owner once and stored nowhere."""

    name: str
    key: Key
    mnemonic: str
    path: str


def check_name(name: str) -> str:
    """The name itself; raises WalletError unless it is safe as a file's name everywhere."""
    if _NAME.fullmatch(name) is None:
        raise WalletError(
            "wallet-name",
            "a wallet's name has 1 to 32 characters a-z, 0-9, - and _, the first a letter or digit",
        )
    return name


class WalletFolder:
    """The wallets under one folder, usually MOOT_HOME/wallets.

    ``prefix`` is the address prefix of the network that new wallets are for. Methods raise
    WalletError for a bad name and what wallet.keystore raises.
    """

    def __init__(self, folder: Path, prefix: str, cost: ScryptCost = STANDARD) -> None:
        self.folder = folder
        self.prefix = prefix
        self.cost = cost

    def path_of(self, name: str) -> Path:
        """Where a wallet of this name is, or would be, kept."""
        return self.folder / f"{check_name(name)}.json"

    def new(
        self,
        name: str,
        password: str,
        *,
        words: int = 12,
        passphrase: str = "",
        path: str | None = None,
    ) -> NewWallet:
        """A wallet with a fresh mnemonic; its key lies at ``path`` (default: account 0)."""
        mnemonic = new_mnemonic(words)
        where = account_path(0) if path is None else path
        key = self.import_mnemonic(name, mnemonic, password, passphrase=passphrase, path=where)
        return NewWallet(name, key, mnemonic, where)

    def import_mnemonic(
        self,
        name: str,
        mnemonic: str,
        password: str,
        *,
        passphrase: str = "",
        path: str | None = None,
    ) -> Key:
        """A wallet from a mnemonic; also raises InvalidMnemonic and InvalidPath."""
        where = account_path(0) if path is None else path
        key = Key.from_seed(derive(seed_from_mnemonic(mnemonic, passphrase), where))
        self.import_key(name, key, password)
        return key

    def import_key(self, name: str, key: Key, password: str) -> None:
        """A wallet from a key."""
        save_key(self.path_of(name), key, password, prefix=self.prefix, cost=self.cost)

    def load(self, name: str, password: str) -> Key:
        """The key of a wallet."""
        return load_key(self.path_of(name), password)

    def address(self, name: str) -> str | None:
        """The address that a wallet's file names, without its password."""
        return read_address(self.path_of(name))

    def change_password(self, name: str, old: str, new: str) -> None:
        """Put a wallet under another password."""
        change_password(self.path_of(name), old, new, cost=self.cost)

    def entries(self) -> tuple[WalletEntry, ...]:
        """All wallets by name. One that cannot be read is listed with its problem."""
        return tuple(self._entry(name) for name in keystore_names(self.folder))

    def _entry(self, name: str) -> WalletEntry:
        try:
            return WalletEntry(name, read_address(self.folder / f"{name}.json"), None)
        except DamagedKeystore as error:
            return WalletEntry(name, None, error.sentence)
