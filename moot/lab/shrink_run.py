"""A failing run made smaller: fewer nodes, steps, liars and seconds, and still the same checker.

What is shrunk is the list of what was done to the run (moot.lab.recording), so that each single
strike and each payment can go. Every trial runs until the checker speaks, or to its end. Leaving a
step out changes what chance does to the rest; so a smaller case that fails under another seed of
the world is as good as one that fails under the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from chain.errors import Invalid
from moot.lab import steps
from moot.lab.recording import Case, play, record, violation_by
from moot.lab.report import Violation
from moot.lab.run import WARM_UP_MS, Outcome, RunOptions
from moot.lab.shrink import OutOfTrials, minimize
from moot.lab.steps import Script, Step, Timed
from moot.lab.ways import with_names

RUNS_MAX: Final = 200
"""Trials by default; most end early, and cost much less than a whole run."""
EVENTS_MAX: Final = 1_000_000
"""What RUNS_MAX trials or fewer may cost together, in events of the simulated worlds: up to half a
minute of one core; whoever allows more trials allows more events. Seconds would make the result a
matter of the machine."""
QUIET_TPS: Final = 0.5
"""Payments a second during a healing that is waited for in vain: enough to give it something to
do, and cheap."""
SEEDS: Final = 3
"""Under how many seeds of the world a smaller case is tried before it counts as not failing."""
LASTS_MS_MIN: Final = 200

Item = Timed | tuple[str, str]
"""What can be left out: a step, or a liar."""


class ShrunkRun(msgspec.Struct, frozen=True):
    """``case`` still violates what ``violation`` says. ``trials``: runs that it took. ``minimal``:
    no single step or liar could be left out; False where the budget was spent before."""

    case: Case
    violation: Violation
    trials: int
    minimal: bool

    @property
    def events(self) -> int:
        """Faults, payments and liars that are left."""
        return self.case.script.events


Player = Callable[[Case, str], Outcome]


def shrink_run(
    options: RunOptions, checker: str = "", runs_max: int = RUNS_MAX, seeds: int = SEEDS
) -> ShrunkRun:
    """The run of these options, shrunk. ``checker`` "": that of its first violation.

    Raises ValueError where it violates nothing, or not that.
    """
    outcome, case = record(options)
    checker = checker or next((found.checker for found in outcome.violations), "")
    violation = violation_by(outcome, checker)
    if violation is None:
        raise ValueError("nothing is violated, so there is nothing to shrink")
    return shrink_case(case, violation, runs_max, seeds=seeds)


def shrink_case(
    case: Case,
    violation: Violation,
    runs_max: int = RUNS_MAX,
    *,
    seeds: int = SEEDS,
    player: Player | None = None,
) -> ShrunkRun:
    """``case``, which violates ``violation``, shrunk. Raises ValueError where it does not."""
    search = _Search(case, violation, runs_max, seeds, player or _play)
    if not search.try_case(case):
        raise ValueError("the failure does not repeat, so it cannot be shrunk")
    minimal = search.run()
    return ShrunkRun(search.best, search.violation, search.trials, minimal)


def _play(case: Case, checker: str) -> Outcome:
    return play(case, until=checker)


class _Search:
    """The smallest failing case so far, and what has been tried."""

    def __init__(
        self, case: Case, violation: Violation, runs_max: int, seeds: int, player: Player
    ) -> None:
        self.best = case
        self.violation = violation
        self.trials = 0
        self._seeds = seeds
        self._runs_max = runs_max
        self._events = 0
        self._events_max = EVENTS_MAX * max(RUNS_MAX, runs_max) // RUNS_MAX
        self._play = player

    def run(self) -> bool:
        """Shrinks until nothing changes or the budget is spent; whether it came to the end."""
        try:
            self._end_early()
            while True:
                before = self.best
                if not self._leave_out():
                    return False
                for attempt in (self._fewer_nodes, self._simpler, self._sooner):
                    attempt()
                if self.best.script.events == before.script.events:
                    return True
        except OutOfTrials:
            return False

    def try_case(self, case: Case) -> bool:
        """Whether ``case`` fails under some seed; if so it is the best. Raises OutOfTrials."""
        seed = case.options.seed
        for offset in range(self._seeds):
            changed = msgspec.structs.replace(case.options, seed=seed + offset)
            if self._fails(msgspec.structs.replace(case, options=changed)):
                return True
        return False

    def _fails(self, case: Case) -> bool:
        if self.trials >= self._runs_max or self._events >= self._events_max:
            raise OutOfTrials
        self.trials += 1
        try:
            outcome = self._play(case, self.violation.checker)
        except Invalid:  # more liars than so few nodes may have
            return False
        self._events += outcome.events
        found = violation_by(outcome, self.violation.checker)
        if found is None:
            return False
        self.best, self.violation = case, found
        return True

    def _with(self, **changes: Any) -> Case:
        script = msgspec.structs.replace(self.best.script, **changes)
        return msgspec.structs.replace(self.best, script=script)

    # ---------------------------------------------------------------------------- the passes

    def _end_early(self) -> None:
        """What comes after the violation is not needed; often the healing is not either."""
        at_ms = self.violation.at_ms
        script = self.best.script
        if at_ms <= script.lasts_ms:
            kept = tuple(each for each in script.steps if each.at_ms <= at_ms)
            self._fails(self._with(steps=kept, lasts_ms=at_ms, healing="none"))
        elif not self._fails(self._with(healing="all", recovery_tps=QUIET_TPS)):
            self._fails(self._with(healing="all"))

    def _leave_out(self) -> bool:
        """Steps and liars, by delta debugging; whether nothing more can be left out."""
        script = self.best.script
        items: tuple[Item, ...] = (*script.liars, *script.steps)
        first = True

        def fails(kept: tuple[Item, ...]) -> bool:
            nonlocal first
            if first:  # the whole list, which is known to fail
                first = False
                return True
            return self.try_case(
                self._with(
                    liars=tuple(item for item in kept if not isinstance(item, Timed)),
                    steps=tuple(item for item in kept if isinstance(item, Timed)),
                )
            )

        return minimize(items, fails, self._runs_max).minimal

    def _fewer_nodes(self) -> None:
        """One node after the other goes, with all that was done to it."""
        number = self.best.options.nodes - 1
        while number >= 0 and self.best.options.nodes > 1:
            smaller = without_node(self.best, number)
            if smaller is not None:
                self.try_case(smaller)
            number -= 1

    def _simpler(self) -> None:
        """Each step struck shorter, at fewer ways, and with less chance in it."""
        position = 0
        while position < len(self.best.script.steps):
            listed = self.best.script.steps
            for step in simpler(listed[position].step):
                changed = Timed(listed[position].at_ms, step)
                if self._fails(
                    self._with(steps=(*listed[:position], changed, *listed[position + 1 :]))
                ):
                    break
            else:
                position += 1

    def _sooner(self) -> None:
        """Everything earlier, by as much as nothing happens at first; then half of the time."""
        script = self.best.script
        if script.steps:
            idle_ms = script.steps[0].at_ms - WARM_UP_MS
            if idle_ms > WARM_UP_MS:
                self.try_case(
                    self._with(
                        steps=tuple(
                            Timed(each.at_ms - idle_ms, each.step) for each in script.steps
                        ),
                        lasts_ms=max(LASTS_MS_MIN, script.lasts_ms - idle_ms),
                    )
                )
        while True:
            script = self.best.script
            last_ms = max((each.at_ms for each in script.steps), default=0)
            lasts_ms = max(script.lasts_ms // 2, last_ms, LASTS_MS_MIN)
            at_end_ms = self.violation.at_ms if script.healing == "none" else lasts_ms
            if min(lasts_ms, at_end_ms) >= script.lasts_ms:
                return
            if not self._fails(self._with(lasts_ms=min(lasts_ms, at_end_ms))):
                return


def simpler(step: Step) -> Iterator[Step]:
    """Steps that do less, the least first; never in circles."""
    match step:
        case steps.Crash():
            if step.rotated:
                yield msgspec.structs.replace(step, rotated=False, power=False)
                yield msgspec.structs.replace(step, rotated=False, power=True)
            elif step.power:
                yield msgspec.structs.replace(step, power=False)
        case steps.Delay() if step.tail:
            yield msgspec.structs.replace(step, tail=0)
        case steps.Rate() if step.thousandths < 1_000:
            yield msgspec.structs.replace(step, thousandths=1_000)
        case steps.Pay() if step.via:
            yield msgspec.structs.replace(step, via="")
    ways: tuple[str, ...] = getattr(step, "ways", ())
    if len(ways) > 1:
        for way in ways:
            fewer = tuple(other for other in ways if other != way)
            yield msgspec.structs.replace(step, ways=fewer)
    for_ms: int = getattr(step, "for_ms", 0)
    if for_ms >= 2 * LASTS_MS_MIN:
        yield msgspec.structs.replace(step, for_ms=for_ms // 2)


def without_node(case: Case, number: int) -> Case | None:
    """``case`` with one node less; those behind it move up. None where it has a liar there."""
    script, gone = case.script, f"n{number}"

    def named(name: str) -> tuple[str, ...]:
        if name == gone:
            return ()
        position = name[1:]
        if name.startswith("n") and position.isdecimal() and int(position) > number:
            return (f"n{int(position) - 1}",)
        return (name,)

    if any(name == gone for name, _ in script.liars):
        return None
    left = tuple(_renamed(script.steps, named))
    liars = tuple((named(name)[0], kind) for name, kind in script.liars)
    return Case(
        msgspec.structs.replace(case.options, nodes=case.options.nodes - 1),
        msgspec.structs.replace(script, steps=left, liars=liars),
    )


def _renamed(timed: Iterable[Timed], named: Callable[[str], tuple[str, ...]]) -> Iterator[Timed]:
    for each in timed:
        step = with_names(each.step, named)
        if step is not None:
            yield Timed(each.at_ms, step)


__all__ = ["Script", "ShrunkRun", "shrink_case", "shrink_run", "simpler", "without_node"]
