"""PUBLICLY KNOWN KEYS FOR TEST NETWORKS. ANYONE CAN SPEND WHAT THEY HOLD.

The mnemonic below is printed in the documentation of many development tools, on purpose: a devnet
funds these accounts so that examples work without making keys first. Never send anything of worth
to them, and never use them on a network that others rely on.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from wallet.derivation import account_path, derive
from wallet.keys import Key
from wallet.mnemonics import seed_from_mnemonic

MNEMONIC: Final = "test test test test test test test test test test test junk"
"""KNOWN TO EVERYONE. For development networks only."""


@lru_cache(maxsize=1)
def _seed() -> bytes:
    return seed_from_mnemonic(MNEMONIC)


def development_key(index: int) -> Key:
    """PUBLICLY KNOWN key number ``index`` (from 0): m/44'/1'/INDEX'/0' below MNEMONIC.

    For development networks only. Raises InvalidPath for an index outside 0 to 2^31 - 1.
    """
    return Key.from_seed(derive(_seed(), account_path(index)))
