"""``moot devnet`` as a user meets it: real processes, and none left behind."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Background, moot, moot_json, processes_with, wait_gone

LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc")


def check_report(report: dict[str, Any], engine: str, nodes: int) -> None:
    assert report["engine"] == engine
    assert report["nodes"] == nodes
    assert report["agreement"] is True
    assert report["pending"] == 0
    assert report["submitted"] > 0
    assert report["submitted"] == report["finalized"] + report["failed"]
    assert report["failed"] == sum(report["failed_by_reason"].values())
    assert report["finalized_height"] > 0
    assert len(report["state_root"]) == 64
    assert report["latency_ms"]["p50"] > 0


def run(engine: str, nodes: int, seconds: int, load: int) -> dict[str, Any]:
    arguments = ("devnet", "--rest-port", "0", "--engine", engine, "--nodes", str(nodes), "--json")
    report: dict[str, Any] = moot_json(
        *arguments, "--seconds", str(seconds), "--load", str(load), timeout_s=180
    )
    return report


def test_four_replicas_agree_and_account_for_every_transaction() -> None:
    check_report(run("pbft", 4, 5, 50), "pbft", 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "nodes", "load"),
    [("pbft", 4, 200), ("pow", 3, 200), ("pbft", 7, 100), ("pbft", 1, 100), ("pow", 1, 50)],
)
def test_half_a_minute_under_load(engine: str, nodes: int, load: int) -> None:
    report = run(engine, nodes, 30, load)
    check_report(report, engine, nodes)
    assert report["submitted"] == 30 * load


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["authority", "gossip"])
def test_where_nothing_is_final_the_report_says_converged_and_displaced(engine: str) -> None:
    report = run(engine, 3, 8, 100)
    ended = "committed" if engine == "gossip" else "finalized"
    assert report["submitted"] == report[ended] == 800
    assert report["converged"] is True and report["displaced"] == 0
    assert report["pending"] == report["failed"] == 0


@LINUX_ONLY
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_and_takes_its_nodes_along(tmp_path: Path, number: int) -> None:
    folder = tmp_path / "net"
    arguments = ["devnet", "--rest-port", "0", "--nodes", "2", "--dir", str(folder)]
    with Background(arguments, tmp_path / "out.txt") as devnet:
        devnet.wait_for("Explorer: http://127.0.0.1:")
        devnet.wait_for("First transaction final after")
        assert len(processes_with(str(folder))) == 3
        assert devnet.end(number) == 0, devnet.text()
    wait_gone(str(folder))


@LINUX_ONLY
def test_when_a_node_dies_the_network_ends_and_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    arguments = ["devnet", "--rest-port", "0", "--nodes", "2", "--dir", str(folder)]
    with Background(arguments, tmp_path / "out.txt") as devnet:
        devnet.wait_for("Explorer:")
        (victim,) = processes_with(str(folder / "node2"))
        os.kill(victim, signal.SIGKILL)
        assert devnet.process.wait(30) == 1
        assert "node2 ended" in devnet.text()
    wait_gone(str(folder))


@LINUX_ONLY
def test_nodes_end_even_when_the_devnet_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    arguments = ["devnet", "--rest-port", "0", "--nodes", "2", "--dir", str(folder)]
    with Background(arguments, tmp_path / "out.txt") as devnet:
        devnet.wait_for("Explorer:")
        devnet.end(signal.SIGKILL)
    wait_gone(str(folder))


def test_a_kept_network_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = str(tmp_path / "net")
    arguments = ("devnet", "--rest-port", "0", "--nodes", "3", "--dir", folder, "--seconds", "3")
    first = moot_json(*arguments, "--load", "20", "--json")
    second = moot_json(*arguments, "--load", "20", "--json")
    assert second["finalized_height"] > first["finalized_height"]
    assert second["agreement"] is True
    plan = json.loads((tmp_path / "net" / "devnet.json").read_text())
    assert plan["engine"] == "pbft"
    refused = moot("devnet", "--engine", "pow", "--dir", folder, "--seconds", "1")
    assert refused.returncode == 1
    assert "holds a network of 3 pbft nodes" in refused.stderr


def test_mistakes_get_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("keep me")
    cases = [
        (("devnet", "--engine", "nonsense"), 1, "no engine is called 'nonsense'"),
        (("devnet", "--nodes", "0"), 2, "--nodes"),
        (("devnet", "--param", "heartbeat_ms"), 2, "KEY=VALUE"),
        (("devnet", "--param", "nonsense=1"), 1, "has no parameter 'nonsense'"),
        (("devnet", "--dir", str(tmp_path / "full")), 1, "is not empty and holds no devnet"),
    ]
    for arguments, status, words in cases:
        outcome = moot(*arguments, timeout_s=30)
        assert outcome.returncode == status, outcome.stderr
        assert words in outcome.stderr
        assert "Traceback" not in outcome.stderr
    assert (tmp_path / "full" / "letter.txt").read_text() == "keep me"
