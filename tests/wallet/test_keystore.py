"""Keystore files: published vectors, damage, costs, and how they are written."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from eth_keyfile import extract_key_from_keyfile

from chain.bech32m import show_address
from wallet import keystore
from wallet.errors import (
    DamagedKeystore,
    KeystoreExists,
    KeystoreMissing,
    WalletError,
    WrongPassword,
)
from wallet.keys import Key
from wallet.keystore import (
    LIGHT,
    STANDARD,
    ScryptCost,
    change_password,
    decrypt_key,
    encrypt_key,
    generate_key,
    load_key,
    read_address,
    save_key,
)

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "keystore_v3.json").read_text(encoding="utf-8")
)["vectors"]
KEY = Key.from_seed(bytes(range(32)))
PASSWORD = "Läuft – 鍵 & key"
TINY = ScryptCost(2, 8, 1)
"""The cheapest scrypt there is: these tests are not about its cost."""


@pytest.mark.parametrize("name", ["scrypt", "pbkdf2"])
def test_published_vector(name: str) -> None:
    vector = VECTORS[name]
    document = json.dumps(vector["keystore"]).encode()
    assert decrypt_key(document, vector["password"]).seed.hex() == vector["key"]
    with pytest.raises(WrongPassword):
        decrypt_key(document, vector["password"] + "x")


def test_light_file_opens_here_and_in_eth_keyfile(tmp_path: Path) -> None:
    path = tmp_path / "wallets" / "alice.json"
    save_key(path, KEY, PASSWORD, prefix="tmoot", cost=LIGHT)
    assert load_key(path, PASSWORD) == KEY
    assert extract_key_from_keyfile(str(path), PASSWORD.encode()) == KEY.seed
    document = json.loads(path.read_bytes())
    assert document["address"] == show_address(KEY.address, "tmoot") == read_address(path)
    parameters = document["crypto"]["kdfparams"]
    assert (parameters["n"], parameters["r"], parameters["p"]) == (2**12, 8, 6)


def test_standard_cost_is_geths() -> None:
    document = json.loads(encrypt_key(KEY, PASSWORD, "moot"))
    assert ScryptCost(2**18, 8, 1) == STANDARD
    assert document["crypto"]["kdfparams"]["n"] == 2**18
    assert document["version"] == 3


def test_same_key_and_password_never_give_the_same_file() -> None:
    assert encrypt_key(KEY, PASSWORD, "moot", TINY) != encrypt_key(KEY, PASSWORD, "moot", TINY)


def test_file_is_private_and_nothing_is_left_over(tmp_path: Path) -> None:
    path = tmp_path / "wallets" / "alice.json"
    save_key(path, KEY, PASSWORD, prefix="moot", cost=TINY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["alice.json"]


def test_a_key_is_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "alice.json"
    save_key(path, KEY, PASSWORD, prefix="moot", cost=TINY)
    before = path.read_bytes()
    with pytest.raises(KeystoreExists):
        save_key(path, generate_key(), PASSWORD, prefix="moot", cost=TINY)
    # Another process may take the name after the first look: the last step must refuse as well.
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    with pytest.raises(KeystoreExists):
        save_key(path, generate_key(), PASSWORD, prefix="moot", cost=TINY)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["alice.json"]


def test_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_key(tmp_path / "alice.json", KEY, PASSWORD, prefix="moot", cost=TINY)
    assert list(tmp_path.iterdir()) == []


def test_data_is_synced_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "alice.json"
    seen: list[tuple[bool, bool]] = []
    real = os.fsync

    def watch(descriptor: int) -> None:
        seen.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    save_key(path, KEY, PASSWORD, prefix="moot", cost=TINY)
    assert seen == [(False, False), (True, True)]


def test_wrong_password(tmp_path: Path) -> None:
    path = tmp_path / "alice.json"
    save_key(path, KEY, PASSWORD, prefix="moot", cost=TINY)
    for wrong in ("", PASSWORD + " ", PASSWORD[:-1]):
        with pytest.raises(WrongPassword):
            load_key(path, wrong)


def test_empty_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WalletError, match="protects nothing"):
        save_key(tmp_path / "alice.json", KEY, "", prefix="moot", cost=TINY)
    assert list(tmp_path.iterdir()) == []


def test_any_flipped_bit_gives_the_same_key_or_an_error() -> None:
    document = encrypt_key(KEY, PASSWORD, "moot", TINY)
    outcomes = {"same": 0, "WrongPassword": 0, "DamagedKeystore": 0}
    for position in range(len(document)):
        for bit in range(8):
            damaged = bytearray(document)
            damaged[position] ^= 1 << bit
            try:
                key = decrypt_key(bytes(damaged), PASSWORD)
            except (WrongPassword, DamagedKeystore) as error:
                outcomes[type(error).__name__] += 1
            else:
                # Harmless places: the id, spaces, and the case of hexadecimal digits.
                assert key == KEY
                outcomes["same"] += 1
    assert min(outcomes.values()) > 100


def test_any_truncation_is_damage() -> None:
    document = encrypt_key(KEY, PASSWORD, "moot", TINY).rstrip()
    for length in range(len(document)):
        with pytest.raises(DamagedKeystore):
            decrypt_key(document[:length], PASSWORD)


def test_initialisation_vector_is_guarded_by_the_address() -> None:
    # The MAC does not cover it: another one gives another key without a word.
    document = json.loads(encrypt_key(KEY, PASSWORD, "moot", TINY))
    document["crypto"]["cipherparams"]["iv"] = "00" * 16
    with pytest.raises(DamagedKeystore) as caught:
        decrypt_key(json.dumps(document).encode(), PASSWORD)
    assert caught.value.code == "keystore-address"


def _changed(**changes: Any) -> bytes:
    document = json.loads(encrypt_key(KEY, PASSWORD, "moot", TINY))
    for name, value in changes.items():
        where = document
        *outer, last = name.split("__")
        for part in outer:
            where = where[part]
        where[last] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 4},
        {"version": "3"},
        {"address": "008aeeda4d805471df9b2a5b0f38a0c3bcba786b"},
        {"crypto": None},
        {"crypto__cipher": "aes-256-cbc"},
        {"crypto__kdf": "argon2"},
        {"crypto__ciphertext": "00" * 31},
        {"crypto__ciphertext": "zz" * 32},
        {"crypto__mac": "0"},
        {"crypto__cipherparams__iv": "00" * 15},
        {"crypto__kdfparams": {}},
        {"crypto__kdfparams__dklen": 16},
        {"crypto__kdfparams__salt": ""},
        {"crypto__kdfparams__salt": "abc"},
        {"crypto__kdfparams__n": 3},
        {"crypto__kdfparams__n": 1},
        {"crypto__kdfparams__n": 0},
        {"crypto__kdfparams__n": -2},
        {"crypto__kdfparams__n": 2.0e300},
        {"crypto__kdfparams__n": True},
        {"crypto__kdfparams__r": 0},
        {"crypto__kdfparams__p": 0},
    ],
    ids=str,
)
def test_odd_fields_are_damage(changes: dict[str, Any]) -> None:
    with pytest.raises(DamagedKeystore):
        decrypt_key(_changed(**changes), PASSWORD)


@pytest.mark.parametrize(
    ("n", "r", "p"), [(2**32, 8, 1), (2**20, 8, 1), (2**18, 2**20, 1), (2**18, 8, 2**20)]
)
def test_costs_are_bounded_before_any_work(
    n: int, r: int, p: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eth_keyfile import keyfile

    def never(*_: object) -> bytes:
        raise AssertionError("the key derivation must not begin")

    monkeypatch.setattr(keyfile, "decode_keyfile_json", never)
    document = _changed(crypto__kdfparams__n=n, crypto__kdfparams__r=r, crypto__kdfparams__p=p)
    with pytest.raises(DamagedKeystore) as caught:
        decrypt_key(document, PASSWORD)
    assert caught.value.code == "kdf-too-costly"


def test_pbkdf2_rounds_are_bounded() -> None:
    document = json.loads(json.dumps(VECTORS["pbkdf2"]["keystore"]))
    document["crypto"]["kdfparams"]["c"] = 10**9
    with pytest.raises(DamagedKeystore):
        decrypt_key(json.dumps(document).encode(), "testpassword")


def test_oversize_missing_and_odd_files(tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    large.write_bytes(b" " * (keystore.FILE_SIZE_MAX + 1))
    with pytest.raises(DamagedKeystore) as caught:
        load_key(large, PASSWORD)
    assert caught.value.code == "keystore-too-large"
    with pytest.raises(KeystoreMissing):
        load_key(tmp_path / "nobody.json", PASSWORD)
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    with pytest.raises(DamagedKeystore, match="not a file"):
        load_key(pipe, PASSWORD)


def test_deep_nesting_is_damage() -> None:
    with pytest.raises(DamagedKeystore):
        decrypt_key(b'{"a":' * 10_000, PASSWORD)


def test_change_password(tmp_path: Path) -> None:
    path = tmp_path / "alice.json"
    save_key(path, KEY, "old", prefix="tmoot", cost=TINY)
    with pytest.raises(WrongPassword):
        change_password(path, "other", "new", cost=TINY)
    assert load_key(path, "old") == KEY
    change_password(path, "old", "new", cost=TINY)
    assert load_key(path, "new") == KEY
    with pytest.raises(WrongPassword):
        load_key(path, "old")
    assert read_address(path) == show_address(KEY.address, "tmoot")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["alice.json"]


def test_generated_keys_differ() -> None:
    assert generate_key() != generate_key()


def test_opening_a_keystore_leaves_the_recursion_limit_alone(tmp_path: Path) -> None:
    """A dependency raises it so far that deeply nested input would overrun the stack."""
    path = tmp_path / "key.json"
    save_key(path, KEY, "word", prefix="rmoot", cost=TINY)
    code = (
        "import sys, pathlib; from wallet.keystore import load_key;"
        "before = sys.getrecursionlimit();"
        f"load_key(pathlib.Path({str(path)!r}), 'word');"
        "assert sys.getrecursionlimit() == before, sys.getrecursionlimit()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
