"""Amounts as people write them: exact decimals of a coin, never floats."""

from __future__ import annotations

import re

from chain.genesis import COIN, SUPPLY_MAX
from wallet.errors import InvalidAmount

DECIMALS = 8
"""Digits after the point: 10^8 base units make a coin."""
assert 10**DECIMALS == COIN

_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,18})(?:\.([0-9]+))?", re.ASCII)


def parse_amount(text: str) -> int:
    """Base units of an amount in coins, such as ``1.5`` (150,000,000).

    Raises InvalidAmount for anything but plain digits with at most eight after one point: signs,
    exponents, thousands separators, numbers that are not text (a float cannot hold 0.1), and for
    more than may ever exist.
    """
    if not isinstance(text, str):
        raise InvalidAmount("amount-not-text", "give the amount as text, such as 1.5")
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise InvalidAmount(
            "malformed-amount", "an amount is digits with at most one point, such as 1.5 or 0.25"
        )
    whole, fraction = match[1], match[2] or ""
    if len(fraction) > DECIMALS:
        raise InvalidAmount(
            "amount-too-fine", f"an amount has at most {DECIMALS} digits after the point"
        )
    units = int(whole) * COIN + int(fraction.ljust(DECIMALS, "0"))
    if units > SUPPLY_MAX:
        raise InvalidAmount("amount-too-large", "that is more than may ever exist")
    return units


def show_amount(units: int) -> str:
    """The shortest exact text in coins: 150,000,000 gives ``1.5``. Differences may be negative."""
    whole, rest = divmod(abs(units), COIN)
    fraction = f"{rest:0{DECIMALS}d}".rstrip("0")
    sign = "-" if units < 0 else ""
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
