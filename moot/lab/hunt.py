"""Hunting a mutant: seed after seed until a checker speaks, then the shortest schedule."""

from __future__ import annotations

from typing import Final

import msgspec

from moot.lab.mutants import Mutant
from moot.lab.run import Laboratory, Outcome, RunOptions, command_of, run
from moot.lab.shrink import minimize

SEEDS_MAX: Final = 200
TRIALS_MAX: Final = 24
"""Runs that shrinking one schedule may cost."""


class Catch(msgspec.Struct, frozen=True):
    """What came of one hunt. ``seeds``: how many were tried. ``shrunk_events``: faults injected in
    the shortest schedule that still fails (0: the mistake shows without any); None: not shrunk.
    ``schedule``: their kinds, in order. ``replay`` repeats the failing run."""

    name: str
    engine: str
    found: bool
    seeds: int
    checker: str = ""
    shrunk_events: int | None = None
    schedule: tuple[str, ...] = ()
    message: str = ""
    replay: str = ""


def options_of(mutant: Mutant, seed: int) -> RunOptions:
    """The run in which the mutant is hunted."""
    return RunOptions(
        engine=mutant.under,
        nodes=mutant.nodes,
        seed=seed,
        minutes=mutant.minutes,
        faults=mutant.faults,
        parameters=dict(mutant.parameters),
        liars=len(mutant.liars),
        liar_kinds=mutant.liars or None,
        load_tps=mutant.load_tps,
        mutant=mutant.name,
    )


def hunt(mutant: Mutant, seeds: int = SEEDS_MAX, *, first: int = 1, shrinks: bool = True) -> Catch:
    """Runs up to ``seeds`` seeds. Raises MutantGone."""
    for tried, seed in enumerate(range(first, first + seeds), start=1):
        options = options_of(mutant, seed)
        outcome, strikes = _watched(options)
        if not outcome.violations:
            continue
        violation = outcome.violations[0]
        schedule = _shortest(options, strikes) if shrinks else ()
        return Catch(
            mutant.name,
            mutant.engine,
            True,
            tried,
            violation.checker,
            len(schedule) if shrinks else None,
            schedule,
            violation.message,
            command_of(options),
        )
    return Catch(mutant.name, mutant.engine, False, seeds)


def _watched(
    options: RunOptions, allowed: frozenset[int] | None = None
) -> tuple[Outcome, dict[int, str]]:
    """A run, and the strikes of faults before anything was violated, with their kinds.

    ``allowed``: only these happen.
    """
    struck: dict[int, str] = {}

    def prepare(laboratory: Laboratory) -> None:
        def admit(number: int, kind: str) -> bool:
            if allowed is not None and number not in allowed:
                return False
            if not laboratory.findings.violations:
                struck[number] = kind
            return True

        laboratory.faults.admit = admit

    return run(options, (prepare,)), struck


def _shortest(options: RunOptions, strikes: dict[int, str]) -> tuple[str, ...]:
    """The kinds of the strikes that are needed for the run to fail at all, in order."""

    def fails(chosen: tuple[int, ...]) -> bool:
        return bool(_watched(options, frozenset(chosen))[0].violations)

    try:
        needed = minimize(list(strikes), fails, TRIALS_MAX).items
    except ValueError:  # what followed the first violation was needed too
        needed = tuple(strikes)
    return tuple(strikes[number] for number in needed)
