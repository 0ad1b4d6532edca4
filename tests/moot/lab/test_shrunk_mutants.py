"""Caught mutants are shrunk to small cases, and the small case shows the same mistake by itself."""

from __future__ import annotations

import msgspec
import pytest

from moot.lab.hunt import EVENTS_WANTED, hunt
from moot.lab.mutants import find_mutant
from moot.lab.scenario import run_scenario
from moot.lab.scenario_text import parse_scenario


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
        ("longest-by-height", "partition"),
        # The first seed that shows it does so late; another one needs a tenth of the payments.
        ("unwinds-nothing", "crash"),
        # Links of a few milliseconds are enough for two miners to find a block each at one height.
        ("ties-move-the-head", None),
    ],
)
def test_little_is_left_of_what_showed_a_mistake(name: str, needs: str | None) -> None:
    """``needs``: what cannot be left out; None: the mistake shows by itself."""
    catch = hunt(find_mutant(name), 24)
    assert catch.found and catch.shrunk_events is not None
    assert catch.shrunk_events < EVENTS_WANTED
    scenario = parse_scenario(catch.scenario)
    verdict = run_scenario(scenario)
    assert verdict.passed, "the scenario expects the violation, and there it is"
    assert verdict.events == catch.shrunk_events
    if needs is None:
        assert catch.minimal and catch.needs == ()
    else:
        assert any(needs in need for need in catch.needs), catch.needs
    right = msgspec.structs.replace(scenario.options, mutant=None)
    without_it = msgspec.structs.replace(scenario, options=right, expectations=())
    assert run_scenario(without_it).passed, "it is the mistake that shows, and nothing else"
