"""Looks on while a cluster runs, and writes down what happens as a trace (moot.lab.trace).

It changes nothing: a traced run has the same trace hash as one that nobody watches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import msgspec

from chain import codec
from chain.address import key_address
from chain.block import Block, BlockHead
from chain.errors import InvalidEncoding
from chain.hashing import BlockId, show_id
from chain.view import ChainView
from consensus import contract
from consensus.contract import Effect, Engine, Event, Message, Now, Status
from consensus.registry import protocol
from moot.lab.network import Network, Pair
from moot.lab.node import SimulatedNode
from moot.lab.report import Violation
from moot.lab.run import Laboratory, RunOptions, command_of
from moot.lab.steps import Pay, Step
from moot.lab.trace import RECORDED_MAX, Kind, TraceHeader, TraceLog
from moot.lab.world import World
from p2p.wire import BlockBody, ConsensusFrame, PeerMessage, decode_frame

IN_FLIGHT_MAX: Final = 20_000
"""Sent frames remembered until they arrive; those that never do are forgotten, oldest first."""
EFFECTS_MAX: Final = 10_000
"""Effects whose cause is remembered; those that a later one replaced are never asked for."""
ID_CHARACTERS: Final = 8
WORD_MAX: Final = 40
STEP_MAX: Final = 200
TITLE_MAX: Final = 200

Facts = dict[str, int | str]


class Tracer:
    """Attach it before the nodes start; ``log`` then fills while the world runs."""

    def __init__(
        self,
        header: TraceHeader,
        world: World,
        network: Network,
        nodes: Sequence[SimulatedNode],
        violations: Sequence[Violation] = (),
        *,
        events_max: int = RECORDED_MAX,
        from_ms: int = 0,
        to_ms: int | None = None,
    ) -> None:
        """``violations``: a list that checkers append to. The rest: what of the run is kept."""
        self.log = TraceLog(header, events_max, from_ms, to_ms)
        self._world = world
        self._network = network
        self._nodes = nodes
        self._violations = violations
        self._told = 0
        self._looked_ms = -1
        self._opened = from_ms == 0
        self._name_of = {node.key: node.name for node in nodes}
        self._types = {_tag(kind): kind for kind in protocol(header.engine).messages}
        self._in_flight: dict[tuple[Pair, int], tuple[bytes, int]] = {}
        self._arrived: dict[tuple[str, bytes, bytes], int] = {}
        self._brought: dict[tuple[str, BlockId], int] = {}
        """What brought a block to a node: a message, or what its engine was handling."""
        self._last_receive: dict[str, tuple[int, int]] = {}
        self._spies: dict[str, Spy] = {}
        self._cause: dict[str, int] = {}
        self._last_own: dict[str, int] = {}
        self._heads: dict[str, bytes] = {}
        self._final: dict[str, int] = {}
        self._cut: tuple[Pair, ...] = ()
        self._paused: dict[str, bool] = {}
        self._described: tuple[PeerMessage | None, str, Facts] = (None, "", {})
        network.watchers.append(self)
        for node in nodes:
            node.started.append(self._started)
            node.stopped.append(self._stopped)
            node.wrappers.append(self._spy_on(node))
            node.observe(self._observer_of(node))

    @classmethod
    def of(
        cls,
        laboratory: Laboratory,
        title: str = "",
        events_max: int = RECORDED_MAX,
        from_ms: int = 0,
        to_ms: int | None = None,
    ) -> Tracer:
        """On a laboratory, told also of what is done to it. ``title`` "": what its options say."""
        names = tuple(node.name for node in laboratory.nodes)
        header = header_of(laboratory.options, names)
        if title:
            header = msgspec.structs.replace(header, title=title[:TITLE_MAX])
        tracer = cls(
            header,
            laboratory.world,
            laboratory.network,
            laboratory.nodes,
            laboratory.findings.violations,
            events_max=events_max,
            from_ms=from_ms,
            to_ms=to_ms,
        )
        laboratory.faults.listeners.append(tracer.did)
        return tracer

    # --------------------------------------------------------------------- network.Watcher

    def sent(self, pair: Pair, message: PeerMessage, frame: bytes) -> None:
        self._look_around()
        what, fields = self._describe(message)
        node = self._name_of[pair[0]]
        cause = self._cause.get(node, 0)
        if not isinstance(message, ConsensusFrame):
            at_ms, number = self._last_receive.get(node, (-1, 0))
            cause = number if at_ms == self._world.now_ms else 0
        peer = self._name_of[pair[1]]
        number = self._add("send", node, what, peer=peer, cause=cause, fields=fields)
        self._last_own[node] = number
        self._in_flight[(pair, id(frame))] = (frame, number)
        if len(self._in_flight) > IN_FLIGHT_MAX:
            del self._in_flight[next(iter(self._in_flight))]

    def arrived(self, pair: Pair, frame: bytes) -> None:
        self._look_around()
        # Kept, since a frame that was doubled on its way arrives again.
        _, cause = self._in_flight.get((pair, id(frame)), (frame, 0))
        message = decode_frame(frame)
        what, fields = self._describe(message)
        node, peer = self._name_of[pair[1]], self._name_of[pair[0]]
        number = self._add("receive", node, what, peer=peer, cause=cause, fields=fields)
        self._last_receive[node] = (self._world.now_ms, number)
        if isinstance(message, ConsensusFrame):
            self._arrived[(node, key_address(pair[0]), message.body)] = number
            if len(self._arrived) > IN_FLIGHT_MAX:
                del self._arrived[next(iter(self._arrived))]
        elif isinstance(message, BlockBody):
            self._bring(node, message.block.id, number)

    def _bring(self, node: str, block: BlockId, cause: int) -> None:
        self._brought[(node, block)] = cause
        if len(self._brought) > IN_FLIGHT_MAX:
            del self._brought[next(iter(self._brought))]

    # -------------------------------------------------------------------------- life and death

    def _started(self, node: SimulatedNode) -> None:
        self._look_around()
        self._add("start", node.name, "again" if node.starts > 1 else "")

    def _stopped(self, node: SimulatedNode) -> None:
        self._look_around()
        self._add("crash", node.name)
        self._cause.pop(node.name, None)

    # ------------------------------------------------------------------------ inside the nodes

    def _spy_on(self, node: SimulatedNode) -> Callable[[Engine], Engine]:
        def spy(engine: Engine) -> Engine:
            made = Spy(engine, lambda event: self._handled(node, event))
            self._spies[node.name] = made
            return made

        return spy

    def _handled(self, node: SimulatedNode, event: Event) -> int:
        """The number of the trace's event that stands for what the engine is about to handle."""
        name = node.name
        match event:
            case contract.MessageReceived(sender=sender, message=message):
                if sender == node.signer.address:
                    return self._last_own.get(name, 0)
                return self._arrived.get((name, sender, codec.encode(message)), 0)
            case contract.TimerFired(key=key):
                return self._add("timer", name, _words(key))
            case contract.BlockImported(block=block, origin=origin):
                cause = self._brought.get((name, block.id), 0)
                fields: Facts = {**_block_facts(block), "origin": origin}
                return self._add("import", name, cause=cause, fields=fields)
            case contract.BlockRejected(reason=reason):
                return self._add("reject", name, reason[:WORD_MAX])
            case contract.CommandGiven(name=command):
                return self._add("note", name, f"command: {command}"[:WORD_MAX])
            case _:
                return 0

    def _observer_of(self, node: SimulatedNode) -> Callable[[Event | Effect], None]:
        def observe(thing: Event | Effect) -> None:
            if isinstance(thing, Effect):
                self._look_around()
                self._effect(node, thing)

        return observe

    def _effect(self, node: SimulatedNode, effect: Effect) -> None:
        name, ledger = node.name, node.running.ledger
        cause = self._cause[name] = self._spies[name].cause_of(effect)
        match effect:
            case contract.Persist():
                self._add("persist", name, cause=cause)
            case contract.Import(block=body):
                self._bring(name, body.id, cause)
            case contract.SetHead(block=block):
                if self._heads.get(name) != block:
                    self._heads[name] = block
                    fields = _block_facts(ledger.header(block))
                    self._add("head", name, cause=cause, fields=fields)
            case contract.Finalize(block=block):
                head = ledger.header(block)
                if self._final.get(name, 0) < head.height:
                    self._final[name] = head.height
                    self._add("final", name, cause=cause, fields=_block_facts(head))
            case contract.Trace(name=what, fields=told):
                self._add("trace", name, what[:WORD_MAX], cause=cause, fields=dict(told))
            case _:
                pass

    def did(self, step: Step) -> None:
        """Something was done to the network; a payment is the clients' own word."""
        self._look_around()
        self._add("note" if isinstance(step, Pay) else "fault", what=step.text[:STEP_MAX])

    # ------------------------------------------------------------------------------ the rest

    def _look_around(self) -> None:
        """Notices, once a millisecond, what nobody tells: cuts, pauses, violations."""
        self._tell_violations()
        if self._looked_ms == self._world.now_ms:
            return
        self._looked_ms = self._world.now_ms
        if not self._opened and self._world.now_ms >= self.log.from_ms:
            self._open()
        cut = tuple(pair for pair, faults in self._network.faults.items() if faults.cut)
        if cut != self._cut:
            self._cut = cut
            self._add("cut" if cut else "heal", what=self._describe_cut(cut))
        for node in self._nodes:
            if self._paused.get(node.name, False) != node.paused:
                self._paused[node.name] = node.paused
                if node.core is not None:
                    self._add("pause" if node.paused else "resume", node.name)

    def _open(self) -> None:
        """The kept span begins: where everybody stands now."""
        self._opened = True
        for node in self._nodes:
            if node.core is None:
                self._add("crash", node.name, "before")
                continue
            ledger = node.core.ledger
            for kind, block in (("head", ledger.head()), ("final", ledger.finalized())):
                if kind == "head" or (ledger.finalizes and ledger.height(block)):
                    fields = _block_facts(ledger.header(block))
                    self._add(cast(Kind, kind), node.name, "before", fields=fields)
        if self._cut:
            self._add("cut", what=self._describe_cut(self._cut))

    def _tell_violations(self) -> None:
        while self._told < len(self._violations):
            violation = self._violations[self._told]
            self._told += 1
            self._add("violation", what=f"{violation.checker}: {violation.message}"[:500])

    def finish(self) -> None:
        """Call when the run is over: takes down what came last."""
        self._looked_ms = -1
        self._look_around()

    def _describe_cut(self, cut: Sequence[Pair]) -> str:
        """Groups that do not hear each other, or the directions that are cut."""
        if not cut:
            return ""
        names = list(self._name_of)
        group = {key: number for number, key in enumerate(names)}
        broken = dict.fromkeys(cut)
        for one in names:
            for other in names:
                if one != other and not ((one, other) in broken and (other, one) in broken):
                    old, new = group[other], group[one]
                    group = {key: new if each == old else each for key, each in group.items()}
        if len(dict.fromkeys(group.values())) == 1:
            ways = [f"{self._name_of[a]}→{self._name_of[b]}" for a, b in cut]
            return " ".join(ways[:8]) + (" …" if len(ways) > 8 else "")
        parts = [
            " ".join(self._name_of[key] for key in names if group[key] == number)
            for number in dict.fromkeys(group.values())
        ]
        return " | ".join(parts)

    def _describe(self, message: PeerMessage) -> tuple[str, Facts]:
        """The message's type and its facts; a broadcast is described once."""
        if self._described[0] is not message:
            self._described = (message, *self._what(message))
        return self._described[1:]

    def _what(self, message: PeerMessage) -> tuple[str, Facts]:
        if not isinstance(message, ConsensusFrame):
            return type(message).__name__, facts_of(message)
        kind = self._types.get(message.tag)
        if kind is None:
            return f"message {message.tag}", {}
        try:
            inner = codec.decode(message.body, kind)
        except InvalidEncoding:
            return f"malformed {kind.__name__}", {}
        return kind.__name__, facts_of(inner)

    def _add(self, kind: Kind, node: str = "", what: str = "", **more: Any) -> int:
        return self.log.add(self._world.now_ms, kind, node, what, **more)


def header_of(options: RunOptions, nodes: tuple[str, ...]) -> TraceHeader:
    """A trace's first line for a run of the laboratory."""
    title = f"{options.engine}, {options.nodes} nodes, seed {options.seed}"
    command = command_of(options).replace("simulate", "replay", 1)
    return TraceHeader(1, title, options.engine, options.seed, nodes, command)


class Spy:
    """Around an engine: remembers which event each effect came from."""

    def __init__(self, engine: Engine, handled: Callable[[Event], int]) -> None:
        self.inner = engine
        self._handled = handled
        self._causes: dict[int, tuple[Effect, int]] = {}

    def handle(self, event: Event, view: ChainView, now: Now) -> list[Effect]:
        number = self._handled(event)
        effects = self.inner.handle(event, view, now)
        for effect in effects:
            # With the effect itself, so that no other object takes over its id meanwhile.
            self._causes[id(effect)] = (effect, number)
            if len(self._causes) > EFFECTS_MAX:
                del self._causes[next(iter(self._causes))]
        return effects

    def status(self, view: ChainView, now: Now) -> Status:
        return self.inner.status(view, now)

    def cause_of(self, effect: Effect) -> int:
        """The number of the event behind ``effect``; 0 where it is not known."""
        return self._causes.pop(id(effect), (effect, 0))[1]


def facts_of(message: msgspec.Struct) -> Facts:
    """What fits into a label: numbers, short words, the beginnings of ids, counts of lists."""
    facts: Facts = {}
    for name in message.__struct_fields__:
        value = getattr(message, name)
        match value:
            case bool():
                facts[name] = "yes" if value else "no"
            case int():
                facts[name] = value
            case str() if value and len(value) <= WORD_MAX:
                facts[name] = value
            case bytes() if len(value) == 32:
                facts[name] = show_id(value)[-ID_CHARACTERS:]
            case tuple() if value:
                facts[name] = len(value)
            case Block() | BlockHead() if "block_id" not in message.__struct_fields__:
                facts.update(_block_facts(value))
            case _:
                pass
    return facts


def _block_facts(block: Block | BlockHead) -> Facts:
    return {"height": block.height, "block": show_id(block.id)[-ID_CHARACTERS:]}


def _words(key: tuple[str | int, ...]) -> str:
    return " ".join(str(part) for part in key)[:WORD_MAX]


def _tag(kind: type[Message]) -> int:
    tag = kind.__struct_config__.tag
    assert isinstance(tag, int)
    return tag
