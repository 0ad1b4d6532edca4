"""Fixed seeds: a handful always, more where there is time; and those that once found a fault."""

from __future__ import annotations

import pytest

from consensus.registry import engine_names, protocol
from moot.lab.run import RunOptions, command_of, run
from tests.moot.lab.seeds import FOUND

SEEDS = 240
"""Runs of all engines together: a second of one core each, so below five minutes."""


def is_clean(engine: str, nodes: int, seed: int, minutes: float = 1.0) -> bool:
    options = RunOptions(engine=engine, nodes=nodes, seed=seed, minutes=minutes)
    outcome = run(options)
    assert outcome.violations == [], (command_of(options), outcome.violations)
    return outcome.valid


@pytest.mark.parametrize(("engine", "nodes", "seed"), FOUND)
def test_what_a_seed_once_found_stays_repaired(engine: str, nodes: int, seed: int) -> None:
    is_clean(engine, nodes, seed)


def sizes(engine: str) -> tuple[int, int]:
    """Networks in which the engine bears one fault at least, and some in which it bears two."""
    found = protocol(engine)
    properties = found.rules(found.parameters()).properties
    low = next(nodes for nodes in range(3, 8) if properties.faults(nodes) or nodes == 4)
    return low, low + 3


@pytest.mark.parametrize("engine", engine_names())
def test_a_handful_of_seeds(engine: str) -> None:
    low, _ = sizes(engine)
    assert sum(is_clean(engine, low + seed % 2, seed, 0.4) for seed in range(50, 52)) >= 1


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", engine_names())
def test_more_seeds(engine: str) -> None:
    """Every installed engine, whoever wrote it: the registry is the list."""
    low, high = sizes(engine)
    seeds = SEEDS // len(engine_names())
    valid = [
        is_clean(engine, low + number % (high - low + 1), 500 + number) for number in range(seeds)
    ]
    assert sum(valid) >= seeds * 3 // 4
