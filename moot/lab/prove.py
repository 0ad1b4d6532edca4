"""The conformance kit: what any engine must show before it may call itself one.

Everything goes through the contract and the registry, so that an engine from another package is
judged like ours. The parts are those of a report card; each says what it did, and what went wrong
with the line that repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

import msgspec

from chain.view import ChainView
from consensus import contract
from consensus.contract import Effect, Engine, Event, MessageReceived, Now, Report, Status
from consensus.registry import protocol
from moot.lab.liars import liar_kinds
from moot.lab.node import SimulatedNode
from moot.lab.run import Laboratory, Outcome, RunOptions, command_of, run
from p2p.wire import ConsensusFrame, PeerMessage

NODES: Final = 4
MINUTES: Final = 0.3
LIVENESS: Final = frozenset({"progress", "lasso", "convergence"})
"""Checkers that say that nothing happens any more; all others say that something wrong did."""
RESTART_POINTS: Final = 24
"""Events and effects of one node, counted from the start, before each of which it crashes once."""
FORGERIES_MS: Final = 40
"""Pause between two malformed messages."""
HEARD_MAX: Final = 64
"""Messages kept to be changed and said again."""

Prepare = Callable[[Laboratory], None]
Elsewhere = Callable[[RunOptions], str]
"""Runs it in another process, with another hash seed; the trace hash."""


class Part(msgspec.Struct, frozen=True):
    """One line of the report card."""

    name: str
    passed: bool
    detail: str


class Card(msgspec.Struct, frozen=True):
    """The report card."""

    engine: str
    passed: bool
    parts: list[Part]


def prove(engine: str, seeds: int, elsewhere: Elsewhere, nodes: int = NODES) -> Iterator[Part]:
    """The parts, as they are done. Raises UnknownEngine, ConfigError."""
    properties = protocol(engine).rules(protocol(engine).parameters()).properties
    base = RunOptions(engine=engine, nodes=nodes, seed=1, minutes=MINUTES)
    yield _contract(base, seeds)
    yield _determinism(base, elsewhere)
    yield from _campaign(base, seeds)
    yield _restart_matrix(base)
    yield _hostile(base, seeds)
    kinds = liar_kinds(engine, properties.fault_model)
    if kinds and properties.faults(nodes):
        alike = [kind for kind in kinds if kind.startswith("twins")]
        if alike:
            twins = [
                _with(base, seed=seed, liars=1, liar_kinds=(alike[seed % len(alike)],))
                for seed in range(1, seeds + 1)
            ]
            yield _part("twins", twins, f"{seeds} runs with two copies of one key")
        lying = [
            _with(base, seed=number, liars=1, liar_kinds=(kind,))
            for number, kind in enumerate(kinds, start=1)
        ]
        yield _part("liars", lying, f"one run with each of {len(kinds)} kinds of liars")


def card(engine: str, parts: Iterable[Part]) -> Card:
    """All of it."""
    done = list(parts)
    return Card(engine, all(part.passed for part in done), done)


def _with(base: RunOptions, **changes: object) -> RunOptions:
    return msgspec.structs.replace(base, **changes)


def _part(name: str, runs: list[RunOptions], detail: str, prepare: Prepare | None = None) -> Part:
    """Passed where no run was violated and payments became final."""
    paid = 0
    for options in runs:
        outcome = run(options, () if prepare is None else (prepare,))
        paid += outcome.operations
        if outcome.violations:
            return Part(name, False, _what(outcome, options))
    return Part(name, paid > 0, f"{detail}, {paid} payments" if paid else "no payment was final")


def _what(outcome: Outcome, options: RunOptions) -> str:
    first = outcome.violations[0]
    return f"{first.checker}: {first.message}; repeat it with: {command_of(options)}"


# ------------------------------------------------------------------------------------ the laws

EFFECTS: Final = frozenset(
    kind
    for kind in vars(contract).values()
    if isinstance(kind, type) and issubclass(kind, Effect) and kind is not Effect
)


class _Lawful:
    """An engine whose every answer is held against the laws that can be seen from outside."""

    def __init__(self, node: SimulatedNode, laboratory: Laboratory, engine: Engine) -> None:
        self.inner = engine
        self._node = node
        self._laboratory = laboratory

    def handle(self, event: Event, view: ChainView, now: Now) -> list[Effect]:
        effects = self.inner.handle(event, view, now)
        for effect in effects:
            if type(effect) not in EFFECTS:
                self._broken(f"{type(effect).__name__} is no effect of the contract")
            if isinstance(effect, contract.SetTimer) and effect.delay_ms < 0:
                self._broken("sets a timer into the past")
            if isinstance(effect, contract.Report) and not (effect.evidence or effect.peer):
                self._broken("reports nothing about nobody")
        status = self.inner.status(view, now)
        if not all(isinstance(value, (int, str)) for value in status.facts.values()):
            self._broken("its status holds what is neither a number nor a text")
        return effects

    def status(self, view: ChainView, now: Now) -> Status:
        return self.inner.status(view, now)

    def _broken(self, what: str) -> None:
        laboratory = self._laboratory
        laboratory.findings.violated("contract", f"{self._node.name} {what}", self._now_ms)

    @property
    def _now_ms(self) -> int:
        return self._laboratory.world.now_ms


def _contract(base: RunOptions, seeds: int) -> Part:
    def prepare(laboratory: Laboratory) -> None:
        for node in laboratory.nodes:
            node.wrappers.append(partial(_Lawful, node, laboratory))

    runs = [_with(base, seed=seed, faults=()) for seed in range(1, min(seeds, 3) + 1)]
    return _part("contract", runs, f"{len(runs)} runs without faults, every effect", prepare)


def _determinism(base: RunOptions, elsewhere: Elsewhere) -> Part:
    """Law 5: byte for byte, in another process with another hash seed."""
    here = run(base).trace_hash
    if run(base).trace_hash != here:
        return Part("determinism", False, "two runs of one seed differ in one process")
    if elsewhere(base) != here:
        return Part("determinism", False, "the run differs in a process with another hash seed")
    return Part("determinism", True, f"trace {here[:16]} three times, two hash seeds")


def _campaign(base: RunOptions, seeds: int) -> tuple[Part, Part]:
    """Safety under arbitrary faults, and progress after each healing."""
    wrong: dict[bool, str] = {}
    paid = 0
    for seed in range(1, seeds + 1):
        options = _with(base, seed=seed)
        outcome = run(options)
        paid += outcome.operations
        for violation in outcome.violations:
            message = f"{violation.checker}: {violation.message}"
            is_liveness = violation.checker in LIVENESS
            wrong.setdefault(is_liveness, f"{message}; repeat it with: {command_of(options)}")
    done = f"{seeds} runs with faults, {paid} payments"
    return (
        Part("safety", False not in wrong, wrong.get(False, done)),
        Part("liveness", True not in wrong and paid > 0, wrong.get(True, done)),
    )


def _restart_matrix(base: RunOptions) -> Part:
    """One node dies before its first event or effect, its second, and so on, while it works."""
    for point in range(RESTART_POINTS):
        options = _with(base, seed=point + 1, minutes=0.1, faults=())

        def prepare(laboratory: Laboratory, point: int = point) -> None:
            nodes = sorted(laboratory.nodes, key=lambda node: node.signer.address)
            victim = nodes[point % 2]  # where the rota begins, and the next
            laboratory.world.after(
                2_000 + point, lambda: laboratory.faults.crash_after(victim, point)
            )

        outcome = run(options, (prepare,))
        if outcome.violations:
            first = outcome.violations[0]
            detail = f"a crash {point} effects after 2 s: {first.checker}: {first.message}"
            return Part("restarts", False, detail)
    return Part("restarts", True, f"a crash before each of {RESTART_POINTS} effects in a row")


# ---------------------------------------------------------------------------- hostile messages


class _Hostile:
    """Sends changed copies of what was said, over links of members, and watches law 4."""

    def __init__(self, laboratory: Laboratory) -> None:
        self._laboratory = laboratory
        self._rng = laboratory.world.rng("hostile")
        self._heard: list[ConsensusFrame] = []
        for node in laboratory.nodes:
            self._listen(node)
        laboratory.world.after(FORGERIES_MS, self._forge)

    def _listen(self, node: SimulatedNode) -> None:
        honest = node.send

        def send(key: bytes, message: PeerMessage) -> None:
            if isinstance(message, ConsensusFrame) and len(self._heard) < HEARD_MAX:
                self._heard.append(message)
            honest(key, message)

        node.send = send  # type: ignore[method-assign]

    def _forge(self) -> None:
        laboratory = self._laboratory
        laboratory.world.after(FORGERIES_MS, self._forge)
        receiver, sender = self._rng.sample(laboratory.nodes, 2)
        if receiver.core is None or sender.key not in receiver.core.peers:
            return
        if self._heard:
            frame = self._heard[self._rng.randrange(len(self._heard))]
            body = bytearray(frame.body)
        else:
            frame, body = ConsensusFrame(laboratory.options.engine, 1, b"\x90"), bytearray(b"\x90")
        match self._rng.randrange(4):
            case 0:
                body[self._rng.randrange(len(body))] ^= 1 << self._rng.randrange(8)
            case 1:
                del body[self._rng.randrange(len(body)) :]
            case 2:
                body += self._rng.randbytes(self._rng.randint(1, 8))
            case _:
                body = bytearray(self._rng.randbytes(self._rng.randint(0, 200)))
        tag = frame.tag if self._rng.random() < 0.7 else self._rng.randrange(16)
        receiver.receive(sender.key, ConsensusFrame(frame.engine, tag, bytes(body)))


class _Unmoved:
    """Law 4, where it can be seen: who answers a message with a Report does nothing else."""

    def __init__(self, node: SimulatedNode, laboratory: Laboratory, engine: Engine) -> None:
        self.inner = engine
        self._node = node
        self._laboratory = laboratory

    def handle(self, event: Event, view: ChainView, now: Now) -> list[Effect]:
        effects = self.inner.handle(event, view, now)
        if isinstance(event, MessageReceived):
            blamed = [one for one in effects if isinstance(one, Report) and one.evidence is None]
            moved = [
                one for one in effects if isinstance(one, (contract.Persist, contract.SetHead))
            ]
            if blamed and moved and blamed[0] is effects[0]:
                self._laboratory.findings.violated(
                    "contract",
                    f"{self._node.name} calls a message bad and acts on it",
                    self._laboratory.world.now_ms,
                )
        return effects

    def status(self, view: ChainView, now: Now) -> Status:
        return self.inner.status(view, now)


def _hostile(base: RunOptions, seeds: int) -> Part:
    def prepare(laboratory: Laboratory) -> None:
        _Hostile(laboratory)
        for node in laboratory.nodes:
            node.wrappers.append(partial(_Unmoved, node, laboratory))

    runs = [_with(base, seed=seed, faults=()) for seed in range(1, min(seeds, 3) + 1)]
    return _part("hostile messages", runs, f"{len(runs)} runs under malformed messages", prepare)
