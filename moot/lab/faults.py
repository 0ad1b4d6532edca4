"""What goes wrong: carries out the steps that are done to a network, and ends what has an end.

Where the steps come from does not matter here: a swarm draws them from the run's seed
(moot.lab.swarm), a scenario file lists them (moot.lab.scenario). What a step leaves to chance is
drawn from the step's own text, so that it comes out the same whatever other steps there are.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from chain.address import public_key_of
from chain.errors import DamagedStore, StoreFailure
from chain.ledger.disk import RECORD_KEY
from consensus.contract import Effect, Event, Properties
from moot.lab import steps
from moot.lab.clients import Clients
from moot.lab.disk import Crash
from moot.lab.fault_kinds import KINDS
from moot.lab.fuses import Fuse
from moot.lab.keeping import is_sole_holder
from moot.lab.network import Interception, LinkFaults, Network, Pair
from moot.lab.node import SimulatedNode
from moot.lab.report import Findings
from moot.lab.steps import Step, Timed
from moot.lab.ways import Places
from moot.lab.world import END, STEP, World
from moot.node.core import NodeCore

STEP_MS = 5_000
"""The largest step of a clock that any number of nodes may make: an NTP correction."""
STOP_GRACE_MS = 10_000
"""How long a process that is asked to end may take; as a service manager would have it."""
HEIGHTS_TO_PASS = 4
"""Above the highest final block: what a node without its disk must see final to be whole again."""
RESTART_MS_MAX = 4_000
"""A node that a broken disk or a step between two effects has stopped starts again within that."""

Undo = Callable[[], None]
Begun = Undo | bool
"""What a step came to: False: nothing, it did not apply; True: done; or what ends it."""


class Faults:
    """Does steps to a cluster, until it is told to heal."""

    def __init__(
        self,
        world: World,
        network: Network,
        nodes: list[SimulatedNode],
        clients: Clients,
        findings: Findings,
        properties: Properties,
        bearable: int,
        highest: Callable[[], int],
        delay_ms: tuple[int, int],
    ) -> None:
        """``bearable``: how many nodes may lose their disks, or have a clock that is far off.

        ``highest``: the greatest height that any node has called final or confirmed. ``delay_ms``:
        what a message takes on any link, least and most, while nothing is wrong with it.
        """
        self.injected: Counter[str] = Counter()
        self.done: list[Timed] = []
        """Every step that applied, in order; doing them again at their times is the same run."""
        self.listeners: list[Callable[[Step], None]] = []
        """Hear of each step that applied."""
        self.idle = 0
        """Steps that did not apply: of a node that was down, or more than can be borne."""
        self.active = True
        """Until the healing."""
        self.places = Places(nodes)
        self._world = world
        self._network = network
        self._nodes = nodes
        self._clients = clients
        self._findings = findings
        self._properties = properties
        self._bearable = bearable
        self._highest = highest
        self._delay_ms = delay_ms
        self._fuses: dict[bytes, Fuse] = {}
        self._isolations: dict[bytes, tuple[Fuse, list[Pair]]] = {}
        """What cuts a node off, and the links that it has cut."""
        self._burnt: dict[bytes, int] = {}
        """How long each node stays down that its fuse is killing right now; 0: for good."""
        self._undoes: dict[int, tuple[bool, Undo]] = {}
        """What ends each step, and whether it is about links."""
        self._count = 0
        self._lossy: dict[bytes, int] = {}
        """Nodes whose disk is damaged or was wiped, and the final height they must pass to be
        whole again."""
        self._off: dict[bytes, None] = {}
        self._told: dict[int, tuple[SimulatedNode, NodeCore | None]] = {}
        """Operators' commands that are not answered, and the life of the node that they are for."""
        self._told_count = 0
        self._resting: set[bytes] = set()
        for one in network.nodes:
            for other in network.nodes:
                if one != other:
                    network.faults[(one, other)] = LinkFaults(delay_ms=delay_ms)
        for node in nodes:
            node.observe(self._fuse_of(node))
            node.on_failure = self._failed

    # ------------------------------------------------------------------------------ the steps

    def plan(self, timed: Iterable[Timed]) -> None:
        """Does each step when its time comes; of one moment, in the order given."""
        for each in timed:
            step = each.step
            self._world.after(each.at_ms - self._world.now_ms, partial(self.do, step), STEP)

    def do(self, step: Step) -> bool:
        """Does a step now; False where it does not apply."""
        if not self.active:
            return False
        concrete = self.places.resolved(step, self.leader)
        begun = False if concrete is None else self._begin(concrete)
        if concrete is None or begun is False:
            self.idle += 1
            return False
        if concrete.kind:
            self.injected[concrete.kind] += 1
        self.done.append(Timed(self._world.now_ms, concrete))
        for listener in self.listeners:
            listener(concrete)
        if callable(begun):
            self._end_later(concrete, begun)
        return True

    def _end_later(self, step: Step, undo: Undo) -> None:
        self._count += 1
        number = self._count
        self._undoes[number] = (isinstance(step, OF_LINKS), undo)

        def end() -> None:
            if self._undoes.pop(number, None) is not None:
                undo()

        for_ms: int = getattr(step, "for_ms", 0)
        if for_ms:
            self._world.after(for_ms, end, END)

    def chance(self, step: Step) -> random.Random:
        """What the step leaves open."""
        return self._world.rng(f"step/{self._world.now_ms}/{step.text}")

    def _begin(self, step: Step) -> Begun:
        match step:
            case steps.Pay():
                return self._clients.pay(step, self.places.node(step.via) if step.via else None)
            case steps.Vote():
                return self._clients.vote(step, self.places)
            case steps.Heal():
                return self._heal_links(step)
            case steps.Cut() | steps.Partition() | steps.Reset():
                return self._part(step)
            case steps.Delay() | steps.Rate() | steps.Bandwidth():
                return self._weather(step)
            case steps.Intercept():
                return self._intercept(step)
            case steps.LoseAnswers():
                self._clients.lost_answers = step.thousandths
                return self._clients.hear_all
            case steps.Clock() | steps.Drift():
                return self._set_clock(step)
            case steps.Restart() | steps.Resume() | steps.Wipe():
                return self._change(step)
            case _:
                return self._strike_node(step)

    def leader(self) -> str | None:
        """Whom the node that is furthest holds for the leader."""
        up = [node for node in self._nodes if node.is_honest and node.core is not None]
        if not up:
            return None
        furthest = max(up, key=_progress)
        with furthest.store.looked_at():
            leader = furthest.running.engine_status().leader
        return None if leader is None else self.places.name_of(public_key_of(leader))

    def counts(self) -> dict[str, int]:
        """How often each kind was injected, in the order of KINDS."""
        total = Counter(self.injected)
        total.update(self._network.injected)
        for node in self._nodes:
            total.update(node.store.injected)
        total["lost-answer"] += self._findings.exercised.pop("lost-answer", 0)
        return {kind: total[kind] for kind in KINDS if total[kind]}

    def heal(self, spare: int, rng: random.Random) -> list[SimulatedNode]:
        """Ends all faults; all but ``spare`` nodes run again. Returns those that do.

        Fewer stay down where some must listen first, since they have lost their disks, may have to
        wait, since they spoke for moments that are far ahead, or alone have what others need.
        """
        self.active = False
        for _, undo in list(self._undoes.values()):
            undo()
        self._undoes.clear()
        self._fuses.clear()
        self._isolations.clear()
        self._forget_the_whole()
        clocks_matter = self._properties.synchrony == "clocks"
        quiet = {**self._lossy, **(self._off if clocks_matter else {})}
        candidates = [node for node in self._nodes if node.key not in quiet]
        resting: list[SimulatedNode] = []
        for node in rng.sample(candidates, max(0, spare - len(quiet))):
            if not self._is_sole_holder(node, besides=resting):
                resting.append(node)
        healthy = [node for node in self._nodes if node not in resting]
        for node in self._nodes:
            node.store.disarm()
            node.work_ms = node.sync_ms = 0
            node.set_drift(0)
            if node.paused:
                node.resume()
        for node in resting:
            if node.core is not None:
                node.crash()
        self._resting.update(node.key for node in resting)
        self._network.heal()
        for node in healthy:
            node.clock_skew_ms = 0
            self._restart(node, 1)
        return healthy

    # ------------------------------------------------------------------------ death and life

    def _failed(self, node: SimulatedNode, error: BaseException) -> None:
        """A node's core ended in an exception; the node is down."""
        pause_ms = self._world.rng(f"restart/{node.name}/{node.starts}").randint(1, RESTART_MS_MAX)
        if isinstance(error, DamagedStore) and node.store.is_damaged:
            # What an operator does: a new disk, and the key from its backup.
            self._findings.exercised["damage_noticed"] += 1
            self._world.after(pause_ms // 2, lambda: self._new_disk(node))
        elif isinstance(error, StoreFailure) and (node.store.injected.total()):
            self._findings.exercised["stopped_by_disk"] += 1
            self._world.after(pause_ms // 2, node.store.disarm)
        elif not isinstance(error, Crash):
            self._findings.violated(
                "node-failed", f"{node.name}: {_where(error)}", node.world.now_ms
            )
        pause_ms = self._burnt.pop(node.key, pause_ms)
        if pause_ms:
            self._restart(node, pause_ms)

    def _restart(self, node: SimulatedNode, pause_ms: int) -> None:
        def start() -> None:
            if node.core is None and node.key not in self._resting:
                self._findings.exercised["restarts"] += 1
                node.start()

        self._world.after(pause_ms, start)

    def _strike_node(self, step: Step) -> Begun:
        """What strikes only a node that runs."""
        node = self.places.node(getattr(step, "node", ""))
        if node is None or node.core is None:
            return False
        match step:
            case steps.Crash():
                self._crash(node, step)
            case steps.Isolate():
                return self._isolate(node, step)
            case steps.Pause():
                return self._pause(node)
            case steps.Stop():
                return self._stop(node, step)
            case steps.Transfer():
                return self._transfer(node, step)
            case steps.Disk():
                node.store.arm(step.fault, step.writes)
            case steps.FlipBit():
                if not self._may_lose(node):
                    return False
                self._lossy[node.key] = self._highest() + HEIGHTS_TO_PASS
                node.store.flip_bit()
            case steps.Slow():
                return self._slow(node, step)
            case _:
                raise AssertionError(f"a step of an unknown kind: {step}")
        return True

    def _crash(self, node: SimulatedNode, step: steps.Crash) -> None:
        if step.moment is not None:
            self._fuses[node.key] = Fuse(step, step.moment.count)
            return
        power = step.power or step.rotated
        self.injected["power-failure" if power else "kill"] += 1
        node.crash(self.chance(step) if power else None, rotated=step.rotated)
        if step.for_ms:
            self._restart(node, step.for_ms)

    def _stop(self, node: SimulatedNode, step: steps.Stop) -> bool:
        if node.paused or node.is_stopping:
            return False

        def ended() -> None:
            if step.for_ms:
                self._restart(node, step.for_ms if self.active else 1)

        self._findings.exercised["graceful_stops"] += 1
        node.stop(STOP_GRACE_MS, ended)
        return True

    def _transfer(self, node: SimulatedNode, step: steps.Transfer) -> bool:
        if node.paused:
            return False

        def answered(outcome: str) -> None:
            refused = outcome.startswith("refused")
            self._findings.exercised["transfers_refused" if refused else "transfers_done"] += 1
            del self._told[number]

        self._told_count += 1
        number = self._told_count
        self._told[number] = (node, node.core)
        node.command("transfer", (step.to,) if step.to else (), answered)
        return True

    def check_answers(self) -> None:
        """At the end: whoever was told to do something and lived on has said what came of it."""
        for node, core in self._told.values():
            if node.core is core and node.is_honest and not node.paused:
                self._findings.violated(
                    "unanswered",
                    f"{node.name} never said what came of its operator's command",
                    self._world.now_ms,
                )

    def crash_after(self, node: SimulatedNode, count: int) -> None:
        """The node dies right before the event or effect that follows ``count`` more."""
        chance = self._world.rng(f"fuse/{node.name}/{count}")
        power = chance.random() < 0.5
        rotated = power and chance.random() < 0.5
        for_ms = chance.randint(1, RESTART_MS_MAX)
        moment = steps.Moment("after", count, "steps")
        self._fuses[node.key] = Fuse(
            steps.Crash(node.name, power, rotated, moment, for_ms=for_ms), count
        )

    def _fuse_of(self, node: SimulatedNode) -> Callable[[Event | Effect], None]:
        def burn(thing: Event | Effect) -> None:
            if self._isolations:
                self._try_isolate(node, thing)
            if not self._fuses:
                return
            fuse = self._fuses.get(node.key)
            if fuse is not None and fuse.burn(thing):
                del self._fuses[node.key]
                assert isinstance(fuse.step, steps.Crash)
                self._burnt[node.key] = fuse.step.for_ms
                self.injected["crash-at-effect"] += 1
                power = fuse.step.power or fuse.step.rotated
                raise Crash(power=power, rotated=fuse.step.rotated)

        return burn

    def _change(self, step: steps.Restart | steps.Resume | steps.Wipe) -> Begun:
        node = self.places.node(step.node)
        if node is None:
            return False
        match step:
            case steps.Restart():
                if node.core is not None:
                    return False
                self._restart(node, 0)
            case steps.Resume():
                if not node.paused:
                    return False
                node.resume()
            case steps.Wipe():
                if node.core is None or not self._may_lose(node):
                    return False
                node.crash()
                self._lossy[node.key] = self._highest() + HEIGHTS_TO_PASS
                node.wipe()
                if step.for_ms:
                    self._restart(node, step.for_ms)
        return True

    # ---------------------------------------------------------------------------- lost disks

    def _may_lose(self, node: SimulatedNode) -> bool:
        """Not more than can be borne at a time have lost what they knew, and never the only one to
        have what others have pruned."""
        self._forget_the_whole()
        is_bearable = node.key in self._lossy or len(self._lossy) < self._bearable
        return is_bearable and not self._is_sole_holder(node)

    def _is_sole_holder(self, node: SimulatedNode, besides: Sequence[SimulatedNode] = ()) -> bool:
        """Whether blocks would be gone with these nodes; not where snapshots stand for them."""
        others = [each for each in self._nodes if each.is_honest and each not in (node, *besides)]
        return not self._properties.finalizes and is_sole_holder(node, others)

    def _forget_the_whole(self) -> None:
        """Who has caught up again counts as whole.

        Where votes are taken it must also have spoken again: until then, and however often it is
        killed meanwhile, it only listens.
        """
        for key, height in list(self._lossy.items()):
            node = self._network.nodes[key]
            if node.core is None or node.store.is_damaged:
                continue
            ledger = node.core.ledger
            silent = ledger.finalizes and node.store.memory.get(RECORD_KEY) is None
            if not silent and ledger.height(ledger.confirmed()) > height:
                del self._lossy[key]

    def _new_disk(self, node: SimulatedNode) -> None:
        if node.core is None:
            self._lossy[node.key] = self._highest() + HEIGHTS_TO_PASS
            self.injected["wiped-disk"] += 1
            node.wipe()

    # ------------------------------------------------------------------------------ the links

    def _weather(self, step: steps.Delay | steps.Rate | steps.Bandwidth) -> Begun:
        """Some links are worse for a while."""
        links = [self._network.faults[pair] for pair in self.places.pairs(step.ways)]
        if not links:
            return False
        for link in links:
            match step:
                case steps.Delay():
                    link.delay_ms, link.tail = (step.low_ms, step.high_ms), step.tail
                case steps.Rate():
                    setattr(link, step.name, step.thousandths)
                case steps.Bandwidth():
                    link.bytes_per_ms = step.bytes_per_ms

        def undo() -> None:
            for link in links:
                match step:
                    case steps.Delay():
                        link.delay_ms, link.tail = self._delay_ms, 0
                    case steps.Rate():
                        setattr(link, step.name, 0)
                    case steps.Bandwidth():
                        link.bytes_per_ms = 0

        return undo

    def _intercept(self, step: steps.Intercept) -> Begun:
        pairs = dict.fromkeys(self.places.pairs(step.ways))
        if not pairs:
            return False
        kind = self.places.message_kind(step.message)
        made = Interception(step.action, pairs, kind, step.count or None, step.by_ms)
        self._network.interceptions.append(made)

        def undo() -> None:
            if made in self._network.interceptions:
                self._network.interceptions.remove(made)

        return undo

    def _part(self, step: steps.Cut | steps.Partition | steps.Reset) -> Begun:
        if isinstance(step, steps.Reset):
            for one, other in _links(self.places.pairs(step.ways)):
                self._network.disconnect(one, other, "flapping")
            return True
        if isinstance(step, steps.Cut):
            pairs = self.places.pairs(step.ways)
            both = len(pairs) > len(_links(pairs))
            self.injected["partial-partition" if both else "one-way-cut"] += bool(pairs)
        else:
            pairs = self.places.between(step.groups)
        if not pairs:
            return False
        for pair in pairs:
            self._network.faults[pair].cut = True
        return lambda: self._mend(pairs)

    def _isolate(self, node: SimulatedNode, step: steps.Isolate) -> Undo:
        fuse, severed = Fuse(step, step.moment.count), list[Pair]()
        self._isolations[node.key] = (fuse, severed)

        def undo() -> None:
            if self._isolations.get(node.key, (None,))[0] is fuse:
                del self._isolations[node.key]
            self._mend(severed)

        return undo

    def _try_isolate(self, node: SimulatedNode, thing: Event | Effect) -> None:
        fuse, severed = self._isolations.get(node.key, (None, []))
        if fuse is None or not fuse.burn(thing):
            return
        del self._isolations[node.key]
        self.injected["cut-at-phase"] += 1
        severed += self.places.pairs((f"{node.name}-{steps.ALL}",))
        for pair in severed:
            self._network.faults[pair].cut = True

    def _mend(self, pairs: Iterable[Pair]) -> None:
        for pair in pairs:
            self._network.faults[pair].cut = False
        for one, other in _links(pairs):
            self._network.redial(one, other)

    def _heal_links(self, step: steps.Heal) -> Begun:
        if step.ways:
            self._mend(self.places.pairs(step.ways))
            return True
        for number, (is_of_links, undo) in list(self._undoes.items()):
            if is_of_links:
                del self._undoes[number]
                undo()
        return True

    # --------------------------------------------------------------------- pace and the clock

    def _pause(self, node: SimulatedNode) -> Begun:
        if node.paused:
            return False
        life = node.starts
        node.pause()

        def undo() -> None:
            if node.paused and node.starts == life:
                node.resume()

        return undo

    def _slow(self, node: SimulatedNode, step: steps.Slow) -> Undo:
        self.injected[f"slow-{step.part}"] += 1
        if step.part == "node":
            node.work_ms = step.cost_ms
        else:
            node.sync_ms = step.cost_ms

        def undo() -> None:
            if step.part == "node":
                node.work_ms = 0
            else:
                node.sync_ms = 0

        return undo

    def may_be_off(self, name: str) -> bool:
        """Whether this node's clock may be wrong by any amount: not more than can be borne are."""
        node = self.places.node(name)
        return node is not None and (node.key in self._off or len(self._off) < self._bearable)

    def _set_clock(self, step: steps.Clock | steps.Drift) -> Begun:
        node = self.places.node(step.node)
        if node is None:
            return False
        if isinstance(step, steps.Drift):
            node.set_drift(step.ppm)
            return True
        is_far = abs(step.skew_ms) > STEP_MS
        if is_far and not self.may_be_off(step.node):
            return False
        if is_far:
            self._off[node.key] = None
        self.injected["clock-jump" if abs(step.skew_ms) > STEP_MS // 10 else "clock-skew"] += 1
        node.clock_skew_ms = step.skew_ms
        return True


OF_LINKS = (
    steps.Cut,
    steps.Isolate,
    steps.Partition,
    steps.Delay,
    steps.Rate,
    steps.Bandwidth,
    steps.Intercept,
)


def _links(pairs: Iterable[Pair]) -> list[Pair]:
    """Each link once, whichever of its directions are named."""
    return list(dict.fromkeys((min(pair), max(pair)) for pair in pairs))


def _progress(node: SimulatedNode) -> tuple[int, int]:
    with node.store.looked_at():
        ledger = node.running.ledger
        return ledger.height(ledger.head()), node.running.engine_status().round


def _where(error: BaseException) -> str:
    """What an exception says, and the place in our code where it arose."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error} ({place})"
