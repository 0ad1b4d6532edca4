"""What the keys of the state mean."""

from __future__ import annotations

import pytest

from chain.address import key_address
from chain.genesis import SUPPLY_MAX, Era
from chain.state.accounts import (
    ERAS_KEY,
    SUPPLY_KEY,
    VALIDATORS_KEY,
    Account,
    Maturing,
    account_key,
    encode_account,
    encode_eras,
    encode_maturing,
    encode_supply,
    encode_validators,
    get_account,
    get_eras,
    get_maturing,
    get_supply,
    get_validators,
    maturing_key,
)
from chain.state.tree import EMPTY
from chain.validators import Validator, ValidatorSet, validator_set

ALICE = key_address(b"\x01" * 32)
BOB = key_address(b"\x02" * 32)


def test_an_empty_state_holds_nothing() -> None:
    assert get_account(EMPTY, ALICE) == Account(0, 0)
    assert get_supply(EMPTY) == 0
    assert get_eras(EMPTY) == ()
    assert get_validators(EMPTY) == ValidatorSet()
    assert get_maturing(EMPTY, 7) == ()


def test_what_is_written_is_read() -> None:
    eras = (Era(0, "pbft", (("timeout_ms", 500),)), Era(10, "pow"))
    members = validator_set([Validator(BOB, 2), Validator(ALICE, 1, "alice")], b"\x05" * 32)
    due = (Maturing(BOB, 5), Maturing(ALICE, 6), Maturing(BOB, 5))
    state = EMPTY.update(
        {
            account_key(ALICE): encode_account(Account(3, 100)),
            SUPPLY_KEY: encode_supply(116),
            ERAS_KEY: encode_eras(eras),
            VALIDATORS_KEY: encode_validators(members),
            maturing_key(7): encode_maturing(due),
        }
    )
    assert get_account(state, ALICE) == Account(3, 100)
    assert get_account(state, BOB) == Account(0, 0)
    assert get_supply(state) == 116
    assert get_eras(state) == eras
    assert get_validators(state) == members
    assert get_maturing(state, 7) == due
    assert get_maturing(state, 8) == ()


def test_what_is_empty_leaves_no_entry() -> None:
    """Else the root would tell an account that was emptied from one that never was."""
    assert encode_account(Account(0, 0)) is None
    assert encode_account(Account(1, 0)) is not None
    assert encode_account(Account(0, 1)) is not None
    assert encode_supply(0) is None
    assert encode_validators(ValidatorSet()) is None
    assert encode_maturing(()) is None
    full = EMPTY.update({account_key(ALICE): encode_account(Account(0, 9))})
    assert full.update({account_key(ALICE): encode_account(Account(0, 0))}).root == EMPTY.root


def test_keys_as_they_lie_on_disk() -> None:
    assert account_key(ALICE) == b"a\x00" + b"\x01" * 32
    assert maturing_key(0x0102) == b"m\x00\x00\x00\x00\x00\x00\x01\x02"
    assert (ERAS_KEY, SUPPLY_KEY, VALIDATORS_KEY) == (b"eras", b"supply", b"validators")
    assert encode_account(Account(3, 100)) == bytes.fromhex("920364")


def test_no_key_can_be_taken_for_another() -> None:
    """Lengths and first bytes keep the kinds of keys apart."""
    fixed = {ERAS_KEY, SUPPLY_KEY, VALIDATORS_KEY}
    assert len(fixed) == 3
    assert all(key[:1] not in (b"a", b"m") for key in fixed)


def test_our_own_mistakes_are_loud() -> None:
    with pytest.raises(AssertionError):
        encode_supply(SUPPLY_MAX + 1)
    with pytest.raises(AssertionError):
        encode_eras(())
    broken = EMPTY.update({account_key(ALICE): b"\xc1", SUPPLY_KEY: b"\xa0"})
    for read in (lambda: get_account(broken, ALICE), lambda: get_supply(broken)):
        with pytest.raises(AssertionError, match="wrong kind"):
            read()
