"""Amounts: exact both ways, and strict."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.genesis import COIN, SUPPLY_MAX
from wallet.amounts import parse_amount, show_amount
from wallet.errors import InvalidAmount


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("0", 0),
        ("1", COIN),
        ("1.5", 150_000_000),
        ("0.1", 10_000_000),
        ("0.00000001", 1),
        ("21000000.00000001", 2_100_000_000_000_001),
        ("1.50", 150_000_000),
        ("46116860184.27387904", SUPPLY_MAX),
    ],
)
def test_exact_amounts(text: str, units: int) -> None:
    assert parse_amount(text) == units


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "malformed-amount"),
        ("-1", "malformed-amount"),
        ("+1", "malformed-amount"),
        (".5", "malformed-amount"),
        ("1.", "malformed-amount"),
        ("1e3", "malformed-amount"),
        ("1,000", "malformed-amount"),
        ("1_000", "malformed-amount"),
        (" 1", "malformed-amount"),
        ("1\n", "malformed-amount"),
        ("007", "malformed-amount"),
        ("1.2.3", "malformed-amount"),
        ("\u0661", "malformed-amount"),
        ("nan", "malformed-amount"),
        ("0x10", "malformed-amount"),
        ("9" * 400, "malformed-amount"),
        ("1.000000001", "amount-too-fine"),
        ("46116860184.27387905", "amount-too-large"),
        (1.5, "amount-not-text"),
        (1, "amount-not-text"),
    ],
)
def test_everything_else_is_refused(text: Any, code: str) -> None:
    with pytest.raises(InvalidAmount) as caught:
        parse_amount(text)
    assert caught.value.code == code


@given(st.integers(min_value=0, max_value=SUPPLY_MAX))
def test_shown_amounts_parse_back_and_are_exact(units: int) -> None:
    text = show_amount(units)
    assert parse_amount(text) == units
    assert Decimal(text) * COIN == units


def test_differences_may_be_negative() -> None:
    assert show_amount(-150_000_000) == "-1.5"
    assert show_amount(-1) == "-0.00000001"
