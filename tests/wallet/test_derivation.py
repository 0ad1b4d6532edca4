"""SLIP-0010: the published vectors, another implementation as oracle, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slip10 import SLIP10

from wallet.derivation import account_path, derive, derive_extended, parse_path
from wallet.development import MNEMONIC, development_key
from wallet.errors import InvalidPath
from wallet.keys import Key
from wallet.mnemonics import seed_from_mnemonic

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "slip0010_ed25519.json").read_text(encoding="utf-8")
)["vectors"]
CASES = [(vector["seed"], chain) for vector in VECTORS for chain in vector["chains"]]


def test_both_published_vectors_are_there() -> None:
    assert len(VECTORS) == 2
    assert len(CASES) == 12


@pytest.mark.parametrize(("seed", "chain"), CASES, ids=lambda value: str(value)[:40])
def test_published_vector(seed: str, chain: dict[str, Any]) -> None:
    private, chain_code = derive_extended(bytes.fromhex(seed), chain["path"])
    assert private.hex() == chain["private"]
    assert chain_code.hex() == chain["chain_code"]
    assert Key.from_seed(private).public_key.hex() == chain["public"]


def test_value_checked_with_three_implementations() -> None:
    seed = seed_from_mnemonic("abandon " * 11 + "about")
    key = derive(seed, "m/44'/1'/0'/0'").hex()
    assert key.startswith("f1d60cc67b6d5f60")
    assert key.endswith("2069d")


@given(
    st.binary(min_size=16, max_size=64),
    st.lists(st.integers(min_value=0, max_value=2**31 - 1), max_size=5),
)
def test_agrees_with_slip10(seed: bytes, indices: list[int]) -> None:
    path = "/".join(["m", *(f"{index}'" for index in indices)])
    oracle = SLIP10.from_seed(seed, curve_name="ed25519")
    assert derive(seed, path) == oracle.get_privkey_from_path(path)


def test_three_spellings_of_hardened_are_one_path() -> None:
    assert parse_path("m/44'/1h/2H/0'") == (44, 1, 2, 0)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("", "path-start"),
        ("44'/1'", "path-start"),
        ("M/44'", "path-start"),
        ("m/44", "path-not-hardened"),
        ("m/44'/1'/0'/0", "path-not-hardened"),
        ("m/", "path-step"),
        ("m/44'/", "path-step"),
        ("m//0'", "path-step"),
        ("m/-1'", "path-step"),
        ("m/01'", "path-step"),
        ("m/1''", "path-step"),
        ("m/ 1'", "path-step"),
        ("m/\u0661'", "path-step"),
        ("m/2147483648'", "path-index"),
        ("m/9999999999'", "path-index"),
        ("m" + "/0'" * 256, "path-depth"),
    ],
)
def test_bad_paths_are_refused(path: str, code: str) -> None:
    with pytest.raises(InvalidPath) as caught:
        derive(bytes(64), path)
    assert caught.value.code == code


def test_seed_sizes_are_bounded() -> None:
    for size in (0, 15, 65):
        with pytest.raises(InvalidPath, match="16 to 64 bytes"):
            derive(bytes(size), "m")


def test_account_paths() -> None:
    assert account_path(7) == "m/44'/1'/7'/0'"
    assert account_path(0, coin_type=2) == "m/44'/2'/0'/0'"
    with pytest.raises(InvalidPath):
        account_path(2**31)
    with pytest.raises(InvalidPath):
        account_path(-1)


def test_development_keys_are_those_of_the_known_sentence() -> None:
    seed = seed_from_mnemonic(MNEMONIC)
    assert development_key(3).seed == derive(seed, "m/44'/1'/3'/0'")
    assert len({development_key(index).address for index in range(5)}) == 5
