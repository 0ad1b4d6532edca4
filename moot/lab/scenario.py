"""Scenarios: hand-written cases, for any engine, with what is to come of them.

A scenario is a case (moot.lab.recording) and expectations. It is as deterministic as any run: what
it leaves to chance is drawn from its seed. moot.lab.scenario_text reads and writes the file format.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Literal

import msgspec

from chain.errors import Invalid
from chain.hashing import BlockId
from consensus.contract import Effect, Event
from consensus.registry import protocol
from moot.lab.node import SimulatedNode
from moot.lab.recording import Case, play
from moot.lab.run import WARM_UP_MS, Laboratory, Outcome, RunOptions
from moot.lab.steps import LEADER, Crash, Intercept, Isolate, Moment, Script, duration
from moot.lab.trace import TraceFile
from moot.lab.tracer import Tracer
from p2p.wire import PeerMessage

Relation = Literal[">=", "<=", "="]
NodeFact = Literal["final", "head", "round", "starts"]
RunFact = Literal["payments", "idle", "counted"]

NODE_FACTS: Final[tuple[NodeFact, ...]] = ("final", "head", "round", "starts")
"""Height of the last final (or confirmed) block, height of the head, view or term, starts."""
RUN_FACTS: Final[tuple[RunFact, ...]] = ("payments", "idle", "counted")
"""Payments that clients were told are final; steps that did not apply; a counter of the run's."""


class UnknownThing(Invalid):
    """A step names a message, an event or an effect that does not exist."""


class Expectation(msgspec.Struct, frozen=True):
    """One thing that is to be so.

    ``fact``: a NODE_FACT or RUN_FACT, or "clean" (nothing is violated), "violation" (``name`` says
    by which checker), "agreement" (no two nodes call different blocks final at one height),
    "same-head" (they stand on one block). ``nodes``: of these; (): of all honest ones that run.
    ``by_ms``: looked at then; None: at the end.
    """

    fact: str
    name: str = ""
    relation: Relation = ">="
    number: int = 0
    nodes: tuple[str, ...] = ()
    by_ms: int | None = None

    @property
    def text(self) -> str:
        """Its line in a scenario file."""
        words = ["expect", self.fact]
        if self.name:
            words.append(self.name)
        if self.fact in NODE_FACTS or self.fact in RUN_FACTS:
            words += [self.relation, str(self.number)]
        if self.nodes:
            words += ["on", *self.nodes]
        if self.by_ms is not None:
            words += ["by", duration(self.by_ms)]
        return " ".join(words)


class Scenario(msgspec.Struct, frozen=True):
    """``options``: engine, nodes, seed, parameters, mutant and signer; the script says the rest."""

    title: str
    options: RunOptions
    script: Script
    expectations: tuple[Expectation, ...] = ()

    @property
    def case(self) -> Case:
        return Case(self.options, self.script)


class Finding(msgspec.Struct, frozen=True):
    """Whether an expectation holds, and what was found."""

    expectation: str
    holds: bool
    found: str


class Verdict(msgspec.Struct, frozen=True):
    """What came of a scenario: its JSON document. ``events``: faults, payments and liars."""

    title: str
    passed: bool
    events: int
    expectations: list[Finding]
    outcome: Outcome


def scenario_of(case: Case, title: str, checker: str) -> Scenario:
    """A case in which ``checker`` is violated, as a scenario that expects just that."""
    old = case.options
    options = RunOptions(
        engine=old.engine,
        nodes=old.nodes,
        seed=old.seed,
        parameters=old.parameters,
        mutant=old.mutant,
        real_signer=old.real_signer,
        flush_depth=old.flush_depth,
        snapshots=old.snapshots,
    )
    return Scenario(title, options, case.script, (Expectation("violation", checker),))


def run_scenario(
    scenario: Scenario, prepare: tuple[Callable[[Laboratory], None], ...] = ()
) -> Verdict:
    """Runs it. Raises what moot.lab.run.run raises, and UnknownThing."""
    expectations = scenario.expectations
    if not any(each.fact in ("clean", "violation") for each in expectations):
        expectations = (*expectations, Expectation("clean"))
    _check_names(scenario)
    judges: list[_Judge] = []

    def watch(laboratory: Laboratory) -> None:
        judges.append(_Judge(laboratory, expectations))

    outcome = play(with_liars_named(scenario).case, (watch, *prepare))
    findings = judges[0].findings(outcome)
    return Verdict(
        scenario.title,
        all(finding.holds for finding in findings),
        scenario.script.events,
        findings,
        outcome,
    )


def _check_names(scenario: Scenario) -> None:
    """What steps call messages, events and effects is what the engine and the wire call them."""
    found = protocol(scenario.options.engine)
    engine_s = [kind.__name__ for kind in found.messages]
    wire = [kind.__name__ for kind in PeerMessage.__subclasses__()]
    things = [kind.__name__ for kind in (*Event.__subclasses__(), *Effect.__subclasses__())]
    for each in scenario.script.steps:
        name, known = "", [*engine_s, *wire]
        match each.step:
            case Intercept(message=message) if message[0] not in "#*":
                name = message
            case Crash(moment=Moment(what=what)) | Isolate(moment=Moment(what=what)) if (
                what != "steps"
            ):
                name, known = what, [*engine_s, *things]
            case _:
                continue
        if name not in known:
            raise UnknownThing(
                "unknown-thing",
                f"at {duration(each.at_ms)}: under {found.name} nothing is called {name!r}; known "
                f"are: {', '.join(sorted(known))}",
            )


def with_liars_named(scenario: Scenario) -> Scenario:
    """The scenario with a node's name where a liar is to be whoever leads first.

    Who that is shows in a trial run in which nobody lies and nothing is done.
    """
    script = scenario.script
    if not any(name == LEADER for name, _ in script.liars):
        return scenario
    leaders: list[str | None] = []

    def ask(laboratory: Laboratory) -> None:
        laboratory.world.after(WARM_UP_MS // 2, lambda: leaders.append(laboratory.faults.leader()))

    quiet = Script(lasts_ms=WARM_UP_MS, delay_ms=script.delay_ms, healing="none")
    play(Case(scenario.options, quiet), (ask,))
    leader = leaders[0] or "n0"
    liars = tuple((leader if name == LEADER else name, kind) for name, kind in script.liars)
    return msgspec.structs.replace(scenario, script=msgspec.structs.replace(script, liars=liars))


def trace_scenario(scenario: Scenario) -> tuple[Verdict, TraceFile]:
    """Its verdict, and a trace of all of it."""
    tracers: list[Tracer] = []
    verdict = run_scenario(
        scenario,
        (lambda laboratory: tracers.append(Tracer.of(laboratory, scenario.title)),),
    )
    (tracer,) = tracers
    tracer.finish()
    return verdict, tracer.log.trace()


class _Judge:
    """Looks at a run when its expectations say so."""

    def __init__(self, laboratory: Laboratory, expectations: tuple[Expectation, ...]) -> None:
        self._laboratory = laboratory
        self._expectations = expectations
        self._found: dict[int, tuple[bool, str]] = {}
        for number, each in enumerate(expectations):
            if each.by_ms is not None:
                laboratory.world.after(each.by_ms, partial(self._look, number))

    def findings(self, outcome: Outcome) -> list[Finding]:
        """At the end: also of what had no time, or one that never came."""
        for number, each in enumerate(self._expectations):
            if each.fact in ("clean", "violation"):
                self._found[number] = _violations(each, outcome)
            elif number not in self._found:
                self._look(number)
        return [
            Finding(each.text, *self._found[number])
            for number, each in enumerate(self._expectations)
        ]

    def _look(self, number: int) -> None:
        expectation = self._expectations[number]
        if expectation.fact in RUN_FACTS:
            value = self._run_fact(expectation)
            self._found[number] = _holds(expectation, value), str(value)
            return
        chosen, down = self._nodes(expectation)
        if down or not chosen:
            self._found[number] = False, f"{' '.join(down) or 'every node'} is down"
        elif expectation.fact in NODE_FACTS:
            values = [(node.name, _node_fact(expectation.fact, node)) for node in chosen]
            holds = all(_holds(expectation, value) for _, value in values)
            self._found[number] = holds, ", ".join(f"{name} {value}" for name, value in values)
        else:
            self._found[number] = _together(expectation.fact, chosen)

    def _nodes(self, expectation: Expectation) -> tuple[list[SimulatedNode], list[str]]:
        """Those that are meant, and the names of those of them that cannot be looked at."""
        if expectation.nodes:
            named = [node for node in self._laboratory.nodes if node.name in expectation.nodes]
            return named, [node.name for node in named if node.core is None]
        return [node for node in self._laboratory.honest if node.core is not None], []

    def _run_fact(self, expectation: Expectation) -> int:
        laboratory = self._laboratory
        match expectation.fact:
            case "payments":
                return len(laboratory.clients.acknowledged)
            case "idle":
                return laboratory.faults.idle
            case _:
                name = expectation.name
                faults = laboratory.faults.injected[name] + laboratory.network.injected[name]
                return laboratory.findings.exercised[name] + faults


def _violations(expectation: Expectation, outcome: Outcome) -> tuple[bool, str]:
    found = [violation.checker for violation in outcome.violations]
    words = ", ".join(dict.fromkeys(found)) or "nothing was violated"
    wanted = expectation.name in found if expectation.fact == "violation" else not found
    return wanted, words


def _holds(expectation: Expectation, value: int) -> bool:
    match expectation.relation:
        case ">=":
            return value >= expectation.number
        case "<=":
            return value <= expectation.number
        case "=":
            return value == expectation.number


def _node_fact(fact: str, node: SimulatedNode) -> int:
    with node.store.looked_at():
        ledger = node.running.ledger
        match fact:
            case "final":
                return ledger.height(ledger.confirmed())
            case "head":
                return ledger.height(ledger.head())
            case "round":
                return node.running.engine_status().round
            case _:
                return node.starts


def _together(fact: str, nodes: list[SimulatedNode]) -> tuple[bool, str]:
    """Whether they stand on one block, or share their final blocks as far as each has any."""
    tips: dict[str, BlockId] = {}
    height = min(_node_fact("final", node) for node in nodes)
    for node in nodes:
        with node.store.looked_at():
            ledger = node.running.ledger
            found = ledger.head() if fact == "same-head" else ledger.id_at(height)
            assert found is not None, "a node has its final blocks"
            tips[node.name] = found
    holds = len(dict.fromkeys(tips.values())) == 1
    return holds, ", ".join(f"{name} {block[::-1].hex()[:8]}" for name, block in tips.items())
