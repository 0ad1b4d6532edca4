"""The tests' test: every planted mistake is found, by the checker of the class that it breaks."""

from __future__ import annotations

import json
import os
from collections import Counter

import msgspec
import pytest
from click.testing import CliRunner

from moot.cli.lab_mutants import catches, mutants
from moot.lab.hunt import hunt, options_of
from moot.lab.mutants import Mutant, UnknownMutant, all_mutants, find_mutant
from moot.lab.run import run
from moot.lab.scenario import run_scenario
from moot.lab.scenario_text import parse_scenario
from moot.lab.steps import Crash, Pay

SEEDS = 24
"""Enough for each of them; `moot lab mutants` itself tries more."""
EVENTS_WANTED = 40
"""Faults, payments and liars of a shrunk case: fewer than that."""


@pytest.mark.parametrize("mutant", all_mutants(), ids=lambda mutant: mutant.name)
def test_what_a_mutant_replaces_is_there(mutant: Mutant) -> None:
    with mutant.apply():
        assert mutant.rule and mutant.source


def test_enough_mutants_of_each_kind() -> None:
    count = Counter(mutant.engine for mutant in all_mutants())
    assert count["paxos"] >= 12 and count["multipaxos"] >= 8
    assert count["pbft"] >= 12 and count["pow"] >= 8 and count["node"] >= 10
    assert count["authority"] >= 10 and count["gossip"] >= 5
    assert len({mutant.name for mutant in all_mutants()}) == count.total()


def test_an_unknown_mutant_is_refused_with_the_known_names() -> None:
    with pytest.raises(UnknownMutant, match="quorum-of-half"):
        find_mutant("no-such")


def test_a_mutant_is_caught_and_its_run_repeats() -> None:
    catch = hunt(find_mutant("speaks-before-writing"), 1, shrinks=False)
    assert (catch.found, catch.checker) == (True, "durable-before-speaking")
    assert "--mutant speaks-before-writing" in catch.replay
    again = run(options_of(find_mutant("speaks-before-writing"), 1))
    assert again.violations[0].message == catch.message


def test_shrinking_leaves_out_the_faults_that_are_not_needed() -> None:
    catch = hunt(find_mutant("fees-vanish"), 1)
    assert catch.minimal and catch.shrunk_nodes == 1
    kept = parse_scenario(catch.scenario)
    assert [type(each.step) for each in kept.script.steps] == [Pay], "a fee is needed"
    assert catch.needs == ("pay",)
    assert run_scenario(kept).passed, "it expects the violation, and there it is"


@pytest.mark.slow
def test_shrinking_keeps_a_fault_that_is_needed() -> None:
    catch = hunt(find_mutant("replays-nothing"), SEEDS)
    assert catch.shrunk_events is not None and catch.shrunk_events < EVENTS_WANTED
    kept = parse_scenario(catch.scenario)
    assert any(isinstance(each.step, Crash) for each in kept.script.steps)
    assert run_scenario(kept).passed


def test_the_honest_node_passes_what_a_mutant_fails() -> None:
    options = options_of(find_mutant("signatures-unchecked"), 1)
    honest = run(msgspec.structs.replace(options, mutant=None))
    assert honest.violations == []
    assert honest.operations > 0


def test_the_command_prints_its_document() -> None:
    shown = CliRunner().invoke(
        mutants, ["--name", "fees-vanish", "--seeds", "2", "--jobs", "1", "--no-shrink", "--json"]
    )
    (document,) = json.loads(shown.stdout)["mutants"]
    assert shown.exit_code == 0
    assert (document["name"], document["engine"], document["found"]) == (
        "fees-vanish",
        "node",
        True,
    )
    assert document["checker"] == "validity" and document["seeds"] == 1


@pytest.mark.slow
def test_every_mutant_is_found() -> None:
    names = [mutant.name for mutant in all_mutants()]
    found = list(catches(names, SEEDS, os.cpu_count() or 1, shrinks=False))
    assert [catch.name for catch in found if not catch.found] == []
