"""Running a run again to see it: the same options give the same run, now with a trace."""

from __future__ import annotations

from typing import Final

from moot.lab.recording import Case, play
from moot.lab.run import Laboratory, Outcome, RunOptions, run
from moot.lab.trace import RECORDED_MAX, TraceFile
from moot.lab.tracer import Tracer

BEFORE_MS: Final = 4_000
"""Shown before the first violation: enough for a few views and what led to them."""
AFTER_MS: Final = 250
SHOWN_MS: Final = 10_000
"""Shown of a run in which nothing was violated: its beginning."""


def replay(
    what: RunOptions | Case,
    from_ms: int = 0,
    to_ms: int | None = None,
    events_max: int = RECORDED_MAX,
) -> tuple[Outcome, TraceFile]:
    """The run's outcome, and the trace of a span of it (all of it by default)."""
    tracers: list[Tracer] = []

    def prepare(laboratory: Laboratory) -> None:
        tracers.append(Tracer.of(laboratory, "", events_max, from_ms, to_ms))

    outcome = play(what, (prepare,)) if isinstance(what, Case) else run(what, (prepare,))
    (tracer,) = tracers
    tracer.finish()
    return outcome, tracer.log.trace()


def span_of_interest(outcome: Outcome) -> tuple[int, int]:
    """(from, to) in virtual milliseconds: around the first violation, or the run's beginning."""
    if not outcome.violations:
        return 0, SHOWN_MS
    at_ms = min(violation.at_ms for violation in outcome.violations)
    return max(0, at_ms - BEFORE_MS), at_ms + AFTER_MS
