"""Wallets without a network: files, words, passwords."""

from __future__ import annotations

import os
import pty
import select
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from eth_keyfile.keyfile import decode_keyfile_json, load_keyfile

from chain.bech32m import show_address
from tests.moot.cli.conftest import Moot, document
from wallet.development import MNEMONIC, development_key

ROOT = Path(__file__).parents[3]


def test_new_shows_the_words_once_and_they_restore_the_wallet(moot: Moot, tmp_path: Path) -> None:
    made = document(moot("wallet", "new", "alice", "--light", "--words", "24", "--json"))
    words = made["mnemonic"].split()
    assert len(words) == 24 and made["address"].startswith("rmoot1")
    stored = Path(made["file"])
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert not any(word in stored.read_text() for word in words if len(word) > 5)
    (tmp_path / "words").write_text(made["mnemonic"] + "\n")
    again = document(
        moot("wallet", "import", "again", "--light", "--mnemonic-file", "words", "--json")
    )
    assert again["address"] == made["address"] and "mnemonic" not in again


def test_people_get_the_words_numbered_with_a_warning(moot: Moot) -> None:
    text = moot("wallet", "new", "alice", "--light").stdout
    assert "WRITE THESE WORDS DOWN" in text and " 1 " in text and "12 " in text
    assert "Whoever has these words owns the wallet's coins" in text


def test_a_passphrase_and_a_path_lead_to_other_keys(moot: Moot, tmp_path: Path) -> None:
    (tmp_path / "words").write_text(MNEMONIC)
    (tmp_path / "extra").write_text("more\n")
    source = ("--light", "--mnemonic-file", "words", "--json")
    plain = document(moot("wallet", "import", "a", *source))
    extra = document(moot("wallet", "import", "b", *source, "--passphrase-file", "extra"))
    other = document(moot("wallet", "import", "c", *source, "--path", "m/44'/1'/3'/0'"))
    assert plain["address"] == show_address(development_key(0).address, "rmoot")
    assert other["address"] == show_address(development_key(3).address, "rmoot")
    assert len({plain["address"], extra["address"], other["address"]}) == 3


def test_the_file_is_a_version_3_keystore_that_others_read(moot: Moot) -> None:
    made = document(moot("wallet", "import", "bank", "--development", "4", "--light", "--json"))
    opened = decode_keyfile_json(load_keyfile(made["file"]), b"a password")
    assert opened == development_key(4).seed


def test_network_sets_the_prefix_and_address_shows_it_for_another(moot: Moot) -> None:
    moot("wallet", "import", "t", "--development", "1", "--light", "--network", "test")
    key = development_key(1).address
    assert moot("wallet", "address", "t").stdout.strip() == show_address(key, "tmoot")
    shown = moot("wallet", "address", "t", "--network", "dev", "--json")
    assert document(shown)["address"] == show_address(key, "rmoot")
    refused = moot("wallet", "import", "m", "--development", "1", "--network", "main", status=1)
    assert "public knowledge" in refused.stderr


def test_export_gives_a_key_file_and_import_takes_it(moot: Moot, tmp_path: Path) -> None:
    moot("wallet", "import", "bank", "--development", "2", "--light")
    said = moot("wallet", "export", "bank", "bank.key")
    assert development_key(2).seed.hex() not in said.stdout
    assert (tmp_path / "bank.key").read_text().strip() == development_key(2).seed.hex()
    assert stat.S_IMODE((tmp_path / "bank.key").stat().st_mode) == 0o600
    taken = moot("wallet", "import", "twin", "--seed-file", "bank.key", "--light", "--json")
    assert document(taken)["address"] == show_address(development_key(2).address, "rmoot")
    assert "never overwritten" in moot("wallet", "export", "bank", "bank.key", status=1).stderr


def test_list_names_all_wallets_and_the_fault_of_a_damaged_one(moot: Moot, tmp_path: Path) -> None:
    assert "moot wallet new" in moot("wallet", "list").stdout
    moot("wallet", "import", "good", "--development", "0", "--light")
    (tmp_path / "home" / "wallets" / "broken.json").write_text("{")
    found = {each["name"]: each for each in document(moot("wallet", "list", "--json"))["wallets"]}
    assert found["good"]["problem"] is None
    assert found["broken"]["address"] is None and found["broken"]["problem"]


def test_the_password_is_changed(moot: Moot, tmp_path: Path) -> None:
    moot("wallet", "import", "bank", "--development", "0", "--light")
    (tmp_path / "next").write_text("another one\n")
    moot("wallet", "password", "bank", "--light", "--new-password-file", "next")
    refused = moot("wallet", "export", "bank", "k", status=1)
    assert "the password is wrong" in refused.stderr and not (tmp_path / "k").exists()
    moot("wallet", "export", "bank", "k", "--password-file", "next")


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("new", "Bad Name"), 1, "a wallet's name has 1 to 32 characters"),
        (("new", "../up"), 1, "a wallet's name has 1 to 32 characters"),
        (("new", "a", "--words", "13"), 2, "13"),
        (("new", "taken"), 1, "there is a wallet taken already"),
        (("import", "a", "--mnemonic-file", "nonsense"), 1, "mnemonic"),
        (("import", "a", "--seed-file", "nonsense"), 1, "64 hexadecimal digits"),
        (("import", "a", "--seed-file", "absent"), 2, "does not exist"),
        (("import", "a", "--seed-file", "nonsense", "--development", "1"), 2, "give one of"),
        (("import", "a", "--development", "10"), 2, "range"),
        (("import", "a", "--development", "1", "--path", "m/0'"), 2, "go with words only"),
        (("import", "a", "--light"), 1, "give --mnemonic-file, or run this in a terminal"),
        (("import", "a", "--mnemonic-file", "words", "--path", "m/0"), 1, "path"),
        (("address", "nobody"), 1, "there is no keystore"),
        (("new", "a", "--password-file", "empty"), 1, "first line of empty is empty"),
        (("new", "a", "--password-file", "binary"), 1, "binary is not text"),
        (("new", "a", "--password-file", "long"), 1, "too long for a secret"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    moot: Moot, tmp_path: Path, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    (tmp_path / "nonsense").write_text("these are no words of a wallet\n")
    (tmp_path / "words").write_text(MNEMONIC)
    (tmp_path / "empty").write_text("\nsecond line\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "long").write_text("x" * 5_000)
    moot("wallet", "import", "taken", "--development", "0", "--light")
    result = moot("wallet", *arguments, status=status)
    assert sentence.lower() in result.stderr.lower()
    assert "Traceback" not in result.stderr and result.stdout == ""


def test_a_terminal_asks_for_the_password_twice_and_shows_it_never(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MOOT_")}
    command = [sys.executable, "-m", "moot.cli", "wallet", "new", "alice", "--light"]
    process = subprocess.Popen(
        [*command, "--home", str(tmp_path / "home"), "--json"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**environment, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    os.close(theirs)
    seen, answered = b"", 0
    while answered < 2:
        assert select.select([ours], [], [], 60)[0], seen
        seen += os.read(ours, 1024)
        if seen.count(b": ") > answered:
            os.write(ours, b"typed secret\n")
            answered += 1
    output, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0 and b"mnemonic" in output
    assert b"typed secret" not in seen and b"New password for wallet alice" in seen
    stored = load_keyfile(str(tmp_path / "home" / "wallets" / "alice.json"))
    assert len(decode_keyfile_json(stored, b"typed secret")) == 32
