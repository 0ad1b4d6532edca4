"""Mnemonic sentences (BIP39), through the reference library ``mnemonic``.

The English list only: other lists share words and normalisation pitfalls, and a sentence must open
the same wallet everywhere.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from mnemonic import Mnemonic

from wallet.errors import InvalidMnemonic

STRENGTHS: Final = {12: 128, 15: 160, 18: 192, 21: 224, 24: 256}
"""Bits of entropy by count of words (BIP39, "Generating the mnemonic")."""


@lru_cache(maxsize=1)
def _english() -> Mnemonic:
    return Mnemonic("english")


def new_mnemonic(words: int = 12) -> str:
    """A fresh sentence of 12, 15, 18, 21 or 24 words from the operating system's randomness.

    Raises InvalidMnemonic for another count.
    """
    if words not in STRENGTHS:
        raise InvalidMnemonic("word-count", f"a mnemonic has {_counts()} words, not {words}")
    sentence: str = _english().generate(STRENGTHS[words])
    return sentence


def check_mnemonic(text: str) -> str:
    """The sentence in its canonical form: lower case, single spaces.

    Raises InvalidMnemonic, saying which word is not on the list, or that the checksum (which
    catches swapped and mistaken words) does not fit.
    """
    words = text.lower().split()
    if len(words) not in STRENGTHS:
        raise InvalidMnemonic("word-count", f"a mnemonic has {_counts()} words, not {len(words)}")
    known = frozenset(_english().wordlist)
    for position, word in enumerate(words, start=1):
        if word not in known:
            # The word itself stays out of the sentence: errors end up in logs.
            raise InvalidMnemonic(
                "unknown-word", f"word {position} is not on BIP39's English list of words"
            )
    sentence = " ".join(words)
    if not _english().check(sentence):
        raise InvalidMnemonic(
            "mnemonic-checksum", "the mnemonic's checksum is wrong: a word is mistaken or misplaced"
        )
    return sentence


def seed_from_mnemonic(mnemonic: str, passphrase: str = "") -> bytes:
    """The 64-byte seed: PBKDF2-HMAC-SHA512, 2048 rounds, salt "mnemonic" + passphrase (BIP39).

    Any passphrase gives a valid, different wallet. Raises InvalidMnemonic as check_mnemonic does.
    """
    seed: bytes = Mnemonic.to_seed(check_mnemonic(mnemonic), passphrase)
    return seed


def _counts() -> str:
    *first, last = (str(count) for count in STRENGTHS)
    return f"{', '.join(first)} or {last}"
