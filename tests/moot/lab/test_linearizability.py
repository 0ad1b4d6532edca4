"""The checker: textbook histories, simulated ones, mutated ones, and a brute-force judge."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moot.lab.history import (
    CompareAndSwap,
    Delete,
    Operation,
    Pay,
    Read,
    ReadAccount,
    Write,
    prefix,
)
from moot.lab.linearizability import Budget, check, check_each_account, objects
from moot.lab.models import AccountsModel, KeyValueModel, RegisterModel
from tests.support.histories import (
    RealMap,
    brute_force,
    history,
    random_key_call,
    replays,
    respects_time,
    simulate,
)


class QueueModel:
    """Herlihy and Wing's FIFO queue: a write puts in, a read takes out (None: empty)."""

    def touches(self, call: Any) -> tuple[str, ...]:
        return (call.key,)

    def init(self, names: tuple[str, ...]) -> tuple[Any, ...]:
        return ()

    def step(self, state: tuple[Any, ...], operation: Operation) -> tuple[bool, tuple[Any, ...]]:
        if isinstance(operation.call, Write):
            return True, (*state, operation.call.value)
        taken = state[0] if state else None
        return operation.lost or operation.answer == taken, state[1:]

    def effect_free(self, operation: Operation) -> bool:
        return False


DEQ = Read("q")


def enq(value: str) -> Write:
    return Write("q", value)


# After figure 1 of Herlihy and Wing (1990): queue histories, and whether they are acceptable.
OVERLAPPING_ENQUEUES = history(
    ("A", enq("x")), ("B", enq("y")), ("A", None, True), ("B", None, True),
    ("B", DEQ), ("B", None, "x"), ("A", DEQ), ("A", None, "y"), ("A", enq("z")), ("A", None, True),
)  # fmt: skip
LAST_IN_FIRST_OUT = history(
    ("A", enq("x")), ("A", None, True), ("B", enq("y")), ("B", None, True),
    ("A", DEQ), ("A", None, "y"),
)  # fmt: skip
TAKEN_WHILE_PUT_IN = history(
    ("A", enq("x")), ("B", DEQ), ("B", None, "x"), ("A", None, True),
)  # fmt: skip
TAKEN_TWICE = history(
    ("A", enq("x")), ("B", enq("y")), ("A", None, True), ("B", None, True),
    ("A", DEQ), ("C", DEQ), ("A", None, "y"), ("C", None, "y"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("operations", "good"),
    [
        (OVERLAPPING_ENQUEUES, True),
        (LAST_IN_FIRST_OUT, False),
        (TAKEN_WHILE_PUT_IN, True),
        (TAKEN_TWICE, False),
    ],
)
def test_herlihy_and_wings_queues(operations: list[Operation], good: bool) -> None:
    assert (check(operations, QueueModel()).outcome == "linearizable") is good


def test_locality_where_sequential_consistency_has_none() -> None:
    """Section 3.3: two queues, each with a sequence of its own that would do, together without.

    Linearizability notices on one object alone, so that looking at each apart is enough.
    """
    operations = history(
        ("A", Write("p", "x")), ("A", None, True), ("B", Write("q", "y")), ("B", None, True),
        ("A", Write("q", "x")), ("A", None, True), ("B", Write("p", "y")), ("B", None, True),
        ("A", Read("p")), ("A", None, "y"), ("B", Read("q")), ("B", None, "x"),
    )  # fmt: skip
    verdict = check(operations, QueueModel())
    assert verdict.violation is not None
    assert verdict.violation.names == ("p",)


W0, W1, R = Write("register", 0), Write("register", 1), Read("register")


@pytest.mark.parametrize(
    ("events", "good"),
    [
        # A read that overlaps a write may see the old or the new value,
        ([("A", W1), ("B", R), ("B", None, 0), ("A", None, True)], True),
        ([("A", W1), ("B", R), ("B", None, 1), ("A", None, True)], True),
        # but not the new and then the old one (new-old inversion),
        (
            [("A", W1), ("B", R), ("B", None, 1), ("C", R), ("C", None, 0), ("A", None, True)],
            False,
        ),
        (
            [("A", W1), ("B", R), ("B", None, 0), ("C", R), ("C", None, 1), ("A", None, True)],
            True,
        ),
        # nor the old one after the write has returned (a stale read),
        ([("A", W1), ("A", None, True), ("B", R), ("B", None, 0)], False),
        # nor what nobody wrote.
        ([("A", R), ("A", None, 7)], False),
        # A lost write may take effect late,
        ([("A", W1), ("B", R), ("B", None, 0), ("C", R), ("C", None, 1)], True),
        # or never, but not come and go,
        ([("A", W1), ("B", R), ("B", None, 0)], True),
        (
            [("A", W1), ("B", R), ("B", None, 1), ("C", R), ("C", None, 0)],
            False,
        ),
        # nor before it was asked.
        ([("B", R), ("B", None, 1), ("A", W1)], False),
    ],
)
def test_registers(events: list[Any], good: bool) -> None:
    operations = history(*events)
    assert brute_force(operations, RegisterModel(0), ("register",)) is good
    assert (check(operations, RegisterModel(0)).outcome == "linearizable") is good


def test_a_lost_swap_explains_what_nothing_else_could() -> None:
    swap = CompareAndSwap("k", None, 5)
    seen = [("B", Read("k")), ("B", None, 5)]
    good = history(("A", swap), *seen)
    assert check(good, KeyValueModel()).outcome == "linearizable"
    refused = history(("A", swap), *seen, ("A", None, False))
    assert check(refused, KeyValueModel()).outcome == "violated"
    once = history(("A", swap), *seen, ("B", Delete("k")), ("B", None, True), *seen)
    assert check(once, KeyValueModel()).outcome == "violated"


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_small_histories_are_judged_as_brute_force_does(seed: int) -> None:
    rng = random.Random(seed)
    real = RealMap()
    operations = simulate(
        rng, 6, 3, lambda rng: random_key_call(rng, "x", 2), real.perform, lost_in_hundred=25
    )
    model = KeyValueModel()
    assert check(operations, model).outcome == "linearizable"
    assert brute_force(operations, model, ("x",))
    mutated = mutate(rng, operations)
    verdict = check(mutated, model)
    assert (verdict.outcome == "linearizable") == brute_force(mutated, model, ("x",))
    if verdict.violation is not None:
        shown = verdict.violation.operations
        assert not brute_force(shown, model, ("x",))
        assert_shortest(mutated, verdict.violation.blocking, model)


def mutate(rng: random.Random, operations: list[Operation]) -> list[Operation]:
    """One answer changed into another of its kind, or an operation's place in time."""
    changed = list(operations)
    answered = [index for index, one in enumerate(changed) if not one.lost]
    if not answered:
        return changed
    index = rng.choice(answered)
    call = changed[index].call
    answer = rng.choice([None, 0, 1]) if isinstance(call, Read) else rng.choice([True, False])
    changed[index] = msgspec.structs.replace(changed[index], answer=answer)
    return changed


def assert_shortest(operations: list[Operation], blocking: Operation, model: KeyValueModel) -> None:
    """The prefix up to the blocking return is bad, and the one before it is not."""
    assert blocking.returned_at is not None
    assert not brute_force(prefix(operations, blocking.returned_at), model, ("x",))
    assert brute_force(prefix(operations, blocking.returned_at - 1), model, ("x",))


@pytest.mark.parametrize("seed", range(6))
def test_long_simulated_histories_are_good_and_come_with_an_order(seed: int) -> None:
    rng = random.Random(seed)
    real, model = RealMap(), KeyValueModel()
    operations = simulate(
        rng, 1_500, 6, lambda rng: random_key_call(rng, "wxyz", 9), real.perform, seed
    )
    verdict = check(operations, model)
    assert verdict.outcome == "linearizable"
    by_number = {one.number: one for one in operations}
    assert len(verdict.orders) == 4
    for (names, part), order in zip(objects(operations, model), verdict.orders, strict=True):
        placed = [by_number[number] for number in order]
        assert replays(placed, model, names)
        assert {one.number for one in part if not one.lost} <= set(order)
        assert len(set(order)) == len(order)
        assert respects_time(placed)


def test_a_stale_read_in_a_long_history_is_found_and_cut_out() -> None:
    rng = random.Random(5)
    real = RealMap()
    operations = simulate(rng, 400, 5, lambda rng: random_key_call(rng, "xy", 5), real.perform)
    end = max(one.returned_at or 0 for one in operations)
    stale = Operation(400, "z", Read("x"), end + 1, 0, end + 2, 0, "never written")
    verdict = check([*operations, stale], KeyValueModel())
    assert verdict.violation is not None
    assert verdict.violation.names == ("x",)
    assert verdict.violation.blocking == stale
    free = [one for one in verdict.violation.operations if isinstance(one.call, Read)]
    assert free == [stale], "reads that are not needed are left out"
    text = verdict.violation.explain()
    assert "no place for #400 z: read x -> 'never written'" in text
    assert len(text.splitlines()) < 420


def test_a_small_budget_leaves_a_history_undecided_and_does_not_hide_a_violation() -> None:
    """Lost writes of different values may stand in any order: that is what makes it hard."""
    hard = [Operation(n, f"c{n}", Write("x", n), n, n) for n in range(30)]
    reads = [
        Operation(30 + n, "r", Read("x"), 100 + 2 * n, 0, 101 + 2 * n, 0, value)
        for n, value in enumerate([3, 1, 4, 3])
    ]
    assert check([*hard, *reads], KeyValueModel(), Budget(steps=50)).outcome == "undecided"
    small = check([*hard, *reads], KeyValueModel(), Budget(configurations=5))
    assert (small.outcome, small.undecided) == ("undecided", ("x",))
    bad = Operation(99, "b", Read("a"), 300, 0, 301, 0, 1)
    assert check([*hard, *reads, bad], KeyValueModel(), Budget(steps=50)).outcome == "undecided"
    steps = 20_000
    assert check([*hard, bad], KeyValueModel(), Budget(steps=steps)).outcome == "violated"


def test_keys_are_taken_apart() -> None:
    """Twenty keys, each with ten concurrent writes of which the first must come last: 2**10
    configurations a key, where one object of all of them had 2**200."""
    events: list[Any] = []
    for key in "abcdefghijklmnopqrst":
        events += [(f"{key}{n}", Write(key, n)) for n in range(10)]
    for key in "abcdefghijklmnopqrst":
        events += [(f"{key}{n}", None, True) for n in range(10)]
        events += [(key, Read(key)), (key, None, 0)]
    verdict = check(history(*events), KeyValueModel())
    assert verdict.outcome == "linearizable"
    assert verdict.steps < 20 * 10 * 2**10


# ------------------------------------------------------------------------------------ accounts

BANK = {"a": (0, 100), "b": (0, 100), "c": (0, 0)}


def pay(nonce: int, sender: str = "a", recipient: str = "b", amount: int = 10) -> Pay:
    return Pay(sender, nonce, recipient, amount, 1)


def test_payments_couple_accounts_and_strangers_stay_apart() -> None:
    operations = history(
        ("A", pay(0)), ("A", None, ""), ("B", ReadAccount("c")), ("B", None, (0, 0)),
    )  # fmt: skip
    assert [names for names, _ in objects(operations, AccountsModel(BANK))] == [("a", "b"), ("c",)]


@pytest.mark.parametrize(
    ("events", "good"),
    [
        ([("A", pay(0)), ("A", None, ""), ("B", ReadAccount("b")), ("B", None, (0, 110))], True),
        ([("A", pay(0)), ("A", None, ""), ("B", ReadAccount("a")), ("B", None, (1, 89))], True),
        # the money left, and did not arrive
        ([("A", pay(0)), ("A", None, ""), ("B", ReadAccount("b")), ("B", None, (0, 100))], False),
        # a nonce is used once, and in order
        ([("A", pay(0)), ("A", None, ""), ("B", pay(0)), ("B", None, "")], False),
        ([("A", pay(1)), ("A", None, "")], False),
        ([("A", pay(1)), ("B", pay(0)), ("A", None, ""), ("B", None, "")], True),
        # receipts
        ([("A", pay(0, amount=100)), ("A", None, "insufficient-funds")], True),
        ([("A", pay(0, amount=100)), ("A", None, "")], False),
        ([("A", pay(0, amount=0)), ("A", None, "zero-amount")], True),
        # to oneself: only the fee is gone
        (
            [("A", pay(0, recipient="a")), ("A", None, ""), ("B", ReadAccount("a")),
             ("B", None, (1, 99))],
            True,
        ),
        # a lost payment may have happened, or not, but has only one outcome
        ([("A", pay(0)), ("B", ReadAccount("b")), ("B", None, (0, 110))], True),
        ([("A", pay(0)), ("B", ReadAccount("b")), ("B", None, (0, 100))], True),
        (
            [("A", pay(0)), ("B", ReadAccount("b")), ("B", None, (0, 110)),
             ("B", ReadAccount("a")), ("B", None, (0, 100))],
            False,
        ),
    ],
)  # fmt: skip
def test_accounts(events: list[Any], good: bool) -> None:
    operations = history(*events)
    names = ("a", "b")
    assert brute_force(operations, AccountsModel(BANK), names) is good
    assert (check(operations, AccountsModel(BANK)).outcome == "linearizable") is good
    if good:
        assert check_each_account(operations, BANK).outcome == "linearizable"


def test_one_account_alone_sees_less_than_all_together() -> None:
    """The payment is seen at the recipient, and afterwards not at the sender: only the coupled
    model notices that. What is wrong at one account, the cheap check finds too."""
    torn = history(
        ("A", pay(0)), ("B", ReadAccount("b")), ("B", None, (0, 110)),
        ("B", ReadAccount("a")), ("B", None, (0, 100)), ("A", None, ""),
    )  # fmt: skip
    assert check(torn, AccountsModel(BANK)).outcome == "violated"
    assert check_each_account(torn, BANK).outcome == "linearizable"
    double = history(("A", pay(0)), ("A", None, ""), ("B", pay(0)), ("B", None, ""))
    verdict = check_each_account(double, BANK)
    assert verdict.violation is not None
    assert verdict.violation.names == ("a",)
    minted = history(("A", ReadAccount("c")), ("A", None, (0, 1)))
    assert check_each_account(minted, BANK).outcome == "violated"
