"""Strangers at the p2p door: whatever they say before or instead of a handshake, the node lives."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from moot.node.config import LogSection
from moot.node.logs import set_up_logs
from p2p import tls
from p2p.wire import Goodbye, Hello, Ping, encode_frame
from tests.support.node_under_attack import NodeUnderAttack, found, node_key

WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
REQUESTS = [
    b"",
    b"\r\n\r\n",
    b"\x16\x03\x01" * 40,
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://[::1/p2p HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a:99999/p2p HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a:x/p2p HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET //p2p HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /%ff%00%zz HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /p2p HTTP/1.1\r\nHost: [::\r\n\r\n",
    b"GET /p2p HTTP/1.1\r\n\r\n",
    b"GET /p2p HTTP/1.0\r\n" + WEBSOCKET + b"\r\n",
    b"GET /p2p HTTP/9.9\r\n" + WEBSOCKET + b"\r\n",
    b"POST /p2p HTTP/1.1\r\nHost: a\r\n" + WEBSOCKET + b"Content-Length: 99999\r\n\r\nabc",
    b"GET /p2p HTTP/1.1\r\nHost: a\r\n" + WEBSOCKET + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /p2p HTTP/1.1\r\nHost: a\r\n" + WEBSOCKET + b"Content-Length: -5\r\n\r\n",
    b"GET /p2p HTTP/1.1\r\nHost: a\r\n" + WEBSOCKET.replace(b"13", b"99") + b"\r\n",
    b"GET /p2p HTTP/1.1\r\nHost: a\r\n" + WEBSOCKET.replace(b"AAAA", b"\xff!") + b"\r\n",
    b"GET /p2p HTTP/1.1\r\nHost: a\r\n"
    + WEBSOCKET
    + b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99, x; y=\r\n\r\n",
    b"GET /p2p HTTP/1.1\r\nHost: a\r\n"
    + WEBSOCKET
    + b"Sec-WebSocket-Protocol: \xff, a\r\nCookie: =;=\xff\r\nExpect: 100-continue\r\n\r\n",
    b"GET /p2p HTTP/1.1\r\nHost: a\r\n" + WEBSOCKET + b"Expect: nonsense\r\n\r\n",
    b"GET /p2p HTTP/1.1\r\nHost: a\r\n" + WEBSOCKET + b"\r\n" + b"\x00" * 300,
    b"GET /p2p HTTP/1.1\r\nHost: a\r\n" + WEBSOCKET + b"\r\n" + b"\xff" * 300,
    b"GET /p2p HTTP/1.1\r\nHost: a\r\n" + WEBSOCKET + b"\r\n" + b"\x82\xff" + b"\xff" * 8,
    b"GET /p2p HTTP/1.1\r\nHost: a\r\n" + WEBSOCKET + b"\r\n" + b"\x82\x7f" + b"\x00" * 30,
    b"GET /p2p HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
    b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /p2p HTTP/1.1\r\nHost: a\r\n\r\n" * 50,
    b"\x00" * 100_000,
]


HEADERS = [
    "Host",
    "Connection",
    "Upgrade",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Protocol",
    "Content-Length",
    "Content-Type",
    "Transfer-Encoding",
    "Content-Encoding",
    "Expect",
    "Cookie",
    "Range",
    "If-Modified-Since",
    "Keep-Alive",
]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[NodeUnderAttack]:
    async with NodeUnderAttack(tmp_path / "n", found("pow", 0, {}), node_key(0)) as node:
        yield node


async def shout(node: NodeUnderAttack, request: bytes, patience_s: float = 0.05) -> bytes:
    """Sends bytes inside TLS, hears for a moment, and cuts the connection."""
    port = node.runtime.transport.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls.client_context())
    answer = b""
    try:
        writer.write(request)
        async with asyncio.timeout(patience_s):
            while chunk := await reader.read(65_536):
                answer += chunk
    except (TimeoutError, OSError):
        pass
    finally:
        writer.transport.abort()
    return answer


async def let_an_honest_peer_in(node: NodeUnderAttack) -> None:
    """The node lives, has no connection left over, and still takes peers."""
    node.check_alive()
    transport = node.runtime.transport
    assert transport._listener is not None
    await node.until(lambda: transport._listener.in_flight == 0)
    async with node.attacker(1_000) as honest:
        await honest.enter()
        await node.until(lambda: [peer.key for peer in transport.peers()] == [honest.key])
    await node.until(lambda: transport.peers() == [])


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: repr(request[:30]))
async def test_no_request_stops_the_node(node: NodeUnderAttack, request_: bytes) -> None:
    """The first of these to do so was a key that is not ASCII (aiohttp raises ValueError)."""
    await shout(node, request_)
    await let_an_honest_peer_in(node)


async def test_no_mutated_upgrade_stops_the_node(node: NodeUnderAttack) -> None:
    rng = random.Random(1)
    whole = b"GET /p2p HTTP/1.1\r\nHost: a\r\n" + WEBSOCKET + b"\r\n"
    for _ in range(150):
        request = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            match rng.randrange(4):
                case 0:
                    request[rng.randrange(len(request))] = rng.randrange(256)
                case 1:
                    at = rng.randrange(len(request))
                    del request[at : at + 3]
                case 2:
                    name = rng.choice(HEADERS).encode()
                    value = rng.randbytes(rng.randrange(12)).replace(b"\n", b"")
                    request[-2:-2] = name + b": " + value + b"\r\n"
                case _:
                    at = rng.randrange(len(request))
                    request[at:at] = rng.choice([b"\x00", b"\xff", b"\r\n", b": ", b"%", b"["])
        await shout(node, bytes(request), 0.01)
        node.check_alive()
    await let_an_honest_peer_in(node)


async def test_no_websocket_frame_stops_the_node(node: NodeUnderAttack) -> None:
    """Frames that no library sends: unmasked, reserved bits, odd opcodes, lengths that lie."""
    upgrade = b"GET /p2p HTTP/1.1\r\nHost: a\r\n" + WEBSOCKET + b"\r\n"
    rng = random.Random(2)
    for opcode in range(16):
        for flags in (0x00, 0x80, 0xC0, 0xF0):
            length = rng.choice([b"\x00", b"\x05", b"\x85", b"\xfe\x00\x05", b"\xff" + b"\x00" * 8])
            await shout(node, upgrade + bytes([flags | opcode]) + length + rng.randbytes(20), 0.01)
            node.check_alive()
    await let_an_honest_peer_in(node)


async def test_slow_strangers_take_no_more_than_their_slots(node: NodeUnderAttack) -> None:
    """40 connections that trickle a byte now and then, at every stage: TCP, TLS, HTTP."""
    transport = node.runtime.transport
    assert transport._listener is not None
    writers = []
    for number in range(40):
        secure = tls.client_context() if number % 2 else None
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", transport.port, ssl=secure)
        except OSError:
            continue  # no slot: hung up on at once
        writer.write(b"GET /p2p HT"[: number % 11])
        writers.append(writer)
    await node.until(lambda: transport._listener.in_flight > 0)
    assert transport._listener.in_flight <= transport._settings.handshakes_per_host_max
    # Their time runs out however busily they trickle.
    deadline = asyncio.get_running_loop().time() + 5.5
    while transport._listener.in_flight and asyncio.get_running_loop().time() < deadline:
        for writer in writers:
            if not writer.transport.is_closing():
                writer.write(b"X")
        await asyncio.sleep(0.2)
    await let_an_honest_peer_in(node)
    for writer in writers:
        writer.transport.abort()


Lie = Callable[[NodeUnderAttack, Hello], bytes]


def _with(**changes: object) -> Lie:
    return lambda node, hello: encode_frame(msgspec.structs.replace(hello, **changes))


LIES: dict[str, tuple[Lie, str]] = {
    "wrong-chain": (_with(chain_id=bytes(32)), "wrong-chain"),
    "wrong-engine": (_with(engine="pbft"), "wrong-engine"),
    "wrong-version": (_with(protocol_version=2**63 - 1), "wrong-version"),
    "no-proof": (_with(proof=b""), "bad-proof"),
    "anothers-key": (_with(key=node_key(5).public_key), "bad-proof"),
    "the-nodes-own-key": (_with(key=node_key(0).public_key), "self-connection"),
    "small-order-key": (_with(key=bytes([1]) + bytes(31), proof=bytes(64)), "bad-proof"),
    "truncated": (lambda node, hello: encode_frame(hello)[:-1], "bad-handshake"),
    "one-byte-more": (lambda node, hello: encode_frame(hello) + b"\x00", "bad-handshake"),
    "not-canonical": (
        lambda node, hello: encode_frame(hello)[:2] + b"\xcc\x01" + encode_frame(hello)[3:],
        "bad-handshake",
    ),
    "oversize": (lambda node, hello: b"\x02" + bytes(8_000), "bad-handshake"),
    "deep-nesting": (lambda node, hello: b"\x02" + b"\x91" * 3_000, "bad-handshake"),
    "another-message": (lambda node, hello: encode_frame(Ping(1)), "bad-handshake"),
    "unknown-message": (lambda node, hello: b"\xee\x90", "bad-handshake"),
    "empty": (lambda node, hello: b"", "bad-handshake"),
    "goodbye": (lambda node, hello: encode_frame(Goodbye("\x1b[2J", "\n" * 256)), "\x1b[2J"),
}


@pytest.mark.parametrize("name", LIES)
async def test_a_lying_handshake_is_refused_with_its_reason(
    node: NodeUnderAttack, name: str
) -> None:
    lie, reason = LIES[name]
    async with node.attacker() as stranger:
        await stranger.say_bytes(lie(node, await stranger.answer()))
        assert await stranger.farewell() == reason
    await let_an_honest_peer_in(node)


async def test_a_recorded_hello_opens_no_second_link(node: NodeUnderAttack) -> None:
    async with node.attacker() as first:
        recorded = encode_frame(await first.answer())
        await first.say_bytes(recorded)
        await node.until(lambda: len(node.runtime.transport.peers()) == 1)
        async with node.attacker() as second:
            await second.answer()
            await second.say_bytes(recorded)
            assert await second.farewell() == "bad-proof"
        assert len(node.runtime.transport.peers()) == 1, "the first link stays"


async def test_sixty_links_leave_no_task_and_no_link(node: NodeUnderAttack) -> None:
    """Linked, and cut without a word, again and again: nothing piles up."""
    transport = node.runtime.transport
    await let_an_honest_peer_in(node)
    before = len(asyncio.all_tasks())
    for number in range(60):
        async with node.attacker(number + 1_000) as peer:
            if number % 3:
                await peer.enter()
    await node.until(lambda: not transport.peers() and transport._listener.in_flight == 0)
    await node.until(lambda: len(asyncio.all_tasks()) <= before)
    assert node.core.peers == {}
    assert node.core.sync.counts()["asked"] == 0


async def test_what_is_no_http_leaves_nothing_in_the_log(
    node: NodeUnderAttack, caplog: pytest.LogCaptureFixture
) -> None:
    """Each such request left a traceback of thirty lines, for free."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    set_up_logs(LogSection(level="warning"), "test")
    root.handlers[:] = handlers
    try:
        for request in (b"GET /\xff HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n", b"\x00" * 300):
            await shout(node, request)
        await let_an_honest_peer_in(node)
        assert not caplog.records, [record.getMessage() for record in caplog.records]
    finally:
        root.setLevel(level)
