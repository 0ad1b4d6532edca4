"""Caught mutants are shrunk to small cases, and the small case shows the same mistake by itself."""

from __future__ import annotations

import pytest

from moot.lab.hunt import hunt
from moot.lab.mutants import find_mutant
from moot.lab.scenario import run_scenario
from moot.lab.scenario_text import parse_scenario

EVENTS_WANTED = 40
"""Faults, payments and liars: fewer than that."""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("quorum-of-half", "pay"),
        ("second-proposal", "two-faced-proposer"),
        ("speaks-before-writing", "pay"),
        ("signatures-unchecked", "impersonator"),
        ("persists-unsynced", "pay"),
        ("reward-unchecked", "invalid-block-maker"),
        ("ties-move-the-head", "delay"),
    ],
)
def test_little_is_left_of_what_showed_a_mistake(name: str, needs: str) -> None:
    catch = hunt(find_mutant(name), 24)
    assert catch.found and catch.shrunk_events is not None
    assert catch.shrunk_events < EVENTS_WANTED
    verdict = run_scenario(parse_scenario(catch.scenario))
    assert verdict.passed, "the scenario expects the violation, and there it is"
    assert verdict.events == catch.shrunk_events
    assert any(needs in need for need in catch.needs), catch.needs
