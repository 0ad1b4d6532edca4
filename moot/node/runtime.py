"""The shell of a node in production: asyncio, the operating system's clock, sockets and LevelDB."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
from aiohttp import web

from chain.address import Address, key_address, public_key_of
from chain.bech32m import parse_address
from chain.errors import Invalid
from chain.mempool import MempoolLimits
from chain.storage.leveldb import open_leveldb
from chain.verifiers import default_verifier
from consensus import registry
from moot import __version__
from moot.node.clock import system_clock
from moot.node.config import ConfigError, Folder, NodeConfig
from moot.node.core import CoreSettings, NodeCore
from moot.node.eras import EraBook
from moot.node.feed import HeadMovedTo, News
from moot.node.metrics import NodeMetrics
from moot.node.ports import Grinder, Level, Shell
from moot.node.rest.server import RestServer
from moot.node.snapshots import install_staged
from p2p.faults import OurPart
from p2p.peers import PeerBook, StaticPeer
from p2p.transport import PeerInfo, Transport, TransportSettings
from p2p.wire import ConsensusFrame, Hello, PeerMessage, type_name
from wallet.keys import Key

logger = logging.getLogger("moot.node")

STOP_GRACE_MS = 3_000
"""How long an engine may take to hand over before a stop goes ahead anyway."""
PEERS_SAVED_EVERY_S = 60


class LoopTimers:
    """moot.node.ports.Timers on the event loop."""

    def __init__(self, fired: Callable[[tuple[str | int, ...]], None]) -> None:
        self._fired = fired
        self._handles: dict[tuple[str | int, ...], asyncio.TimerHandle] = {}

    def set(self, key: tuple[str | int, ...], delay_ms: int) -> None:
        self.cancel(key)
        loop = asyncio.get_running_loop()
        self._handles[key] = loop.call_later(delay_ms / 1000, self._fire, key)

    def cancel(self, key: tuple[str | int, ...]) -> None:
        handle = self._handles.pop(key, None)
        if handle is not None:
            handle.cancel()

    def cancel_all(self) -> None:
        for key in list(self._handles):
            self.cancel(key)

    def _fire(self, key: tuple[str | int, ...]) -> None:
        self._handles.pop(key, None)
        self._fired(key)


class NodeRuntime:
    """One node in this process. ``run`` returns when it was asked to stop, raises if it failed."""

    def __init__(
        self,
        folder: Folder,
        config: NodeConfig,
        make_grinder: Callable[[int], Grinder] | None = None,
        rest_extensions: tuple[Callable[[web.Application], None], ...] = (),
    ) -> None:
        """``make_grinder`` takes a number of processes; ``rest_extensions`` add routes (pages)."""
        self.folder = folder
        self.config = config
        self.rest_extensions = rest_extensions
        self._make_grinder = make_grinder
        self._stop = asyncio.Event()
        self._reopen = asyncio.Event()
        self._handed_over = asyncio.Event()
        self._failure: BaseException | None = None
        self._pump_scheduled = False
        self._cut: frozenset[bytes] = frozenset()
        self._listed: frozenset[Address] = frozenset()
        self._started_ms = system_clock().steady_ms

    def uptime_ms(self) -> int:
        return system_clock().steady_ms - self._started_ms

    @property
    def stopping(self) -> bool:
        """It was asked to stop, or failed, and takes no more writes."""
        return self._stop.is_set()

    def hash_rate(self) -> float:
        """Hashes a second of the node's own miner; 0 where there is none."""
        return 0.0 if self._grinder is None else self._grinder.hash_rate()

    def cut_links(self, nodes: Sequence[str]) -> list[bytes]:
        """Drops and refuses links with ``nodes`` (addresses, or keys in hex) and nobody else.

        In memory only: a restart forgets it. Returns their keys. Raises ConfigError.
        """
        keys = [parse_key(text, self.core.ledger.genesis.prefix) for text in nodes]
        self._cut = frozenset(keys)
        self.transport.recheck()
        self.transport.book.retry_static()
        return keys

    def request_stop(self) -> None:
        """Ends ``run``, gracefully."""
        self._stop.set()

    async def run(self, ready: Callable[[NodeRuntime], None] | None = None) -> None:
        """Opens the folder, runs the node, closes it. Raises ConfigError, DamagedStore, ...

        When a snapshot has been fetched, all of it begins again on that, at the same ports.
        """
        await self._run_once(ready)
        while self._reopen.is_set() and not self._stop.is_set():
            self._reopen.clear()
            self.config = self._config_of_now()
            await self._run_once(None)

    def _config_of_now(self) -> NodeConfig:
        """The configuration with the ports that are in use: they may have been left open."""
        replace, config = msgspec.structs.replace, self.config
        rest = config.rest if self.rest is None else replace(config.rest, port=self.rest.port)
        return replace(config, p2p=replace(config.p2p, port=self.transport.port), rest=rest)

    async def _run_once(self, ready: Callable[[NodeRuntime], None] | None) -> None:
        genesis = self.folder.load_genesis()
        key = Key.from_seed(self.folder.load_key())
        self.me = key.address
        eras = EraBook()
        try:
            eras.rules(genesis.eras[0])
        except (registry.UnknownEngine, ValueError) as error:
            raise ConfigError(str(error)) from None
        self.metrics = NodeMetrics(time.perf_counter)
        store = self.metrics.timed(open_leveldb(self.folder.database, create=False))
        try:
            verifier = default_verifier()
            installed = install_staged(store, genesis)
            if installed is not None:
                log_event("info", "snapshot-installed", {"height": installed.height})
            ledger = eras.open_ledger(store, genesis, verifier)
            self._timers = LoopTimers(self._timer_fired)
            self._grinder = self._start_grinder()
            self.core = NodeCore(
                ledger,
                key.address,
                key.sign,
                verifier,
                self._shell(),
                random.Random(random.SystemRandom().getrandbits(64)),
                self._settings(genesis.prefix),
            )
            self.transport = self._make_transport(genesis.prefix)
            self.metrics.add_core(self.core, self.transport)
            await self._live(ready)
        finally:
            store.close()

    # ------------------------------------------------------------------------------- parts

    def _settings(self, prefix: str) -> CoreSettings:
        payout: Address | None = None
        if self.config.mining.payout:
            try:
                payout = parse_address(self.config.mining.payout, prefix)
            except Invalid as error:
                raise ConfigError(f"mining.payout: {error.sentence}") from None
        return CoreSettings(
            mining=self.config.mining.enabled,
            payout=payout,
            mempool=MempoolLimits(size_max=self.config.mempool.bytes_max),
            agent=f"moot/{__version__}",
            snapshots=self.config.snapshots.settings(),
        )

    def _start_grinder(self) -> Grinder | None:
        if not self.config.mining.enabled or self._make_grinder is None:
            return None
        return self._make_grinder(self.config.mining.processes)

    def _shell(self) -> Shell:
        return Shell(
            network=self,
            timers=self._timers,
            clock=system_clock,
            wake=self.wake,
            log=log_event,
            stopped=self._handed_over.set,
            grinder=self._grinder,
            reopen=self._reopen.set,
        )

    def _make_transport(self, prefix: str) -> Transport:
        section = self.config.p2p
        rng = random.Random(random.SystemRandom().getrandbits(64))
        book = PeerBook(rng, [parse_peer(text, prefix) for text in section.peers])
        if self.folder.peers.exists():
            try:
                book.load(self.folder.peers.read_bytes())
            except Invalid as error:
                log_event("warning", "peer-book-dropped", {"why": error.sentence})
        self._allowed = frozenset(parse_key(text, prefix) for text in section.allow)
        settings = TransportSettings(
            host=section.host,
            port=section.port,
            inbound_max=section.inbound_max,
            outbound_target=section.outbound,
        )
        return Transport(
            self.folder.load_key(), settings, book, self._hello, self._admit, self, self._name_of
        )

    def _name_of(self, message: PeerMessage) -> str:
        """For metrics: of the engine's messages not the frame's name, but what is in it."""
        if isinstance(message, ConsensusFrame):
            return self.core.gate.name_of(message)
        return type_name(message)

    def _hello(self) -> Hello:
        return self.core.hello(self.transport.port)

    def _admit(self, key: bytes) -> str | None:
        """None, or why this key may not link: permissioned chains list who may."""
        if key in self._cut:
            return "the operator has cut this link"
        if not self.core.rules.properties.permissioned or self.config.p2p.observers:
            return None
        if key_address(key) in self.core.roll.listed or key in self._allowed:
            return None
        if self.transport.book.is_static(key):  # the operator named it, whatever is known yet
            return None
        return "it admits the chain's members only (p2p.observers, p2p.allow), and this key is none"

    def _members_may_have_changed(self, news: News) -> None:
        """Former members lose their links where only members, and whom we name, may have one."""
        if isinstance(news, HeadMovedTo) and self.core.roll.listed != self._listed:
            self._listed = self.core.roll.listed
            asyncio.get_running_loop().call_soon(self.transport.recheck)

    # -------------------------------------------------------------------------------- life

    async def _live(self, ready: Callable[[NodeRuntime], None] | None) -> None:

        self.rest = rest = RestServer(self) if self.config.rest.enabled else None
        saver: asyncio.Task[None] | None = None
        try:
            self.core.start()
            self.core.feed.subscribe(self._members_may_have_changed)
            self._pump()
            await self.transport.start()
            self.transport.failed.add_done_callback(self._transport_failed)
            if rest is not None:
                await rest.start()
            log_event("info", "started", {"node": self.config.node.name})
            if ready is not None:
                ready(self)
            saver = asyncio.create_task(self._save_peers_now_and_then())
            await self._until_asked()
            if not self._reopen.is_set() or self._stop.is_set():
                await self._hand_over()
        finally:
            if saver is not None:
                saver.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await saver
            if rest is not None:
                await rest.stop()
            await self.transport.stop()
            self._timers.cancel_all()
            if self._grinder is not None:
                self._grinder.cancel()
                self._grinder.close()
            self.folder.peers.write_bytes(self.transport.book.to_bytes())
        if self._failure is not None:
            raise self._failure
        if not self._reopen.is_set():
            self.core.ledger.flush()

    async def _until_asked(self) -> None:
        """Returns when the node is to stop, or to begin again."""
        asked = [asyncio.create_task(event.wait()) for event in (self._stop, self._reopen)]
        try:
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in asked:
                each.cancel()

    async def _hand_over(self) -> None:
        if self._failure is not None:
            return
        self.core.stop_requested(STOP_GRACE_MS)
        self.wake()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._handed_over.wait(), STOP_GRACE_MS / 1000)

    async def _save_peers_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(PEERS_SAVED_EVERY_S)
            self.folder.peers.write_bytes(self.transport.book.to_bytes())

    def _fail(self, error: BaseException) -> None:
        """An error of ours: the node stops, loudly, rather than go on speaking."""
        if self._failure is None:
            self._failure = error
            logger.error("the node stops: %s", error, exc_info=error)
        self._stop.set()

    def _transport_failed(self, failed: asyncio.Future[None]) -> None:
        if not failed.cancelled() and (error := failed.exception()) is not None:
            self._fail(error)

    def our_part(self) -> OurPart:
        """Around calls into the core: an exception there is a bug of ours and ends the node."""
        return OurPart(self._fail, swallow=True)

    def _timer_fired(self, key: tuple[str | int, ...]) -> None:
        if self._failure is None:
            with self.our_part():
                self.core.timer_fired(key)
                self.core.pump()

    def wake(self) -> None:
        """Soon does what inputs to the core have asked for."""
        if not self._pump_scheduled:
            self._pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_scheduled = False
        if self._failure is None:
            with self.our_part():
                self.core.pump()

    # ------------------------------------------------- ports: Network and TransportHandler

    def send(self, key: bytes, message: PeerMessage) -> None:
        self.transport.send(key, message)

    def disconnect(self, key: bytes, reason: str, sentence: str) -> None:
        self.transport.disconnect(key, reason, sentence)

    def misbehaved(self, key: bytes, reason: str) -> None:
        self.transport.misbehaved(key, reason)

    def peer_joined(self, peer: PeerInfo) -> None:
        if self._failure is None:
            with self.our_part():
                self.core.peer_joined(peer)
            self.wake()

    def peer_left(self, key: bytes, reason: str) -> None:
        if self._failure is None:
            with self.our_part():
                self.core.peer_left(key, reason)
            self.wake()

    def peer_message(self, key: bytes, message: PeerMessage) -> None:
        if self._failure is None:
            with self.our_part():
                self.core.peer_message(key, message)
            self.wake()


def parse_key(text: str, prefix: str) -> bytes:
    """A 32-byte key from 64 hex digits or an address. Raises ConfigError."""
    if len(text) == 64:
        with contextlib.suppress(ValueError):
            return bytes.fromhex(text)
    try:
        return public_key_of(parse_address(text, prefix))
    except Invalid as error:
        raise ConfigError(f"{text!r} is no key: {error.sentence}") from None


def parse_peer(text: str, prefix: str) -> StaticPeer:
    """``host:port`` or ``key@host:port``. Raises ConfigError."""
    key_text, at, place = text.rpartition("@")
    host, colon, port = place.rpartition(":")
    is_number = port.isascii() and port.isdigit() and len(port) <= 5
    if not colon or not host or not is_number or not 0 < int(port) < 65536:
        raise ConfigError(f"{text!r} is no peer: write host:port or key@host:port")
    key = parse_key(key_text, prefix) if at else None
    return StaticPeer(host.strip("[]"), int(port), key)


def log_event(level: Level, event: str, fields: Mapping[str, object]) -> None:
    """One structured line; the formatter decides how it looks."""
    logger.log(getattr(logging, level.upper()), event, extra={"fields": dict(fields)})
