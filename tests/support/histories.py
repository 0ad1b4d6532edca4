"""Histories made by hand or by a simulated object, and a brute-force judge of small ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import combinations, permutations
from typing import Any

import msgspec

from moot.lab.history import (
    Answer,
    AnyCall,
    CompareAndSwap,
    Delete,
    Operation,
    Pay,
    Read,
    ReadAccount,
    Write,
)
from moot.lab.models import Model


def history(*events: tuple[Any, ...]) -> list[Operation]:
    """From events in order: ``("A", call)`` invokes; ``("A", None, answer)`` returns."""
    operations: list[Operation] = []
    open_: dict[str, int] = {}
    for position, event in enumerate(events, 1):
        client = event[0]
        if len(event) == 2:
            open_[client] = len(operations)
            operations.append(Operation(len(operations), client, event[1], position, position))
        else:
            number = open_.pop(client)
            operations[number] = msgspec.structs.replace(
                operations[number], returned_at=position, returned_ms=position, answer=event[2]
            )
    return operations


def replays(order: Sequence[Operation], model: Model[Any], names: tuple[str, ...]) -> bool:
    """Whether a sequential object goes through ``order`` with these answers."""
    state = model.init(names)
    for operation in order:
        fits, state = model.step(state, operation)
        if not fits:
            return False
    return True


def respects_time(order: Sequence[Operation]) -> bool:
    """Whether what returned before another's call also stands before it."""
    return not any(
        later.precedes(earlier)
        for index, earlier in enumerate(order)
        for later in order[index + 1 :]
    )


def brute_force(operations: Sequence[Operation], model: Model[Any], names: tuple[str, ...]) -> bool:
    """The definition, word by word: some order of all answered and any lost operations fits."""
    answered = [one for one in operations if not one.lost]
    lost = [one for one in operations if one.lost]
    return any(
        respects_time(order) and replays(order, model, names)
        for count in range(len(lost) + 1)
        for chosen in combinations(lost, count)
        for order in permutations([*answered, *chosen])
    )


def simulate(
    rng: random.Random,
    count: int,
    clients: int,
    call: Callable[[random.Random], AnyCall],
    perform: Callable[[AnyCall], Answer],
    lost_in_hundred: int = 0,
) -> list[Operation]:
    """A linearizable history: each operation takes effect at one moment between call and answer.

    ``perform`` does it to a real object at that moment. A lost one is performed or not.
    """
    operations: list[Operation] = []
    idle = [f"c{number}" for number in range(clients)]
    begun: list[tuple[str, int]] = []
    done: list[tuple[str, int, Answer]] = []
    position = 0
    while len(operations) < count or begun or done:
        position += 1
        choices = [
            *(["invoke"] if idle and len(operations) < count else []),
            *(["effect"] * len(begun)),
            *(["return"] * len(done)),
        ]
        match rng.choice(choices):
            case "invoke":
                client = idle.pop(rng.randrange(len(idle)))
                begun.append((client, len(operations)))
                operations.append(Operation(len(operations), client, call(rng), position, position))
            case "effect":
                client, number = begun.pop(rng.randrange(len(begun)))
                if rng.randrange(100) < lost_in_hundred:
                    if rng.random() < 0.5:
                        perform(operations[number].call)
                    idle.append(f"{client}'")
                else:
                    done.append((client, number, perform(operations[number].call)))
            case _:
                client, number, answer = done.pop(rng.randrange(len(done)))
                operations[number] = msgspec.structs.replace(
                    operations[number], returned_at=position, returned_ms=position, answer=answer
                )
                idle.append(client)
    return operations


class RealMap:
    """A dictionary that does what the key-value calls say."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def perform(self, call: AnyCall) -> Answer:
        values = self.values
        match call:
            case Read(key=key):
                return values.get(key)
            case Write(key=key, value=value):
                values[key] = value
                return True
            case Delete(key=key):
                return values.pop(key, None) is not None
            case CompareAndSwap(key=key, expected=expected, value=value):
                if values.get(key) != expected:
                    return False
                values[key] = value
                return True
        raise AssertionError(call)


def random_key_call(rng: random.Random, keys: str = "xy", values: int = 3) -> AnyCall:
    """Any key-value call."""
    key = rng.choice(keys)
    match rng.randrange(5):
        case 0 | 1:
            return Read(key)
        case 2:
            return Write(key, rng.randrange(values))
        case 3:
            return Delete(key)
        case _:
            return CompareAndSwap(key, rng.choice([None, *range(values)]), rng.randrange(values))


class RealBank:
    """Accounts with nonces; a payment out of turn waits for no one: its sender keeps count."""

    def __init__(self, initial: dict[str, int]) -> None:
        self.accounts = {name: [0, balance] for name, balance in initial.items()}
        self.nonces = dict.fromkeys(initial, 0)

    def call(self, rng: random.Random) -> AnyCall:
        """A read, or a payment that names no nonce yet (``perform`` gives it the next)."""
        names = sorted(self.accounts)
        if rng.random() < 0.5:
            return ReadAccount(rng.choice(names))
        return Pay(rng.choice(names), 0, rng.choice(names), rng.randrange(30), 1)

    def perform(self, call: AnyCall) -> Answer:
        if isinstance(call, ReadAccount):
            nonce, balance = self.accounts[call.account]
            return nonce, balance
        assert isinstance(call, Pay)
        sender, recipient = self.accounts[call.sender], self.accounts[call.recipient]
        sender[0] += 1
        sender[1] -= call.fee
        if call.amount == 0:
            return "zero-amount"
        if sender[1] < call.amount:
            return "insufficient-funds"
        sender[1] -= call.amount
        recipient[1] += call.amount
        return ""
