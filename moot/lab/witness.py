"""A cheap proof that a history is linearizable: the order that the ledger itself states.

The search of moot.lab.linearizability looks for an order. A ledger has one: that of its blocks. If
the operations fit into it, the history is linearizable, however many accounts payments couple, and
that takes time in proportion to the history's length. If they do not, the ledger's order is wrong
for these clients, and the search may still say whether any other order would do.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

import msgspec

from moot.lab.history import Operation, describe
from moot.lab.linearizability import objects
from moot.lab.models import Model, State


class Misfit(msgspec.Struct, frozen=True):
    """An operation that does not fit into the order, and why."""

    operation: Operation
    sentence: str

    def explain(self) -> str:
        return f"{describe(self.operation)}: {self.sentence}"


def check_order(
    operations: Sequence[Operation], order: Sequence[int], model: Model[State]
) -> Misfit | None:
    """None: the operations are linearizable, with those of ``order`` in that order.

    ``order``: numbers of operations, as the ledger applied them. All answered ones that have an
    effect must be in it; of lost ones those that took effect. Others without effect (reads) are
    given a place between them, if there is one.
    """
    place = {number: index for index, number in enumerate(order)}
    for names, part in objects(operations, model):
        ordered = sorted(
            (one for one in part if one.number in place), key=lambda one: place[one.number]
        )
        rest = [one for one in part if one.number not in place and not one.lost]
        misfit = _Order(ordered, model, model.init(names)).check(rest)
        if misfit is not None:
            return misfit
    return None


class _Order:
    """The order of one object, and the states that it goes through."""

    def __init__(self, ordered: list[Operation], model: Model[State], initial: State) -> None:
        self._ordered = ordered
        self._model = model
        self._states = [initial]

    def check(self, rest: Sequence[Operation]) -> Misfit | None:
        return self._replay() or self._check_time() or self._place(rest)

    def _replay(self) -> Misfit | None:
        for operation in self._ordered:
            fits, after = self._model.step(self._states[-1], operation)
            if not fits:
                state = self._states[-1]
                return Misfit(operation, f"in the ledger's order it meets the state {state}")
            self._states.append(after)
        return None

    def _check_time(self) -> Misfit | None:
        """Nothing stands after what was invoked only when it had returned."""
        latest: Operation | None = None
        for operation in self._ordered:
            if latest is not None and operation.precedes(latest):
                return Misfit(operation, f"it had returned before {describe(latest)} began")
            if latest is None or operation.invoked_at > latest.invoked_at:
                latest = operation
        return None

    def _place(self, rest: Sequence[Operation]) -> Misfit | None:
        """Gives each operation without effect the first place where it fits.

        In order of return, each after all that had returned before it began: so every place is the
        least that any solution can have, and none exists where one of them is too late.
        """
        # For the k operations of the order that returned first: the last of their places.
        returned = sorted(
            (one.returned_at, place)
            for place, one in enumerate(self._ordered, 1)
            if one.returned_at is not None
        )
        return_times = [at for at, _ in returned]
        last_place = list(accumulate((place for _, place in returned), max))
        # For each place: the last invocation of what stands up to there.
        last_begun = list(accumulate((one.invoked_at for one in self._ordered), max))
        read_times: list[int] = []
        read_places: list[int] = []
        for operation in sorted(rest, key=_return_of):
            if not self._model.effect_free(operation):
                return Misfit(operation, "it was answered, and is not in the ledger")
            known = bisect_left(return_times, operation.invoked_at)
            low = last_place[known - 1] if known else 0
            read = bisect_left(read_times, operation.invoked_at)
            low = max(low, read_places[read - 1] if read else 0)
            # Nothing that began after the answer may stand before it.
            high = bisect_left(last_begun, _return_of(operation))
            found = next(
                (
                    place
                    for place in range(low, high + 1)
                    if self._model.step(self._states[place], operation)[0]
                ),
                None,
            )
            if found is None:
                return Misfit(
                    operation,
                    f"between {low} and {high} applied operations no state gives this answer; "
                    f"after {low} it is {self._states[low]}",
                )
            read_times.append(_return_of(operation))
            read_places.append(max(found, read_places[-1] if read_places else 0))
        return None


def _return_of(operation: Operation) -> int:
    assert operation.returned_at is not None
    return operation.returned_at
