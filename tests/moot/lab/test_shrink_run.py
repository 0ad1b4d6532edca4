"""Failing runs made smaller: with a player that tells which fail, and with real mistakes."""

from __future__ import annotations

import msgspec
import pytest

from moot.lab.recording import Case, play, violation_by
from moot.lab.report import Violation
from moot.lab.run import Outcome, RunOptions
from moot.lab.shrink_run import RUNS_MAX, shrink_case, shrink_run, simpler, without_node
from moot.lab.steps import Crash, Cut, Delay, Partition, Pause, Pay, Script, Step, Timed
from tests.support.mistakes import plant_coins_of_nothing

OPTIONS = RunOptions(engine="pbft", nodes=7, seed=11)
NEEDED = (Crash("n2", for_ms=900), Partition((("n2", "n3"),), for_ms=2_000))


def player(case: Case, checker: str) -> Outcome:
    """A crash of one node and a partition around it violate agreement, whatever its name."""
    steps = [each.step for each in case.script.steps]
    crashed = {step.node for step in steps if isinstance(step, Crash)}
    parted = {step.groups[0][0] for step in steps if isinstance(step, Partition)}
    found = [Violation("agreement", "two blocks", 5_000)] if crashed & parted else []
    return Outcome("pbft", case.options.nodes, 1, 1.0, "", 1, 1, 1, {}, found, True, {}, 1_000)


def case_of(*steps: Step, nodes: int = 7) -> Case:
    timed = tuple(Timed(3_000 + 10 * number, step) for number, step in enumerate(steps))
    options = msgspec.structs.replace(OPTIONS, nodes=nodes)
    return Case(options, Script(lasts_ms=60_000, steps=timed, liars=(("n5", "silent"),)))


NOISE = [Pay(n % 5, (n + 1) % 5, 7) for n in range(60)] + [Pause(f"n{n}", 300) for n in range(7)]
AGREEMENT = Violation("agreement", "two blocks", 5_000)


def test_payments_faults_liars_nodes_and_time_go_until_nothing_can() -> None:
    case = case_of(*NOISE[:30], NEEDED[0], *NOISE[30:], NEEDED[1])
    shrunk = shrink_case(case, AGREEMENT, player=player)
    assert shrunk.minimal
    script = shrunk.case.script
    assert shrunk.case.options.nodes == 1, "neither fault needs another node"
    assert [type(each.step) for each in script.steps] == [Crash, Partition]
    assert script.liars == () and shrunk.events == 2
    assert script.lasts_ms <= 5_000 and script.healing == "none"


def test_a_budget_of_runs_is_kept_and_admitted() -> None:
    case = case_of(*NOISE, *NEEDED)
    shrunk = shrink_case(case, AGREEMENT, 6, player=player)
    assert shrunk.trials == 6
    assert not shrunk.minimal
    assert violation_by(player(shrunk.case, ""), "agreement")


def test_a_budget_of_simulated_events_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moot.lab.shrink_run.EVENTS_MAX", 8_000)
    shrunk = shrink_case(case_of(*NOISE, *NEEDED), AGREEMENT, player=player)
    assert shrunk.trials == 8
    assert not shrunk.minimal
    longer = shrink_case(case_of(*NOISE, *NEEDED), AGREEMENT, 2 * RUNS_MAX, player=player)
    assert longer.trials == 16, "whoever allows twice the runs means twice the work"


def test_what_does_not_fail_again_cannot_be_shrunk() -> None:
    with pytest.raises(ValueError, match="does not repeat"):
        shrink_case(case_of(*NOISE), AGREEMENT, player=player)
    with pytest.raises(ValueError, match="nothing is violated"):
        shrink_run(msgspec.structs.replace(OPTIONS, minutes=0.05, faults=()))


def test_without_a_node_the_others_move_up_and_what_concerned_it_goes() -> None:
    case = case_of(
        Crash("n2"), Crash("n3"), Cut(("n2>n4", "n6-n0")), Partition((("n2",), ("n6", "n2")))
    )
    smaller = without_node(case, 2)
    assert smaller is not None
    assert [each.step for each in smaller.script.steps] == [
        Crash("n2"),
        Cut(("n5-n0",)),
        Partition((("n5",),)),
    ]
    assert smaller.script.liars == (("n4", "silent"),)
    assert without_node(case, 5) is None, "a liar lives there"


@pytest.mark.parametrize(
    "step",
    [
        Crash("n0", True, True, for_ms=5_000),
        Delay(("n0>n1", "n1>n2", "n2>n0"), 1, 9, 30, 9_000),
        Pay(0, 1, 5, "n2"),
    ],
)
def test_simpler_steps_never_lead_in_circles(step: Step) -> None:
    seen = {step.text}
    todo = [step]
    while todo:
        for candidate in simpler(todo.pop()):
            if candidate.text not in seen:
                seen.add(candidate.text)
                todo.append(candidate)
            assert candidate != step
    assert len(seen) < 100


def test_a_mistake_that_needs_one_payment_shrinks_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Payments that make coins of nothing; the seed's own choice of faults is the start."""
    plant_coins_of_nothing(monkeypatch)
    options = RunOptions(engine="pbft", nodes=4, seed=11, minutes=0.1)
    shrunk = shrink_run(options)
    assert shrunk.minimal and shrunk.case.options.nodes == 1
    script = shrunk.case.script
    assert [type(each.step) for each in script.steps] == [Pay] or script.healing == "all"
    assert shrunk.events <= 1
    assert violation_by(play(shrunk.case), shrunk.violation.checker) is not None
