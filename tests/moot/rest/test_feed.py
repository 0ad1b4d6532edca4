"""The WebSocket feed: what it says, to whom, and how it gets rid of those who do not listen."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chain.hashing import show_id
from chain.transaction import Transfer
from moot.client.node import NodeClient
from moot.node.feed import ConsensusTraced, PeerChanged, TransactionDropped
from moot.node.rest import feed
from tests.support.one_node import FEE, KEYS, OneNode
from tests.support.rest_api import Api


@asynccontextmanager
async def listening(
    api: Api, query: str = "", **options: Any
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """An open feed whose hello was read."""
    async with api.session.ws_connect(f"{api.url}/moot/feed{query}", **options) as socket:
        hello = await socket.receive_json(timeout=10)
        assert hello["kind"] == "hello"
        yield socket


async def take(socket: aiohttp.ClientWebSocketResponse, until: str) -> list[dict[str, Any]]:
    """Frames up to the first of a kind, which is the last of them."""
    frames = []
    while not frames or frames[-1]["kind"] != until:
        frames.append(await socket.receive_json(timeout=10))
    return frames


async def test_a_transaction_its_block_and_its_finality(node: OneNode, api: Api) -> None:
    async with api.session.ws_connect(f"{api.url}/moot/feed") as socket:
        hello = await socket.receive_json(timeout=10)
        status = (await api.get("/moot/status")).value
        assert hello["kind"] == "hello" and hello["engine"] == "pbft"
        assert hello["chain_id"] == status["chain_id"]
        assert hello["status"].keys() == status.keys()
        payment = node.sign(KEYS[0], [Transfer(KEYS[1].address, 5)])
        await node.client.submit([payment.raw])
        frames = await take(socket, "final")
    assert [frame["kind"] for frame in frames] == ["transaction", "head", "final"]
    transaction, head, final = frames
    assert transaction == {
        "kind": "transaction",
        "txid": show_id(payment.id),
        "sender": node.show(KEYS[0].address),
        "fee": FEE,
        "size": payment.size,
        "value": 5,
    }
    assert (head["height"], head["transactions"], head["removed"], head["added"]) == (1, 1, 0, 1)
    assert head["id"] == final["id"] == show_id(node.core.ledger.head())
    assert head["producer"] == node.show(node.key.address)


async def test_traces_come_only_where_asked_for(node: OneNode, api: Api) -> None:
    async with (
        listening(api) as plain,
        listening(api, "?consensus=1") as traced,
        listening(api, "?kinds=consensus,final") as narrow,
    ):
        await node.final(node.sign(KEYS[0], [Transfer(KEYS[1].address, 5)]))
        assert [f["kind"] for f in await take(plain, "final")] == ["transaction", "head", "final"]
        kinds = [frame["kind"] for frame in await take(traced, "final")]
        assert "consensus" in kinds and "transaction" in kinds
        frames = await take(narrow, "final")
        assert {frame["kind"] for frame in frames} == {"consensus", "final"}
        assert {"kind", "name", "fields"} == frames[0].keys()
    await api.get("/moot/feed?kinds=head,nonsense", 400)


async def test_other_news(node: OneNode, api: Api) -> None:
    async with listening(api, "?consensus=1") as socket:
        publish = node.core.feed.publish
        publish(TransactionDropped(bytes(32), "expired"))
        publish(PeerChanged(KEYS[0].public_key, False, "silent"))
        publish(ConsensusTraced("view-change", {"view": 3}))
        assert await socket.receive_json(timeout=10) == {
            "kind": "dropped",
            "txid": "00" * 32,
            "code": "expired",
        }
        assert await socket.receive_json(timeout=10) == {
            "kind": "peer",
            "node": node.show(KEYS[0].address),
            "up": False,
            "reason": "silent",
        }
        assert await socket.receive_json(timeout=10) == {
            "kind": "consensus",
            "name": "view-change",
            "fields": {"view": 3},
        }


async def test_the_client_library_reads_it(node: OneNode) -> None:
    async with NodeClient(node.url) as client:
        frames = client.feed(kinds=("head",), reconnect=False)
        first = await anext(frames)
        assert (first.kind, first.fields["status"]["engine"]) == ("hello", "pbft")
        await node.final(node.sign(KEYS[0], [Transfer(KEYS[1].address, 5)]))
        second = await anext(frames)
        assert (second.kind, second.fields["height"]) == ("head", 1)
        await frames.aclose()


async def test_who_does_not_read_is_dropped(
    node: OneNode, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "CLOSE_TIMEOUT_S", 0.2)
    hub = node.runtime.rest.context.feed  # type: ignore[union-attr]
    # A bare socket that takes the hello in and then never reads again.
    reader, writer = await _handshake(node.url)
    writer.transport.pause_reading()
    async with listening(api, "?kinds=consensus") as healthy:
        assert len(hub.clients) == 2
        text, sent = "x" * 8_192, 0
        while len(hub.clients) == 2 and sent < 20 * feed.QUEUE_MAX:
            for _ in range(64):
                node.core.feed.publish(ConsensusTraced("flood", {"text": text}))
            for _ in range(64):
                assert (await healthy.receive_json(timeout=10))["name"] == "flood"
            sent += 64
        # The other reads on, and misses nothing.
        assert len(hub.clients) == 1 and hub.dropped_total == 1
        node.core.feed.publish(ConsensusTraced("after", {}))
        assert (await healthy.receive_json(timeout=10))["name"] == "after"
    writer.transport.abort()
    del reader


async def _handshake(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = url.removeprefix("http://").partition(":")
    bare = socket.socket()
    bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    bare.setblocking(False)
    await asyncio.get_running_loop().sock_connect(bare, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=bare, limit=1_024)
    writer.write(
        f"GET /moot/feed?consensus=1 HTTP/1.1\r\nHost: {host}:{port}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    assert b"101" in await reader.readline()
    return reader, writer


async def test_a_slow_client_is_told_why() -> None:
    client = feed.Client(frozenset({"head"}))
    for _ in range(feed.QUEUE_MAX + 1):
        client.push("head", "{}")
        client.push("transaction", "{}")  # not wanted, not queued
    assert client.ended.is_set() and client.code == feed.TOO_SLOW and "slow" in client.reason
    client.end(feed.GOING_AWAY, "later")
    assert client.code == feed.TOO_SLOW, "the first reason stays"


async def test_who_talks_too_much_is_dropped(api: Api) -> None:
    async with listening(api) as socket:
        for _ in range(feed.MESSAGES_BURST + 5):
            await socket.send_str("hello?")
        message = await socket.receive(timeout=10)
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert (message.data, message.extra) == (feed.TOO_CHATTY, "this feed takes no messages")
    async with listening(api) as socket:
        await socket.send_str("x" * 2 * feed.MESSAGE_SIZE_MAX)
        message = await socket.receive(timeout=10)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1009)


async def test_feeds_are_counted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "CLIENTS_MAX", 2)
    async with listening(api), listening(api):
        refused = await api.get("/moot/feed", 503)
        assert refused.value["code"] == "too-many-feeds"
        assert "moot_feed_clients 2.0" in (await api.get("/metrics")).text


async def test_pages_of_others_may_not_listen_and_plain_requests_are_told(api: Api) -> None:
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with listening(api, headers={"Origin": origin}):
                pass
        assert refused.value.status == 403
    async with listening(api, headers={"Origin": api.url}):
        pass
    assert (await api.get("/moot/feed", 400)).value["code"] == "no-websocket"


async def test_a_stopping_node_says_goodbye(tmp_path: Path) -> None:
    async with OneNode(tmp_path) as node, Api(node.url) as api, listening(api) as socket:
        node.runtime.request_stop()
        message = await socket.receive(timeout=10)
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert (message.data, message.extra) == (feed.GOING_AWAY, "this node is stopping")


def test_every_frame_is_documented() -> None:
    operation = json.dumps(dict(feed.table.routes[0].query))
    assert all(kind in operation for kind in feed.KINDS)
