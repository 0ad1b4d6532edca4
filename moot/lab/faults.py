"""What goes wrong: each kind by itself, its rate drawn from the seed, all of it over one cluster.

A run's *swarm* is the subset of kinds that its seed chose, and how often each comes: runs that
differ in what they leave out find more than runs in which everything happens a little (Groce et
al., "Swarm Testing", ISSTA 2012).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable

from chain.errors import DamagedStore, Invalid, StoreFailure
from chain.ledger.disk import RECORD_KEY
from consensus.contract import Effect, Event
from moot.lab.clients import Clients
from moot.lab.disk import Crash, WriteFault
from moot.lab.network import LinkFaults, Network, Pair
from moot.lab.node import SimulatedNode
from moot.lab.report import Findings
from moot.lab.world import World

KINDS = (
    "delay",
    "loss",
    "selective-loss",
    "duplication",
    "reordering",
    "bandwidth",
    "one-way-cut",
    "partition",
    "partial-partition",
    "flapping",
    "kill",
    "power-failure",
    "kill-all",
    "crash-at-effect",
    "crash-at-write",
    "torn-write",
    "full-disk",
    "failing-sync",
    "flipped-bit",
    "wiped-disk",
    "pause",
    "slow-node",
    "slow-disk",
    "clock-skew",
    "clock-drift",
    "clock-jump",
    "lost-answer",
)
"""All kinds of faults, by the names that ``--faults`` takes."""

BASE_DELAYS_MS = ((1, 3), (1, 10), (2, 20), (5, 50))
"""Link delays of a run: one machine room, one city, one continent, and worse."""
STEP_MS = 5_000
"""The largest step of a clock that any number of nodes may make: an NTP correction."""
JUMP_MS = 3_600_000
"""The largest step of a clock that few enough nodes may make: somebody set it wrong."""
HEIGHTS_TO_PASS = 4
"""Above the highest final block: what a node without its disk must see final to be whole again."""

TAGS_MAX = 8
"""Engines number their messages from 1, and have few."""

Undo = Callable[[], None]


class UnknownFault(Invalid):
    """No fault of that name."""


def check_kinds(names: Iterable[str]) -> tuple[str, ...]:
    """``names`` in the order of KINDS. Raises UnknownFault."""
    wanted = list(names)
    for name in wanted:
        if name not in KINDS:
            raise UnknownFault(
                "unknown-fault", f"no fault is called {name!r}; known are: {', '.join(KINDS)}"
            )
    return tuple(kind for kind in KINDS if kind in wanted)


def chosen_kinds(names: Iterable[str] | None, rng: random.Random) -> tuple[str, ...]:
    """``names`` in the order of KINDS; None: about half of all. Raises UnknownFault."""
    if names is None:
        return tuple(kind for kind in KINDS if rng.random() < 0.5)
    return check_kinds(names)


class Faults:
    """Injects faults into a cluster until it is told to heal."""

    def __init__(
        self,
        world: World,
        network: Network,
        nodes: list[SimulatedNode],
        clients: Clients,
        findings: Findings,
        kinds: tuple[str, ...],
        bearable: int,
        highest: Callable[[], int],
        calm: float = 1.0,
    ) -> None:
        """``bearable``: how many nodes may lose their disks, or have a clock that is far off.

        ``highest``: the greatest height that any node has called final or confirmed. ``calm``: how
        much longer than usual the pauses between faults are.
        """
        self.kinds = kinds
        self.injected: Counter[str] = Counter()
        self._world = world
        self._network = network
        self._nodes = nodes
        self._clients = clients
        self._findings = findings
        self._bearable = bearable
        self._highest = highest
        self._calm = calm
        self._rng = world.rng("faults")
        self.active = False
        """From ``start`` until the healing."""
        self._fuses: dict[bytes, int] = {}
        self._undoes: dict[int, Undo] = {}
        self._count = self._strikes = 0
        self.admit: Callable[[int, str], bool] = lambda number, kind: True
        """Asked before each strike (number from 1, kind): whoever shrinks a run leaves some out."""
        self._lossy: dict[bytes, int] = {}
        """Nodes whose disk is damaged or was wiped, and the final height they must pass to be
        whole again."""
        self._off: dict[bytes, None] = {}
        self.clocks_matter = False
        """Whether nodes must agree on the time: then one whose clock was far off is faulty."""
        self._resting: set[bytes] = set()
        base = self._rng.choice(BASE_DELAYS_MS)
        for one in network.nodes:
            for other in network.nodes:
                if one != other:
                    network.faults[(one, other)] = LinkFaults(delay_ms=base)
        for node in nodes:
            node.observers.append(self._fuse_of(node))
            node.on_failure = self._failed
        self._begin = self._beginnings()

    def _beginnings(self) -> dict[str, Callable[[], Undo | None]]:
        """What begins each kind; it returns what ends it, if that has a duration."""
        return {
            "delay": lambda: self._weather(self._delayed),
            "loss": lambda: self._weather(self._lossy_link),
            "selective-loss": self._lose_a_kind,
            "duplication": lambda: self._weather(self._doubling),
            "reordering": lambda: self._weather(self._reordering),
            "bandwidth": lambda: self._weather(self._narrow),
            "one-way-cut": lambda: self._cut(self._some_pairs(1)),
            "partition": self._partition,
            "partial-partition": self._partial_partition,
            "flapping": self._flap,
            "kill": lambda: self._kill(self._up(), power=False),
            "power-failure": lambda: self._kill(self._up(), power=True),
            "kill-all": self._kill_all,
            "crash-at-effect": self._light_fuse,
            "crash-at-write": lambda: self._arm(("crash-before", "crash-after")),
            "torn-write": lambda: self._arm(("torn",)),
            "full-disk": lambda: self._arm(("full",)),
            "failing-sync": lambda: self._arm(("sync-fails",)),
            "flipped-bit": self._flip,
            "wiped-disk": self._wipe,
            "pause": self._pause,
            "slow-node": self._slow_node,
            "slow-disk": self._slow_disk,
            "clock-skew": self._skew,
            "clock-drift": self._drift,
            "clock-jump": self._jump,
            "lost-answer": self._lose_answers,
        }

    # -------------------------------------------------------------------------- the schedule

    def start(self) -> None:
        """From now on each chosen kind comes again and again."""
        self.active = True
        for kind in self.kinds:
            mean_ms = int(1_000 * self._calm * 2 ** self._rng.uniform(1.0, 4.5))
            self._later(kind, mean_ms, self._world.rng(f"faults/{kind}"))

    def _later(self, kind: str, mean_ms: int, pace: random.Random) -> None:
        def strike() -> None:
            if self.active:
                self._strike(kind)
                self._later(kind, mean_ms, pace)

        self._world.after(1 + int(pace.expovariate(1 / mean_ms)), strike)

    def _strike(self, kind: str) -> None:
        self._strikes += 1
        if not self.admit(self._strikes, kind):
            return
        undo = self._begin[kind]()
        if undo is None:
            return
        self._count += 1
        number = self._count
        self._undoes[number] = undo

        def end() -> None:
            if self._undoes.pop(number, None) is not None:
                undo()

        self._world.after(int(300 * 2 ** self._rng.uniform(0, 5)), end)

    def counts(self) -> dict[str, int]:
        """How often each kind was injected, in the order of KINDS."""
        total = Counter(self.injected)
        total.update(self._network.injected)
        for node in self._nodes:
            total.update(node.store.injected)
        total["lost-answer"] += self._findings.exercised.pop("lost-answer", 0)
        return {kind: total[kind] for kind in KINDS if total[kind]}

    def heal(self, spare: int) -> list[SimulatedNode]:
        """Ends all faults; all but ``spare`` nodes run again. Returns those that do.

        Fewer stay down where some must listen first, since they have lost their disks, or may have
        to wait, since they spoke for moments that are far ahead (``clocks_matter``).
        """
        self.active = False
        for undo in list(self._undoes.values()):
            undo()
        self._undoes.clear()
        self._fuses.clear()
        self._forget_the_whole()
        quiet = {**self._lossy, **(self._off if self.clocks_matter else {})}
        candidates = [node for node in self._nodes if node.key not in quiet]
        resting = self._rng.sample(candidates, max(0, spare - len(quiet)))
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
        pause_ms = self._rng.randint(1, 4_000)
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
        self._restart(node, pause_ms)

    def _restart(self, node: SimulatedNode, pause_ms: int) -> None:
        def start() -> None:
            if node.core is None and node.key not in self._resting:
                self._findings.exercised["restarts"] += 1
                node.start()

        self._world.after(pause_ms, start)

    def _kill(self, node: SimulatedNode | None, *, power: bool) -> None:
        if node is None:
            return
        self.injected["power-failure" if power else "kill"] += 1
        node.crash(self._rng if power else None, rotated=power and self._rng.random() < 0.5)
        self._restart(node, self._rng.randint(1, 6_000))

    def _kill_all(self) -> None:
        """A power failure of the house; they come back in any order."""
        self.injected["kill-all"] += 1
        power = self._rng.random() < 0.5
        for node in self._nodes:
            if node.core is not None:
                node.crash(self._rng if power else None)
                self._restart(node, self._rng.randint(1, 3_000))

    def _light_fuse(self) -> None:
        node = self._up()
        if node is not None:
            self.crash_after(node, self._rng.randint(1, 200))

    def crash_after(self, node: SimulatedNode, count: int) -> None:
        """The node dies right before the event or effect that follows ``count`` more."""
        self._fuses[node.key] = count

    def _fuse_of(self, node: SimulatedNode) -> Callable[[Event | Effect], None]:
        def burn(_: Event | Effect) -> None:
            if not self._fuses:
                return
            left = self._fuses.get(node.key)
            if left is None:
                return
            if left > 0:
                self._fuses[node.key] = left - 1
                return
            del self._fuses[node.key]
            self.injected["crash-at-effect"] += 1
            power = self._rng.random() < 0.5
            raise Crash(power=power, rotated=power and self._rng.random() < 0.5)

        return burn

    def _arm(self, kinds: tuple[WriteFault, ...]) -> None:
        node = self._up()
        if node is not None:
            node.store.arm(self._rng.choice(kinds), self._rng.randint(0, 40))

    # ---------------------------------------------------------------------------- lost disks

    def _may_lose(self, node: SimulatedNode) -> bool:
        """Not more than can be borne at a time have lost what they knew."""
        self._forget_the_whole()
        return node.key in self._lossy or len(self._lossy) < self._bearable

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

    def _flip(self) -> None:
        node = self._up()
        if node is not None and self._may_lose(node):
            self._lossy[node.key] = self._highest() + HEIGHTS_TO_PASS
            node.store.flip_bit()

    def _wipe(self) -> None:
        node = self._up()
        if node is not None and self._may_lose(node):
            node.crash()
            self._new_disk(node)
            self._restart(node, self._rng.randint(1, 3_000))

    def _new_disk(self, node: SimulatedNode) -> None:
        if node.core is None:
            self._lossy[node.key] = self._highest() + HEIGHTS_TO_PASS
            self.injected["wiped-disk"] += 1
            node.wipe()

    # ------------------------------------------------------------------------------ the links

    def _some_pairs(self, count: int) -> list[Pair]:
        pairs = list(self._network.faults)
        return self._rng.sample(pairs, min(count, len(pairs)))

    def _weather(self, change: Callable[[LinkFaults], Undo]) -> Undo | None:
        """Some links become worse for a while, or all of them."""
        count = len(self._network.faults)
        pairs = self._some_pairs(self._rng.choice((1, 2, max(1, count // 3), count)))
        undoes = [change(self._network.faults[pair]) for pair in pairs]

        def undo() -> None:
            for each in undoes:
                each()

        return undo if pairs else None

    def _delayed(self, link: LinkFaults) -> Undo:
        before, link.tail = link.delay_ms, self._rng.randint(10, 300)
        low = self._rng.randint(1, 100)
        link.delay_ms = (low, low + self._rng.randint(1, 400))

        def undo() -> None:
            link.delay_ms, link.tail = before, 0

        return undo

    def _lossy_link(self, link: LinkFaults) -> Undo:
        link.loss = self._rng.randint(5, 500)

        def undo() -> None:
            link.loss = 0

        return undo

    def _lose_a_kind(self) -> Undo | None:
        """What an adversary in the network would do: only a few get one kind of message, and
        often enough those few are not heard themselves."""
        tag = self._rng.randrange(1, TAGS_MAX)
        keys = list(self._network.nodes)
        spared = self._rng.sample(keys, self._rng.randint(0, len(keys) - 1))
        pairs = [pair for pair in self._network.faults if pair[1] not in spared]
        mute = self._rng.random() < 0.5
        unheard = [pair for pair in pairs if mute and pair[0] in spared]
        for pair in pairs:
            self._network.faults[pair].lost_tag = tag
        hear = self._cut(unheard, "one-way-cut")

        def undo() -> None:
            for pair in pairs:
                self._network.faults[pair].lost_tag = None
            if hear is not None:
                hear()

        return undo if pairs else None

    def _doubling(self, link: LinkFaults) -> Undo:
        link.duplication = self._rng.randint(5, 500)

        def undo() -> None:
            link.duplication = 0

        return undo

    def _reordering(self, link: LinkFaults) -> Undo:
        link.reordering = self._rng.randint(5, 500)

        def undo() -> None:
            link.reordering = 0

        return undo

    def _narrow(self, link: LinkFaults) -> Undo:
        link.bytes_per_ms = self._rng.randint(2, 50)
        self.injected["bandwidth"] += 1

        def undo() -> None:
            link.bytes_per_ms = 0

        return undo

    def _cut(self, pairs: list[Pair], kind: str = "one-way-cut") -> Undo | None:
        if not pairs:
            return None
        self.injected[kind] += 1
        for pair in pairs:
            self._network.faults[pair].cut = True

        def undo() -> None:
            for pair in pairs:
                self._network.faults[pair].cut = False
            for one, other in dict.fromkeys((min(pair), max(pair)) for pair in pairs):
                self._network.redial(one, other)

        return undo

    def _partition(self) -> Undo | None:
        keys = [node.key for node in self._nodes]
        group = set(self._rng.sample(keys, self._rng.randint(1, max(1, len(keys) - 1))))
        return self._cut(
            [pair for pair in self._network.faults if (pair[0] in group) != (pair[1] in group)],
            "partition",
        )

    def _partial_partition(self) -> Undo | None:
        """One link only, both ways: everybody still reaches everybody by a detour."""
        pairs = self._some_pairs(1)
        return self._cut([*pairs, *[(b, a) for a, b in pairs]], "partial-partition")

    def _flap(self) -> None:
        """A link goes down, and up again by itself, some times in a row."""
        for one, other in self._some_pairs(1):
            self.injected["flapping"] += 1

            def down(one: bytes = one, other: bytes = other) -> None:
                self._network.disconnect(one, other, "flapping")

            for _ in range(self._rng.randint(2, 6)):
                self._world.after(self._rng.randint(1, 2_000), down)

    # --------------------------------------------------------------------- pace and the clock

    def _up(self) -> SimulatedNode | None:
        up = [node for node in self._nodes if node.core is not None]
        return self._rng.choice(up) if up else None

    def _pause(self) -> Undo | None:
        node = self._up()
        if node is None or node.paused:
            return None
        self.injected["pause"] += 1
        life = node.starts
        node.pause()

        def undo() -> None:
            if node.paused and node.starts == life:
                node.resume()

        return undo

    def _slow_node(self) -> Undo | None:
        node = self._up()
        if node is None:
            return None
        self.injected["slow-node"] += 1
        node.work_ms = self._rng.choice((2, 5, 20))

        def undo() -> None:
            node.work_ms = 0

        return undo

    def _slow_disk(self) -> Undo | None:
        node = self._up()
        if node is None:
            return None
        self.injected["slow-disk"] += 1
        node.sync_ms = self._rng.choice((5, 20, 100))

        def undo() -> None:
            node.sync_ms = 0

        return undo

    def _skew(self) -> None:
        node = self._rng.choice(self._nodes)
        self.injected["clock-skew"] += 1
        node.clock_skew_ms = self._rng.randint(-STEP_MS // 10, STEP_MS // 10)

    def _drift(self) -> None:
        node = self._rng.choice(self._nodes)
        self.injected["clock-drift"] += 1
        node.set_drift(self._rng.randint(-500, 500))

    def _jump(self) -> Undo | None:
        node = self._rng.choice(self._nodes)
        self.injected["clock-jump"] += 1
        if node.key in self._off or len(self._off) < self._bearable:
            self._off[node.key] = None
            node.clock_skew_ms = self._rng.randint(-JUMP_MS, JUMP_MS)
        else:
            node.clock_skew_ms = self._rng.randint(-STEP_MS, STEP_MS)
        return None

    def _lose_answers(self) -> Undo:
        self._clients.lost_answers = self._rng.randint(100, 900)

        def undo() -> None:
            self._clients.lost_answers = 0

        return undo


def _where(error: BaseException) -> str:
    """What an exception says, and the place in our code where it arose."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error} ({place})"
