"""A failing run made smaller: fewer kinds of faults, less time, and still the same checker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from moot.lab.faults import chosen_kinds
from moot.lab.run import Outcome, RunOptions, run
from moot.lab.shrink import minimize
from moot.lab.world import World

RUNS_MAX: Final = 60
"""Runs by default: about a minute for a run of a virtual minute."""
MINUTES_MIN: Final = 0.05


class ShrunkRun(msgspec.Struct, frozen=True):
    """``options`` still violate ``checker``. ``runs``: how many it took. ``minimal``: no kind of
    fault could be left out; False where the runs ran out before that was known."""

    options: RunOptions
    checker: str
    runs: int
    minimal: bool


def shrink_run(
    options: RunOptions,
    checker: str,
    runs_max: int = RUNS_MAX,
    runner: Callable[[RunOptions], Outcome] = run,
) -> ShrunkRun:
    """Leaves out kinds of faults, then halves the time, while ``checker`` is violated.

    Raises ValueError where ``options`` do not violate it.
    """
    kinds = chosen_kinds(options.faults, World(options.seed).rng("swarm"))
    runs = 0

    def fails(changed: RunOptions) -> bool:
        nonlocal runs
        runs += 1
        return any(violation.checker == checker for violation in runner(changed).violations)

    def with_kinds(kept: tuple[str, ...]) -> RunOptions:
        return msgspec.structs.replace(options, faults=kept)

    shrunk = minimize(kinds, lambda kept: fails(with_kinds(kept)), runs_max)
    best = with_kinds(shrunk.items)
    while best.minutes / 2 >= MINUTES_MIN and runs < runs_max:
        shorter = msgspec.structs.replace(best, minutes=best.minutes / 2)
        if not fails(shorter):
            break
        best = shorter
    return ShrunkRun(best, checker, runs, shrunk.minimal)
