"""A small network in memory behind real aiohttp servers: what a client needs of nodes, no more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from chain.address import public_key_of
from chain.bech32m import parse_address, show_address
from chain.errors import Invalid
from chain.hashing import parse_id, sha256d, show_id
from chain.transaction import Transaction, parse_transaction
from wallet.build import minimum_fee

CHAIN_ID = sha256d(b"a chain for clients")
FEE_RATE = 1_000
PREFIX = "rmoot"
FAILING_AMOUNT = 666
"""A transfer of so much is included, and fails."""


class FakeNetwork:
    """One ledger that all nodes share: accounts, blocks, finality ``depth`` below the head."""

    def __init__(self, depth: int = 0) -> None:
        self.depth = depth
        self.balances: dict[bytes, int] = {}
        self.nonces: dict[bytes, int] = {}
        self.blocks: list[list[Transaction]] = [[]]
        self.place: dict[str, int] = {}
        self.failed: set[str] = set()
        self.mempool: dict[str, Transaction] = {}
        self.nodes: list[FakeNode] = []

    def fund(self, address: bytes, amount: int = 10**12) -> None:
        self.balances[address] = amount

    @property
    def height(self) -> int:
        return len(self.blocks) - 1

    @property
    def final_height(self) -> int:
        return max(0, self.height - self.depth)

    def block_id(self, height: int) -> str:
        return show_id(sha256d(height.to_bytes(8, "big")))

    def refusal(self, transaction: Transaction, pool: dict[str, Transaction]) -> str:
        sender = transaction.sender
        if show_id(transaction.id) in pool:
            return "already-known"
        if transaction.fee < minimum_fee(transaction.size, FEE_RATE):
            return "fee-below-minimum"
        if transaction.nonce < self.nonces.get(sender, 0):
            return "wrong-nonce-low"
        if transaction.nonce > self.pending_nonce(sender, pool) + 64:
            return "nonce-gap-too-large"
        if any(t.sender == sender and t.nonce == transaction.nonce for t in pool.values()):
            return "replacement-underpriced"
        spent = transaction.fee + sum(action.amount for action in transaction.actions)
        if self.balances.get(sender, 0) < spent:
            return "insufficient-balance"
        try:
            Ed25519PublicKey.from_public_bytes(public_key_of(sender)).verify(
                transaction.witness[0], transaction.signing_bytes(CHAIN_ID)
            )
        except (InvalidSignature, IndexError):
            return "bad-signature"
        return ""

    def pending_nonce(self, sender: bytes, pool: dict[str, Transaction]) -> int:
        nonce = self.nonces.get(sender, 0)
        waiting = {t.nonce for t in pool.values() if t.sender == sender}
        while nonce in waiting:
            nonce += 1
        return nonce

    async def make_block(self) -> None:
        """All that is executable goes into one block."""
        chosen: list[Transaction] = []
        for txid, transaction in sorted(
            self.mempool.items(), key=lambda item: (item[1].sender, item[1].nonce)
        ):
            if transaction.nonce != self.nonces.get(transaction.sender, 0):
                continue
            del self.mempool[txid]
            self.nonces[transaction.sender] = transaction.nonce + 1
            chosen.append(transaction)
            self.place[txid] = self.height + 1
            if any(action.amount == FAILING_AMOUNT for action in transaction.actions):
                self.failed.add(txid)
        self.blocks.append(chosen)
        await self.publish({"kind": "head", "height": self.height})
        await self.publish({"kind": "final", "height": self.final_height})

    async def undo_block(self) -> None:
        """The head is left; its transactions wait again."""
        for transaction in self.blocks.pop():
            del self.place[show_id(transaction.id)]
            self.nonces[transaction.sender] -= 1
            self.mempool[show_id(transaction.id)] = transaction
        await self.publish({"kind": "head", "height": self.height})

    async def publish(self, frame: dict[str, Any]) -> None:
        for node in self.nodes:
            for socket in list(node.sockets):
                with contextlib.suppress(ConnectionError):
                    await socket.send_json(frame)

    def state(self, txid: str) -> dict[str, Any]:
        height = self.place.get(txid)
        if height is None:
            return {"txid": txid, "state": "pending" if txid in self.mempool else "unknown"}
        if height > self.final_height:
            return {"txid": txid, "state": "committed", "height": height}
        if txid in self.failed:
            return {"txid": txid, "state": "failed", "height": height, "code": "no-such-luck"}
        return {"txid": txid, "state": "final", "height": height}


class FakeNode:
    """One node's REST API on 127.0.0.1, which can be stopped, held up, and told to refuse."""

    def __init__(self, network: FakeNetwork) -> None:
        self.network = network
        self.port = 0
        self.refuse: Callable[[Transaction], str] = lambda _: ""
        self.forget = False
        """Take transactions and lose them."""
        self.running = asyncio.Event()
        self.running.set()
        self.batches: list[int] = []
        self.requests: list[str] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.answers: dict[str, web.Response] = {}
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        @web.middleware
        async def hold(request: web.Request, handler: Any) -> Any:
            self.requests.append(request.path_qs)
            await self.running.wait()
            if request.path in self.answers:
                canned = self.answers[request.path]
                return web.Response(
                    status=canned.status, body=canned.body, headers={"X-Canned": "1"}
                )
            return await handler(request)

        app = web.Application(client_max_size=16 * 1024**2, middlewares=[hold])
        app.add_routes(
            [
                web.get("/moot/status", self.status),
                web.get("/moot/account/{address}", self.account),
                web.post("/moot/transactions", self.submit),
                web.post("/moot/transactions/status", self.statuses),
                web.get("/moot/feed", self.feed),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self.running.set()
        for socket in list(self.sockets):
            await socket.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def status(self, _: web.Request) -> web.Response:
        network = self.network
        return web.json_response(
            {
                "chain_id": show_id(CHAIN_ID),
                "network": "dev",
                "prefix": PREFIX,
                "name": "fake",
                "engine": "pbft",
                "node": show_address(b"\0" * 33, PREFIX),
                "agent": "moot/0",
                "version": "0",
                "head": {"id": network.block_id(network.height), "height": network.height}
                | {"time_ms": 1},
                "finalized": {
                    "id": network.block_id(network.final_height),
                    "height": network.final_height,
                },
                "finality": "final",
                "syncing": False,
                "peers": 0,
                "mempool": {"count": len(network.mempool), "bytes": 0, "pending": 0},
                "state_root": "00" * 32,
                "fee_per_kilobyte_min": FEE_RATE,
                "mining": False,
                "faucet": False,
                "uptime_ms": 5,
                "a_field_of_the_future": [],
            }
        )

    async def account(self, request: web.Request) -> web.Response:
        try:
            address = parse_address(request.match_info["address"], PREFIX)
        except Invalid as error:
            return web.json_response({"code": error.code, "sentence": error.sentence}, status=400)
        network = self.network
        return web.json_response(
            {
                "address": request.match_info["address"],
                "balance": network.balances.get(address, 0),
                "nonce": network.nonces.get(address, 0),
                "pending_nonce": network.pending_nonce(address, network.mempool),
                "maturing": [],
                "height": network.height,
            }
        )

    async def submit(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/json"
        raws = (await request.json())["transactions"]
        assert len(raws) <= 1000
        self.batches.append(len(raws))
        results = []
        for raw in raws:
            transaction = parse_transaction(bytes.fromhex(raw))
            code = self.refuse(transaction) or self.network.refusal(
                transaction, self.network.mempool
            )
            txid = show_id(transaction.id)
            if not code and not self.forget:
                self.network.mempool[txid] = transaction
            results.append({"txid": txid, "code": code, "sentence": code and f"no: {code}"})
        return web.json_response({"results": results})

    async def statuses(self, request: web.Request) -> web.Response:
        ids = (await request.json())["ids"]
        assert len(ids) <= 1000
        assert all(len(parse_id(txid)) == 32 for txid in ids)
        return web.json_response({"statuses": [self.network.state(txid) for txid in ids]})

    async def feed(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"kind": "hello", "engine": "pbft"})
        self.sockets.append(socket)
        try:
            async for message in socket:
                assert message.type is WSMsgType.TEXT
        finally:
            self.sockets.remove(socket)
        return socket


@pytest.fixture
async def network() -> AsyncIterator[FakeNetwork]:
    """A network without nodes; those added by ``fake_node`` are stopped at the end."""
    made = FakeNetwork()
    yield made
    for node in made.nodes:
        await node.stop()


@pytest.fixture
async def node(network: FakeNetwork) -> FakeNode:
    """One running node of the network."""
    return await add_node(network)


@pytest.fixture
def more_nodes(network: FakeNetwork) -> Any:
    """Adds another running node to the network."""
    return lambda: add_node(network)


async def add_node(network: FakeNetwork) -> FakeNode:
    made = FakeNode(network)
    await made.start()
    network.nodes.append(made)
    return made


@pytest.fixture
async def blocks(network: FakeNetwork) -> AsyncIterator[None]:
    """A block every 50 ms while the test runs."""

    async def produce() -> None:
        while True:
            await asyncio.sleep(0.05)
            await network.make_block()

    task = asyncio.create_task(produce())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
