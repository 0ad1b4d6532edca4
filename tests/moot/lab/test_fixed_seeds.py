"""Fixed seeds: a handful always, more where there is time; and those that once found a fault."""

from __future__ import annotations

import pytest

from moot.lab.run import RunOptions, command_of, run
from tests.moot.lab.seeds import FOUND


def is_clean(engine: str, nodes: int, seed: int, minutes: float = 1.0) -> bool:
    options = RunOptions(engine=engine, nodes=nodes, seed=seed, minutes=minutes)
    outcome = run(options)
    assert outcome.violations == [], (command_of(options), outcome.violations)
    return outcome.valid


@pytest.mark.parametrize(("engine", "nodes", "seed"), FOUND)
def test_what_a_seed_once_found_stays_repaired(engine: str, nodes: int, seed: int) -> None:
    is_clean(engine, nodes, seed)


@pytest.mark.parametrize("engine", ["pbft", "pow"])
def test_a_handful_of_seeds(engine: str) -> None:
    assert sum(is_clean(engine, 4 + seed % 2, seed, 0.5) for seed in range(50, 52)) >= 1


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["pbft", "pow"])
def test_more_seeds(engine: str) -> None:
    low, high = {"pbft": (4, 7), "pow": (3, 8)}[engine]
    sizes = [low + seed % (high - low + 1) for seed in range(60)]
    valid = sum(is_clean(engine, nodes, 500 + seed) for seed, nodes in enumerate(sizes))
    assert valid >= 50
