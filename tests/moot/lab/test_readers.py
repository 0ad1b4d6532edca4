"""Readers in a run: answers that were never true, or true no more, are found; so is silence."""

from __future__ import annotations

import msgspec
import pytest

from chain.view import ChainView
from consensus import contract
from consensus.contract import Effect, Engine, Event, Now, ReadRequested, ServeRead, Status
from moot.lab.fault_kinds import KINDS
from moot.lab.history import ReadAccount
from moot.lab.linearizability import Verdict
from moot.lab.mutants import find_mutant
from moot.lab.readers import TRIES_MAX
from moot.lab.run import PROGRESS_MS_MAX, Laboratory, Outcome, RunOptions, run
from moot.lab.witness import Misfit
from tests.support.histories import history


class Answering:
    """An engine whose reads are answered in another way; ``height``: of the final block."""

    def __init__(self, inner: Engine, answer: str) -> None:
        self.inner = inner
        self.answer = answer

    def handle(self, event: Event, view: ChainView, now: Now) -> list[Effect]:
        if not isinstance(event, ReadRequested):
            return self.inner.handle(event, view, now)
        match self.answer:
            case "at once":
                return [ServeRead(event.request, view.height(view.finalized()))]
            case "refused":
                return [contract.Answer(event.request, "refused: not now")]
        return []

    def status(self, view: ChainView, now: Now) -> Status:
        return self.inner.status(view, now)


def answering(answer: str, *, promised: bool = True) -> Outcome:
    """A run whose engines promise linearizable reads, and answer them like that."""

    def prepare(laboratory: Laboratory) -> None:
        readers = laboratory.readers
        properties = laboratory.properties
        readers.properties = msgspec.structs.replace(properties, linearizable_reads=promised)
        for node in laboratory.nodes:
            node.wrappers.append(lambda engine: Answering(engine, answer))

    options = RunOptions(
        engine="pbft", nodes=4, seed=1, minutes=0.4, faults=("partition",), load_tps=6
    )
    return run(options, (prepare,))


def checkers(outcome: Outcome) -> set[str]:
    return {violation.checker for violation in outcome.violations}


@pytest.mark.parametrize("engine", ["pbft", "pow"])
def test_clients_read_in_every_run(engine: str) -> None:
    outcome = run(RunOptions(engine=engine, nodes=4, seed=3, minutes=0.3))
    assert outcome.violations == []
    assert outcome.exercised["reads_serializable"] > 3
    linearizable = ("reads_linearizable", "reads_refused")
    assert sum(outcome.exercised.get(name, 0) for name in linearizable) > 3


def test_reads_answered_from_memory_are_found_stale() -> None:
    outcome = answering("at once")
    assert checkers(outcome) == {"linearizability"}
    assert "not linearizable" in outcome.violations[0].message
    assert outcome.exercised["reads_linearizable"] > 10


def test_an_engine_that_promises_no_such_read_serves_none() -> None:
    outcome = answering("at once", promised=False)
    assert "does not promise" in outcome.violations[0].message


@pytest.mark.parametrize("answer", ["refused", "never"])
def test_an_engine_that_promises_reads_serves_them_in_the_end(answer: str) -> None:
    outcome = answering(answer)
    assert checkers(outcome) == {"progress"}
    assert "1 reads are still under way" in outcome.violations[0].message
    assert outcome.virtual_seconds > PROGRESS_MS_MAX / 1_000
    assert outcome.exercised["reads_repeated"] > TRIES_MAX


def test_a_confirmed_account_is_not_the_heads() -> None:
    with find_mutant("reads-the-head").apply():
        outcome = run(RunOptions(engine="pow", nodes=3, seed=1, minutes=0.3, faults=()))
    assert "serializable-read" in checkers(outcome)


def test_reading_is_repeatable_under_all_faults() -> None:
    options = RunOptions(engine="pbft", nodes=4, seed=8, minutes=0.2, faults=KINDS)
    assert run(options) == run(options)


def test_what_was_given_up_is_said() -> None:
    laboratory = Laboratory(RunOptions(engine="pbft", nodes=4, seed=1))
    (operation,) = history(("A", ReadAccount("u0")), ("A", None, (0, 1)))
    laboratory.readers.report(Verdict("undecided", steps=77), Misfit(operation, "it fits nowhere"))
    (violation,) = laboratory.findings.violations
    assert violation.checker == "linearizability"
    assert "given up after 77 steps" in violation.message
    assert "it fits nowhere" in violation.message
    laboratory.readers.report(Verdict("linearizable"), Misfit(operation, "in this order"))
    assert len(laboratory.findings.violations) == 1
    assert laboratory.findings.exercised["orders_unlike_the_chain"] == 1
