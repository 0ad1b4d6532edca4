"""What a reorganisation takes back waits again; what the indexes say is what the blocks hold."""

from __future__ import annotations

import msgspec
import pytest

from chain.errors import Invalid
from moot.lab.checkers import check_indexes
from moot.lab.checkers.returned import left_behind
from moot.lab.hunt import hunt, options_of
from moot.lab.mutants import find_mutant
from moot.lab.report import Findings
from moot.lab.run import Laboratory, RunOptions, run

SLOW_LINKS = RunOptions(
    engine="pow", nodes=4, seed=2, minutes=0.4, faults=(), load_tps=8.0, delay_ms=(100, 900)
)


def ran(options: RunOptions) -> Laboratory:
    made: list[Laboratory] = []
    outcome = run(options, (made.append,))
    assert outcome.violations == []
    return made[0]


def test_payments_of_a_branch_that_lost_are_listed() -> None:
    laboratory = ran(msgspec.structs.replace(SLOW_LINKS, flush_depth=64))
    ledger = laboratory.nodes[0].running.ledger
    head = ledger.head()
    assert list(left_behind(ledger, head, head)) == []
    below = ledger.ancestor(head, 1)
    expected = [
        transaction
        for height in range(ledger.height(head), ledger.height(below), -1)
        for transaction in ledger.block(ledger.ancestor(head, height)).transactions  # type: ignore[union-attr]
    ]
    assert list(left_behind(ledger, head, below)) == expected != []
    assert list(left_behind(ledger, below, head)) == []


def test_an_honest_ledger_that_took_much_back_agrees_with_its_blocks() -> None:
    shallow = {"confirmation_depth": 1}
    laboratory = ran(msgspec.structs.replace(SLOW_LINKS, flush_depth=1, parameters=shallow))
    assert laboratory.findings.exercised["reorganisation_depth_max"] >= 2


def test_a_wrong_index_is_named() -> None:
    laboratory = ran(SLOW_LINKS)
    node, users = laboratory.nodes[0], [user.address for user in laboratory.cluster.users]
    findings = Findings()
    check_indexes(node, users, findings)
    assert findings.violations == []
    ledger = node.running.ledger
    honest = ledger.history
    ledger.history = lambda address, **more: honest(address, **more)[1:]  # type: ignore[method-assign]
    check_indexes(node, users[:1], findings)
    assert [each.checker for each in findings.violations] == ["indexes"]
    assert "history" in findings.violations[0].message


@pytest.mark.parametrize(
    ("name", "checker"),
    [("reorganisation-drops-payments", "returned"), ("unwound-history-stays", "indexes")],
)
def test_each_is_what_finds_its_mutant(name: str, checker: str) -> None:
    catch = hunt(find_mutant(name), 4, shrinks=False)
    assert (catch.found, catch.checker) == (True, checker)


def test_a_hunt_says_delay_and_depth_in_the_line_that_repeats_it() -> None:
    catch = hunt(find_mutant("unwound-history-stays"), 4, shrinks=False)
    assert "--delay 100-900 --flush-depth 1 --set confirmation_depth=1 " in catch.replay
    options = options_of(find_mutant("unwound-history-stays"), 1)
    assert (options.delay_ms, options.flush_depth) == ((100, 900), 1)


def test_what_is_confirmed_stays_in_memory() -> None:
    with pytest.raises(Invalid, match="fewer than the 6 that confirm"):
        run(msgspec.structs.replace(SLOW_LINKS, flush_depth=5))
