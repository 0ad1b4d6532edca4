"""A simulated node: the production core between a simulated clock, disk, network and grinder."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from chain.genesis import Genesis
from chain.header import Header
from chain.ledger.disk import Disk
from chain.signatures import Verifier
from chain.transaction import Transaction
from consensus.contract import Effect, Engine, Event, Now, RequestId
from consensus.registry import protocol
from moot.lab.disk import Crash, SimulatedDisk
from moot.lab.network import Link, Network
from moot.lab.signer import CheapVerifier, SigningKey
from moot.lab.world import Action, World
from moot.node.core import CoreSettings, NodeCore
from moot.node.driver import Observer
from moot.node.eras import EraBook
from moot.node.ports import Level, Shell
from moot.node.snapshots import install_staged
from p2p.faults import OurPart
from p2p.wire import PeerMessage

LOG_MAX = 200
"""Lines of a node's log kept for a failure's message."""
MILLION = 1_000_000


class SimulatedTimers:
    """moot.node.ports.Timers in virtual time; dead with its node.

    ``drift_ppm``: how much faster than the world the node's steady clock runs.
    """

    def __init__(
        self,
        world: World,
        fired: Callable[[tuple[str | int, ...]], None],
        drift_ppm: Callable[[], int] = lambda: 0,
    ) -> None:
        self._world = world
        self._fired = fired
        self._drift_ppm = drift_ppm
        self._armed: dict[tuple[str | int, ...], int] = {}
        self._count = 0

    def set(self, key: tuple[str | int, ...], delay_ms: int) -> None:
        self._count += 1
        number = self._armed[key] = self._count
        ppm = self._drift_ppm()
        world_ms = delay_ms if not ppm else -(-delay_ms * MILLION // (MILLION + ppm))
        self._world.after(world_ms, lambda: self._fire(key, number))

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
        key: SigningKey,
        name: str,
        settings: CoreSettings | None = None,
        mean_find_ms: int = 3_000,
        verifier: Verifier | None = None,
    ) -> None:
        self.world = world
        self.network = network
        self.genesis = genesis
        self.signer = key
        self.key: bytes = key.public_key
        self.name = name
        self.settings = settings or CoreSettings()
        self.verifier = verifier or CheapVerifier()
        self.store = SimulatedDisk(world.rng(f"{name}/disk"))
        self.core: NodeCore | None = None
        self.starts = 0
        self.is_honest = True
        self.flush: tuple[int, int] | None = None
        """Blocks that the ledger keeps in memory, and by how many its base moves; None: the
        production node's."""
        # Clocks and pace.
        self.clock_skew_ms = 0
        self.drift_ppm = 0
        self._drifted_ms = 0
        self._drifts_since_ms = 0
        self.busy_until_ms = 0
        self.work_ms = 0
        """What each input costs a slow node; at most, drawn for each."""
        self.sync_ms = 0
        """What each synced write costs on a slow disk; at most, drawn for each."""
        self.paused = False
        # Hooks for whoever looks on or interferes.
        self.wrappers: list[Callable[[Engine], Engine]] = []
        """Put around the engine at each start, innermost first (liars, checkers)."""
        self.started: list[Callable[[SimulatedNode], None]] = []
        """Called when the core has been made and before it starts, in each life."""
        self.stopped: list[Callable[[SimulatedNode], None]] = []
        """Called when the node has died, of whatever."""
        self.on_failure: Callable[[SimulatedNode, BaseException], None] | None = None
        """Hears of an exception out of the core; the node is down by then. None: it is raised."""
        self.after_input: Callable[[SimulatedNode], None] | None = None
        self.log: deque[tuple[int, str, Mapping[str, object]]] = deque(maxlen=LOG_MAX)
        self.keeping: Counter[str] = Counter()
        """What became of snapshots, and what was pruned."""
        self.installed_height = 0
        """Of the snapshot that was put in its place last on this disk; 0: none was."""
        self.misbehaviour: dict[tuple[bytes, str], int] = {}
        self._observers: list[tuple[Observer, tuple[type, ...]]] = []
        self._told: dict[type, tuple[Observer, ...]] = {}
        self._stopping: Callable[[], None] | None = None
        self._inbox: deque[Action] = deque()
        self._draining = False
        self._initialised = False
        self._mean_find_ms = mean_find_ms
        self._pump_scheduled = False
        self._pace_rng = world.rng(f"{name}/pace")
        self._timers: SimulatedTimers | None = None
        self._grinder: SimulatedGrinder | None = None
        self.store.on_write = lambda _, sync: self._synced() if sync else None
        network.nodes[key.public_key] = self

    def observe(self, observer: Observer, *kinds: type) -> None:
        """Tells ``observer`` of each event and effect of the core, or of those of these types, in
        this life and all later ones. One that raises Crash kills the node there.

        Naming the types is worth it: most of what happens concerns hardly anybody.
        """
        self._observers.append((observer, kinds))
        self._told.clear()

    @property
    def running(self) -> NodeCore:
        assert self.core is not None, f"{self.name} is down"
        return self.core

    # --------------------------------------------------------------------------------- life

    def start(self) -> None:
        """Starts on what the disk holds; on a new disk with its first record.

        A disk that was wiped has no record: the node listens until it may speak again.
        """
        assert self.core is None
        self.starts += 1
        self.store.open()
        self._enter(self._boot)
        if self.core is not None:
            self.network.connect_all(self.key)

    def _boot(self) -> None:
        era = self.genesis.eras[0]
        found = protocol(era.engine)
        self._install_staged()
        ledger = EraBook().open_ledger(self.store, self.genesis, self.verifier, *(self.flush or ()))
        if not self._initialised:
            # A crash in here leaves a folder that is not complete; its owner begins again.
            ledger.persist(found.first_record(ledger.chain_id), ())
            self._initialised = True
        timers = self._timers = SimulatedTimers(
            self.world, self._timer_fired, lambda: self.drift_ppm
        )
        self._grinder = SimulatedGrinder(
            self.world, f"{self.name}/{self.starts}", self._mean_find_ms
        )
        shell = Shell(
            self,
            timers,
            self.clock,
            self._wake,
            self._log,
            lambda: self.world.after(0, self._end_if_stopping),
            self._grinder,
            self._reopen_soon,
        )
        rng = self.world.rng(f"{self.name}/{self.starts}")
        core = NodeCore(
            ledger, self.signer.address, self.signer.sign, self.verifier, shell, rng, self.settings
        )
        for wrap in self.wrappers:
            core.driver.engine = wrap(core.driver.engine)
        core.driver.observers.append(self._observe)
        self.core = core
        for hook in self.started:
            hook(self)
        core.start()

    def _install_staged(self) -> None:
        """Counts by what the disk says: whoever dies right after that write is never told."""
        before = Disk(self.store.memory).base()
        try:
            install_staged(self.store, self.genesis)
        finally:
            after = Disk(self.store.memory).base()
            if after is not None and after != before:
                self.keeping["snapshot-installed"] += 1
                self.installed_height = after.height

    def _reopen_soon(self) -> None:
        """What a fetched snapshot asks for: the same process begins again on it."""
        life = self.starts

        def reopen() -> None:
            if self.core is not None and self.starts == life:
                self.crash()
                self.start()

        self.world.after(0, reopen)

    def crash(self, rng: random.Random | None = None, *, rotated: bool = False) -> None:
        """kill -9, or (with ``rng``) a power failure that also loses what was not synced."""
        if self._timers is not None:
            self._timers.cancel_all()
        if self._grinder is not None:
            self._grinder.cancel()
        was_up = self.core is not None
        self.core = None
        self._stopping = None
        self._inbox.clear()
        self.paused = False
        self.busy_until_ms = 0
        for other in self.network.nodes:
            if other != self.key:
                self.network.disconnect(self.key, other, "closed")
        if was_up:
            for hook in self.stopped:
                hook(self)
        if rng is not None:
            self.store.lose_power(rng, rotated=rotated)

    def stop(self, grace_ms: int, done: Callable[[], None]) -> None:
        """SIGTERM: the engine hands over what it can, for so long at most; ``done``: it has ended,
        unless something else has ended it before. The node must be up."""
        life = self.core
        self._stopping = done

        def end() -> None:
            if self.core is life:
                self._end_if_stopping()

        self.world.after(grace_ms, end)
        self._input(lambda: self.running.stop_requested(grace_ms))

    @property
    def is_stopping(self) -> bool:
        return self._stopping is not None

    def _end_if_stopping(self) -> None:
        done = self._stopping
        if done is not None:
            self.crash()
            done()

    def wipe(self) -> None:
        """The disk is lost, the key is kept. The node must be down."""
        assert self.core is None
        self.store.wipe()
        self.installed_height = 0

    def pause(self) -> None:
        """The process is stopped; what comes meanwhile waits."""
        self.paused = True

    def resume(self) -> None:
        """It goes on as if nothing had been, with all that came meanwhile before it."""
        self.paused = False
        self._schedule_drain()
        self._wake()

    def _enter(self, action: Action) -> None:
        """Everything that runs the core goes through here."""
        if self.on_failure is None:
            action()
        else:
            with OurPart(self._failed, swallow=True):
                action()

    def _failed(self, error: BaseException) -> None:
        power = isinstance(error, Crash) and error.power
        rotated = isinstance(error, Crash) and error.rotated
        self.crash(self._pace_rng if power else None, rotated=rotated)
        assert self.on_failure is not None
        self.on_failure(self, error)

    # ------------------------------------------------------------------------------- inputs

    def submit(self, transactions: list[Transaction]) -> list[Any]:
        """A client's; the node must be up. Empty: the node died of it."""
        results: list[Any] = []

        def offer() -> None:
            results.extend(self.running.submit(transactions))
            self._wake()

        self._enter(offer)
        return results

    def read(self, done: Callable[[str], None]) -> RequestId | None:
        """A client's linearizable read; the node must be up. What NodeCore's requests answer."""
        asked: list[RequestId | None] = []

        def ask() -> None:
            asked.append(self.running.requests.read(done))
            self._wake()

        self._enter(ask)
        return asked[0] if asked else None

    def command(self, name: str, arguments: tuple[str, ...], done: Callable[[str], None]) -> None:
        """An operator's; the node must be up. ``done`` hears what came of it."""

        def ask() -> None:
            self.running.requests.command(name, arguments, done)
            self._wake()

        self._enter(ask)

    def joined(self, link: Link) -> None:
        self._input(lambda: self.running.peer_joined(link))

    def left(self, key: bytes, reason: str) -> None:
        self._input(lambda: self.running.peer_left(key, reason))

    def receive(self, sender: bytes, message: PeerMessage) -> None:
        self._input(lambda: self.running.peer_message(sender, message))

    def clock(self) -> Now:
        """Wall clock with skew and drift; steady clock with drift."""
        now_ms = self.world.now_ms + self._drift_ms()
        return Now(self.genesis.time_ms + 1_000 + now_ms + self.clock_skew_ms, now_ms)

    def set_drift(self, ppm: int) -> None:
        """From now on both clocks run so much faster than the world; neither jumps."""
        self._drifted_ms = self._drift_ms()
        self._drifts_since_ms = self.world.now_ms
        self.drift_ppm = ppm

    def _drift_ms(self) -> int:
        if not self.drift_ppm:
            return self._drifted_ms
        since_ms = self.world.now_ms - self._drifts_since_ms
        return self._drifted_ms + since_ms * self.drift_ppm // MILLION

    def _input(self, action: Action) -> None:
        """In order of arrival, when the process is not stopped and not busy."""
        if self.core is None:
            return
        if self._inbox or self.paused or self.busy_until_ms > self.world.now_ms:
            self._inbox.append(action)
            self._schedule_drain()
        else:
            self._take(action)

    def _take(self, action: Action) -> None:
        self._enter(action)
        if self.work_ms:
            self._be_busy(self._pace_rng.randint(0, self.work_ms))
        if self.core is not None:
            self._wake()

    def _schedule_drain(self) -> None:
        if not self._draining and self._inbox and not self.paused:
            self._draining = True
            self.world.after(max(0, self.busy_until_ms - self.world.now_ms), self._drain)

    def _drain(self) -> None:
        self._draining = False
        while self._inbox and not self.paused and self.busy_until_ms <= self.world.now_ms:
            self._take(self._inbox.popleft())
        self._schedule_drain()

    def _wake(self) -> None:
        if not self._pump_scheduled:
            self._pump_scheduled = True
            self.world.after(0, self._pump)

    def _pump(self) -> None:
        self._pump_scheduled = False
        core = self.core
        if core is None or self.paused:
            return
        self._enter(core.pump)
        if self.after_input is not None and self.core is core:
            self.after_input(self)

    def _timer_fired(self, key: tuple[str | int, ...]) -> None:
        self._input(lambda: self.running.timer_fired(key))

    # -------------------------------------------------------------------------------- ports

    def send(self, key: bytes, message: PeerMessage) -> None:
        self.network.send(self.key, key, message)

    def disconnect(self, key: bytes, reason: str, sentence: str) -> None:
        self.network.disconnect(self.key, key, reason)

    def misbehaved(self, key: bytes, reason: str) -> None:
        self.misbehaviour[(key, reason)] = self.misbehaviour.get((key, reason), 0) + 1

    def _synced(self) -> None:
        if self.sync_ms:
            self._be_busy(self._pace_rng.randint(0, self.sync_ms))

    def _be_busy(self, milliseconds: int) -> None:
        self.busy_until_ms = max(self.busy_until_ms, self.world.now_ms) + milliseconds

    def _log(self, level: Level, event: str, fields: Mapping[str, object]) -> None:
        if event.startswith(("snapshot-", "pruned")):
            self.keeping[event] += 1
        if level != "debug":
            self.log.append((self.world.now_ms, event, fields))

    def _observe(self, thing: Event | Effect) -> None:
        kind = type(thing)
        self.world.note(f"{self.name} {kind.__name__}")
        told = self._told.get(kind)
        if told is None:
            told = self._told[kind] = tuple(
                observer for observer, kinds in self._observers if not kinds or kind in kinds
            )
        for observer in told:
            observer(thing)
