"""A campaign may be long: what a run made is gone when it is over."""

from __future__ import annotations

import gc

import pytest

from moot.lab.run import RunOptions, run

WARM_UP = 4
RUNS = 6
OBJECTS_MAX = 60
"""Objects that a run may leave behind: caches of bounded size are still being filled. A node that
stays reachable has thousands."""


def objects_after(engine: str, seeds: range) -> int:
    for seed in seeds:
        run(RunOptions(engine=engine, nodes=4, seed=seed, minutes=0.1))
    gc.collect()
    return len(gc.get_objects())


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["pbft", "pow"])
def test_runs_leave_nothing_behind(engine: str) -> None:
    before = objects_after(engine, range(WARM_UP))
    after = objects_after(engine, range(WARM_UP, WARM_UP + RUNS))
    assert after - before <= RUNS * OBJECTS_MAX, after - before
