"""Is a history linearizable? Wing and Gong's search, as Lowe made it fast.

Herlihy and Wing 1990: a history is linearizable if its operations can be put into one sequence
that a sequential object could have gone through, in which whatever returned before something else
was invoked also stands before it. Operations whose answer was lost may stand anywhere after their
invocation, or be left out.

The search (Wing and Gong 1993) takes operations that nothing unplaced precedes, one after another,
and turns back when an operation's return comes into reach before the operation was placed. It
remembers each (set of placed operations, state) it has been in, since what follows depends on
nothing else (Lowe 2017, section 4), and treats objects apart (Herlihy and Wing 1990, theorem 1).
Deciding is NP-complete (Gibbons and Korach 1997), so the search has a budget in steps, never in
seconds, and an answer for the case that it runs out: undecided.

Beside the papers we use three facts. An operation that changes no state, whichever it meets, may
be placed as soon as it fits, without alternatives. A lost operation that would change nothing here
need not be placed here. And lost operations are tried last, because most of them never happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, Generic, Literal, NamedTuple

import msgspec

from moot.lab.history import Operation, describe, prefix, timeline
from moot.lab.models import AccountsModel, Model, OneAccountModel, State
from moot.lab.shrink import minimize

STEPS_MAX: Final = 1_000_000
"""Placements tried by default: some seconds."""
CONFIGURATIONS_MAX: Final = 200_000
"""Configurations remembered by default: about 100 MB."""

Outcome = Literal["linearizable", "violated", "undecided"]


class Budget(msgspec.Struct):
    """What a check may use.

    ``steps`` is counted down, over all objects of a history; ``configurations`` bounds the memory,
    for each object anew.
    """

    steps: int = STEPS_MAX
    configurations: int = CONFIGURATIONS_MAX


class Violation(msgspec.Struct, frozen=True):
    """Why a history is not linearizable.

    ``names``: the object. ``operations``: a part of the history that is not linearizable by
    itself: the shortest such prefix, less what has no effect and is not needed to see it.
    ``blocking``: the operation whose answer fits nowhere. ``before``: one sequence of all that had
    returned before that, and ``state`` the object's state after it.
    """

    names: tuple[str, ...]
    operations: tuple[Operation, ...]
    blocking: Operation
    before: tuple[Operation, ...]
    state: str

    def explain(self) -> str:
        """Some lines for people."""
        placed = "\n".join(f"  {describe(operation)}" for operation in self.before[-10:])
        omitted = len(self.before) - 10
        more = f"  ({omitted} before)\n" if omitted > 0 else ""
        return (
            f"not linearizable: {', '.join(self.names)}\n{timeline(self.operations)}\n"
            f"no place for {describe(self.blocking)}\n"
            f"one order of the rest:\n{more}{placed or '  (nothing)'}\n"
            f"after which the state is {self.state}"
        )


class Verdict(msgspec.Struct, frozen=True):
    """``orders``: for each object that is linearizable, the numbers of its operations in order."""

    outcome: Outcome
    violation: Violation | None = None
    orders: tuple[tuple[int, ...], ...] = ()
    undecided: tuple[str, ...] = ()
    """A name of each object for which the budget was too small."""
    steps: int = 0


class Found(msgspec.Struct, frozen=True):
    """Outcome of one object's search. ``blocked_at``: position of the first return not passed."""

    outcome: Outcome
    order: tuple[int, ...] = ()
    state: Any = None
    blocked_at: int = 0


def check(
    operations: Sequence[Operation], model: Model[State], budget: Budget | None = None
) -> Verdict:
    """Whether ``operations`` are linearizable under ``model``.

    One violated object is enough for "violated"; "undecided" means that the budget ran out and
    nothing was found to be violated.
    """
    budget = budget or Budget()
    given = budget.steps
    orders, undecided = [], []
    for names, part in objects(operations, model):
        found = Search(part, model, model.init(names), budget).run()
        if found.outcome == "violated":
            violation = _violation(names, part, model, found)
            return Verdict("violated", violation, steps=given - budget.steps)
        if found.outcome == "undecided":
            undecided.append(names[0])
        else:
            orders.append(found.order)
    outcome: Outcome = "undecided" if undecided else "linearizable"
    steps = given - budget.steps
    return Verdict(outcome, orders=tuple(orders), undecided=tuple(undecided), steps=steps)


def check_each_account(
    operations: Sequence[Operation],
    initial: Mapping[str, tuple[int, int]],
    budget: Budget | None = None,
) -> Verdict:
    """A cheap necessary condition for payments: each account's history by itself.

    "linearizable" here does not say that the accounts together are (see OneAccountModel).
    """
    budget = budget or Budget()
    given = budget.steps
    parts: dict[str, list[Operation]] = {}
    touches = AccountsModel(initial).touches
    for operation in operations:
        for name in touches(operation.call):
            parts.setdefault(name, []).append(operation)
    orders: list[tuple[int, ...]] = []
    undecided: list[str] = []
    for name, part in parts.items():
        verdict = check(part, OneAccountModel(name, initial.get(name, (0, 0))), budget)
        if verdict.violation is not None:
            return Verdict("violated", verdict.violation, steps=given - budget.steps)
        orders.extend(verdict.orders)
        undecided.extend(verdict.undecided)
    outcome: Outcome = "undecided" if undecided else "linearizable"
    steps = given - budget.steps
    return Verdict(outcome, orders=tuple(orders), undecided=tuple(undecided), steps=steps)


def objects(
    operations: Sequence[Operation], model: Model[Any]
) -> list[tuple[tuple[str, ...], list[Operation]]]:
    """The history by object: names (sorted) and operations; in order of first invocation.

    Names that one operation touches belong to one object, and so on through all operations: the
    connected components of that graph.
    """
    ordered = sorted(operations, key=lambda operation: operation.invoked_at)
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    touched = [model.touches(operation.call) for operation in ordered]
    for names in touched:
        for name in names:
            parent[root(name)] = root(names[0])
    parts: dict[str, tuple[dict[str, None], list[Operation]]] = {}
    for names, operation in zip(touched, ordered, strict=True):
        known, part = parts.setdefault(root(names[0]), ({}, []))
        known.update(dict.fromkeys(names))
        part.append(operation)
    return [(tuple(sorted(known)), part) for known, part in parts.values()]


# ----------------------------------------------------------------------------------- the search


class Spot(NamedTuple):
    """Where the search stands: the sets of placed operations, answered and lost, as bits; the
    state after them."""

    answered: int
    lost: int
    state: Any


class Frame(msgspec.Struct):
    """One placement: where the search stood before it, and what else could be placed there."""

    placed: int
    spot: Spot
    others: Iterator[int]


class Search(Generic[State]):
    """Wing and Gong's search over the operations of one object."""

    def __init__(
        self,
        operations: Sequence[Operation],
        model: Model[State],
        initial: State,
        budget: Budget,
    ) -> None:
        self._model = model
        self._initial = initial
        self._budget = budget
        ordered = sorted(operations, key=lambda operation: operation.invoked_at)
        answered = [one for one in ordered if not one.lost]
        # A lost operation without effect may as well never have happened.
        lost = [one for one in ordered if one.lost and not model.effect_free(one)]
        self._operations = [*answered, *lost]
        self._effect_free = [model.effect_free(one) for one in answered]
        self._answered = len(answered)
        self._unplaced = len(answered)
        self._seen: set[tuple[int, int, int, State]] = set()
        self._blocked_at = 0
        self._link()

    def _link(self) -> None:
        """The events of answered operations as a doubly linked list, so that a placed operation
        is lifted out, and put back, in constant time (Lowe 2017, section 2)."""
        events = []
        for number in range(self._answered):
            operation = self._operations[number]
            assert operation.returned_at is not None
            events.append((operation.invoked_at, 2 * number))
            events.append((operation.returned_at, 2 * number + 1))
        order = [node for _, node in sorted(events)]
        size = 2 * self._answered
        # Node 2 * n: the call of n; 2 * n + 1: its return; the last two: the list's ends.
        self._head, self._tail = size, size + 1
        self._next = [0] * (size + 2)
        self._previous = [0] * (size + 2)
        for left, right in pairwise([self._head, *order, self._tail]):
            self._next[left], self._previous[right] = right, left

    def run(self) -> Found:
        """The outcome; the order of a linearization, or where there is none."""
        spot = Spot(0, 0, self._initial)
        frames: list[Frame] = []
        candidates = self._candidates(spot)
        while self._unplaced:
            if self._budget.steps <= 0 or len(self._seen) >= self._budget.configurations:
                return Found("undecided")
            placed, after = self._place_next(candidates, spot)
            if placed is None:
                if not frames:
                    return Found("violated", blocked_at=self._blocked_at)
                frame = frames.pop()
                self._put_back(frame.placed)
                spot, candidates = frame.spot, frame.others
                continue
            frames.append(Frame(placed, spot, candidates))
            self._lift(placed)
            spot = after
            candidates = self._candidates(spot)
        order = tuple(self._operations[frame.placed].number for frame in frames)
        return Found("linearizable", order, spot.state)

    def _place_next(self, candidates: Iterator[int], spot: Spot) -> tuple[int | None, Spot]:
        """The next candidate that fits and leads somewhere new, and where it leads."""
        for number in candidates:
            operation = self._operations[number]
            self._budget.steps -= 1
            fits, state = self._model.step(spot.state, operation)
            if not fits or (operation.lost and state == spot.state):
                continue
            if number < self._answered:
                after = Spot(spot.answered | 1 << number, spot.lost, state)
            else:
                after = Spot(spot.answered, spot.lost | 1 << (number - self._answered), state)
            # All below `low` are placed: the set is remembered from there up, in few bytes.
            low = self._first_unplaced_without(number)
            configuration = (low, after.answered >> low, after.lost, state)
            if configuration not in self._seen:
                self._seen.add(configuration)
                return number, after
        return None, spot

    def _first_unplaced_without(self, number: int) -> int:
        """The first answered operation that is not placed, once ``number`` is."""
        node = self._next[self._head]
        while node >> 1 == number and node != self._tail:
            node = self._next[node]
        return min(node >> 1, self._answered)

    def _candidates(self, spot: Spot) -> Iterator[int]:
        """Unplaced operations that no unplaced one precedes: those called before the first return
        in the list. Only one where an operation without effect fits: it costs nothing here."""
        near: list[int] = []
        node = self._next[self._head]
        while node < self._head and not node & 1:
            number = node >> 1
            if self._effect_free[number]:
                if self._model.step(spot.state, self._operations[number])[0]:
                    return iter((number,))
            else:
                near.append(number)
            node = self._next[node]
        if node == self._tail:
            return iter(())
        first_return = self._operations[node >> 1].returned_at
        assert first_return is not None
        self._blocked_at = max(self._blocked_at, first_return)
        for number in range(self._answered, len(self._operations)):
            if self._operations[number].invoked_at > first_return:
                break
            if not spot.lost >> (number - self._answered) & 1:
                near.append(number)
        return iter(near)

    def _lift(self, number: int) -> None:
        if number >= self._answered:
            return
        self._unplaced -= 1
        for node in (2 * number, 2 * number + 1):
            left, right = self._previous[node], self._next[node]
            self._next[left], self._previous[right] = right, left

    def _put_back(self, number: int) -> None:
        if number >= self._answered:
            return
        self._unplaced += 1
        for node in (2 * number + 1, 2 * number):
            left, right = self._previous[node], self._next[node]
            self._next[left] = self._previous[right] = node


# -------------------------------------------------------------------------------- for people


def _violation(
    names: tuple[str, ...], part: Sequence[Operation], model: Model[State], found: Found
) -> Violation:
    """Cuts the history to what shows the violation: its shortest bad prefix, then fewer reads.

    Leaving out operations without effect keeps what is bad bad *for the same reason*; leaving out
    a write would make every read of it look wrong, so that is not done.
    """
    initial = model.init(names)
    budget = Budget()

    def violated(operations: Sequence[Operation]) -> bool:
        return Search(operations, model, initial, budget).run().outcome == "violated"

    end = _first_bad_return(part, found.blocked_at, violated)
    bad = prefix(part, end)
    blocking = next(one for one in bad if one.returned_at == end)
    free = [one for one in bad if model.effect_free(one) and one is not blocking]
    needed = [one for one in bad if not model.effect_free(one) or one is blocking]
    if violated(bad):
        free = list(minimize(free, lambda kept: violated([*needed, *kept])).items)
    shown = tuple(sorted([*needed, *free], key=lambda one: one.invoked_at))
    earlier = Search(prefix(shown, end - 1), model, initial, Budget()).run()
    by_number = {one.number: one for one in shown}
    before = tuple(by_number[number] for number in earlier.order)
    return Violation(names, shown, blocking, before, _shown_state(earlier))


def _first_bad_return(
    part: Sequence[Operation],
    blocked_at: int,
    violated: Callable[[Sequence[Operation]], bool],
) -> int:
    """Position of the return that ends the shortest prefix with a violation.

    It is never before ``blocked_at``, since the search passed all earlier returns. It may be after
    it: in a prefix, what is still open may get any answer, and the search knew them all.
    """
    returns = sorted(
        one.returned_at
        for one in part
        if one.returned_at is not None and one.returned_at >= blocked_at
    )
    low, high = 0, len(returns) - 1
    if violated(prefix(part, returns[low])):
        return returns[low]
    while low < high:
        middle = (low + high) // 2
        if violated(prefix(part, returns[middle])):
            high = middle
        else:
            low = middle + 1
    return returns[low]


def _shown_state(found: Found) -> str:
    if found.outcome != "linearizable":
        return "not known"
    return "absent" if found.state is None else str(found.state)
