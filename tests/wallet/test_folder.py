"""Named wallets."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.bech32m import show_address
from wallet.development import MNEMONIC, development_key
from wallet.errors import (
    InvalidMnemonic,
    KeystoreExists,
    KeystoreMissing,
    WalletError,
    WrongPassword,
)
from wallet.folder import WalletFolder
from wallet.keystore import ScryptCost


@pytest.fixture
def folder(tmp_path: Path) -> WalletFolder:
    return WalletFolder(tmp_path / "wallets", "rmoot", ScryptCost(2, 8, 1))


def test_new_wallet_can_be_loaded_and_restored(folder: WalletFolder) -> None:
    made = folder.new("alice", "secret", words=24)
    assert len(made.mnemonic.split()) == 24
    assert made.path == "m/44'/1'/0'/0'"
    assert folder.load("alice", "secret") == made.key
    restored = folder.import_mnemonic("again", made.mnemonic, "other")
    assert restored == made.key == folder.load("again", "other")


def test_import_takes_path_and_passphrase(folder: WalletFolder) -> None:
    key = folder.import_mnemonic("dev", MNEMONIC, "pw", path="m/44'/1'/5'/0'")
    assert key == development_key(5)
    assert folder.import_mnemonic("other", MNEMONIC, "pw", passphrase="x") != development_key(0)
    folder.import_key("raw", development_key(2), "pw")
    assert folder.load("raw", "pw") == development_key(2)


def test_entries_are_sorted_and_name_problems(folder: WalletFolder) -> None:
    assert folder.entries() == ()
    folder.import_key("bob", development_key(1), "pw")
    folder.import_key("alice", development_key(0), "pw")
    folder.path_of("carol").write_bytes(b"{")
    (folder.folder / "notes.txt").write_text("not a wallet")
    alice, bob, carol = folder.entries()
    assert (alice.name, alice.address) == (
        "alice",
        show_address(development_key(0).address, "rmoot"),
    )
    assert bob.name == "bob"
    assert bob.problem is None
    assert carol.address is None
    assert carol.problem is not None
    assert folder.address("bob") == bob.address


def test_change_password(folder: WalletFolder) -> None:
    folder.import_key("bob", development_key(1), "pw")
    folder.change_password("bob", "pw", "new")
    assert folder.load("bob", "new") == development_key(1)
    with pytest.raises(WrongPassword):
        folder.load("bob", "pw")


def test_names_are_kept_apart(folder: WalletFolder) -> None:
    folder.import_key("bob", development_key(1), "pw")
    with pytest.raises(KeystoreExists):
        folder.new("bob", "pw")
    with pytest.raises(KeystoreMissing):
        folder.load("alice", "pw")


def test_bad_mnemonic_writes_nothing(folder: WalletFolder) -> None:
    with pytest.raises(InvalidMnemonic):
        folder.import_mnemonic("bob", "test " * 12, "pw")
    assert folder.entries() == ()


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../bob", "a/b", "Bob", "-x", "_x", "a b", "a" * 33, "bob\n", "ü", "a\0"],
)
def test_names_that_are_no_file_names_are_refused(folder: WalletFolder, name: str) -> None:
    with pytest.raises(WalletError) as caught:
        folder.new(name, "pw")
    assert caught.value.code == "wallet-name"
