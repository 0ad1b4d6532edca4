"""Shrinking: from a failing run with many faults to one with few (Zeller and Hildebrandt 2002).

``minimize`` is their ``ddmin``: it tries ever finer parts and complements of a list until no single
item can be left out (1-minimal). ``shrink`` adds what a schedule of faults needs: simpler values in
the place of what cannot be left out. Both are deterministic, ask each question once, and stop when
their budget of trials is spent; what they return has been seen to fail.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import pairwise
from typing import Final, Generic, TypeVar

import msgspec

Item = TypeVar("Item", bound=Hashable)

TRIALS_MAX: Final = 500
"""Runs of the predicate by default: a simulated run takes about a second."""


class Shrunk(msgspec.Struct, Generic[Item], frozen=True):
    """``items`` still fail. ``minimal``: no single item of them could be left out.

    ``minimal`` is False where the budget ran out first. ``trials``: how often the predicate ran.
    """

    items: tuple[Item, ...]
    minimal: bool
    trials: int


class OutOfTrials(Exception):
    """The budget is spent; caught in this module."""


class Trials(Generic[Item]):
    """Runs ``fails`` on candidates, each at most once, and ``trials_max`` times at most."""

    def __init__(self, fails: Callable[[tuple[Item, ...]], bool], trials_max: int) -> None:
        self._fails = fails
        self._trials_max = trials_max
        self._known: dict[tuple[Item, ...], bool] = {}

    @property
    def count(self) -> int:
        return len(self._known)

    def fail(self, items: tuple[Item, ...]) -> bool:
        """Whether ``items`` fail. Raises OutOfTrials."""
        known = self._known.get(items)
        if known is None:
            if self.count >= self._trials_max:
                raise OutOfTrials
            known = self._known[items] = self._fails(items)
        return known


def minimize(
    items: Sequence[Item],
    fails: Callable[[tuple[Item, ...]], bool],
    trials_max: int = TRIALS_MAX,
) -> Shrunk[Item]:
    """A smallest-we-found subsequence of ``items`` for which ``fails`` holds.

    ``fails(items)`` itself must hold, and is tried first: ValueError where it does not, since a run
    that does not repeat its failure cannot be shrunk.
    """
    trials = Trials(fails, trials_max)
    current = tuple(items)
    _demand_failure(trials, current)
    try:
        for smaller in _ddmin(current, trials):
            current = smaller
    except OutOfTrials:
        return Shrunk(current, False, trials.count)
    return Shrunk(current, True, trials.count)


def shrink(
    items: Sequence[Item],
    fails: Callable[[tuple[Item, ...]], bool],
    simpler: Callable[[Item], Iterable[Item]],
    trials_max: int = TRIALS_MAX,
) -> Shrunk[Item]:
    """Like ``minimize``, and each item left is replaced by a simpler one while that still fails.

    ``simpler(item)``: candidates, simplest first; it must not lead in circles (halve a number, drop
    an option). Afterwards items are left out again, until nothing changes.
    """
    trials = Trials(fails, trials_max)
    current = tuple(items)
    _demand_failure(trials, current)
    try:
        while True:
            before = current
            for smaller in _ddmin(current, trials):
                current = smaller
            for simplified in _simplify(current, simpler, trials):
                current = simplified
            if current == before:
                return Shrunk(current, True, trials.count)
    except OutOfTrials:
        return Shrunk(current, False, trials.count)


def _demand_failure(trials: Trials[Item], items: tuple[Item, ...]) -> None:
    try:
        failing = trials.fail(items)
    except OutOfTrials:
        raise ValueError("shrinking needs at least one trial") from None
    if not failing:
        raise ValueError("the failure does not repeat, so it cannot be shrunk")


def _ddmin(items: tuple[Item, ...], trials: Trials[Item]) -> Iterable[tuple[Item, ...]]:
    """Yields ever smaller failing subsequences; figure 3 of the paper, on tuples."""
    if items and trials.fail(()):
        yield ()
        return
    parts = 2
    while len(items) >= 2:
        chunks = _split(items, parts)
        found = next((chunk for chunk in chunks if trials.fail(chunk)), None)
        if found is not None:  # reduce to subset
            items, parts = found, 2
            yield items
            continue
        rests = [
            tuple(item for other, chunk in enumerate(chunks) if other != left for item in chunk)
            for left in range(len(chunks))
        ]
        found = next((rest for rest in rests if trials.fail(rest)), None)
        if found is not None:  # reduce to complement
            items, parts = found, max(parts - 1, 2)
            yield items
        elif parts < len(items):  # increase granularity
            parts = min(len(items), 2 * parts)
        else:
            return


def _split(items: tuple[Item, ...], parts: int) -> list[tuple[Item, ...]]:
    """``parts`` consecutive pieces whose lengths differ by one at most; none is empty."""
    assert 1 <= parts <= len(items)
    bounds = [len(items) * number // parts for number in range(parts + 1)]
    return [items[start:end] for start, end in pairwise(bounds)]


def _simplify(
    items: tuple[Item, ...], simpler: Callable[[Item], Iterable[Item]], trials: Trials[Item]
) -> Iterable[tuple[Item, ...]]:
    """Yields failing lists of the same length with one item simpler each time."""
    for index in range(len(items)):
        again = True
        while again:
            again = False
            for candidate in simpler(items[index]):
                changed = (*items[:index], candidate, *items[index + 1 :])
                if trials.fail(changed):
                    items, again = changed, True
                    yield items
                    break
