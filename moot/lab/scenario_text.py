"""The file format of scenarios: one thing a line, words with spaces between them.

    scenario 1
    title A primary that dies between writing and speaking
    engine pbft
    nodes 4
    lasts 20s
    at 2s pay u0 u1 50
    at 3s crash leader after 1 Persist for 4s
    expect final >= 2 by 20s

The header comes first, then liars, steps (moot.lab.steps) and expectations in any order. ``#`` at
the start of a line or between spaces begins a comment. docs/guides/scenarios.md lists all lines.
Reading is strict: whatever is not understood is refused with the number of its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from chain.errors import Invalid
from moot.lab.cluster import USERS
from moot.lab.keeping import DRAWN, settings_of
from moot.lab.run import RunOptions
from moot.lab.scenario import NODE_FACTS, RUN_FACTS, Expectation, Scenario
from moot.lab.scenario_words import HOUR_MS, NAME, Words, Wrong, read_step
from moot.lab.steps import LEADER, Script, Timed, duration

FORMAT: Final = 1
SIZE_MAX: Final = 2**20
"""Characters of a file: a recorded run of some virtual minutes has a tenth of that."""
LINE_MAX: Final = 2_000
"""Characters of a line: all ways of a large network."""
STEPS_MAX: Final = 10_000
EXPECTATIONS_MAX: Final = 200
PARAMETERS_MAX: Final = 64
NODES_MAX: Final = 100
SEED_MAX: Final = 2**63 - 1
TITLE_MAX: Final = 200
TPS_MAX: Final = 1_000
FLUSH_DEPTH_MAX: Final = 10_000
INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
COMMENT: Final = re.compile(r"(?:^|\s)#(?:\s.*)?$")
RELATIONS: Final = (">=", "<=", "=")


class InvalidScenario(Invalid):
    """A text that is no scenario. Codes "malformed-scenario" and "scenario-too-long"."""


def parse_scenario(text: str) -> Scenario:
    """The scenario in a file's text. Raises InvalidScenario, which names the line.

    Whether engine, parameters, liars and mutant exist shows when it is run.
    """
    if len(text) > SIZE_MAX:
        raise InvalidScenario("scenario-too-long", f"more than {SIZE_MAX} characters")
    reader = _Reader()
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        try:
            reader.read(line)
        except Wrong as wrong:
            raise InvalidScenario("malformed-scenario", f"line {number}: {wrong}") from None
    try:
        return reader.scenario()
    except Wrong as wrong:
        raise InvalidScenario("malformed-scenario", f"line {len(lines)}: {wrong}") from None


def format_scenario(scenario: Scenario) -> str:
    """A text that parse_scenario reads as ``scenario``; of equal ones it is the same."""
    options, script = scenario.options, scenario.script
    lines = [f"scenario {FORMAT}"]
    lines += [f"title {scenario.title}"] if scenario.title else []
    lines += [f"engine {options.engine}", f"nodes {options.nodes}", f"seed {options.seed}"]
    lines += [f"set {key}={value}" for key, value in sorted(options.parameters.items())]
    lines += [f"mutant {options.mutant}"] if options.mutant else []
    lines += ["signer real"] if options.real_signer else []
    lines += [f"flush-depth {options.flush_depth}"] if options.flush_depth is not None else []
    lines += [f"snapshots {options.snapshots}"] if options.snapshots != DRAWN else []
    lines.append(f"links {script.delay_ms[0]}..{script.delay_ms[1]}ms")
    lines += [f"load {script.load_tps:g}"] if script.load_tps else []
    lines += ["beyond"] if script.is_beyond else []
    lines.append(f"lasts {duration(script.lasts_ms)}")
    load = "" if script.healing == "none" else f" {script.recovery_tps:g}"
    lines.append(f"healing {script.healing}{load}")
    lines += [f"liar {name} {kind}" for name, kind in script.liars]
    lines += [each.text for each in script.steps]
    lines += [each.text for each in scenario.expectations]
    return "\n".join(lines) + "\n"


class _Reader:
    """Takes line after line; ``scenario`` puts together what they said."""

    def __init__(self) -> None:
        self._said: dict[str, Any] = {}
        """What header lines said, by their first word."""
        self._parameters: dict[str, int | str] = {}
        self._liars: list[tuple[str, str]] = []
        self._steps: list[Timed] = []
        self._expectations: list[Expectation] = []
        self._header: dict[str, Callable[[Words], Any]] = {
            "title": lambda words: words.rest(TITLE_MAX),
            "engine": lambda words: words.matching(NAME, "an engine's name"),
            "nodes": lambda words: words.integer("the number of nodes", 1, NODES_MAX),
            "seed": lambda words: words.integer("a seed", 0, SEED_MAX),
            "mutant": lambda words: words.matching(NAME, "a mutant's name"),
            "signer": lambda words: words.one_of(("real", "cheap")),
            "flush-depth": lambda words: words.integer("blocks in memory", 1, FLUSH_DEPTH_MAX),
            "snapshots": self._snapshots,
            "links": lambda words: words.span_ms(),
            "load": lambda words: words.number("payments a second", TPS_MAX),
            "beyond": lambda words: True,
            "lasts": lambda words: words.duration("how long the steps last", HOUR_MS),
            "healing": self._healing,
        }
        self._body: dict[str, Callable[[Words], None]] = {
            "liar": self._liar,
            "at": self._at,
            "expect": self._expect,
        }

    @staticmethod
    def _snapshots(words: Words) -> str:
        text = words.take("what nodes keep")
        if text != DRAWN:
            try:
                settings_of(text)
            except Invalid as error:
                raise Wrong(error.sentence) from None
        return text

    def read(self, line: str) -> None:
        """One line. Raises Wrong."""
        if len(line) > LINE_MAX:
            raise Wrong(f"more than {LINE_MAX} characters")
        if not line.isprintable() and not line.replace("\t", " ").rstrip("\r").isprintable():
            raise Wrong("characters that cannot be shown")
        words = Words(COMMENT.sub("", line).split())
        if words.is_done:
            return
        first = words.take("a line")
        if "scenario" not in self._said:
            if first != "scenario":
                raise Wrong(f"a scenario begins with 'scenario {FORMAT}'")
            words.integer(f"the format's number, {FORMAT}", FORMAT, FORMAT)
            self._said["scenario"] = FORMAT
        elif first == "set":
            self._set(words)
        elif first in self._header:
            self._head(first, words)
        elif first in self._body:
            self._check_header(first)
            self._body[first](words)
        else:
            known = ", ".join((*self._header, "set", *self._body))
            raise Wrong(f"no line begins with {first!r}; known are: {known}")
        words.end()

    def _head(self, first: str, words: Words) -> None:
        if first in self._said:
            raise Wrong(f"a second {first!r}")
        self._check_above(first)
        self._said[first] = self._header[first](words)

    def _check_above(self, first: str) -> None:
        if self._steps or self._liars or self._expectations:
            raise Wrong(f"{first!r} belongs above all liars, steps and expectations")

    def _check_header(self, first: str) -> None:
        for needed in ("engine", "nodes", "lasts"):
            if needed not in self._said:
                raise Wrong(f"{first!r} before {needed!r} was said")

    def _set(self, words: Words) -> None:
        self._check_above("set")
        pair = words.take("KEY=VALUE")
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise Wrong(f"{pair!r} is not KEY=VALUE")
        if key in self._parameters:
            raise Wrong(f"a second value for {key!r}")
        if len(self._parameters) >= PARAMETERS_MAX:
            raise Wrong(f"more than {PARAMETERS_MAX} parameters")
        self._parameters[key] = int(value) if INTEGER.fullmatch(value) else value

    @staticmethod
    def _healing(words: Words) -> tuple[str, float]:
        who = words.one_of(("all", "quorum", "none"))
        if who == "none" or words.is_done:
            return who, Script(lasts_ms=0).recovery_tps
        return who, words.number("payments a second", TPS_MAX)

    @property
    def _nodes(self) -> int:
        nodes: int = self._said["nodes"]
        return nodes

    @property
    def _lasts_ms(self) -> int:
        lasts_ms: int = self._said["lasts"]
        return lasts_ms

    def _liar(self, words: Words) -> None:
        name = words.node(self._nodes, roles=(LEADER,))
        if name in [liar for liar, _ in self._liars]:
            raise Wrong(f"a second liar at {name}")
        self._liars.append((name, words.matching(NAME, "how it lies")))

    def _at(self, words: Words) -> None:
        at_ms = words.duration("a time", self._lasts_ms, least_ms=0)
        if len(self._steps) >= STEPS_MAX:
            raise Wrong(f"more than {STEPS_MAX} steps")
        self._steps.append(Timed(at_ms, read_step(words, self._nodes, USERS)))

    def _expect(self, words: Words) -> None:
        if len(self._expectations) >= EXPECTATIONS_MAX:
            raise Wrong(f"more than {EXPECTATIONS_MAX} expectations")
        facts = ("clean", "violation", "agreement", "same-head", *NODE_FACTS, *RUN_FACTS)
        fact = words.one_of(facts)
        name, relation, number = "", ">=", 0
        if fact in ("violation", "counted"):
            name = words.matching(NAME, "a name")
        if fact in NODE_FACTS or fact in RUN_FACTS:
            relation = words.one_of(RELATIONS)
            number = words.integer("a number", 0, SEED_MAX)
        nodes: list[str] = []
        if fact not in ("clean", "violation", *RUN_FACTS) and words.took("on"):
            nodes.append(words.node(self._nodes))
            while not words.is_done and words.peek != "by":
                nodes.append(words.node(self._nodes))
        by_ms = None
        if fact not in ("clean", "violation") and words.took("by"):
            by_ms = words.duration("a time", HOUR_MS, least_ms=0)
        self._expectations.append(
            Expectation(fact, name, relation, number, tuple(nodes), by_ms)  # type: ignore[arg-type]
        )

    def scenario(self) -> Scenario:
        """Raises Wrong where something is missing."""
        for needed in ("scenario", "engine", "nodes", "lasts"):
            if needed not in self._said:
                raise Wrong(f"the end, and no {needed!r}")
        said = self._said
        healing, recovery_tps = said.get("healing", ("all", Script(lasts_ms=0).recovery_tps))
        script = Script(
            lasts_ms=self._lasts_ms,
            steps=tuple(sorted(self._steps, key=lambda timed: timed.at_ms)),
            liars=tuple(self._liars),
            delay_ms=said.get("links", Script(lasts_ms=0).delay_ms),
            healing=healing,
            load_tps=said.get("load", 0.0),
            recovery_tps=recovery_tps,
            is_beyond=said.get("beyond", False),
        )
        options = RunOptions(
            engine=said["engine"],
            nodes=self._nodes,
            seed=said.get("seed", 1),
            parameters=self._parameters,
            mutant=said.get("mutant"),
            real_signer=said.get("signer") == "real",
            flush_depth=said.get("flush-depth"),
            snapshots=said.get("snapshots", DRAWN),
        )
        return Scenario(said.get("title", ""), options, script, tuple(self._expectations))
