"""``moot lab replay`` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from moot.cli.laboratory import lab
from moot.lab.run import RunOptions, run
from moot.lab.trace import read_lines
from tests.support.mistakes import plant_coins_of_nothing

RUN = ["replay", "--engine", "pbft", "--nodes", "4", "--seed", "5", "--minutes", "0.05"]


def moot(*arguments: str) -> Result:
    return CliRunner().invoke(lab, arguments, catch_exceptions=False)


def test_a_run_is_drawn_in_the_terminal() -> None:
    shown = moot(*RUN, "--faults", "none", "--from", "0", "--to", "1.5")
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert lines[0].strip() == "pbft, 4 nodes, seed 5"
    assert lines[1].split() == ["ms", "n0", "n1", "n2", "n3"]
    assert any("PrePrepare view 0" in line and "●" in line for line in lines)
    assert any("■ 1" in line for line in lines)
    assert not any("AnnounceTransactions" in line for line in lines)
    assert "Nothing was violated." in shown.output


def test_page_trace_and_json_and_a_trace_drawn_again(tmp_path: Path) -> None:
    html, trace = tmp_path / "run.html", tmp_path / "run.jsonl"
    files = ["--html", str(html), "--trace", str(trace)]
    shown = moot(*RUN, "--from", "0.5", "--to", "2", *files, "--json")
    document = json.loads(shown.stdout)
    outcome = run(RunOptions(engine="pbft", nodes=4, seed=5, minutes=0.05))
    assert document["trace_hash"] == outcome.trace_hash
    assert shown.exit_code == (1 if outcome.violations else 0)
    with trace.open(encoding="utf-8") as lines:
        events = read_lines(lines).events
    assert all(500 <= event.at_ms <= 2_000 for event in events)
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")
    again = moot("replay", "--read", str(trace), "--all", "--from", "0.6")
    assert again.exit_code == 0
    assert again.output.splitlines()[0].strip() == "pbft, 4 nodes, seed 5"


def test_an_empty_span_is_refused() -> None:
    refused = CliRunner().invoke(lab, [*RUN, "--from", "2", "--to", "1"])
    assert refused.exit_code == 2
    assert "--to is before --from" in refused.output


@pytest.mark.parametrize("content", [b"", b"not a trace\n", bytes(range(128, 256))])
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content)
    refused = CliRunner().invoke(lab, ["replay", "--read", str(path)])
    assert refused.exit_code == 1
    assert getattr(refused.exception, "code", "") == "malformed-trace"


def test_a_violation_is_shrunk_shown_and_told_by_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_coins_of_nothing(monkeypatch)
    trace = tmp_path / "run.jsonl"
    shown = moot(*RUN, "--shrink", "6", "--trace", str(trace), "--terminal")
    assert shown.exit_code == 1
    assert "after 6 runs: " in shown.stderr and "events" in shown.stderr
    assert "--output needs --shrink" in moot(*RUN, "--output", "x").output
    kept = tmp_path / "small.scenario"
    small = moot(*RUN, "--shrink", "20", "--output", str(kept), "--json")
    assert small.exit_code == 1
    text = kept.read_text()
    assert text.startswith("# moot lab simulate --engine") and "expect violation " in text
    again = CliRunner().invoke(lab, ["scenario", str(kept), "--json"])
    assert again.exit_code == 0, "the violation that it expects is there again"
    (document,) = json.loads(again.stdout)["scenarios"]
    assert document["passed"] and document["events"] <= 2
    assert document["outcome"]["violations"]
    with trace.open(encoding="utf-8") as lines:
        events = read_lines(lines).events
    violations = [event.what for event in events if event.kind == "violation"]
    assert violations[0].startswith("serializable-read: ")
    assert "── violation serializable-read:" in shown.stdout
