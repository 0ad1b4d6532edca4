"""``moot lab campaign --scheduler``: the same outcomes by other machines, and none is lost."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from moot.cli import lab_cluster
from moot.cli.lab_cluster import Answer, code_digest, run_one
from moot.cli.laboratory import lab
from moot.lab.run import Outcome, RunOptions, run
from tests.support.dask_cluster import DaskCluster

RUNS = ("campaign", "--nodes", "4", "--minutes", "0.1", "--faults", "kill,delay", "--tps", "6")

needs_dask = pytest.mark.skipif(
    find_spec("distributed") is None, reason="the extra `cluster` is not installed"
)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(lab, [*RUNS, *arguments])


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    made = DaskCluster(tmp_path)
    try:
        yield made
    finally:
        made.close()


def outcomes(journal: Path) -> dict[int, str]:
    """Trace hashes by seed; every seed once."""
    lines = journal.read_bytes().splitlines()
    found = [msgspec.json.decode(line, type=tuple[RunOptions, Outcome]) for line in lines]
    traces = {options.seed: outcome.trace_hash for options, outcome in found}
    assert len(traces) == len(lines)
    return traces


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = invoke("--seeds", "1", "--scheduler", "tcp://127.0.0.1:1")
    assert result.exit_code == 1
    assert "pip install 'moot[cluster]'" in result.output


@needs_dask
def test_what_is_no_scheduler_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_cluster, "CONNECT_S", 1)
    for address, sentence in (
        ("tcp://127.0.0.1:1", "no Dask scheduler answers at tcp://127.0.0.1:1"),
        ("carrier-pigeon://roof", "unknown address scheme"),
    ):
        result = invoke("--seeds", "1", "--scheduler", address)
        assert (result.exit_code, "Traceback" in result.output) == (1, False)
        assert sentence in result.output


def test_a_worker_with_other_code_does_nothing() -> None:
    options = RunOptions(engine="pbft", nodes=4, seed=1, minutes=0.1, faults=())
    own = code_digest("pbft")
    assert run_one(msgspec.json.encode(options), "other") == Answer(None, own)
    answer = run_one(msgspec.json.encode(options), own)
    assert answer.outcome is not None
    assert msgspec.json.decode(answer.outcome, type=Outcome) == run(options)


@needs_dask
@pytest.mark.slow
def test_a_lost_worker_loses_no_seed_and_a_journal_goes_on(
    cluster: DaskCluster, tmp_path: Path
) -> None:
    for _ in range(2):
        cluster.add_worker()
    journal = tmp_path / "seeds.jsonl"
    shared = ("--resume", str(journal), "--json")
    first = invoke("--seeds", "3", "--scheduler", cluster.address, *shared)
    assert first.exit_code == 0, first.output

    def lose() -> None:
        while len(journal.read_bytes().splitlines()) < 6:
            time.sleep(0.01)
        cluster.workers[0].kill()

    thief = threading.Thread(target=lose)
    thief.start()
    second = invoke("--seeds", "24", "--scheduler", cluster.address, *shared)
    thief.join()
    assert second.exit_code == 0, second.output
    assert json.loads(second.stdout)["seeds"] == 24
    traces = outcomes(journal)
    assert sorted(traces) == list(range(1, 25))
    # The same outcomes as here, and a journal of the one serves the other.
    base = RunOptions(
        engine="pbft", nodes=4, seed=24, minutes=0.1, faults=("delay", "kill"), load_tps=6.0
    )
    assert run(base).trace_hash == traces[24]
    assert json.loads(invoke("--seeds", "25", "--jobs", "1", *shared).stdout)["seeds"] == 25


@needs_dask
@pytest.mark.slow
def test_a_lost_scheduler_is_said_and_nothing_done_is_lost(
    cluster: DaskCluster, tmp_path: Path
) -> None:
    cluster.add_worker()
    journal = tmp_path / "seeds.jsonl"

    def lose() -> None:
        while not journal.exists() or len(journal.read_bytes().splitlines()) < 2:
            time.sleep(0.01)
        cluster.scheduler.kill()

    thief = threading.Thread(target=lose)
    thief.start()
    result = invoke("--seeds", "200", "--scheduler", cluster.address, "--resume", str(journal))
    thief.join()
    assert result.exit_code == 1
    done = len(outcomes(journal))
    assert 2 <= done < 200
    assert "has gone" in result.output
    assert f"{200 - done} runs were not done: the same command with --resume" in result.output


@needs_dask
@pytest.mark.slow
def test_a_cluster_without_workers_is_said(
    cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_cluster, "WORKERLESS_S", 1)
    result = invoke("--seeds", "2", "--scheduler", cluster.address)
    assert result.exit_code == 1
    assert "has had no worker" in result.output and "2 runs were not done" in result.output
