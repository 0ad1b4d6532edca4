"""``/moot/feed``: what happens in the node, as it happens, over a WebSocket.

Every frame is one JSON object with a ``kind``: hello (first, with the node's status), head, final,
transaction, dropped, peer, and, where asked for, consensus.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec
from aiohttp import web

from chain.address import key_address
from chain.bech32m import show_address
from chain.block import BlockHead
from chain.hashing import show_id
from moot.node import feed
from moot.node.feed import News
from moot.node.rest.basics import status_answer
from moot.node.rest.context import Context
from moot.node.rest.routes import Problem, Table, WebSocket
from p2p.limits import TokenBucket

if TYPE_CHECKING:
    from moot.node.core import NodeCore

KINDS: Final = ("head", "final", "transaction", "dropped", "peer", "consensus")
CLIENTS_MAX: Final = 256
"""Open feeds: each costs a queue and its share of every event."""
QUEUE_MAX: Final = 4_096
"""Frames that wait for one client; one that lags further behind is dropped."""
HEARTBEAT_S: Final = 20.0
"""Seconds between pings; who answers none within half of it is gone."""
CLOSE_TIMEOUT_S: Final = 2.0
MESSAGE_SIZE_MAX: Final = 4_096
"""Bytes of a client's message: the feed takes none, keep-alives of some libraries apart."""
MESSAGES_PER_S, MESSAGES_BURST = 5, 50

TOO_SLOW: Final = 4008
TOO_CHATTY: Final = 1008
GOING_AWAY: Final = 1001

table = Table()


class Client:
    """One open feed: the kinds it wants and the frames it has not been sent yet."""

    def __init__(self, kinds: frozenset[str]) -> None:
        self.kinds = kinds
        self.frames: asyncio.Queue[str] = asyncio.Queue(QUEUE_MAX)
        self.ended = asyncio.Event()
        self.code, self.reason = 1000, ""

    def end(self, code: int, reason: str) -> None:
        """Says why this feed closes; the first reason stays."""
        if not self.ended.is_set():
            self.code, self.reason = code, reason
            self.ended.set()

    def push(self, kind: str, frame: str) -> None:
        if kind not in self.kinds or self.ended.is_set():
            return
        try:
            self.frames.put_nowait(frame)
        except asyncio.QueueFull:
            self.end(TOO_SLOW, "too slow: more frames wait than this node keeps")


class FeedHub:
    """All open feeds of a node. Frames are encoded once, and only while somebody listens."""

    def __init__(self) -> None:
        self.clients: dict[Client, None] = {}
        self.dropped_total = 0
        self._core: NodeCore | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self, core: NodeCore) -> None:
        self._core = core
        self._unsubscribe = core.feed.subscribe(self._hear)

    def stop(self) -> None:
        """Tells every client that the node goes away."""
        self._unsubscribe()
        for client in self.clients:
            client.end(GOING_AWAY, "this node is stopping")

    def _hear(self, news: News) -> None:
        if not self.clients:
            return
        assert self._core is not None
        kind = _kind(news)
        wanting = [client for client in self.clients if kind in client.kinds]
        if wanting:
            frame = msgspec.json.encode(frame_of(self._core, kind, news)).decode()
            for client in wanting:
                client.push(kind, frame)


def _kind(news: News) -> str:
    match news:
        case feed.HeadMovedTo():
            return "head"
        case feed.BecameFinal():
            return "final"
        case feed.TransactionSeen():
            return "transaction"
        case feed.TransactionDropped():
            return "dropped"
        case feed.PeerChanged():
            return "peer"
        case feed.ConsensusTraced():
            return "consensus"


def frame_of(core: NodeCore, kind: str, news: News) -> dict[str, Any]:
    """What a frame says."""
    prefix = core.ledger.genesis.prefix
    match news:
        case feed.HeadMovedTo(head=head, transactions=count, removed=removed, added=added):
            about = {"removed": removed, "added": added}
            return {"kind": kind, **_block(head, count, prefix), **about}
        case feed.BecameFinal(head=head, transactions=count):
            return {"kind": kind, **_block(head, count, prefix)}
        case feed.TransactionSeen(id=txid):
            transaction = core.mempool.get(txid)
            frame: dict[str, Any] = {"kind": kind, "txid": show_id(txid)}
            if transaction is not None:
                value = sum(action.amount for action in transaction.transfers)
                frame |= {
                    "sender": show_address(transaction.sender, prefix),
                    "fee": transaction.fee,
                    "size": transaction.size,
                    "value": value,
                }
            return frame
        case feed.TransactionDropped(id=txid, code=code):
            return {"kind": kind, "txid": show_id(txid), "code": code}
        case feed.PeerChanged(key=key, up=up, reason=reason):
            node = show_address(key_address(key), prefix)
            return {"kind": kind, "node": node, "up": up, "reason": reason}
        case feed.ConsensusTraced(name=name, fields=fields):
            return {"kind": kind, "name": name, "fields": dict(fields)}


def _block(head: BlockHead, transactions: int, prefix: str) -> dict[str, Any]:
    return {
        "id": show_id(head.id),
        "height": head.height,
        "time_ms": head.time_ms,
        "producer": show_address(head.manifest.producer, prefix),
        "transactions": transactions,
    }


def _wanted(request: web.Request) -> frozenset[str]:
    """The kinds a client asks for. Raises Problem 400."""
    text = request.query.get("kinds")
    kinds = set(KINDS[:-1]) if text is None else set(text.split(","))
    unknown = sorted(kinds - set(KINDS))
    if unknown:
        raise Problem(400, "unknown-kind", f"kinds are {', '.join(KINDS)}; not {unknown[0]!r}")
    if request.query.get("consensus") == "1":
        kinds.add("consensus")
    return frozenset(kinds)


@table.add(
    "GET",
    "/moot/feed",
    WebSocket,
    query={
        "kinds": f"of {', '.join(KINDS)}, separated by commas; default: all but the last",
        "consensus": "1: the engine's traces too (they are many)",
    },
    errors=(400, 503),
)
async def open_feed(context: Context, request: web.Request) -> web.StreamResponse:
    """A WebSocket of JSON frames: new heads, finality, transactions, peers, consensus."""
    kinds = _wanted(request)
    hub = context.feed
    if len(hub.clients) >= CLIENTS_MAX:
        raise Problem(503, "too-many-feeds", f"this node has {CLIENTS_MAX} feeds open already")
    socket = web.WebSocketResponse(
        heartbeat=HEARTBEAT_S,
        max_msg_size=MESSAGE_SIZE_MAX,
        timeout=CLOSE_TIMEOUT_S,
        compress=False,  # frames are small, and each client would be compressed for by itself
    )
    try:
        possible = bool(socket.can_prepare(request))
    except ValueError:  # a key that is not ASCII
        possible = False
    if not possible:
        raise Problem(400, "no-websocket", "this is a WebSocket: connect with a WebSocket client")
    await socket.prepare(request)
    client = Client(kinds)
    hub.clients[client] = None
    status = status_answer(context)
    hello = {"kind": "hello", "engine": status.engine, "chain_id": status.chain_id}
    client.frames.put_nowait(msgspec.json.encode({**hello, "status": status}).decode())
    try:
        await _serve(socket, client, context)
    finally:
        hub.clients.pop(client, None)
        hub.dropped_total += client.code == TOO_SLOW
    return socket


async def _serve(socket: web.WebSocketResponse, client: Client, context: Context) -> None:
    """Sends until the client leaves or is to be closed."""
    tasks = [
        asyncio.create_task(_send(socket, client)),
        asyncio.create_task(_receive(socket, client, context)),
        asyncio.create_task(client.ended.wait()),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not socket.closed:
        # One that does not read would keep the closing frame waiting for ever.
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await socket.close(code=client.code, message=client.reason.encode())


async def _send(socket: web.WebSocketResponse, client: Client) -> None:
    with contextlib.suppress(ConnectionError, aiohttp.ClientError):
        while True:
            await socket.send_str(await client.frames.get())


async def _receive(socket: web.WebSocketResponse, client: Client, context: Context) -> None:
    budget = TokenBucket(MESSAGES_PER_S, MESSAGES_BURST, context.runtime.uptime_ms())
    async for _ in socket:
        if not budget.take(1, context.runtime.uptime_ms()):
            client.end(TOO_CHATTY, "this feed takes no messages")
            return
