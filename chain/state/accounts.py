"""What the keys of the state mean, and the types behind them.

=====================  ==================================================  ==================
key                    value (canonical encoding)                          function
=====================  ==================================================  ==================
``a`` + address        Account: nonce and balance; absent: (0, 0)          account_key
``m`` + height (8, BE) tuple of Maturing: what becomes spendable there      maturing_key
``eras``               tuple of Era                                        ERAS_KEY
``supply``             base units that exist, maturing ones included       SUPPLY_KEY
``v`` + voter          tuple of OpenVote: the membership votes of a voter   open_votes_key
``validators``         ValidatorSet                                        VALIDATORS_KEY
=====================  ==================================================  ==================

A value that does not decode is our own mistake (execution wrote it), so it raises AssertionError.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol, TypeVar

from chain import codec
from chain.address import Address
from chain.codec import Record, Uint
from chain.errors import InvalidEncoding
from chain.genesis import SUPPLY_MAX, Era
from chain.validators import ValidatorSet

T = TypeVar("T")

ACCOUNT_PREFIX: Final = b"a"
MATURING_PREFIX: Final = b"m"
ERAS_KEY: Final = b"eras"
"""The eras in order of height; genesis writes the first ones."""
SUPPLY_KEY: Final = b"supply"
"""The base units that exist: all balances and all that is still maturing."""
VALIDATORS_KEY: Final = b"validators"
"""The validator set as of this state; it decides ``lag`` blocks later."""


VOTES_PREFIX: Final = b"v"


class StateReader(Protocol):
    """What the getters need: a StateTree, or a layer of pending writes over one."""

    def get(self, key: bytes) -> bytes | None: ...


class Account(Record, frozen=True):
    """``nonce``: the sender's next transaction's. ``balance``: spendable base units."""

    nonce: Uint = 0
    balance: Uint = 0


class Maturing(Record, frozen=True):
    """``amount`` base units that become spendable by ``recipient``."""

    recipient: Address
    amount: Uint


class OpenVote(Record, frozen=True):
    """A membership vote that was cast in the block at ``height`` and may still count.

    The rest is what the vote wishes: chain.transaction.MembershipVote.
    """

    subject: Address
    standing: Uint
    weight: Uint
    name: str
    height: Uint


NO_ACCOUNT: Final = Account()


def account_key(address: Address) -> bytes:
    """Where an address's account lies: ``a`` and the 33 bytes."""
    return ACCOUNT_PREFIX + address


def get_account(state: StateReader, address: Address) -> Account:
    """The account of ``address``; Account(0, 0) where the state has none."""
    raw = state.get(account_key(address))
    return NO_ACCOUNT if raw is None else _decode(raw, Account)


def encode_account(account: Account) -> bytes | None:
    """The state value of an account; None (no entry) for an empty one."""
    return None if account == NO_ACCOUNT else codec.encode(account)


def maturing_key(height: int) -> bytes:
    """Where that stands which becomes spendable at ``height``: ``m`` and 8 bytes, big-endian."""
    return MATURING_PREFIX + height.to_bytes(8, "big")


def get_maturing(state: StateReader, height: int) -> tuple[Maturing, ...]:
    """What becomes spendable at ``height``, in the order in which it was minted."""
    raw = state.get(maturing_key(height))
    return () if raw is None else _decode(raw, tuple[Maturing, ...])


def encode_maturing(entries: Iterable[Maturing]) -> bytes | None:
    """The state value of a height's maturing amounts; None (no entry) where there are none."""
    listed = tuple(entries)
    return codec.encode(listed) if listed else None


def get_supply(state: StateReader) -> int:
    """Base units that exist; 0 in a state without the entry."""
    raw = state.get(SUPPLY_KEY)
    return 0 if raw is None else _decode(raw, int)


def encode_supply(supply: int) -> bytes | None:
    """The state value of the supply; None (no entry) for 0."""
    assert 0 <= supply <= SUPPLY_MAX, "the supply left its bounds"
    return codec.encode(supply) if supply else None


def get_eras(state: StateReader) -> tuple[Era, ...]:
    """The chain's eras, in order of height; empty before genesis."""
    raw = state.get(ERAS_KEY)
    return () if raw is None else _decode(raw, tuple[Era, ...])


def encode_eras(eras: tuple[Era, ...]) -> bytes:
    """The state value of the eras (at least one)."""
    assert eras, "a chain has an era from height 0 on"
    return codec.encode(eras)


def get_validators(state: StateReader) -> ValidatorSet:
    """The validator set as of this state; the empty set where there is none."""
    raw = state.get(VALIDATORS_KEY)
    return ValidatorSet() if raw is None else _decode(raw, ValidatorSet)


def encode_validators(validators: ValidatorSet) -> bytes | None:
    """The state value of a validator set; None (no entry) for the empty one."""
    return None if validators == ValidatorSet() else codec.encode(validators)


def open_votes_key(voter: Address) -> bytes:
    """Where a voter's membership votes lie: ``v`` and its address."""
    return VOTES_PREFIX + voter


def get_open_votes(state: StateReader, voter: Address) -> tuple[OpenVote, ...]:
    """A voter's membership votes, oldest first, expired ones included."""
    raw = state.get(open_votes_key(voter))
    return () if raw is None else _decode(raw, tuple[OpenVote, ...])


def encode_open_votes(votes: Iterable[OpenVote]) -> bytes | None:
    """The state value of a voter's votes; None (no entry) where there are none."""
    listed = tuple(votes)
    return codec.encode(listed) if listed else None


def _decode(raw: bytes, kind: type[T]) -> T:
    try:
        return codec.decode(raw, kind)
    except InvalidEncoding as error:
        raise AssertionError(f"the state holds a value of the wrong kind: {error}") from error
