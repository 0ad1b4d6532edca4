"""Scenario files that are kept: each holds what it expects, and its story is the golden one."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from chain.errors import Invalid
from moot.cli.laboratory import lab
from moot.lab.run import RunOptions
from moot.lab.scenario import (
    Expectation,
    Scenario,
    UnknownThing,
    run_scenario,
    trace_scenario,
    with_liars_named,
)
from moot.lab.scenario_text import parse_scenario
from moot.lab.steps import Crash, Intercept, Moment, Pay, Script, Timed
from moot.lab.transcript import transcript
from tests.support.transcripts import check_golden

KEPT = Path(__file__).parents[2] / "scenarios"
GOLDEN = Path(__file__).parents[2] / "golden" / "scenarios"
FILES = sorted(KEPT.glob("*.scenario"))
QUIET = Script(lasts_ms=3_000, healing="none")
ONE_PAYMENT = Script(lasts_ms=3_000, healing="none", steps=(Timed(1_000, Pay(0, 1, 5)),))


def scenario(
    script: Script, *expectations: Expectation, engine: str = "pbft", **options: object
) -> Scenario:
    made = RunOptions(engine=engine, nodes=4, seed=1, **options)  # type: ignore[arg-type]
    return Scenario("a test", made, script, expectations)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(lab, ["scenario", *arguments])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_kept_scenario_holds_and_tells_its_golden_story(path: Path) -> None:
    verdict, trace = trace_scenario(parse_scenario(path.read_text(encoding="utf-8")))
    assert [finding for finding in verdict.expectations if not finding.holds] == []
    check_golden(GOLDEN / f"{path.stem}.txt", transcript(trace))


def test_scenarios_are_kept_for_both_engines() -> None:
    assert len(FILES) >= 6
    assert {path.stem.split("_")[0] for path in FILES} >= {"pbft", "pow"}


def test_a_traced_scenario_is_the_same_run() -> None:
    one = scenario(ONE_PAYMENT)
    assert trace_scenario(one)[0] == run_scenario(one)


def test_nothing_may_be_violated_unless_it_is_expected() -> None:
    wrong = scenario(ONE_PAYMENT, mutant="fees-vanish")
    verdict = run_scenario(wrong)
    assert not verdict.passed
    (finding,) = verdict.expectations
    assert (finding.expectation, finding.found) == ("expect clean", "validity")
    expected = msgspec.structs.replace(wrong, expectations=(Expectation("violation", "validity"),))
    assert run_scenario(expected).passed
    harmless = msgspec.structs.replace(expected, options=scenario(QUIET).options)
    assert not run_scenario(harmless).passed, "the violation must come"


@pytest.mark.parametrize(
    ("expectation", "holds"),
    [
        (Expectation("final", number=1), True),
        (Expectation("final", number=2), False),
        (Expectation("final", relation="<=", number=0, by_ms=900), True),
        (Expectation("final", relation="=", number=0), False),
        (Expectation("head", number=1, nodes=("n0", "n3")), True),
        (Expectation("round", relation="=", number=0), True),
        (Expectation("starts", relation="=", number=1), True),
        (Expectation("payments", number=1, by_ms=2_900), True),
        (Expectation("payments", number=1, by_ms=1_001), False),
        (Expectation("idle", relation="=", number=0), True),
        (Expectation("counted", "committed", ">=", 4), True),
        (Expectation("counted", "no-such", ">=", 1), False),
        (Expectation("agreement"), True),
        (Expectation("same-head", by_ms=2_000), True),
    ],
)
def test_each_expectation_is_looked_at_when_it_says(expectation: Expectation, holds: bool) -> None:
    options = {"parameters": {"heartbeat_ms": 0}}
    verdict = run_scenario(scenario(ONE_PAYMENT, expectation, **options))
    assert verdict.expectations[0].holds is holds, verdict.expectations


def test_a_node_that_is_down_fulfils_nothing() -> None:
    script = msgspec.structs.replace(QUIET, steps=(Timed(1_000, Crash("n1")),))
    verdict = run_scenario(scenario(script, Expectation("head", number=0, nodes=("n0", "n1"))))
    assert verdict.expectations[0].found == "n1 is down"
    assert not verdict.passed


def test_nodes_that_differ_do_not_agree() -> None:
    parted = "scenario 1\nengine pow\nnodes 2\nseed 3\nlasts 20s\nhealing none\n"
    parted += "at 0ms partition n0 | n1\n"
    assert not run_scenario(parse_scenario(parted + "expect same-head\n")).passed
    assert not run_scenario(parse_scenario(parted + "expect agreement\n")).passed


def test_a_liar_may_be_whoever_leads_first() -> None:
    one = scenario(msgspec.structs.replace(QUIET, liars=(("leader", "silent"),)))
    ((name, kind),) = with_liars_named(one).script.liars
    assert kind == "silent"
    crash = Timed(1_000, Crash("leader", for_ms=100))
    same = scenario(
        msgspec.structs.replace(QUIET, steps=(crash,)), Expectation("starts", "", "=", 2, (name,))
    )
    assert run_scenario(same).passed, "the leader is the same node as in the trial run"


@pytest.mark.parametrize(
    ("step", "word"),
    [
        (Intercept("drop", 0, "PrePropose", ("*>*",)), "PrePropose"),
        (Crash("n0", moment=Moment("after", 1, "Persists")), "Persists"),
        (Crash("n0", moment=Moment("after", 1, "Status")), "Status"),
    ],
)
def test_a_thing_of_no_such_name_is_refused_with_the_known_names(step: object, word: str) -> None:
    script = msgspec.structs.replace(QUIET, steps=(Timed(1_000, step),))  # type: ignore[arg-type]
    with pytest.raises(UnknownThing, match=f"nothing is called '{word}'; known are: .*PrePrepare"):
        run_scenario(scenario(script))


def test_more_liars_than_the_engine_bears_need_a_word() -> None:
    liars = (("n0", "silent"), ("n1", "silent"))
    script = msgspec.structs.replace(ONE_PAYMENT, liars=liars)
    with pytest.raises(Invalid, match="claims to bear 1 liars among 4"):
        run_scenario(scenario(script))
    beyond = msgspec.structs.replace(script, is_beyond=True)
    stuck = Expectation("final", "", "=", 0)
    assert run_scenario(scenario(beyond, stuck)).passed, "two voters are no quorum"


def test_messages_are_dropped_held_and_repeated() -> None:
    def final_at(step: Intercept) -> list[int]:
        script = msgspec.structs.replace(
            ONE_PAYMENT, delay_ms=(5, 5), steps=(Timed(0, step), *ONE_PAYMENT.steps)
        )
        _, trace = trace_scenario(scenario(script, parameters={"heartbeat_ms": 0}))
        return sorted(event.at_ms for event in trace.events if event.kind == "final")

    undisturbed = final_at(Intercept("repeat", 3, "Prepare", ("*>*",)))
    assert len(undisturbed) == 4, "a message said twice changes nothing"
    assert final_at(Intercept("drop", 0, "Prepare", ("*>*",))) == []
    late = final_at(Intercept("hold", 0, "Commit", ("*>*",), by_ms=300))
    assert [each - 300 for each in late] == undisturbed
    assert final_at(Intercept("drop", 0, "Commit", ("*>n1",)))[:3] == undisturbed[:3]


# ------------------------------------------------------------------------------- the command


def test_the_command_judges_files_and_prints_its_document(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.scenario", tmp_path / "bad.scenario"
    text = "scenario 1\ntitle one\nengine pbft\nnodes 4\nlasts 2s\nhealing none\n"
    good.write_text(text + "expect round = 0\n")
    bad.write_text(text + "expect final >= 7\n")
    passed = invoke(str(good), "--json")
    assert passed.exit_code == 0
    (document,) = json.loads(passed.stdout)["scenarios"]
    assert document["passed"] is True and document["title"] == "one"
    assert document["expectations"][0]["expectation"] == "expect round = 0"
    failed = invoke(str(good), str(bad))
    assert failed.exit_code == 1
    assert "expect final >= 7: does not hold: n0 0" in failed.stdout


def test_the_command_writes_a_page_and_a_transcript(tmp_path: Path) -> None:
    page, story = tmp_path / "run.html", tmp_path / "run.txt"
    path = KEPT / "pbft_crash_between_persist_and_send.scenario"
    done = invoke(str(path), "--html", str(page), "--transcript", str(story))
    assert done.exit_code == 0, done.output
    assert story.read_text() == (GOLDEN / f"{path.stem}.txt").read_text()
    assert "crash n3 after 1 Persist" in page.read_text()


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"scenario 1\nengine pbft\nnodes 4\nlasts 2s\nat 1s expload n0\n", "line 5: 'expload'"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
        (b"scenario 1\nengine pbtf\nnodes 4\nlasts 2s\n", "pbtf"),
        (b"scenario 1\nengine pbft\nnodes 4\nlasts 2s\nmutant nope\n", "no mutant is called"),
        (b"scenario 1\nengine pbft\nnodes 4\nlasts 2s\nliar n0 shy\n", "is called 'shy'"),
        (b"scenario 1\nengine pbft\nnodes 4\nset no=1\nlasts 2s\n", "no"),
    ],
)
def test_the_command_says_what_is_wrong_in_a_sentence(
    tmp_path: Path, raw: bytes, sentence: str
) -> None:
    path = tmp_path / "wrong.scenario"
    path.write_bytes(raw)
    failed = invoke(str(path))
    assert failed.exit_code != 0
    told = str(failed.exception) if failed.exception else ""
    assert sentence in failed.output + told
    assert "Traceback" not in failed.output
