"""A node dials a host that means harm: whatever answers there, the node lives and goes on."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path

from p2p import tls
from p2p.wire import PeerAddress
from tests.support.node_under_attack import NodeUnderAttack, found, node_key
from tests.support.peers import Node

UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    b"Sec-WebSocket-Accept: "
)
ANSWERS = [
    b"",
    b"\x00" * 5_000,
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 999999999999 \xff\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe\r\n\r\n",
    b"HTTP/1.1 401 No\r\nWWW-Authenticate: \xff\r\nSet-Cookie: \xff=\xfe; Expires=x\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    UPGRADED + b"\xff\xff\r\n\r\n",
    UPGRADED + b"KEY\r\nSec-WebSocket-Extensions: permessage-deflate; x=\xff, y; =\r\n\r\n",
    UPGRADED + b"KEY\r\nSec-WebSocket-Protocol: \xff\r\nContent-Length: -1\r\n\r\n",
    UPGRADED + b"KEY\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    UPGRADED + b"KEY\r\nContent-Encoding: br, gzip\r\n\r\n\x1f\x8b",
    UPGRADED + b"KEY\r\n\r\n" + b"\xff" * 200,
    UPGRADED + b"KEY\r\n\r\n" + b"\x82\x7f" + b"\xff" * 8,
    UPGRADED + b"KEY\r\n\r\n\x88\x01\x00",
    UPGRADED + b"KEY\r\n\r\n\x88\x02\x00\x01",
    UPGRADED + b"KEY\r\n\r\n\x81\x02\xff\xff",
    b"HTTP/1.1 101 A\r\n" + b"X: y\r\n" * 20_000,
    b"HTTP/1.1 101 " + b"a" * 100_000,
]


class HostileListener:
    """Answers each connection with the next of ``answers``, in TLS under an honest certificate."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers
        self.met = 0

    async def __aenter__(self) -> HostileListener:
        self._server = await asyncio.start_server(
            self._meet, "127.0.0.1", 0, ssl=tls.server_context(node_key(50).seed)
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = self.answers[self.met % len(self.answers)]
        self.met += 1
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            writer.write(answer.replace(b"KEY", accept_of(request)))
            await writer.drain()
            writer.write_eof() if writer.can_write_eof() else None
        except (OSError, asyncio.IncompleteReadError):
            pass
        writer.close()


def accept_of(request: bytes) -> bytes:
    """RFC 6455, 4.2.2."""
    key = next(
        line.split(b":")[1].strip()
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key:")
    )
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return base64.b64encode(digest)


async def dialed(node: NodeUnderAttack, listener: HostileListener, times: int) -> None:
    """Until the node has dialed so often; its back-off is taken away between the dials."""
    transport = node.runtime.transport
    before = listener.met
    while listener.met < before + times:
        for entry in transport.book._entries.values():
            entry.due_ms = 0
        node.check_alive()
        await asyncio.sleep(0.02)


async def test_no_answer_of_a_listener_stops_the_node(tmp_path: Path) -> None:
    genesis = found("pow", 0, {})
    async with HostileListener(ANSWERS) as listener:
        place = f"127.0.0.1:{listener.port}"
        async with NodeUnderAttack(tmp_path / "n", genesis, node_key(0), [place]) as node:
            await dialed(node, listener, len(ANSWERS) + 1)
            assert node.runtime.transport.peers() == []
            async with node.attacker() as honest:
                await honest.enter()


HOSTS = [
    "::1%lo\n",
    "::1%\x00",
    "::1%" + "x" * 200,
    "::1%[",
    "127.0.0.1\x00",
    "localhost",
    "[::1]",
    "x" * 253,
]


async def test_no_address_that_a_peer_tells_stops_the_node(tmp_path: Path) -> None:
    """The first of these did, again after each restart: it was kept, and dialed."""
    genesis = found("pow", 0, {})
    async with NodeUnderAttack(tmp_path / "n", genesis, node_key(0)) as node:
        told = tuple(PeerAddress(bytes([n]) * 32, host, 9) for n, host in enumerate(HOSTS))
        good = PeerAddress(bytes([99]) * 32, "127.0.0.1", 1)
        liar = Node(50, hello=node.core.hello(0))
        liar.book.share = lambda key, host, now_ms: (*told, good)  # type: ignore[method-assign]
        await liar.transport.start()
        transport = node.runtime.transport
        transport.book.add_static(liar.address)
        await node.until(lambda: ("127.0.0.1", 1) in transport.dial_failures)
        assert set(transport.dial_failures) == {("127.0.0.1", 1)}
        await liar.transport.stop()
