"""The conformance kit: our engines pass it, and a broken one does not."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from consensus.registry import UnknownEngine, engine_names
from moot.cli.lab_mutants import prove as command
from moot.cli.lab_mutants import trace_elsewhere
from moot.lab.mutants import find_mutant
from moot.lab.prove import card, prove
from moot.lab.run import RunOptions, run


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(UnknownEngine):
        list(prove("no-such", 1, lambda options: ""))


def test_a_run_is_the_same_in_another_process() -> None:
    options = RunOptions(engine="pbft", nodes=4, seed=2, minutes=0.1)
    assert trace_elsewhere(options) == run(options).trace_hash


def test_an_engine_that_speaks_before_writing_fails() -> None:
    with find_mutant("speaks-before-writing").apply():
        first = next(iter(prove("pbft", 1, trace_elsewhere)))
        report = card("pbft", [first])
    assert not report.passed
    assert "durable-before-speaking" in first.detail


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["pbft", "pow"])
def test_our_engines_pass(engine: str) -> None:
    assert engine in engine_names()
    shown = CliRunner().invoke(command, [engine, "--seeds", "3", "--json"])
    report = json.loads(shown.stdout)
    assert [part for part in report["parts"] if not part["passed"]] == []
    assert report["passed"] and shown.exit_code == 0
    names = {part["name"] for part in report["parts"]}
    assert {"contract", "determinism", "safety", "liveness", "restarts", "liars"} <= names
    assert ("twins" in names) == (engine == "pbft")
