"""A run as a list of what was done to it: written down while its seed drew it, and done again."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from moot.lab.report import Violation
from moot.lab.run import Laboratory, Outcome, RunOptions, run
from moot.lab.steps import Script


class Case(msgspec.Struct, frozen=True):
    """A run whose steps are listed. Of the options, the script has the last word on liars, faults,
    payments and time."""

    options: RunOptions
    script: Script


def record(options: RunOptions) -> tuple[Outcome, Case]:
    """Runs it, and what its seed did. ``play`` of that is the same run, event for event."""
    laboratories: list[Laboratory] = []
    outcome = run(options, (laboratories.append,))
    return outcome, Case(options, script_of(laboratories[0]))


def script_of(laboratory: Laboratory) -> Script:
    """What was done to a run that is over."""
    return Script(
        lasts_ms=laboratory.lasts_ms,
        steps=tuple(laboratory.faults.done),
        liars=tuple(laboratory.liars),
        delay_ms=laboratory.delay_ms,
        healing=laboratory.healing,
        recovery_tps=laboratory.recovery_tps,
        is_beyond=laboratory.is_beyond,
    )


def play(
    case: Case,
    prepare: tuple[Callable[[Laboratory], None], ...] = (),
    until: str = "",
) -> Outcome:
    """Runs the steps. ``until``: ends as soon as this checker is violated.

    Raises what moot.lab.run.run raises, and Invalid where a liar cannot be.
    """

    def watch(laboratory: Laboratory) -> None:
        found = laboratory.findings.violations
        laboratory.stop = lambda: any(violation.checker == until for violation in found)

    return run(case.options, (*prepare, watch) if until else prepare, case.script)


def violation_by(outcome: Outcome, checker: str) -> Violation | None:
    """The first that this checker found."""
    return next((found for found in outcome.violations if found.checker == checker), None)
