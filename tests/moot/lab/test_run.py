"""Whole runs: the same every time, clean under every kind of fault, told to be repeated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chain.errors import Invalid
from consensus.registry import engine_names
from moot.lab.fault_kinds import KINDS, UnknownFault
from moot.lab.run import Laboratory, Outcome, RunOptions, command_of, lasso, run

ROOT = Path(__file__).parents[3]


def short(engine: str, nodes: int, seed: int, **more: object) -> Outcome:
    return run(RunOptions(engine=engine, nodes=nodes, seed=seed, minutes=0.25, **more))  # type: ignore[arg-type]


def test_a_run_without_faults_is_clean_and_busy() -> None:
    outcome = short("pbft", 4, 1, faults=())
    assert outcome.violations == [] and outcome.valid
    assert outcome.faults == {}
    assert outcome.operations > 10
    assert outcome.finalized_height > 10


PBFT_ONLY = (
    *("loss", "selective-loss", "duplication", "reordering", "membership", "cut-at-phase"),
)
"""They strike consensus messages, of which work sends none, or members, of which it has none."""


def strike(engine: str, kind: str) -> None:
    """One kind alone, so that a failure names its cause; some seed within few injects it."""
    for seed in range(20):
        outcome = run(RunOptions(engine=engine, nodes=4, seed=seed, minutes=0.15, faults=(kind,)))
        assert outcome.violations == [], (seed, outcome.violations)
        if outcome.faults.get(kind, 0):
            return
    pytest.fail(f"{kind} was never injected")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_fault_comes_and_breaks_nothing(kind: str) -> None:
    odd = KINDS.index(kind) % 2 and kind not in PBFT_ONLY
    strike("pow" if odd else "pbft", kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_fault_comes_to_the_other_engine_too(kind: str) -> None:
    odd = KINDS.index(kind) % 2
    if not odd and kind not in PBFT_ONLY:
        strike("pow", kind)
    else:
        strike("pbft", kind)


def traces(hash_seed: str, runs: list[tuple[str, int, int]]) -> list[str]:
    """The runs' trace hashes, from an interpreter of its own."""
    program = (
        "import json, sys\n"
        "from moot.lab.run import RunOptions, run\n"
        "print(json.dumps([run(RunOptions(engine=e, nodes=n, seed=s, minutes=0.25)).trace_hash"
        " for e, n, s in json.load(sys.stdin)]))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(runs),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
    )
    hashes: list[str] = json.loads(found.stdout)
    return hashes


def test_the_same_seed_gives_the_same_trace_in_another_process() -> None:
    runs = [("pbft", 4, 5), ("pow", 3, 5)]
    first = traces("0", runs)
    assert first == traces("1", runs)
    assert len(set(first)) == len(runs)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_a_hundred_seeds_give_the_same_traces_in_two_processes() -> None:
    engines = engine_names()
    runs = [(engines[seed % len(engines)], 3 + seed % 4, seed) for seed in range(100)]
    assert traces("11", runs) == traces("22", runs)


def test_unknown_faults_mutants_and_liars_are_refused() -> None:
    with pytest.raises(UnknownFault, match="known are: delay"):
        short("pbft", 4, 1, faults=("earthquake",))
    with pytest.raises(Invalid):
        short("pbft", 4, 1, mutant="no-such-mutant")


def test_too_little_traffic_is_no_result() -> None:
    assert not short("pbft", 4, 1, faults=(), load_tps=0.0).valid


def test_the_real_signer_signs() -> None:
    options = RunOptions(
        engine="pbft", nodes=4, seed=3, minutes=0.1, faults=("kill",), real_signer=True
    )
    assert len(Laboratory(options).nodes[0].signer.sign(b"x")) == 64
    outcome = run(options)
    assert outcome.violations == [] and outcome.operations


def test_the_line_that_repeats_a_run_names_what_differs_from_the_defaults() -> None:
    plain = RunOptions(engine="pow", nodes=3, seed=9)
    assert command_of(plain) == "moot lab simulate --engine pow --nodes 3 --seed 9"
    rich = RunOptions(
        engine="pbft",
        nodes=4,
        seed=1,
        minutes=0.5,
        faults=("kill", "pause"),
        parameters={"heartbeat_ms": 0},
        load_tps=1.5,
        liars=1,
        mutant="m",
        real_signer=True,
    )
    assert command_of(rich, "abc1234") == (
        "moot lab simulate --engine pbft --nodes 4 --seed 1 --minutes 0.5 --faults kill,pause "
        "--tps 1.5 --set heartbeat_ms=0 --real-signer --liars 1 --mutant m  # at commit abc1234"
    )


def test_a_lasso_is_seen_after_three_rounds() -> None:
    beginning = [bytes([n]) for n in range(5)]
    assert lasso([*beginning, *[b"x", b"y", b"z"] * 3]) == 3
    assert lasso([*beginning, *[b"x"] * 3]) == 1
    assert lasso([*beginning, b"x", b"y", b"x", b"y", b"x"]) == 0
    assert lasso([]) == 0
