"""``moot lab simulate`` and ``moot lab campaign``: what they print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from moot.cli import lab as commands
from moot.cli import lab_campaign
from moot.cli.lab import lab
from moot.lab.report import Violation
from moot.lab.run import Outcome, RunOptions

SHORT = ("--minutes", "0.1", "--faults", "kill,delay")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(lab, arguments)


def broken(options: RunOptions) -> Outcome:
    """What a run would say that found something."""
    return Outcome(
        engine=options.engine,
        nodes=options.nodes,
        seed=options.seed,
        virtual_seconds=1.0,
        trace_hash="00",
        height=1,
        finalized_height=1,
        operations=0,
        faults={"kill": 1},
        violations=[Violation("agreement", "two blocks", 500)],
        valid=True,
        exercised={"restarts": 2, "recovery_ms_max": options.seed},
        events=10,
    )


def test_simulate_prints_the_documented_json() -> None:
    result = invoke("simulate", "--seed", "4", *SHORT, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert {
        "engine",
        "nodes",
        "seed",
        "virtual_seconds",
        "trace_hash",
        "height",
        "finalized_height",
        "operations",
        "faults",
        "violations",
        "valid",
    } <= set(document)
    assert (document["engine"], document["nodes"], document["seed"]) == ("pbft", 4, 4)
    assert document["violations"] == []
    assert json.loads(invoke("simulate", "--seed", "4", *SHORT, "--json").stdout) == document


def test_simulate_for_people_says_that_nothing_was_violated() -> None:
    result = invoke("simulate", "--seed", "4", *SHORT)
    assert result.exit_code == 0
    assert "Nothing was violated." in result.stdout


def test_a_violated_run_ends_with_1_and_the_line_that_repeats_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commands, "run", broken)
    result = invoke("simulate", "--seed", "4", *SHORT)
    assert result.exit_code == 1
    line = "moot lab simulate --engine pbft --nodes 4 --seed 4 --minutes 0.1 --faults delay,kill"
    assert line in result.stderr
    assert "two blocks" in result.stdout


def test_a_campaign_adds_up_what_its_runs_went_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_campaign, "run", broken)
    arguments = ("campaign", "--nodes", "3-5", "--seeds", "4", "--jobs", "1", *SHORT, "--json")
    result = invoke(*arguments)
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["engine"], document["nodes"], document["seeds"]) == ("pbft", "3-5", 4)
    assert document["faults"] == {"kill": 4}
    assert document["faults_never_injected"] == ["delay"], "of those that were wanted"
    assert document["exercised"] == {"recovery_ms_max": 4, "restarts": 8}
    assert document["events"] == 40
    assert document["invalid_runs"] == 0
    assert [run["seed"] for run in document["violations"]] == [1, 2, 3, 4]
    assert {run["nodes"] for run in document["violations"]} == {3, 4, 5}
    assert "--seed 1 " in document["violations"][0]["replay"]


def test_a_campaign_runs_in_processes_of_its_own() -> None:
    arguments = ("campaign", "--engine", "pow", "--nodes", "3", "--seeds", "2", "--jobs", "2")
    result = invoke(*arguments, *SHORT, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["seeds"] == 2


def test_a_campaign_that_was_cut_off_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []

    def count(options: RunOptions) -> Outcome:
        done.append(options.seed)
        return broken(options)

    monkeypatch.setattr(lab_campaign, "run", count)
    journal = tmp_path / "campaign.jsonl"
    arguments = ("campaign", "--nodes", "4", "--jobs", "1", *SHORT, "--resume", str(journal))
    invoke(*arguments, "--seeds", "2")
    with journal.open("ab") as file:
        file.write(b'[{"engine":"pb')  # the power went out in the middle of a line
    result = invoke(*arguments, "--seeds", "4", "--json")
    assert done == [1, 2, 3, 4]
    assert json.loads(result.stdout)["seeds"] == 4
    assert len(journal.read_bytes().splitlines()) == 4
    journal.write_bytes(b"not a journal\n")
    assert "is no campaign's journal" in invoke(*arguments).output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("campaign", "--nodes", "7-4"), "is no range"),
        (("campaign", "--nodes", "many"), "neither a number nor a range"),
        (("simulate", "--set", "novalue"), "is not KEY=VALUE"),
        (("simulate", "--delay", "slow"), "neither a number nor a range"),
        (("simulate", "--delay", "200-50"), "the least is more than the greatest"),
    ],
)
def test_mistakes_get_a_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert sentence in result.output
