"""BIP39: the published vectors, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mnemonic import Mnemonic

from wallet.errors import InvalidMnemonic
from wallet.mnemonics import check_mnemonic, new_mnemonic, seed_from_mnemonic

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "bip39_english.json").read_text(encoding="utf-8")
)
ABOUT = "abandon " * 11 + "about"


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: v["entropy"][:12])
def test_published_vector(vector: dict[str, str]) -> None:
    sentence = Mnemonic("english").to_mnemonic(bytes.fromhex(vector["entropy"]))
    assert sentence == vector["mnemonic"]
    seed = seed_from_mnemonic(vector["mnemonic"], VECTORS["passphrase"])
    assert seed.hex() == vector["seed"]


def test_passphrase_is_normalised_to_nfkd() -> None:
    # BIP39: "UTF-8 NFKD"; the composed and the decomposed form are one passphrase.
    assert seed_from_mnemonic(ABOUT, "\u00fc") == seed_from_mnemonic(ABOUT, "u\u0308")
    assert seed_from_mnemonic(ABOUT, "\u00fc") != seed_from_mnemonic(ABOUT, "u")


@pytest.mark.parametrize("words", [12, 15, 18, 21, 24])
def test_new_mnemonics_are_sound_and_differ(words: int) -> None:
    first, second = new_mnemonic(words), new_mnemonic(words)
    assert first != second
    assert len(first.split()) == words
    assert check_mnemonic(first) == first


def test_case_and_spacing_do_not_matter() -> None:
    assert check_mnemonic(f"  {ABOUT.upper()}\n").split() == ABOUT.split()
    assert seed_from_mnemonic(ABOUT.replace(" ", "\t ")) == seed_from_mnemonic(ABOUT)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "word-count"),
        ("abandon " * 13, "word-count"),
        ("abandon " * 12, "mnemonic-checksum"),
        ("abandon " * 10 + "about abandon", "mnemonic-checksum"),
        ("abandon " * 11 + "moot", "unknown-word"),
    ],
)
def test_bad_sentences_are_refused(text: str, code: str) -> None:
    with pytest.raises(InvalidMnemonic) as caught:
        seed_from_mnemonic(text)
    assert caught.value.code == code


def test_errors_do_not_repeat_the_words() -> None:
    with pytest.raises(InvalidMnemonic, match="word 2 is not") as caught:
        check_mnemonic("abandon sesquipedalian " + "abandon " * 9 + "about")
    assert "sesquipedalian" not in caught.value.sentence


def test_odd_counts_are_not_made() -> None:
    with pytest.raises(InvalidMnemonic, match="12, 15, 18, 21 or 24"):
        new_mnemonic(13)
