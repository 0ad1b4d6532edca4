"""Open reads and commands: answered once, when their height is final, or never any more."""

from __future__ import annotations

from typing import cast

import pytest

from chain.hashing import BlockId
from chain.ledger import Ledger
from consensus.contract import CommandGiven, Event, ReadRequested
from moot.node import requests
from moot.node.requests import TOO_MANY, Requests


class Final:
    """As much of a ledger as requests look at."""

    def __init__(self) -> None:
        self.final = 3

    def confirmed(self) -> BlockId:
        return b""

    def height(self, block: BlockId) -> int:
        return self.final


class Bench:
    def __init__(self) -> None:
        self.ledger = Final()
        self.posted: list[Event] = []
        self.told: list[tuple[str, str]] = []
        self.requests = Requests(cast(Ledger, self.ledger), self.posted.append)

    def read(self, name: str) -> int:
        number = self.requests.read(lambda outcome: self.told.append((name, outcome)))
        assert number is not None
        return number


def test_a_read_is_answered_when_its_height_is_final() -> None:
    bench = Bench()
    first, second = bench.read("first"), bench.read("second")
    assert bench.posted == [ReadRequested(first), ReadRequested(second)]
    bench.requests.may_be_served(first, 3)
    assert bench.told == [("first", "")]
    bench.requests.may_be_served(second, 5)
    bench.ledger.final = 4
    bench.requests.finalized()
    assert bench.told == [("first", "")]
    bench.ledger.final = 5
    bench.requests.finalized()
    assert bench.told == [("first", ""), ("second", "")]
    bench.requests.finalized()
    assert len(bench.told) == 2


def test_a_refusal_ends_a_read_even_one_that_was_to_be_served() -> None:
    bench = Bench()
    number = bench.read("it")
    bench.requests.may_be_served(number, 9)
    bench.requests.answered(number, "refused: no")
    bench.ledger.final = 9
    bench.requests.finalized()
    bench.requests.answered(number, "again")
    bench.requests.answered(77, "unknown")
    assert bench.told == [("it", "refused: no")]


def test_nobody_hears_of_what_was_cancelled() -> None:
    bench = Bench()
    one, other = bench.read("one"), bench.read("other")
    bench.requests.may_be_served(one, 9)
    for number in (one, other):
        bench.requests.cancel(number)
        bench.requests.cancel(number)
    bench.ledger.final = 9
    bench.requests.may_be_served(other, 3)
    bench.requests.finalized()
    assert bench.told == []


def test_an_answer_may_cancel_another() -> None:
    bench = Bench()
    numbers: list[int] = []

    def done(outcome: str) -> None:
        bench.told.append(("first", outcome))
        bench.requests.cancel(numbers[1])

    first = bench.requests.read(done)
    assert first is not None
    numbers += [first, bench.read("second")]
    for number in numbers:
        bench.requests.may_be_served(number, 4)
    bench.ledger.final = 4
    bench.requests.finalized()
    assert bench.told == [("first", "")]


def test_open_requests_are_bounded_and_cancelling_makes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requests, "REQUESTS_MAX", 2)
    bench = Bench()
    first = bench.read("first")
    bench.requests.command("pause", ("x",), lambda outcome: None)
    assert isinstance(bench.posted[1], CommandGiven)
    assert bench.requests.read(lambda outcome: bench.told.append(("third", outcome))) is None
    assert bench.told == [("third", TOO_MANY)]
    bench.requests.cancel(first)
    bench.read("fourth")
