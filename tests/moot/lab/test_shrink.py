"""Delta debugging: the paper's example, minimality, determinism, budgets, simpler values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moot.lab.shrink import minimize, shrink


def test_the_papers_example_needs_its_three_changes() -> None:
    """Zeller and Hildebrandt 2002, section 3.2: 1, 7 and 8 of eight together make it fail."""
    shrunk = minimize(range(1, 9), lambda items: {1, 7, 8} <= set(items))
    assert shrunk.items == (1, 7, 8)
    assert shrunk.minimal


def test_the_empty_list_is_tried_for_what_fails_without_any_fault() -> None:
    shrunk = minimize(range(100), lambda items: True)
    assert (shrunk.items, shrunk.trials) == ((), 2)


@given(st.lists(st.integers(0, 40), max_size=25), st.sets(st.integers(0, 40), max_size=4))
def test_the_outcome_fails_is_a_subsequence_and_cannot_lose_one_item(
    items: list[int], needed: set[int]
) -> None:
    def fails(kept: tuple[int, ...]) -> bool:
        return needed <= set(kept) or sum(kept) > 300

    if not fails(tuple(items)):
        with pytest.raises(ValueError, match="does not repeat"):
            minimize(items, fails)
        return
    shrunk = minimize(items, fails)
    assert shrunk.minimal
    assert fails(shrunk.items)
    rest = iter(items)
    assert all(item in rest for item in shrunk.items), "a subsequence, in order"
    for index in range(len(shrunk.items)):
        assert not fails(shrunk.items[:index] + shrunk.items[index + 1 :])
    assert minimize(items, fails) == shrunk


def test_no_question_is_asked_twice() -> None:
    asked: list[tuple[int, ...]] = []

    def fails(items: tuple[int, ...]) -> bool:
        asked.append(items)
        return {3, 11, 12, 29} <= set(items)

    shrunk = minimize(range(32), fails)
    assert shrunk.items == (3, 11, 12, 29)
    assert len(asked) == len(set(asked)) == shrunk.trials


@pytest.mark.parametrize("trials_max", [1, 2, 5, 20])
def test_a_budget_ends_it_with_the_best_so_far(trials_max: int) -> None:
    def fails(items: tuple[int, ...]) -> bool:
        return {3, 11, 12, 29} <= set(items)

    shrunk = minimize(range(32), fails, trials_max)
    assert fails(shrunk.items)
    assert shrunk.trials == trials_max
    assert not shrunk.minimal


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one trial"):
        minimize([1], lambda items: True, trials_max=0)


def test_values_become_simpler_and_make_others_needless() -> None:
    """A partition of 800 ms fails alone; a shorter one, down to 130 ms, does so as well."""
    faults = [("crash", 700), ("cut", 800), ("skew", 40)]

    def fails(items: tuple[tuple[str, int], ...]) -> bool:
        return any(kind == "cut" and length >= 130 for kind, length in items)

    def simpler(item: tuple[str, int]) -> list[tuple[str, int]]:
        kind, length = item
        return [(kind, length // 2), (kind, length - 10)] if length >= 10 else []

    shrunk = shrink(faults, fails, simpler)
    assert shrunk.items == (("cut", 130),)
    assert shrunk.minimal
    few = shrink(faults, fails, simpler, trials_max=6)
    assert fails(few.items)
    assert not few.minimal
