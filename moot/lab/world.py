"""The simulated world: virtual time, a network of links, disks that can lose what was not synced.

One seed, one run. Time is a heap of (moment, sequence, action) and jumps from deadline to deadline.
Nodes are production cores (moot.node.core); only clock, network, disk and grinder are simulated.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from chain.genesis import Genesis
from chain.header import Header
from chain.ledger import Ledger
from chain.signatures import Verifier
from chain.storage.memory import MemoryStore
from chain.transaction import Transaction
from consensus.contract import Effect, Event, Now
from consensus.registry import era_parameters, protocol
from moot.lab.signer import CheapKey, CheapVerifier
from moot.node.core import CoreSettings, NodeCore
from moot.node.ports import Level, Shell
from p2p.wire import Hello, PeerMessage, decode_frame, encode_frame

Action = Callable[[], None]


class World:
    """Virtual time in milliseconds, and a seeded generator for each concern."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now_ms = 0
        self._heap: list[tuple[int, int, Action]] = []
        self._sequence = 0
        self._trace = hashlib.sha256()
        self.events = 0

    def rng(self, concern: str) -> random.Random:
        """A generator of its own for each concern, so that one more draw here moves none there."""
        digest = hashlib.sha256(f"{self.seed}/{concern}".encode()).digest()
        return random.Random(int.from_bytes(digest, "big"))

    def after(self, delay_ms: int, action: Action) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (self.now_ms + max(0, delay_ms), self._sequence, action))

    def run_until(self, moment_ms: int, stop: Callable[[], bool] = lambda: False) -> bool:
        """Runs what is due until ``moment_ms``, or until ``stop``; whether it stopped."""
        while self._heap and self._heap[0][0] <= moment_ms:
            self.now_ms, _, action = heapq.heappop(self._heap)
            self.events += 1
            action()
            if stop():
                return True
        self.now_ms = max(self.now_ms, moment_ms)
        return stop()

    def note(self, line: str) -> None:
        """Adds a line to the rolling trace hash."""
        self._trace.update(f"{self.now_ms} {line}\n".encode())

    @property
    def trace_hash(self) -> str:
        return self._trace.copy().hexdigest()


class Link(msgspec.Struct, frozen=True):
    """A peer as the core sees it."""

    key: bytes
    hello: Hello


class LinkFaults(msgspec.Struct):
    """How a direction of a link behaves. ``loss`` and ``duplication`` in thousandths."""

    delay_ms: tuple[int, int] = (1, 5)
    loss: int = 0
    cut: bool = False


class Network:
    """Links between all nodes that run; one direction each, in order, as TCP would."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.nodes: dict[bytes, SimulatedNode] = {}
        self.faults: dict[tuple[bytes, bytes], LinkFaults] = {}
        self.messages: dict[str, int] = {}
        self._rng = world.rng("network")
        self._last: dict[tuple[bytes, bytes], int] = {}
        self._generation: dict[tuple[bytes, bytes], int] = {}
        self._up: dict[tuple[bytes, bytes], None] = {}

    def faults_of(self, sender: bytes, receiver: bytes) -> LinkFaults:
        return self.faults.setdefault((sender, receiver), LinkFaults())

    def send(self, sender: bytes, receiver: bytes, message: PeerMessage) -> None:
        pair = (sender, receiver)
        if pair not in self._up:
            return
        faults = self.faults_of(sender, receiver)
        name = type(message).__name__
        self.messages[name] = self.messages.get(name, 0) + 1
        if faults.cut or (faults.loss and self._rng.randrange(1000) < faults.loss):
            return
        frame = encode_frame(message)
        due_ms = self.world.now_ms + self._rng.randint(*faults.delay_ms)
        due_ms = max(due_ms, self._last.get(pair, 0))
        self._last[pair] = due_ms
        generation = self._generation.get(pair, 0)

        def deliver() -> None:
            node = self.nodes.get(receiver)
            if self._generation.get(pair, 0) == generation and node is not None:
                node.receive(sender, frame)

        self.world.after(due_ms - self.world.now_ms, deliver)

    def connect_all(self, key: bytes) -> None:
        """Links a node that has started with all that run."""
        for other in self.nodes:
            self.connect(key, other)

    def connect(self, one: bytes, other: bytes) -> None:
        first, second = self.nodes[one], self.nodes[other]
        if one == other or first.core is None or second.core is None or (one, other) in self._up:
            return
        self._up[(one, other)] = self._up[(other, one)] = None
        first.core.peer_joined(Link(other, second.core.hello(0)))
        second.core.peer_joined(Link(one, first.core.hello(0)))

    def disconnect(self, one: bytes, other: bytes, reason: str) -> None:
        for pair in ((one, other), (other, one)):
            self._generation[pair] = self._generation.get(pair, 0) + 1
            if self._up.pop(pair, self) is None:
                core = self.nodes[pair[0]].core
                if core is not None:
                    core.peer_left(pair[1], reason)

    def partition(self, *groups: list[SimulatedNode]) -> None:
        """Only nodes of one group hear each other."""
        group_of = {node.key: number for number, group in enumerate(groups) for node in group}
        for one in self.nodes:
            for other in self.nodes:
                if one != other:
                    cut = group_of.get(one) != group_of.get(other)
                    self.faults_of(one, other).cut = cut

    def heal(self) -> None:
        """All links whole again, and dialed again, as real ones are after a time-out."""
        for pair, faults in self.faults.items():
            if faults.cut or faults.loss:
                self.faults[pair] = LinkFaults(faults.delay_ms)
        for one in self.nodes:
            for other in self.nodes:
                if one < other:
                    self.disconnect(one, other, "healed")
                    self.connect(one, other)


class SimulatedTimers:
    """moot.node.ports.Timers in virtual time; dead with its node."""

    def __init__(self, world: World, fired: Callable[[tuple[str | int, ...]], None]) -> None:
        self._world = world
        self._fired = fired
        self._armed: dict[tuple[str | int, ...], int] = {}
        self._count = 0

    def set(self, key: tuple[str | int, ...], delay_ms: int) -> None:
        self._count += 1
        number = self._armed[key] = self._count
        self._world.after(delay_ms, lambda: self._fire(key, number))

    def cancel(self, key: tuple[str | int, ...]) -> None:
        self._armed.pop(key, None)

    def cancel_all(self) -> None:
        self._armed.clear()

    def _fire(self, key: tuple[str | int, ...], number: int) -> None:
        if self._armed.get(key) == number:
            del self._armed[key]
            self._fired(key)


class SimulatedGrinder:
    """Finds work after an exponential time, by the node's share of hash power; then grinds.

    The chain's difficulty must be fixed and trivial; the time of a find is the world's to draw.
    """

    def __init__(self, world: World, name: str, mean_ms: int) -> None:
        self._world = world
        self._rng = world.rng(f"grinder/{name}")
        self.mean_ms = mean_ms
        self._job = 0

    def start(
        self, job_id: int, header: Header, target: int, found: Callable[[int, Header], None]
    ) -> None:
        self._job += 1
        job = self._job

        def find() -> None:
            if self._job != job:
                return
            for nonce in range(2**32):
                candidate = msgspec.structs.replace(header, nonce=nonce)
                if int.from_bytes(candidate.id, "little") <= target:
                    found(job_id, candidate)
                    return

        self._world.after(1 + int(self._rng.expovariate(1 / self.mean_ms)), find)

    def cancel(self) -> None:
        self._job += 1

    def hash_rate(self) -> float:
        return 0.0

    def close(self) -> None:
        self.cancel()


class SimulatedNode:
    """One node: a key and a disk that outlive crashes, and a core that does not."""

    def __init__(
        self,
        world: World,
        network: Network,
        genesis: Genesis,
        key: CheapKey,
        name: str,
        settings: CoreSettings | None = None,
        mean_find_ms: int = 3_000,
        verifier: Verifier | None = None,
    ) -> None:
        self.world = world
        self.network = network
        self.genesis = genesis
        self.signer = key
        self.name = name
        self.settings = settings or CoreSettings()
        self.verifier = verifier or CheapVerifier()
        self.store = MemoryStore()
        self.core: NodeCore | None = None
        self.starts = 0
        self.clock_skew_ms = 0
        self.paused = False
        self.log: list[tuple[int, str, Mapping[str, object]]] = []
        self.misbehaviour: dict[tuple[bytes, str], int] = {}
        self._held_back: list[Action] = []
        self._mean_find_ms = mean_find_ms
        self._pump_scheduled = False
        self._timers: SimulatedTimers | None = None
        self._grinder: SimulatedGrinder | None = None
        network.nodes[key.public_key] = self

    @property
    def key(self) -> bytes:
        return self.signer.public_key

    @property
    def running(self) -> NodeCore:
        assert self.core is not None, f"{self.name} is down"
        return self.core

    def start(self) -> None:
        """Starts on what the disk holds; on an empty disk with its first record."""
        assert self.core is None
        self.starts += 1
        era = self.genesis.eras[0]
        found = protocol(era.engine)
        finalizes = found.rules(era_parameters(era)).properties.finalizes
        ledger = Ledger(self.store, self.genesis, self.verifier, finalizes)
        if self.starts == 1:
            ledger.persist(found.first_record(ledger.chain_id), ())
        timers = self._timers = SimulatedTimers(self.world, self._timer_fired)
        self._grinder = SimulatedGrinder(
            self.world, f"{self.name}/{self.starts}", self._mean_find_ms
        )
        shell = Shell(self, timers, self.clock, self._wake, self._log, lambda: None, self._grinder)
        rng = self.world.rng(f"{self.name}/{self.starts}")
        core = NodeCore(
            ledger, self.signer.address, self.signer.sign, self.verifier, shell, rng, self.settings
        )
        core.driver.observers.append(self._observe)
        self.core = core
        core.start()
        self.network.connect_all(self.key)

    def crash(self, rng: random.Random | None = None) -> None:
        """kill -9, or (with ``rng``) a power failure that also loses what was not synced."""
        if self._timers is not None:
            self._timers.cancel_all()
        if self._grinder is not None:
            self._grinder.cancel()
        self.core = None
        self._held_back.clear()
        self.paused = False
        for other in self.network.nodes:
            if other != self.key:
                self.network.disconnect(self.key, other, "closed")
        if rng is not None:
            self.store.lose_unsynced(rng)

    def submit(self, transactions: list[Transaction]) -> list[Any]:
        results = self.running.submit(transactions)
        self._wake()
        return list(results)

    def clock(self) -> Now:
        return Now(
            self.genesis.time_ms + 1_000 + self.world.now_ms + self.clock_skew_ms,
            self.world.now_ms,
        )

    def receive(self, sender: bytes, frame: bytes) -> None:
        core = self.core
        if core is not None:
            core.peer_message(sender, decode_frame(frame))
            self._wake()

    # ------------------------------------------------------------------------------- ports

    def send(self, key: bytes, message: PeerMessage) -> None:
        self.network.send(self.key, key, message)

    def disconnect(self, key: bytes, reason: str, sentence: str) -> None:
        self.network.disconnect(self.key, key, reason)

    def misbehaved(self, key: bytes, reason: str) -> None:
        self.misbehaviour[(key, reason)] = self.misbehaviour.get((key, reason), 0) + 1

    def _wake(self) -> None:
        if not self._pump_scheduled:
            self._pump_scheduled = True
            self.world.after(0, self._pump)

    def _pump(self) -> None:
        self._pump_scheduled = False
        if self.core is not None:
            self.core.pump()

    def _timer_fired(self, key: tuple[str | int, ...]) -> None:
        if self.core is not None:
            self.core.timer_fired(key)
            self.core.pump()

    def _log(self, level: Level, event: str, fields: Mapping[str, object]) -> None:
        if level != "debug":
            self.log.append((self.world.now_ms, event, fields))

    def _observe(self, thing: Event | Effect) -> None:
        self.world.note(f"{self.name} {type(thing).__name__}")
