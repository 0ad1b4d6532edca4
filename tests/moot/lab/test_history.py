"""Histories: taken down in order, cut, written and read again, shown."""

from __future__ import annotations

import pytest

from moot.lab.history import (
    CompareAndSwap,
    Delete,
    InvalidHistory,
    Operation,
    Pay,
    Read,
    ReadAccount,
    Recorder,
    Write,
    from_lines,
    prefix,
    timeline,
    to_lines,
)
from tests.support.histories import history


def test_a_recorder_orders_events_of_one_millisecond() -> None:
    recorder = Recorder(lambda: 5)
    first = recorder.invoke("ann", Write("k", 1))
    second = recorder.invoke("bob", Read("k"))
    recorder.answer(second, None)
    recorder.answer(first, True)
    third = recorder.invoke("bob", Read("k"))
    recorder.lose(third)
    one, two, three = recorder.operations()
    assert (one.invoked_at, two.invoked_at, two.returned_at, one.returned_at) == (1, 2, 3, 4)
    assert two.precedes(three)
    assert not two.precedes(one)
    assert not one.precedes(two)
    assert three.lost
    assert three.invoked_ms == 5


def test_a_lost_answer_may_still_come_and_a_refused_call_never_was() -> None:
    recorder = Recorder(lambda: 0)
    late, refused = recorder.invoke("ann", Write("k", 1)), recorder.invoke("bob", Write("k", 2))
    recorder.lose(late)
    recorder.answer(late, True)
    recorder.refuse(refused)
    (only,) = recorder.operations()
    assert only.returned_at == 3
    with pytest.raises(AssertionError, match="has been answered"):
        recorder.answer(late, True)


def test_a_client_asks_one_thing_at_a_time_and_histories_have_an_end() -> None:
    recorder = Recorder(lambda: 0, operations_max=2)
    number = recorder.invoke("ann", Read("k"))
    with pytest.raises(AssertionError, match="still waits"):
        recorder.invoke("ann", Read("k"))
    recorder.lose(number)
    with pytest.raises(AssertionError, match="still waits"):
        recorder.invoke("ann", Read("k"))
    recorder.invoke("ann again", Read("k"))
    assert recorder.full
    with pytest.raises(AssertionError, match="full"):
        recorder.invoke("carl", Read("k"))


EVERYTHING = history(
    ("A", Write("k", "v")), ("B", Read("k")), ("B", None, "v"), ("A", None, True),
    ("A", Delete("k")), ("A", None, True), ("A", CompareAndSwap("k", None, 1)), ("A", None, True),
    ("B", Pay("a", 0, "b", 5, 1)), ("B", None, ""), ("B", ReadAccount("b")), ("B", None, (0, 5)),
    ("C", Read("k")),
)  # fmt: skip


def test_prefixes_forget_what_came_later() -> None:
    assert prefix(EVERYTHING, 100) == tuple(EVERYTHING)
    one, two = prefix(EVERYTHING, 3)
    assert (one.lost, one.answer, two.lost) == (True, None, False)


def test_histories_survive_as_lines() -> None:
    lines = to_lines(EVERYTHING).splitlines()
    assert len(lines) == len(EVERYTHING)
    assert from_lines(lines) == EVERYTHING


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["{"], "malformed-history"),
        (['{"number":0,"client":"a","call":{"type":"dance"},"invoked_at":1,"invoked_ms":0}'],
         "malformed-history"),
        (to_lines([EVERYTHING[0], EVERYTHING[0]]).splitlines(), "malformed-history"),
        (to_lines([Operation(0, "a", Read("k"), 2, 0, 1, 0, None)]).splitlines(),
         "malformed-history"),
        (to_lines([Operation(0, "a", Read("k"), 1, 0), Operation(1, "b", Read("k"), 1, 0)])
         .splitlines(), "malformed-history"),
        (to_lines(EVERYTHING[:4]).splitlines(), "history-too-long"),
        (["x" * 70_000], "history-too-long"),
    ],
)  # fmt: skip
def test_lines_that_are_no_history_are_refused(lines: list[str], code: str) -> None:
    with pytest.raises(InvalidHistory) as refused:
        from_lines(lines, operations_max=3)
    assert refused.value.code == code


def test_people_see_bars_in_order_of_events() -> None:
    drawn = timeline(EVERYTHING[:2] + EVERYTHING[-1:]).splitlines()
    assert drawn == [
        "|---------|      #0 A: write k = 'v' -> yes",
        "   |---|         #1 B: read k -> 'v'",
        "              |  #6 C: read k -> ?",
    ]
    assert timeline([]) == ""
    assert "swap k: nothing by 1 -> yes" in timeline(EVERYTHING)
    assert "pay 5 from a/0 to b, fee 1 -> ''" in timeline(EVERYTHING)
    assert "account b -> nonce 0, balance 5" in timeline(EVERYTHING)
