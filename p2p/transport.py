"""Links between nodes: one aiohttp WebSocket a peer, under TLS 1.3, both ways in one place.

This is the shell around the sans-I/O parts: p2p/handshake.py decides who may come in,
p2p/session.py what a frame means, p2p/outbox.py what goes out next, p2p/peers.py whom to dial.
Here are sockets, clocks and tasks only. Everything runs on one event loop; nothing blocks it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import aiohttp
import msgspec
from aiohttp import web

from p2p import handshake, tls
from p2p.faults import OurPart
from p2p.handshake import DialerHandshake, ListenerHandshake, Refused, goodbye
from p2p.limits import BAN_THRESHOLD, MessageLimits, Scores
from p2p.link import (
    CLOSE_TIMEOUT_S,
    AnySocket,
    Dialer,
    Link,
    PeerInfo,
    TransportSettings,
    open_websocket_response,
    read_frame,
    say_goodbye,
    tune,
    wait_for_event,
    why_unreachable,
)
from p2p.listener import Listener, plain_host
from p2p.outbox import Outbox
from p2p.peers import Entry, PeerBook
from p2p.session import Closed, Delivered, Fault, Reply, Session
from p2p.wire import GetPeers, Hello, PeerMessage, Peers, encode_frame, type_name

PATH: Final = "/p2p"
DIAL_TICK_S: Final = 0.1
"""How often the book is asked whom to dial."""
DIAL_FAILURES_MAX: Final = 256
WRITE_SLICE_BYTES: Final = 64 * 1024
"""Bytes written before other tasks get a turn."""


class TransportHandler(Protocol):
    """The rooms above. Called on the event loop, one at a time; what it raises is our own bug,
    which ends up in ``Transport.failed``."""

    def peer_joined(self, peer: PeerInfo) -> None:
        """A link is up. Comes before any of its messages."""
        ...

    def peer_left(self, key: bytes, reason: str) -> None:
        """A link is gone. No message comes after."""
        ...

    def peer_message(self, key: bytes, message: PeerMessage) -> None:
        """A message within the limits, canonically encoded; its contents are unchecked."""
        ...


class DialFailure(msgspec.Struct, frozen=True):
    """Why the last dial of an address failed, for people."""

    host: str
    port: int
    reason: str
    sentence: str
    at_ms: int


class Transport:
    """All links of one node.

    ``seed``: the node's 32-byte Ed25519 seed. ``hello``: our present hello; key, port and proof are
    filled in here. ``admit``: None, or a sentence that says why this key may not be a peer.
    ``name_of``: under which name a message is counted; one of few, whatever peers send.
    """

    def __init__(
        self,
        seed: bytes,
        settings: TransportSettings,
        book: PeerBook,
        hello: Callable[[], Hello],
        admit: Callable[[bytes], str | None],
        handler: TransportHandler,
        name_of: Callable[[PeerMessage], str] = type_name,
    ) -> None:
        self.key = tls.public_key(seed)
        self.port = 0
        self.book = book
        book.own_key = self.key
        self.dial_failures: dict[tuple[str, int], DialFailure] = {}
        self.messages_in: Counter[str] = Counter()
        self.messages_out: Counter[str] = Counter()
        self.bytes_in: Counter[str] = Counter()
        self.bytes_out: Counter[str] = Counter()
        self.failed: asyncio.Future[None]
        self._seed = seed
        self._settings = settings
        self._make_hello = hello
        self._admit = admit
        self._handler = handler
        self._name_of = name_of
        self._links: dict[bytes, Link] = {}
        self._scores = Scores()
        self._tasks: set[asyncio.Task[None]] = set()
        self._dialing: dict[tuple[str, int], Entry] = {}
        self._encoded: tuple[PeerMessage | None, bytes] = (None, b"")
        self._listener: Listener | None = None
        self._started = False
        self._stopping = False

    # -- life

    async def start(self) -> None:
        """Listens and begins to dial. Raises OSError where the address cannot be bound."""
        self._loop = asyncio.get_running_loop()
        self.failed = self._loop.create_future()
        self._started = True
        self._client_tls = tls.client_context()
        if self._settings.listen:
            self._listener = Listener(
                self._settings,
                tls.server_context(self._seed),
                self._handle,
                lambda host: self.book.is_host_banned(host, _wall_ms()),
                self._spawn,
            )
            self.port = self._listener.port
        self._spawn(self._dial_loop())
        self._spawn(self._tick_loop())

    async def stop(self) -> None:
        """Says goodbye, closes everything, leaves no task behind; a second or two at most.

        Consensus messages that were sent before still go out. May be called at any time.
        """
        self._stopping = True
        if self._listener is not None:
            self._listener.stop_listening()
        closing = [link.done for link in self._links.values()]
        for link in list(self._links.values()):
            self._close(link, "shutdown", "this node is stopping")
        if closing:
            await asyncio.wait(closing, timeout=CLOSE_TIMEOUT_S)
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
        if self._listener is not None:
            await self._listener.close()
        if self._started and not self.failed.done():
            self.failed.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    def _notify(self, call: Callable[..., None], *arguments: object) -> None:
        """Calls the handler soon, in order: never from within a call that it made."""

        def run() -> None:
            if self.failed.done() and not self.failed.cancelled():
                return
            with OurPart(self._fail):
                call(*arguments)

        self._loop.call_soon(run)

    # -- what the rooms above ask for

    def send(self, key: bytes, message: PeerMessage) -> None:
        """Queues a message; a peer whose queue is full is dropped; nobody's key does nothing."""
        link = self._links.get(key)
        if link is None:
            return
        last, frame = self._encoded
        if last is not message:
            # A broadcast sends one object to everybody: it is encoded once.
            frame = encode_frame(message)
            assert len(frame) <= message.size_max + 1, type(message).__name__
            self._encoded = (message, frame)
        if not link.outbox.put(frame, message.lane):
            self._close(link, "slow-peer", "reads more slowly than it is written to")
            return
        name = self._name_of(message)
        self.messages_out[name] += 1
        self.bytes_out[name] += len(frame)
        link.wake.set()

    def disconnect(self, key: bytes, reason: str, sentence: str) -> None:
        """Ends a link; the peer is told why."""
        if (link := self._links.get(key)) is not None:
            self._close(link, reason, sentence)

    def misbehaved(self, key: bytes, reason: str) -> None:
        """Charges a peer (p2p/limits.py POINTS); at BAN_THRESHOLD it is dropped and banned."""
        score = self._scores.charge(key, reason, _steady_ms())
        if score < BAN_THRESHOLD:
            return
        link = self._links.get(key)
        self._scores.forget(key)
        self.book.ban(key, link.host if link is not None else "", _wall_ms())
        if link is not None:
            self._close(link, handshake.BANNED, f"misbehaviour: {reason}")

    def recheck(self) -> None:
        """Drops every peer that may not be one any more: bans and ``admit`` have changed."""
        for link in list(self._links.values()):
            try:
                self._check_welcome(link.key, link.host)
            except Refused as refusal:
                self._close(link, refusal.code, refusal.sentence)

    def peers(self) -> list[PeerInfo]:
        """The links that are up, in the order in which they came."""
        return [self._info(link) for link in self._links.values()]

    def unlinked(self) -> list[DialFailure]:
        """Why configured peers are not linked, in the order in which they failed last."""
        found = []
        for failure in self.dial_failures.values():
            entry = self.book.static_at(failure.host, failure.port)
            if entry is not None and entry.key not in self._links:
                found.append(failure)
        return found

    def _info(self, link: Link) -> PeerInfo:
        return PeerInfo(
            key=link.key,
            host=link.host,
            port=link.port,
            outbound=link.outbound,
            hello=link.hello,
            connected_ms=link.connected_ms,
            score=self._scores.score(link.key, _steady_ms()),
            bytes_in=link.bytes_in,
            bytes_out=link.bytes_out,
            latency_ms=link.session.latency_ms,
        )

    # -- coming in

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """aiohttp would turn a mistake of ours into a status 500; it must stop the node."""
        with OurPart(self._fail, (OSError, web.HTTPException, asyncio.CancelledError)):
            response = await self._answer(request)
        return response  # noqa: RET504 (inside the block mypy fears that it is swallowed)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """One HTTP request: the upgrade of a peer, or somebody lost."""
        transport = request.transport
        if request.path != PATH or transport is None or self._stopping:
            response = web.Response(status=404, text="a Moot peer listens here, at /p2p\n")
            response.force_close()
            return response
        tune(None, transport)
        socket_ = open_websocket_response(CLOSE_TIMEOUT_S)
        try:
            await socket_.prepare(request)
        except ValueError:
            # Stumbling over a header (a key that is not ASCII) is the stranger's fault, not ours.
            raise web.HTTPBadRequest from None
        host = plain_host(transport.get_extra_info("peername")[0])
        try:
            mine = self._hello()
            listener = ListenerHandshake(mine, secrets.token_bytes(32))
            await socket_.send_bytes(encode_frame(listener.challenge()))
            theirs = listener.receive(await read_frame(socket_))
            self._check_welcome(theirs.key, host)
            self._check_room(theirs.key, outbound=False)
            await socket_.send_bytes(encode_frame(mine))
            self._check_room(theirs.key, outbound=False)
        except Refused as refusal:
            await say_goodbye(socket_, refusal)
            tls.abort(transport)
            return socket_
        except OSError:
            tls.abort(transport)
            return socket_
        self._settled(request)
        link = self._link(socket_, transport, theirs, host, theirs.listen_port, outbound=False)
        self.book.proven(theirs.key, host, theirs.listen_port, _wall_ms())
        await asyncio.wait([link.done])
        return socket_

    def _settled(self, request: web.BaseRequest) -> None:
        assert self._listener is not None
        self._listener.settled(request.protocol)

    def _hello(self) -> Hello:
        port = self._settings.advertise_port or self.port
        return msgspec.structs.replace(
            self._make_hello(), key=self.key, listen_port=port, proof=b""
        )

    def _check_welcome(self, key: bytes, host: str) -> None:
        if self.book.is_banned(key, host, _wall_ms()):
            raise Refused(handshake.BANNED, "banned for misbehaviour; try again later")
        if (sentence := self._admit(key)) is not None:
            raise Refused(handshake.NOT_ADMITTED, sentence)

    def _check_room(self, key: bytes, *, outbound: bool) -> None:
        if self._stopping:
            raise Refused("shutdown", "this node is stopping")
        old = self._links.get(key)
        if old is not None:
            if not handshake.keeps_new_link(
                self.key, key, old_outbound=old.outbound, new_outbound=outbound
            ):
                raise Refused(handshake.DUPLICATE, "there is a link between us already")
        elif not outbound and not self.book.is_static(key):
            strangers = sum(not link.outbound for link in self._links.values())
            if strangers >= self._settings.inbound_max:
                raise Refused(handshake.TOO_MANY_PEERS, "no room for another peer")

    # -- going out

    async def _dial_loop(self) -> None:
        while True:
            strangers = sum(
                link.outbound and not self.book.is_static(link.key) for link in self._links.values()
            ) + sum(not entry.static for entry in self._dialing.values())
            wanted = self._settings.outbound_target - strangers
            for entry in self.book.candidates(
                _wall_ms(),
                self._links,
                self._dialing,
                max(0, wanted),
                lambda key: self._admit(key) is None,
            ):
                if len(self._dialing) < self._settings.dials_max:
                    self._dialing[entry.place] = entry
                    self._spawn(self._dial(entry))
            await asyncio.sleep(DIAL_TICK_S)

    async def _dial(self, entry: Entry) -> None:
        host, port = entry.place
        expected = entry.key if entry.pinned else None
        linked = False
        try:
            async with Dialer(self._client_tls, expected) as dialer:
                async with asyncio.timeout(self._settings.handshake_timeout_ms / 1000):
                    link = await self._dial_handshake(dialer, host, port)
                linked = True
                self.book.connected(host, port, link.key, _wall_ms())
                self.dial_failures.pop(entry.place, None)
                del self._dialing[entry.place]
                await asyncio.wait([link.done])
        except Refused as refusal:
            self._dial_failed(host, port, refusal.code, refusal.sentence)
        except (TimeoutError, OSError, aiohttp.ClientError) as error:
            self._dial_failed(host, port, "unreachable", why_unreachable(error))
        finally:
            if linked:
                self.book.disconnected(host, port, _wall_ms())
            else:
                self._dialing.pop(entry.place, None)

    async def _dial_handshake(self, dialer: Dialer, host: str, port: int) -> Link:
        socket_ = await dialer.connect(host, port, PATH)
        self.book.answered(host, port, dialer.key)
        try:
            self._check_welcome(dialer.key, host)
            speaker = DialerHandshake(self._hello(), self._seed, dialer.key)
            await socket_.send_bytes(encode_frame(speaker.answer(await read_frame(socket_))))
            theirs = speaker.receive(await read_frame(socket_))
            self._check_room(theirs.key, outbound=True)
        except Refused as refusal:
            await say_goodbye(socket_, refusal)
            raise
        # The address, not the name that may stand for it: peer exchange tells addresses only.
        address = plain_host(dialer.transport.get_extra_info("peername")[0])
        return self._link(socket_, dialer.transport, theirs, address, port, outbound=True)

    def _dial_failed(self, host: str, port: int, reason: str, sentence: str) -> None:
        self.book.failed(host, port, reason, _wall_ms())
        self.dial_failures.pop((host, port), None)
        if reason == handshake.DUPLICATE:
            return  # each dialed the other: there is a link
        self.dial_failures[(host, port)] = DialFailure(host, port, reason, sentence, _wall_ms())
        while len(self.dial_failures) > DIAL_FAILURES_MAX:
            del self.dial_failures[next(iter(self.dial_failures))]

    # -- a link's life

    def _link(
        self,
        socket_: AnySocket,
        transport: asyncio.WriteTransport,
        hello: Hello,
        host: str,
        port: int,
        *,
        outbound: bool,
    ) -> Link:
        """A link that passed its handshake; it takes the place of an older one."""
        if (old := self._links.get(hello.key)) is not None:
            self._close(old, handshake.DUPLICATE, "a newer link between us stays")
        settings, now_ms = self._settings, _steady_ms()
        rates = (settings.message_rates, settings.lane_bytes)
        link = Link(
            socket=socket_,
            transport=transport,
            key=hello.key,
            host=host,
            port=port,
            outbound=outbound,
            hello=hello,
            connected_ms=_wall_ms(),
            session=Session(
                MessageLimits(now_ms, *rates),
                now_ms,
                settings.ping_interval_ms,
                settings.idle_timeout_ms,
            ),
            outbox=Outbox(MessageLimits(now_ms, *rates, sender=True), settings.queue_bytes_max),
            done=self._loop.create_future(),
        )
        self._links[hello.key] = link
        self.dial_failures.pop((host, port), None)
        self._notify(self._handler.peer_joined, self._info(link))
        self._spawn(self._run(link))
        if outbound and settings.peer_exchange:
            self._ask_for_peers(link)
        return link

    def _ask_for_peers(self, link: Link) -> None:
        link.peers_asked_ms = _steady_ms()
        link.peers_open = True
        self.send(link.key, GetPeers())

    async def _run(self, link: Link) -> None:
        writer = self._spawn(self._write_loop(link))
        try:
            await self._read_loop(link)
            self._close(link, "closed", "the peer closed the link", say=False)
            await asyncio.wait([writer])
        finally:
            self._close(link, "closed", "", say=False)
            writer.cancel()
            tls.abort(link.transport)
            if not link.done.done():
                link.done.set_result(None)

    async def _read_loop(self, link: Link) -> None:
        while link.closing is None:
            message = await link.socket.receive()
            kind = message.type
            if link.closing is not None:
                return
            if kind is aiohttp.WSMsgType.BINARY:
                self._frame(link, bytes(message.data))
            elif kind is aiohttp.WSMsgType.TEXT:
                self.misbehaved(link.key, "text-frame")
            elif kind in (aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG):
                self.misbehaved(link.key, "unexpected-frame")
            elif kind is aiohttp.WSMsgType.ERROR:
                error = message.data
                large = getattr(error, "code", None) == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
                self.misbehaved(link.key, "too-large" if large else "malformed")
                return
            else:
                return

    def _frame(self, link: Link, frame: bytes) -> None:
        link.bytes_in += len(frame)
        outcome = link.session.receive(frame, _steady_ms())
        if isinstance(outcome, Delivered):
            message = outcome.message
            name = self._name_of(message)
            self.messages_in[name] += 1
            self.bytes_in[name] += outcome.size
            if isinstance(message, GetPeers):
                self._tell_peers(link)
            elif isinstance(message, Peers):
                self._peers_told(link, message)
            else:
                self._handler.peer_message(link.key, message)
        elif isinstance(outcome, Reply):
            self.send(link.key, outcome.message)
        elif isinstance(outcome, Fault):
            self.misbehaved(link.key, outcome.reason)
        elif isinstance(outcome, Closed):
            self._close(link, outcome.reason, outcome.sentence, say=False)

    def _tell_peers(self, link: Link) -> None:
        now_ms = _wall_ms()
        for other in self._links.values():
            self.book.proven(other.key, other.host, other.port, now_ms)
        self.send(link.key, Peers(self.book.share(link.key, link.host, now_ms)))

    def _peers_told(self, link: Link, message: Peers) -> None:
        if not link.peers_open:
            self.misbehaved(link.key, "unsolicited")
            return
        link.peers_open = False
        self.book.learn(message.addresses, link.host)

    async def _write_loop(self, link: Link) -> None:
        try:
            unyielded = 0
            while link.closing is None:
                now_ms = _steady_ms()
                frame = link.outbox.take(now_ms)
                if frame is None:
                    link.wake.clear()
                    await wait_for_event(link.wake, link.outbox.wait_ms(now_ms))
                    unyielded = 0
                    continue
                await link.socket.send_bytes(frame)
                link.bytes_out += len(frame)
                unyielded += len(frame)
                if unyielded >= WRITE_SLICE_BYTES:
                    unyielded = 0
                    await asyncio.sleep(0)
            if link.goodbye is not None:
                # A leader that stops hands over first: that must not be lost in the queue.
                while (frame := link.outbox.take_consensus()) is not None:
                    await link.socket.send_bytes(frame)
                await link.socket.send_bytes(encode_frame(link.goodbye))
            await link.socket.close()
        except OSError:
            pass  # the connection is gone, which the reader sees too
        finally:
            tls.abort(link.transport)

    def _close(self, link: Link, reason: str, sentence: str, *, say: bool = True) -> None:
        """Takes a link out at once; its tasks end soon, its peer is told if it still listens."""
        if link.closing is not None:
            return
        link.closing = reason
        link.goodbye = goodbye(reason, sentence) if say else None
        link.wake.set()
        if self._links.get(link.key) is link:
            del self._links[link.key]
        self._scores.link_ended(link.key, _steady_ms())
        self._notify(self._handler.peer_left, link.key, reason)
        timer = self._loop.call_later(CLOSE_TIMEOUT_S, tls.abort, link.transport)
        link.done.add_done_callback(lambda _: timer.cancel())

    async def _tick_loop(self) -> None:
        interval_ms = min(1_000, self._settings.ping_interval_ms // 4)
        while True:
            await asyncio.sleep(interval_ms / 1000)
            now_ms = _steady_ms()
            for link in list(self._links.values()):
                outcome = link.session.tick(now_ms)
                if isinstance(outcome, Reply):
                    self.send(link.key, outcome.message)
                elif isinstance(outcome, Closed):
                    self._close(link, outcome.reason, outcome.sentence)
                elif (
                    link.outbound
                    and self._settings.peer_exchange
                    and now_ms - link.peers_asked_ms >= self._settings.exchange_interval_ms
                ):
                    self._ask_for_peers(link)


def _steady_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


__all__ = [
    "DialFailure",
    "PeerInfo",
    "Transport",
    "TransportHandler",
    "TransportSettings",
]
