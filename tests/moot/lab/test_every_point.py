"""A crash at each point of a run: between any two effects, and around each write to the disk."""

from __future__ import annotations

import pytest

from moot.lab.disk import WriteFault
from moot.lab.run import Laboratory, Outcome, RunOptions, run

WRITE_FAULTS: tuple[WriteFault, ...] = ("crash-before", "torn", "crash-after", "sync-fails", "full")


def crash_at_effect(engine: str, point: int) -> Outcome:
    def prepare(laboratory: Laboratory) -> None:
        laboratory.faults.crash_after(laboratory.nodes[point % 4], point)

    options = RunOptions(engine=engine, nodes=4, seed=point, minutes=0.1, faults=())
    return run(options, (prepare,))


def fail_at_write(engine: str, point: int, fault: WriteFault) -> Outcome:
    def prepare(laboratory: Laboratory) -> None:
        laboratory.nodes[point % 4].store.arm(fault, point)

    options = RunOptions(engine=engine, nodes=4, seed=point, minutes=0.1, faults=())
    return run(options, (prepare,))


@pytest.mark.parametrize("engine", ["pbft", "pow"])
def test_some_effects(engine: str) -> None:
    died = 0
    for point in range(0, 130, 13):
        outcome = crash_at_effect(engine, point)
        assert outcome.violations == [], (point, outcome.violations)
        died += outcome.faults.get("crash-at-effect", 0)
    assert died >= 5


@pytest.mark.parametrize("fault", WRITE_FAULTS)
def test_some_writes(fault: WriteFault) -> None:
    """The first ones write genesis and the first record; then come votes and flushes."""
    struck = 0
    for point in range(0, 45, 9):
        outcome = fail_at_write("pbft", point, fault)
        assert outcome.violations == [], (point, outcome.violations)
        struck += sum(outcome.faults.values())
    assert struck >= 3


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["pbft", "pow"])
def test_every_second_effect(engine: str) -> None:
    for point in range(0, 250, 2):
        assert crash_at_effect(engine, point).violations == [], point


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", WRITE_FAULTS)
@pytest.mark.parametrize("engine", ["pbft", "pow"])
def test_every_second_write(engine: str, fault: WriteFault) -> None:
    for point in range(0, 80, 2):
        assert fail_at_write(engine, point, fault).violations == [], point
