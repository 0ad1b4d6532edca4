"""The scenario file's words: what is written is read back, and nothing else is understood."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moot.lab.fault_kinds import KINDS
from moot.lab.recording import record
from moot.lab.run import RunOptions
from moot.lab.scenario import scenario_of
from moot.lab.scenario_text import (
    EXPECTATIONS_MAX,
    LINE_MAX,
    SIZE_MAX,
    STEPS_MAX,
    InvalidScenario,
    format_scenario,
    parse_scenario,
)
from moot.lab.steps import duration

HEAD = "scenario 1\nengine pbft\nnodes 4\nlasts 20s\n"
"""Four lines: what follows is line 5."""

STEPS = (
    "pay u0 u4 50",
    "pay u0 u4 0 via n3",
    "pay u1 u0 7 via leader",
    "cut n0>n1",
    "cut n0-n1 leader>* for 2s",
    "partition n0 n1 | n2 for 1.5s",
    "partition leader | others",
    "heal",
    "heal n0-n1",
    "reset n0-n1 n2>n3",
    "delay *>* 5..50ms tail 30/1000 for 90s",
    "delay n0>n1 0..0ms",
    "loss n0>n1 n1>n2 250/1000 for 20ms",
    "duplication others>leader 1000/1000",
    "reordering n0>* 1/1000",
    "bandwidth n0-n1 20kB/s for 3s",
    "drop next 3 PrePrepare n0>n1",
    "drop all #7 *>n1 for 3s",
    "drop all * *>n1",
    "hold all Commit n0>* by 500ms for 3s",
    "repeat next 1 Status n0-n3",
    "crash n0",
    "crash leader power for 3s",
    "crash n0 rotated after 0 steps",
    "crash n0 after 1 Persist for 1ms",
    "crash n0 power before 2 Broadcast",
    "isolate n0 before 1 Commit for 3s",
    "isolate leader after 2 Persist",
    "restart n0",
    "wipe n0 for 100ms",
    "wipe n0",
    "pause leader for 2s",
    "resume n0",
    "disk n0 torn after 12 writes",
    "disk n1 sync-fails after 0 writes",
    "flip-bit n0",
    "slow-node n0 20ms for 5s",
    "stop leader for 2s",
    "stop n1",
    "transfer leader n2",
    "transfer n0",
    "slow-disk n0 100ms",
    "clock n0 +5000ms",
    "clock n0 -3600000ms",
    "drift n0 -300ppm",
    "lose-answers 500/1000 for 2s",
)

EXPECTATIONS = (
    "clean",
    "violation durable-before-speaking",
    "final >= 5 on n0 n3 by 10s",
    "head <= 3 by 20ms",
    "round = 1 on n2",
    "starts >= 2",
    "payments >= 5 by 3600s",
    "idle = 0",
    "counted view-change >= 1 by 2s",
    "agreement",
    "same-head on n0 n1 by 1s",
)


@pytest.mark.parametrize("step", STEPS)
def test_each_kind_of_step_is_read_and_written_the_same(step: str) -> None:
    scenario = parse_scenario(f"{HEAD}at 1.5s {step}\n")
    (timed,) = scenario.script.steps
    assert timed.text == f"at 1.5s {step}"
    assert parse_scenario(format_scenario(scenario)) == scenario


@pytest.mark.parametrize("line", EXPECTATIONS)
def test_each_expectation_is_read_and_written_the_same(line: str) -> None:
    scenario = parse_scenario(f"{HEAD}expect {line}\n")
    (expectation,) = scenario.expectations
    assert expectation.text == f"expect {line}"


def test_a_whole_header_is_read_and_written() -> None:
    text = (
        "scenario 1\n# a comment\n\ntitle Two  words # and a comment\nengine pbft\nnodes 7\n"
        "seed 99\nset heartbeat_ms=0\nset mode=fast\nmutant quorum-of-half\nsigner real\n"
        "flush-depth 2\nsnapshots 9,2,4,5\n"
        "links 2..20ms\nload 1.5\nbeyond\nlasts 1m\nhealing quorum 0.5\nliar leader twins\n"
        "liar n3 silent\n\tat 2s\theal\r\nat 1s heal\n"
    )
    scenario = parse_scenario(text)
    assert scenario.title == "Two words"
    options, script = scenario.options, scenario.script
    assert (options.engine, options.nodes, options.seed) == ("pbft", 7, 99)
    assert options.parameters == {"heartbeat_ms": 0, "mode": "fast"}
    assert (options.mutant, options.real_signer) == ("quorum-of-half", True)
    assert (options.flush_depth, options.snapshots) == (2, "9,2,4,5")
    assert (script.delay_ms, script.load_tps, script.is_beyond) == ((2, 20), 1.5, True)
    assert (script.lasts_ms, script.healing, script.recovery_tps) == (60_000, "quorum", 0.5)
    assert script.liars == (("leader", "twins"), ("n3", "silent"))
    assert [each.at_ms for each in script.steps] == [1_000, 2_000], "in order of time"
    assert script.events == 4
    assert parse_scenario(format_scenario(scenario)) == scenario


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "line 1: the end, and no 'scenario'"),
        ("engine pbft\n", "line 1: a scenario begins with 'scenario 1'"),
        ("scenario 2\n", "line 1: the format's number, 1 is 2, not from 1 to 1"),
        ("scenario 1\nscenario 1\n", "line 2: no line begins with 'scenario'"),
        ("scenario 1\nengine pbft\nnodes 4\n", "line 4: the end, and no 'lasts'"),
        ("scenario 1\nengine pbft\nat 1s heal\n", "line 3: 'at' before 'nodes' was said"),
        ("scenario 1\nnodes 0\n", "line 2: the number of nodes is 0, not from 1 to 100"),
        ("scenario 1\nnodes ٤\n", "line 2: '٤' is not the number of nodes"),
        ("scenario 1\nnodes 4\nnodes 5\n", "line 3: a second 'nodes'"),
        ("scenario 1\nnodes 4 5\n", "line 2: '5' is one word too many"),
        ("scenario 1\nseed " + "9" * 30 + "\n", "is not a seed"),
        ("scenario 1\nlasts 2h\n", "line 2: '2h' is not how long the steps last, like 20ms"),
        ("scenario 1\nlasts 61m\n", "line 2: how long the steps last is 61m, not from 1ms"),
        ("scenario 1\nset a\n", "line 2: 'a' is not KEY=VALUE"),
        ("scenario 1\nsnapshots often\n", "line 2: 'often' is neither drawn, none nor"),
        ("scenario 1\nflush-depth 0\n", "line 2: blocks in memory is 0, not from 1 to 10000"),
        ("scenario 1\nset a=1\nset a=2\n", "line 3: a second value for 'a'"),
        ("scenario 1\nlinks 5..1ms\n", "line 2: '5..1ms' is not a span"),
        ("scenario 1\nload 1e9\n", "line 2: '1e9' is not payments a second"),
        ("scenario 1\ntitle\n", "line 2: it has 0 characters"),
        ("scenario 1\ntitle \x1b[31mred\n", "line 2: characters that cannot be shown"),
        (HEAD + "seed 1\nexpect clean\nseed 2\n", "line 7: a second 'seed'"),
        (HEAD + "expect clean\nseed 2\n", "line 6: 'seed' belongs above all liars"),
        (HEAD + "expect clean\nset a=1\n", "line 6: 'set' belongs above all liars"),
        (HEAD + "att 1s heal\n", "line 5: no line begins with 'att'; known are: title"),
        (HEAD + "at 21s heal\n", "line 5: a time is 21s, not from 0ms to 20s"),
        (HEAD + "at 1.2345s heal\n", "line 5: '1.2345s' is not a time"),
        (HEAD + "at 1.5ms heal\n", "line 5: '1.5ms' is less than a millisecond exact"),
        (HEAD + "at 1s\n", "line 5: one of: pay, vote, cut"),
        (HEAD + "at 1s explode n0\n", "line 5: 'explode' is not one of: pay, vote, cut"),
        (HEAD + "at 1s crash n4\n", "line 5: 'n4' is no node; there are n0 to n3, leader"),
        (HEAD + "at 1s crash n00\n", "line 5: 'n00' is no node"),
        (HEAD + "at 1s crash\n", "line 5: a node is missing after 'crash'"),
        (HEAD + "at 1s crash n0 before 1 steps\n", "line 5: 'steps' goes with 'after'"),
        (HEAD + "at 1s crash n0 after 0 Persist\n", "line 5: Persist is counted from 1"),
        (HEAD + "at 1s crash n0 for 0s\n", "line 5: how long is 0s, not from 1ms"),
        (HEAD + "at 1s cut n0\n", "line 5: 'n0' is not a way, like n0>n1"),
        (HEAD + "at 1s cut n0>n9\n", "line 5: 'n9' is no node"),
        (HEAD + "at 1s cut\n", "line 5: a way, like n0>n1 or n0-n1, is missing"),
        (HEAD + "at 1s partition n0 | | n1\n", "line 5: a group without nodes"),
        (HEAD + "at 1s partition n0 | n0\n", "line 5: n0 is named twice"),
        (HEAD + "at 1s loss n0>n1 1001/1000\n", "line 5: a rate is 1001/1000, not from 1 to 1000"),
        (HEAD + "at 1s loss n0>n1 5%\n", "line 5: '5%' is not a rate, like 20/1000"),
        (HEAD + "at 1s pay u0 u0 5\n", "line 5: u0 cannot pay itself"),
        (HEAD + "at 1s pay u0 u9 5\n", "line 5: 'u9' is not one of: u0"),
        (HEAD + "at 1s pay u0 u1 -5\n", "line 5: '-5' is not an amount"),
        (HEAD + "at 1s drop PrePrepare n0>n1\n", "line 5: 'PrePrepare' is not next or all"),
        (HEAD + "at 1s hold all * n0>n1\n", "line 5: 'hold' needs 'by'"),
        (HEAD + "at 1s disk n0 melts\n", "line 5: 'melts' is not one of: crash-before"),
        (HEAD + "at 1s clock n0 5s\n", "line 5: '5s' is not a difference, like +500ms"),
        (HEAD + "at 1s drift n0 5\n", "line 5: '5' is not a drift"),
        (HEAD + "liar n0 silent\nliar n0 twins\n", "line 6: a second liar at n0"),
        (HEAD + "expect finality\n", "line 5: 'finality' is not one of: clean"),
        (HEAD + "expect final > 5\n", "line 5: '>' is not >= or <= or ="),
        (HEAD + "expect final >= 5 on\n", "line 5: a node is missing after 'on'"),
        (HEAD + "expect clean by 2s\n", "line 5: 'by' is one word too many"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_line(text: str, sentence: str) -> None:
    with pytest.raises(InvalidScenario) as refused:
        parse_scenario(text)
    assert sentence in refused.value.sentence


@pytest.mark.parametrize(
    "text",
    [
        "x" * (SIZE_MAX + 1),
        "scenario 1\ntitle " + "x" * LINE_MAX,
        HEAD + "at 1s heal\n" * (STEPS_MAX + 1),
        HEAD + "expect clean\n" * (EXPECTATIONS_MAX + 1),
        "scenario 1\n" + "".join(f"set k{n}=1\n" for n in range(100)),
        "scenario 1\nnodes " + "9" * 1_900,
        HEAD + "at " + "9" * 1_900 + "s heal\n",
        "\n" * 1_000 + "scenario",
    ],
    ids=lambda text: text[-12:].strip(),
)
def test_sizes_are_limited(text: str) -> None:
    with pytest.raises(InvalidScenario):
        parse_scenario(text)


def test_the_guide_names_every_line_and_shows_a_kept_scenario() -> None:
    root = Path(__file__).parents[3]
    guide = (root / "docs" / "guides" / "scenarios.md").read_text(encoding="utf-8")
    (box,) = re.findall(r"^```\n(.*?)^```$", guide, flags=re.S | re.M)
    kept = [path.read_text(encoding="utf-8") for path in (root / "tests/scenarios").iterdir()]
    assert box in kept
    for text in (HEAD + "at 1s x\n", HEAD + "expect x\n"):
        with pytest.raises(InvalidScenario) as refused:
            parse_scenario(text)
        for word in refused.value.sentence.partition("one of: ")[2].split(", "):
            assert re.search(rf"[` ]{word}[` ]", guide), word
    with pytest.raises(InvalidScenario) as refused:
        parse_scenario(HEAD + "x\n")
    for word in refused.value.sentence.partition("known are: ")[2].split(", "):
        assert re.search(rf"`{word}[` ]", guide), word


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_scenario(text)
    except InvalidScenario as refused:
        assert refused.sentence


@given(st.randoms(use_true_random=False))
def test_spoiled_scenarios_are_read_or_refused(chance: random.Random) -> None:
    lines = HEAD + "".join(f"at 1s {step}\n" for step in STEPS)
    lines += "".join(f"expect {line}\n" for line in EXPECTATIONS)
    words = lines.split(" ")
    for _ in range(chance.randint(1, 4)):
        position = chance.randrange(len(words))
        match chance.randrange(3):
            case 0:
                del words[position]
            case 1:
                words.insert(position, chance.choice(words))
            case _:
                word = words[position]
                words[position] = word[: chance.randint(0, len(word))] + chance.choice("9>-*#.|u\n")
    try:
        read = parse_scenario(" ".join(words))
    except InvalidScenario as refused:
        assert refused.sentence.startswith("line ")
    else:
        assert parse_scenario(format_scenario(read)) == read


@pytest.mark.parametrize("engine", ["pbft", "pow"])
def test_whatever_a_seed_does_can_be_written_and_read(engine: str) -> None:
    options = RunOptions(engine=engine, nodes=5, seed=3, minutes=0.4, faults=KINDS, liars=1)
    _, case = record(options)
    written = scenario_of(case, "recorded", "agreement")
    assert parse_scenario(format_scenario(written)) == written


@given(st.integers(min_value=0, max_value=3_600_000))
def test_every_duration_is_written_as_it_is_read(milliseconds: int) -> None:
    text = f"{HEAD}expect idle = 0 by {duration(milliseconds)}\n"
    (expectation,) = parse_scenario(text).expectations
    assert expectation.by_ms == milliseconds
