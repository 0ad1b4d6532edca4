"""The listening socket, and what strangers may cost before they have said who they are.

Each accepted connection takes a slot until it has become a link or is gone. Slots are few, in all
and for each address, and a connection that has not finished TLS, HTTP and hello within one deadline
is cut, however busily it sends; nor may it send more than a handshake needs.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple

from aiohttp import web

from p2p import tls
from p2p.link import TransportSettings, tune

ACCEPT_RETRY_S: Final = 1.0
"""Pause after the system refused to accept (out of file descriptors)."""
BACKLOG: Final = 128
"""Connections that the kernel completes before we accept them."""
HANDSHAKE_BYTES_MAX: Final = 32 * 1024
"""What a stranger may send before it is a peer: an HTTP upgrade and a hello, several times over.
aiohttp by itself would gather a whole frame of the largest size for anyone."""

Spawn = Callable[[Coroutine[Any, Any, None]], object]
Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class _Slot(NamedTuple):
    """One connection that has not become a link yet."""

    host: str
    timer: asyncio.TimerHandle
    gate: _Gate


class Listener:
    """Accepts, secures and bounds. ``answer`` gets each HTTP request; ``refuses`` says which hosts
    are not even listened to; ``spawn`` runs a coroutine under the transport's eyes."""

    def __init__(
        self,
        settings: TransportSettings,
        context: ssl.SSLContext,
        answer: Answer,
        refuses: Callable[[str], bool],
        spawn: Spawn,
    ) -> None:
        self._settings = settings
        self._context = context
        self._refuses = refuses
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._server = _Server(answer, self.settled)
        self._hosts: Counter[str] = Counter()
        self._securing: set[socket.socket] = set()
        self._slots: dict[web.RequestHandler, _Slot] = {}
        self._socket = _bind(settings.host, settings.port)
        self.port: int = self._socket.getsockname()[1]
        self._retry: asyncio.TimerHandle | None = None
        self._listen()

    @property
    def in_flight(self) -> int:
        """Connections that are not links yet."""
        return self._hosts.total()

    def stop_listening(self) -> None:
        """No more connections from now on."""
        if self._retry is not None:
            self._retry.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    async def close(self) -> None:
        """Cuts every connection. The tasks are the transport's to cancel, before this."""
        self.stop_listening()
        for connection in self._securing:
            connection.close()  # its task was cancelled, maybe before it began
        for slot in self._slots.values():
            slot.timer.cancel()
        for handler in self._server.connections:
            if handler.transport is not None:
                tls.abort(handler.transport)
        await self._server.shutdown(0)

    def settled(self, protocol: web.RequestHandler) -> None:
        """A connection became a link, or is gone: its slot is free."""
        slot = self._slots.pop(protocol, None)
        if slot is not None:
            slot.timer.cancel()
            slot.gate.open()
            self._release(slot.host)

    def _release(self, host: str) -> None:
        self._hosts[host] -= 1
        if self._hosts[host] <= 0:
            del self._hosts[host]

    def _listen(self) -> None:
        # A reader, not a task around sock_accept: a task that is cancelled at the wrong moment
        # loses the connection that it has just accepted.
        self._retry = None
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        settings = self._settings
        try:
            connection, address = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            self._loop.remove_reader(self._socket.fileno())
            self._retry = self._loop.call_later(ACCEPT_RETRY_S, self._listen)
            return
        connection.setblocking(False)
        host = plain_host(address[0])
        if (
            self.in_flight >= settings.handshakes_max
            or self._hosts[host] >= settings.handshakes_per_host_max
            or self._refuses(host)
        ):
            connection.close()
            return
        self._hosts[host] += 1
        self._securing.add(connection)
        self._spawn(self._secure(connection, host))

    async def _secure(self, connection: socket.socket, host: str) -> None:
        timeout_s = self._settings.handshake_timeout_ms / 1000
        deadline = self._loop.time() + timeout_s
        try:
            tune(connection)
            transport, gate = await self._loop.connect_accepted_socket(
                lambda: _Gate(self._server()),
                connection,
                ssl=self._context,
                ssl_handshake_timeout=timeout_s,
            )
        except OSError:
            self._securing.discard(connection)
            self._release(host)
            connection.close()
            return
        self._securing.discard(connection)
        if transport.is_closing():
            self._release(host)
            return
        timer = self._loop.call_at(deadline, tls.abort, transport)
        self._slots[gate.handler] = _Slot(host, timer, gate)


class _Gate(asyncio.Protocol):
    """Stands before aiohttp's protocol and counts, until it is told to step aside."""

    def __init__(self, handler: web.RequestHandler) -> None:
        self.handler = handler
        self._transport: asyncio.Transport | None = None
        self._bytes_left = HANDSHAKE_BYTES_MAX

    def open(self) -> None:
        """From now on the data go straight to aiohttp."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.set_protocol(self.handler)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._bytes_left -= len(data)
        if self._bytes_left < 0 and self._transport is not None:
            tls.abort(self._transport)
            return
        self.handler.data_received(data)

    def eof_received(self) -> None:
        self.handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.handler.connection_lost(exc)

    def pause_writing(self) -> None:
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        self.handler.resume_writing()


class _Server(web.Server):
    """aiohttp's low-level server, telling when a connection is gone."""

    def __init__(self, answer: Answer, lost: Callable[[web.RequestHandler], None]) -> None:
        super().__init__(answer, access_log=None, keepalive_timeout=0, lingering_time=0)
        self._lost = lost

    def connection_lost(self, handler: Any, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._lost(handler)


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket; ``::`` takes IPv4 too. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.create_server(
        (host, port),
        family=family,
        backlog=BACKLOG,
        dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
    )
    bound.setblocking(False)
    return bound


def plain_host(host: str) -> str:
    """An address without its scope, IPv4 as IPv4 also on a dual-stack socket."""
    host = host.partition("%")[0]
    return host.removeprefix("::ffff:") if "." in host else host
