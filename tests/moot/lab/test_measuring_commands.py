"""``moot lab cost`` and ``moot lab bench``: what they print, and what they refuse."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from moot.cli.laboratory import lab


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(lab, arguments)


def test_cost_of_a_block_as_a_table_and_as_json() -> None:
    shown = invoke("cost", "--engine", "pbft", "--nodes", "4", "--blocks", "3")
    assert shown.exit_code == 0
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert ["4", "Prepare", "9"] in [row[:3] for row in rows]
    document = json.loads(invoke("cost", "--nodes", "4,5", "--blocks", "2", "--json").stdout)
    assert [one["nodes"] for one in document["costs"]] == [4, 5]
    assert document["costs"][0]["consensus_messages"] == 24


def test_what_needs_no_votes_costs_none() -> None:
    arguments = ("--engine", "pow", "--nodes", "3", "--blocks", "3", "--json")
    (cost,) = json.loads(invoke("cost", *arguments).stdout)["costs"]
    assert cost["consensus_messages"] == 0
    assert cost["messages"]["shared"] > 0


@pytest.mark.parametrize("command", ["cost", "bench"])
@pytest.mark.parametrize("numbers", ["", "0", "x", "4,", "1,2,3,4,5,6,7,8,9,10,11", "9999999"])
def test_lists_that_are_none(command: str, numbers: str) -> None:
    option = {"cost": "--nodes", "bench": "--outstanding"}[command]
    result = invoke(command, option, numbers)
    assert result.exit_code == 2
    assert "number" in result.output


@pytest.mark.slow
def test_a_network_of_real_processes_is_measured() -> None:
    arguments = ("--nodes", "4", "--outstanding", "1,20", "--seconds", "1", "--json")
    result = invoke("bench", "--engine", "pbft", *arguments)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["goal"], document["nodes"]) == ("final", 4)
    one, twenty = (run["loop"] for run in document["runs"])
    assert all(run["cpu_ms"] is None or run["cpu_ms"] > 0 for run in document["runs"])
    assert (one["outstanding"], twenty["outstanding"], twenty["batch"]) == (1, 20, 2)
    for run in (one, twenty):
        assert run["operations"] > 0
        assert run["failed"] == {}
        assert 0 < run["latency_ms"]["p50"] <= run["latency_ms"]["p99"]
