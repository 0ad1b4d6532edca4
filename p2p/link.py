"""One link's connection: settings, state, the dialing side of the WebSocket."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import sys
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp import web
from yarl import URL

from p2p import tls
from p2p.handshake import BAD_HANDSHAKE, WRONG_KEY, Refused, goodbye
from p2p.limits import LANE_BYTES, MESSAGE_RATES, Rate
from p2p.outbox import QUEUE_BYTES_MAX, Outbox
from p2p.session import IDLE_TIMEOUT_MS, PING_INTERVAL_MS, Session
from p2p.wire import FRAME_SIZE_MAX, Goodbye, Hello, Lane, PeerMessage, encode_frame

CLOSE_TIMEOUT_S: Final = 1.0
"""How long a goodbye may take before the connection is cut."""
WRITE_HIGH_WATER: Final = 64 * 1024
"""Bytes in the process's write buffer above which the writer waits, so that little lies between a
vote and the wire."""
UNSENT_HIGH_WATER: Final = 128 * 1024
"""The same for the kernel's: what is on its way cannot be overtaken, the rest can."""
TCP_NOTSENT_LOWAT: Final = 25
"""Linux's option by number; Python names it from 3.12 on only."""


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """How to listen and how much to bear. Times in milliseconds."""

    host: str = "127.0.0.1"
    port: int = 0
    listen: bool = True
    advertise_port: int | None = None
    """The port that others should dial, where it is not the one that we bind (containers)."""
    inbound_max: int = 64
    """Links that others dialed; static peers come in beyond it."""
    outbound_target: int = 8
    """Links to strangers that we keep up (Bitcoin's number); static peers are dialed besides."""
    dials_max: int = 16
    """Dials in flight."""
    handshakes_max: int = 64
    """Connections that are not links yet; each may make us hold one frame."""
    handshakes_per_host_max: int = 32
    """Of these, how many one address may have: half, so that none locks all others out."""
    handshake_timeout_ms: int = 5_000
    """For TCP, TLS, HTTP and hello together."""
    ping_interval_ms: int = PING_INTERVAL_MS
    idle_timeout_ms: int = IDLE_TIMEOUT_MS
    queue_bytes_max: int = QUEUE_BYTES_MAX
    peer_exchange: bool = True
    exchange_interval_ms: int = 120_000
    message_rates: dict[type[PeerMessage], Rate] = field(default_factory=lambda: MESSAGE_RATES)
    lane_bytes: dict[Lane, Rate] = field(default_factory=lambda: LANE_BYTES)


class PeerInfo(msgspec.Struct, frozen=True):
    """A link as others see it. ``port``: where the peer listens (0: nowhere)."""

    key: bytes
    host: str
    port: int
    outbound: bool
    hello: Hello
    connected_ms: int
    score: int
    bytes_in: int
    bytes_out: int
    latency_ms: int | None


AnySocket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


@dataclass(slots=True, eq=False)
class Link:
    """One link's state. ``closing``: the reason, once it is being closed."""

    socket: AnySocket
    transport: asyncio.WriteTransport
    key: bytes
    host: str
    port: int
    outbound: bool
    hello: Hello
    connected_ms: int
    session: Session
    outbox: Outbox
    done: asyncio.Future[None]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    closing: str | None = None
    goodbye: Goodbye | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    peers_asked_ms: int = 0
    peers_open: bool = False


def tune(connection: socket.socket | None, transport: asyncio.WriteTransport | None = None) -> None:
    """Keeps buffers small on the way out, so that the outbox decides what goes first."""
    if connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sys.platform == "linux":
            connection.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_HIGH_WATER)
    if transport is not None:
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)


def open_websocket_response(close_timeout_s: float) -> web.WebSocketResponse:
    """The listening side's WebSocket: no compression, no answers to control frames."""
    return web.WebSocketResponse(
        timeout=close_timeout_s,
        autoping=False,
        compress=False,
        max_msg_size=FRAME_SIZE_MAX,
        writer_limit=WRITE_HIGH_WATER,
    )


async def read_frame(socket_: AnySocket) -> bytes:
    """One binary frame of a handshake. Raises Refused for anything else."""
    message = await socket_.receive()
    if message.type is not aiohttp.WSMsgType.BINARY:
        raise Refused(BAD_HANDSHAKE, "the link closed, or spoke otherwise, in its handshake")
    return bytes(message.data)


class Dialer:
    """One dial: connects, learns or checks the listener's key before a byte of HTTP is sent."""

    def __init__(self, context: ssl.SSLContext, expected: bytes | None) -> None:
        self._connector = _Connector(context, expected)
        trace = aiohttp.TraceConfig()
        # A listener must not send us elsewhere: what it can reach is its business, not ours.
        trace.on_request_redirect.append(_refuse_redirect)
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            trace_configs=[trace],
        )

    @property
    def key(self) -> bytes:
        """The key that answered."""
        return self._connector.key

    @property
    def transport(self) -> asyncio.WriteTransport:
        """The connection, for limits and for cutting it."""
        assert self._connector.transport is not None
        return self._connector.transport

    async def __aenter__(self) -> Dialer:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connector.transport is not None:
            tls.abort(self._connector.transport)
        await self._session.close()

    async def connect(self, host: str, port: int, path: str) -> aiohttp.ClientWebSocketResponse:
        """Raises Refused for the wrong key, OSError or aiohttp.ClientError for no connection."""
        try:
            return await self._session.ws_connect(
                URL.build(scheme="https", host=host, port=port, path=path),
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT_S),
                autoping=False,
                compress=0,
                max_msg_size=FRAME_SIZE_MAX,
            )
        except ValueError as error:
            # A name that cannot be one, or an answer that the HTTP library stumbled over.
            raise aiohttp.ClientError(str(error)) from error


def why_unreachable(error: OSError | aiohttp.ClientError) -> str:
    """Why a dial came to nothing, for people: the system's words rather than the HTTP library's."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if not isinstance(error, aiohttp.ClientConnectorError):
        return str(error) or type(error).__name__
    cause = error.os_error
    if cause.errno == errno.ECONNREFUSED:
        return "nobody listens there"
    if isinstance(cause, ssl.SSLError | socket.gaierror) or not cause.errno:
        return cause.strerror or str(cause)
    return os.strerror(cause.errno)  # asyncio puts words of its own in the place of these


async def _refuse_redirect(*_: Any) -> None:
    raise Refused(BAD_HANDSHAKE, "the listener answered with a redirect")


class _Connector(aiohttp.TCPConnector):
    """Checks whom it has reached, and tunes the connection."""

    def __init__(self, context: ssl.SSLContext, expected: bytes | None) -> None:
        super().__init__(ssl=context, force_close=True, use_dns_cache=False)
        self._expected = expected
        self.key = b""
        self.transport: asyncio.WriteTransport | None = None

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109
        connection = await super().connect(req, traces, timeout)
        transport = connection.transport
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport
        try:
            secure = transport.get_extra_info("ssl_object")
            self.key = tls.certificate_key(secure.getpeercert(binary_form=True))
            if self._expected is not None and self.key != self._expected:
                raise Refused(WRONG_KEY, "another key answered than the one that was dialed")
        except Refused:
            connection.close()
            raise
        tune(transport.get_extra_info("socket"), transport)
        return connection


async def wait_for_event(event: asyncio.Event, timeout_ms: int | None) -> None:
    if timeout_ms is None:
        await event.wait()
        return
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            await event.wait()
    except TimeoutError:
        return


async def say_goodbye(socket_: AnySocket, refusal: Refused) -> None:
    try:
        await socket_.send_bytes(encode_frame(goodbye(refusal.code, refusal.sentence)))
        await socket_.close()
    except OSError:
        return  # nobody there to be told
