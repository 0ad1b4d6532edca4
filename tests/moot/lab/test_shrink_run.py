"""Failing runs made smaller: with a runner that tells which runs fail, and with a real mistake."""

from __future__ import annotations

import msgspec
import pytest

from moot.lab.report import Violation
from moot.lab.run import Outcome, RunOptions, run
from moot.lab.shrink_run import shrink_run
from tests.support.mistakes import plant_coins_of_nothing

OPTIONS = RunOptions(engine="pbft", nodes=4, seed=11, minutes=2.0)


def runner(options: RunOptions) -> Outcome:
    """A partition with a kill violates agreement, if there is time; a pause, progress."""
    faults = options.faults or ()
    found = []
    if {"partition", "kill"} <= set(faults) and options.minutes >= 0.25:
        found.append(Violation("agreement", "two blocks", 5))
    if "pause" in faults:
        found.append(Violation("progress", "none", 6))
    return Outcome("pbft", 4, 11, 1.0, "", 1, 1, 1, {}, found, True, {}, 1)


def test_what_is_not_needed_goes_and_the_time_is_halved() -> None:
    everything = msgspec.structs.replace(
        OPTIONS, faults=("delay", "loss", "partition", "kill", "torn-write", "pause", "clock-jump")
    )
    shrunk = shrink_run(everything, "agreement", runner=runner)
    assert shrunk.options.faults == ("partition", "kill")
    assert shrunk.options.minutes == 0.25
    assert shrunk.minimal
    assert shrink_run(everything, "progress", runner=runner).options.faults == ("pause",)
    few = shrink_run(everything, "agreement", 3, runner)
    assert few.runs == 3
    assert not few.minimal


def test_a_run_that_does_not_fail_cannot_be_shrunk() -> None:
    harmless = msgspec.structs.replace(OPTIONS, faults=("delay",))
    with pytest.raises(ValueError, match="does not repeat"):
        shrink_run(harmless, "agreement", runner=runner)


def test_a_mistake_that_needs_no_fault_shrinks_to_no_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Payments that make coins of nothing; the seed's own choice of faults is the start."""
    plant_coins_of_nothing(monkeypatch)
    options = msgspec.structs.replace(OPTIONS, minutes=0.1)
    outcome = run(options)
    checker = outcome.violations[0].checker
    shrunk = shrink_run(options, checker, 8)
    assert shrunk.options.faults == ()
    assert run(shrunk.options).violations
