"""What operators do in a run: hand leadership over, and stop processes that may hand over first."""

from __future__ import annotations

import pytest

from moot.lab.fault_kinds import OPERATORS
from moot.lab.recording import Case, play, record
from moot.lab.run import Laboratory, Outcome, RunOptions
from moot.lab.steps import Pause, Pay, Script, Step, Stop, Timed, Transfer
from moot.node.requests import Requests


def after(*doings: tuple[int, Step]) -> Script:
    """Payments all along, and ``doings`` at their milliseconds."""
    payments = [Timed(at_ms, Pay(0, 1, 5)) for at_ms in range(500, 6_000, 500)]
    timed = [Timed(at_ms, step) for at_ms, step in doings]
    steps = sorted([*payments, *timed], key=lambda each: each.at_ms)
    return Script(lasts_ms=8_000, steps=tuple(steps))


def played(script: Script, *, engine: str = "raft") -> tuple[Outcome, Laboratory]:
    made: list[Laboratory] = []
    outcome = play(Case(RunOptions(engine=engine, nodes=3, seed=5), script), (made.append,))
    return outcome, made[0]


@pytest.mark.parametrize("engine", ["raft", "multipaxos"])
def test_a_leader_that_is_told_to_hand_over_says_that_it_did(engine: str) -> None:
    outcome, _ = played(after((3_000, Transfer("leader"))), engine=engine)
    assert outcome.violations == []
    assert outcome.exercised["transfers_done"] == 1
    assert "transfers_refused" not in outcome.exercised


def test_who_does_not_lead_refuses() -> None:
    outcome, _ = played(after((3_000, Transfer("others"))))
    assert outcome.violations == []
    assert outcome.exercised["transfers_refused"] == 1


def test_a_leader_that_is_stopped_hands_over_and_nobody_waits_for_an_election() -> None:
    outcome, laboratory = played(after((3_000, Stop("leader", for_ms=2_000))))
    assert outcome.violations == []
    assert outcome.exercised["graceful_stops"] == outcome.exercised["restarts"] == 1
    assert outcome.exercised["leads"] == 2
    assert outcome.exercised["transfer"] == 1, "its first round of votes sufficed"
    assert sum(node.starts for node in laboratory.nodes) == 4


def test_a_stop_that_lasts_ends_with_the_healing() -> None:
    outcome, laboratory = played(after((3_000, Stop("n1"))))
    assert outcome.violations == []
    assert [node.starts for node in laboratory.nodes] == [1, 2, 1]


def test_a_stopped_process_hears_no_operator() -> None:
    paused = after((3_000, Pause("n1", 1_000)), (3_100, Transfer("n1")), (3_200, Stop("n1", 500)))
    outcome, laboratory = played(paused)
    assert outcome.violations == []
    assert not {"graceful_stops", "transfers_refused"} & set(outcome.exercised)
    assert [node.starts for node in laboratory.nodes] == [1, 1, 1]


def test_an_operator_who_is_never_answered_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Requests, "answered", lambda self, request, outcome: None)
    outcome, _ = played(after((3_000, Transfer("leader"))))
    assert [each.checker for each in outcome.violations] == ["unanswered"]


@pytest.mark.parametrize("engine", ["pbft", "pow", "gossip", "authority"])
def test_they_do_nothing_where_nobody_leads_a_majority(engine: str) -> None:
    drawn = [Laboratory(RunOptions(engine=engine, nodes=4, seed=seed)).doings for seed in range(9)]
    assert set(drawn) == {()}


def test_they_are_drawn_and_recorded_as_steps() -> None:
    drawn = [Laboratory(RunOptions(engine="raft", nodes=3, seed=seed)).doings for seed in range(20)]
    assert {(), OPERATORS} <= set(drawn)
    options = RunOptions(engine="raft", nodes=4, seed=2, minutes=0.5, faults=OPERATORS)
    outcome, case = record(options)
    assert {"stop", "transfer"} <= {each.step.text.split()[0] for each in case.script.steps}
    assert play(case).trace_hash == outcome.trace_hash
