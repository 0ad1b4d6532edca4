"""Sequential models: what an object would answer if it were asked one thing at a time.

``Model`` is what the checker (moot.lab.linearizability) is generic over. A history is linearizable
if and only if it is so for each object taken alone (Herlihy and Wing 1990, theorem 1: locality). An
object is what one operation can touch: a key is one; a payment couples two accounts, so that all
accounts joined by payments, directly or over others, are *one* object.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Protocol, TypeVar

from moot.lab.history import (
    Answer,
    AnyCall,
    CompareAndSwap,
    Delete,
    Operation,
    Pay,
    Read,
    ReadAccount,
    Value,
    Write,
)

State = TypeVar("State", bound=Hashable)


class Model(Protocol[State]):
    """A sequential specification. States are hashable values that are never changed in place."""

    def touches(self, call: AnyCall) -> tuple[str, ...]:
        """Names of what the call may read or write; at least one."""
        ...

    def init(self, names: tuple[str, ...]) -> State:
        """The first state of the object made of ``names`` (sorted)."""
        ...

    def step(self, state: State, operation: Operation) -> tuple[bool, State]:
        """Whether the operation may happen in ``state`` with its answer, and the state after.

        Of a lost operation every answer is possible.
        """
        ...

    def effect_free(self, operation: Operation) -> bool:
        """Whether the operation, with its answer, changes no state at all, whichever it meets."""
        ...


class KeyValueModel:
    """Registers by name with read, write, delete and compare-and-swap; each key is an object."""

    def __init__(self, initial: Mapping[str, Value] | None = None) -> None:
        self._initial = dict(initial or {})

    def touches(self, call: AnyCall) -> tuple[str, ...]:
        assert isinstance(call, Read | Write | Delete | CompareAndSwap), call
        return (call.key,)

    def init(self, names: tuple[str, ...]) -> Value:
        (key,) = names
        return self._initial.get(key)

    def step(self, state: Value, operation: Operation) -> tuple[bool, Value]:
        expected, after = self._perform(state, operation.call)
        return operation.lost or _same(expected, operation.answer), after

    def effect_free(self, operation: Operation) -> bool:
        match operation.call:
            case Read():
                return True
            case CompareAndSwap() | Delete():
                return not operation.lost and operation.answer is False
            case _:
                return False

    @staticmethod
    def _perform(state: Value, call: AnyCall) -> tuple[Answer, Value]:
        match call:
            case Read():
                return state, state
            case Write(value=value):
                return True, value
            case Delete():
                return state is not None, None
            case CompareAndSwap(expected=expected, value=value):
                found = _same(state, expected)
                return found, value if found else state
        raise AssertionError(f"not an operation on a key: {call}")


class RegisterModel(KeyValueModel):
    """Herlihy and Wing's register: one value, ``initial`` at first, read and written."""

    def __init__(self, initial: Value = None) -> None:
        super().__init__()
        self._value = initial

    def touches(self, call: AnyCall) -> tuple[str, ...]:
        assert isinstance(call, Read | Write), call
        return ("register",)

    def init(self, names: tuple[str, ...]) -> Value:
        return self._value


Accounts = tuple[tuple[str, int, int], ...]
"""(name, nonce, balance) of each account of an object, sorted by name."""


class AccountsModel:
    """Payments and account reads; accounts joined by payments are one object.

    ``initial``: name to (nonce, balance); absent: (0, 0). Fees leave the model, since whom they go
    to is the block's affair: accounts that earn fees or rewards must not be read in the history.
    """

    def __init__(self, initial: Mapping[str, tuple[int, int]]) -> None:
        self._initial = dict(initial)

    def touches(self, call: AnyCall) -> tuple[str, ...]:
        match call:
            case ReadAccount(account=account):
                return (account,)
            case Pay(sender=sender, recipient=recipient):
                return (sender, recipient) if sender != recipient else (sender,)
        raise AssertionError(f"not an operation on accounts: {call}")

    def init(self, names: tuple[str, ...]) -> Accounts:
        return tuple((name, *self._initial.get(name, (0, 0))) for name in names)

    def step(self, state: Accounts, operation: Operation) -> tuple[bool, Accounts]:
        accounts = {name: (nonce, balance) for name, nonce, balance in state}
        call = operation.call
        if isinstance(call, ReadAccount):
            return operation.lost or operation.answer == accounts[call.account], state
        assert isinstance(call, Pay), call
        nonce, balance = accounts[call.sender]
        if nonce != call.nonce or balance < call.fee:
            return False, state  # such a transaction is in no block
        balance -= call.fee
        code = _refusal(call, balance)
        accounts[call.sender] = (nonce + 1, balance)
        if not code:
            accounts[call.sender] = (nonce + 1, balance - call.amount)
            nonce_there, received = accounts[call.recipient]
            accounts[call.recipient] = (nonce_there, received + call.amount)
        after = tuple((name, *accounts[name]) for name, _, _ in state)
        return operation.lost or operation.answer == code, after

    def effect_free(self, operation: Operation) -> bool:
        return isinstance(operation.call, ReadAccount)


class OneAccountModel(AccountsModel):
    """Payments and reads as a single account sees them; every account is an object of its own.

    This is *weaker* than AccountsModel, and much cheaper: it raises no false alarm, but does not
    see that a payment left one account and has not yet reached the other.
    """

    def __init__(self, name: str, initial: tuple[int, int]) -> None:
        super().__init__({name: initial})
        self._name = name

    def touches(self, call: AnyCall) -> tuple[str, ...]:
        return (self._name,)

    def step(self, state: Accounts, operation: Operation) -> tuple[bool, Accounts]:
        call = operation.call
        if isinstance(call, ReadAccount):
            return super().step(state, operation)
        assert isinstance(call, Pay), call
        if call.sender == self._name:
            name, nonce, balance = state[0]
            if call.recipient == name:
                return super().step(state, operation)
            ok, after = super().step((*state, (call.recipient, 0, 0)), operation)
            return ok, after[:1]
        if not operation.lost and operation.answer != "":
            return True, state
        name, nonce, balance = state[0]
        return True, ((name, nonce, balance + call.amount),)


def _refusal(call: Pay, balance: int) -> str:
    """The receipt's code for a payment out of ``balance``, its fee already paid; "": done."""
    if call.amount == 0:
        return "zero-amount"
    return "insufficient-funds" if balance < call.amount else ""


def _same(one: Answer, other: Answer) -> bool:
    """Equal, and True is not 1."""
    return type(one) is type(other) and one == other
