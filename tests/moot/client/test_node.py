"""NodeClient against real servers: shapes, bounds, plain errors, the feed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from chain.bech32m import show_address
from chain.hashing import parse_id, show_id
from moot.client import BadAnswer, NodeClient, NodeRefused, NodeUnreachable
from moot.client import http as http_module
from moot.client import node as node_module
from wallet.build import sign_transaction, transfer
from wallet.development import development_key

ALICE, BOB = development_key(0), development_key(1)
ALICE_TEXT = show_address(ALICE.address, "rmoot")
Serve = Callable[..., Any]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves one path with what is given (or by a handler) and gives a client for it."""
    cleanups: list[Callable[[], Any]] = []

    async def start(
        path: str, answer: Any, *, method: str = "GET", **options: Any
    ) -> tuple[NodeClient, list[web.Request]]:
        seen: list[web.Request] = []

        async def handle(request: web.Request) -> web.StreamResponse:
            seen.append(request)
            await request.read()
            if callable(answer):
                made: web.StreamResponse = await answer(request)
                return made
            return web.json_response(answer)

        app = web.Application()
        app.router.add_route(method, path, handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        client = NodeClient(f"http://127.0.0.1:{runner.addresses[0][1]}", **options)
        cleanups.extend([client.close, runner.cleanup])
        return client, seen

    yield start
    for cleanup in cleanups:
        await cleanup()


@pytest.fixture
async def client(node: Any) -> AsyncIterator[NodeClient]:
    async with NodeClient(node.url) as made:
        yield made


# --- answers -----------------------------------------------------------------------------------


async def test_status_and_account(network: Any, client: NodeClient) -> None:
    network.fund(ALICE.address, 77)
    status = await client.status()
    assert status.engine == "pbft"
    assert status.prefix == "rmoot"
    assert status.head.height == 0
    account = await client.account(ALICE_TEXT)
    assert (account.balance, account.nonce, account.pending_nonce) == (77, 0, 0)


def _transfers(count: int) -> list[bytes]:
    return [
        sign_transaction(
            transfer(ALICE.address, BOB.address, 1, nonce, fee_per_kilobyte=1000), ALICE, bytes(32)
        ).raw
        for nonce in range(count)
    ]


async def test_submit_and_statuses(network: Any, node: Any, client: NodeClient) -> None:
    network.fund(ALICE.address)
    chain_id = parse_id((await client.status()).chain_id)
    unsigned = transfer(ALICE.address, BOB.address, 1, 0, fee_per_kilobyte=1000)
    good = sign_transaction(unsigned, ALICE, chain_id)
    bad = sign_transaction(unsigned, ALICE, bytes(32))
    taken, refused = await client.submit([good.raw, bad.raw])
    assert (taken.txid, taken.code) == (show_id(good.id), "")
    assert refused.code == "replacement-underpriced"
    assert refused.sentence.startswith("no: ")
    ids = [taken.txid, "ab" * 32]
    assert [s.state for s in await client.transaction_statuses(ids)] == ["pending", "unknown"]
    await network.make_block()
    assert (await client.transaction_statuses(ids))[0].state == "final"


async def test_large_submissions_go_in_batches(
    node: Any, client: NodeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "BATCH_MAX", 10)
    results = await client.submit(_transfers(25))
    assert len(results) == 25
    assert node.batches == [10, 10, 5]
    assert len(await client.transaction_statuses([r.txid for r in results])) == 25


async def test_a_result_too_few_makes_no_sense(serve: Serve) -> None:
    client, _ = await serve("/moot/transactions", {"results": []}, method="POST")
    with pytest.raises(BadAnswer, match="0 results for 1"):
        await client.submit([b"x"])


@pytest.mark.parametrize(
    ("path", "answer", "call", "check"),
    [
        (
            "/moot/peers",
            {"peers": [{"node": "n", "host": "::1", "port": 1, "outbound": True, "score": 0.5}]},
            lambda c: c.peers(),
            lambda a: a[0].host == "::1" and a[0].outbound,
        ),
        (
            "/moot/consensus",
            {
                "engine": "pbft",
                "round": 3,
                "evidence": 1,
                "leader": None,
                "validators": [{"address": "a", "name": "n", "weight": 1, "missing": True}],
                "quorum": 3,
                "faults": 1,
                "facts": {"view": 2},
                "tables": {"votes": [{"from": "a", "count": 2}]},
                "why": ["two are missing"],
                "properties": {},
            },
            lambda c: c.consensus(),
            lambda a: a.validators[0].missing and a.facts == {"view": 2},
        ),
        (
            "/moot/why",
            {"healthy": False, "sentences": ["no quorum"]},
            lambda c: c.why(),
            lambda a: not a.healthy and a.sentences == ["no quorum"],
        ),
        (
            "/moot/genesis",
            {"format": 1, "name": "x"},
            lambda c: c.genesis(),
            lambda a: a == {"format": 1, "name": "x"},
        ),
        (
            "/moot/block/ab/proof",
            {"format": "moot-block-proof", "engine": "pbft"},
            lambda c: c.block_proof("ab"),
            lambda a: a["engine"] == "pbft",
        ),
        (
            "/moot/tx/ab/proof",
            {"format": "moot-transaction-proof", "position": 1},
            lambda c: c.transaction_proof("ab"),
            lambda a: a["position"] == 1,
        ),
        (
            "/moot/account/ab/proof",
            {"format": "moot-account-proof", "account": None},
            lambda c: c.account_proof("ab", "cd"),
            lambda a: a["account"] is None,
        ),
        (
            "/moot/mining/template",
            {"job": "1", "header": "00" * 80, "target": "ff" * 32, "height": 3, "expires_ms": 9},
            lambda c: c.mining_template("rmoot1", longpoll="0"),
            lambda a: a.job == "1" and a.height == 3,
        ),
        ("/api/tx/ab/hex", {"x": 1}, lambda c: c.tx_hex("ab"), lambda a: a.startswith("{")),
        ("/api/blocks/tip/height", 12, lambda c: c.tip_height(), lambda a: a == 12),
        (
            "/api/mempool",
            {"count": 1, "vsize": 200, "total_fee": 5, "fee_histogram": [[1.5, 200]]},
            lambda c: c.mempool(),
            lambda a: a.fee_histogram == [(1.5, 200)],
        ),
        ("/api/fee-estimates", {"1": 1.0}, lambda c: c.fee_estimates(), lambda a: a == {"1": 1.0}),
        ("/api/block/ab/txids", ["cd"], lambda c: c.block_txids("ab"), lambda a: a == ["cd"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_reading(serve: Serve, path: str, answer: Any, call: Any, check: Any) -> None:
    client, _ = await serve(path, answer)
    assert check(await call(client))


async def test_posts_carry_json_as_json(serve: Serve) -> None:
    bodies: list[Any] = []

    async def answer(request: web.Request) -> web.Response:
        bodies.append((request.content_type, await request.json()))
        return web.json_response({"accepted": True, "code": "", "sentence": "", "id": "ab"})

    client, _ = await serve("/moot/mining/submit", answer, method="POST")
    assert (await client.mining_submit("7", bytes(80))).accepted
    assert bodies == [("application/json", {"job": "7", "header": "00" * 80})]


async def test_faucet(serve: Serve) -> None:
    client, _ = await serve("/moot/faucet", {"txid": "ab", "amount": 5}, method="POST")
    assert (await client.faucet(ALICE_TEXT)).amount == 5


async def test_broadcast_is_esploras(serve: Serve) -> None:
    bodies: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        bodies.append(await request.text())
        return web.Response(text="ab" * 32 + "\n")

    client, _ = await serve("/api/tx", answer, method="POST")
    assert await client.broadcast(b"\x01\x02") == "ab" * 32
    assert bodies == ["0102"]


async def test_parameters_and_paths_are_escaped(serve: Serve) -> None:
    client, seen = await serve("/moot/account/{address:.+}/proof", {"format": "moot-account-proof"})
    await client.account_proof("../../x?y#z&ü", "a&b=c")
    assert seen[0].match_info["address"] == "../../x?y#z&ü"
    assert seen[0].query == {"block": "a&b=c"}


async def test_documents_of_another_format_are_refused(serve: Serve) -> None:
    client, _ = await serve("/moot/block/ab/proof", {"format": "else"})
    with pytest.raises(BadAnswer, match="moot-block-proof"):
        await client.block_proof("ab")


def _tx(number: int, confirmed: bool = True) -> dict[str, Any]:
    return {
        "txid": f"{number:064x}",
        "version": 1,
        "locktime": 0,
        "size": 200,
        "weight": 800,
        "fee": 200,
        "vin": [
            {
                "txid": "00" * 32,
                "vout": 0,
                "prevout": {"scriptpubkey_address": ALICE_TEXT, "value": 5},
                "is_coinbase": False,
            }
        ],
        "vout": [{"scriptpubkey": "", "scriptpubkey_type": "x", "value": 4}],
        "status": {"confirmed": True, "block_height": 4} if confirmed else {"confirmed": False},
    }


async def test_history_pages_through_everything(serve: Serve) -> None:
    confirmed = [_tx(number) for number in range(60, 0, -1)]
    waiting = [_tx(number, confirmed=False) for number in range(63, 60, -1)]

    async def answer(request: web.Request) -> web.Response:
        tail = request.match_info["tail"]
        if tail == "txs":
            return web.json_response(waiting + confirmed[:25])
        last = tail.removeprefix("txs/chain/")
        start = next(i for i, tx in enumerate(confirmed) if tx["txid"] == last) + 1
        return web.json_response(confirmed[start : start + 25])

    client, seen = await serve("/api/address/{address}/{tail:.+}", answer)
    history = [transaction async for transaction in client.address_history(ALICE_TEXT)]
    assert [int(transaction.txid, 16) for transaction in history] == list(range(63, 0, -1))
    assert len(seen) == 3
    assert history[0].vin[0].prevout.scriptpubkey_address == ALICE_TEXT


# --- errors ------------------------------------------------------------------------------------


async def test_nobody_there_is_unreachable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with NodeClient(f"127.0.0.1:{port}") as client:
        with pytest.raises(NodeUnreachable, match=f"http://127.0.0.1:{port} cannot be reached"):
            await client.status()
        with pytest.raises(NodeUnreachable, match="its feed does not open: nobody listens there"):
            async for _ in client.feed():
                raise AssertionError("nobody is there")


async def test_a_silent_node_is_unreachable(node: Any) -> None:
    node.running.clear()
    async with NodeClient(node.url, timeout_s=0.1) as client:
        with pytest.raises(NodeUnreachable, match="in time"):
            await client.status()
        with pytest.raises(NodeUnreachable, match="in time"):
            async for _ in client.feed():
                raise AssertionError("it says nothing")


async def test_a_broken_off_answer_is_unreachable(serve: Serve) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.abort()
        return response

    client, _ = await serve("/moot/status", answer)
    with pytest.raises(NodeUnreachable):
        await client.status()


async def test_refusals_carry_code_and_sentence(client: NodeClient) -> None:
    with pytest.raises(NodeRefused) as caught:
        await client.account("bc1qxyz")
    assert caught.value.status == 400
    assert caught.value.code != ""
    assert str(caught.value) == caught.value.sentence != ""


@pytest.mark.parametrize(
    ("status", "body", "code", "sentence"),
    [
        (404, b"no such block", "", "no such block"),
        (503, b'{"code": "syncing", "sentence": "still syncing"}', "syncing", "still syncing"),
        (400, b'{"error": "so not"}', "", "so not"),
        (429, b"", "", "the node refused with HTTP status 429"),
        (302, b"elsewhere", "", "elsewhere"),
        (500, b"\x1b[2Jboo\xff\n", "", "[2Jboo�"),
        (500, b"x" * 100_000, "", "x" * 500),
    ],
)
async def test_refusals_in_any_form(
    serve: Serve, status: int, body: bytes, code: str, sentence: str
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Location": "/moot/why"})

    client, seen = await serve("/moot/status", answer)
    with pytest.raises(NodeRefused) as caught:
        await client.status()
    assert (caught.value.status, caught.value.code) == (status, code)
    assert caught.value.sentence == sentence
    assert len(seen) == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"chain_id": 5}', b"\xff", b"[" * 5_000])
async def test_nonsense_is_a_bad_answer(serve: Serve, body: bytes) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body)

    client, _ = await serve("/moot/status", answer)
    with pytest.raises(BadAnswer, match="makes no sense"):
        await client.status()


async def test_endless_answers_are_cut(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "ANSWER_SIZE_MAX", 100_000)
    written = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b" " * 65_536)
                written += 65_536
        return response

    client, _ = await serve("/moot/status", answer)
    with pytest.raises(BadAnswer, match="more than 100000 bytes"):
        await client.status()
    assert written < 50_000_000


async def test_tokens_and_foreign_sessions(serve: Serve) -> None:
    client, seen = await serve("/moot/why", {"healthy": True}, token="secret")
    assert (await client.why()).healthy
    assert seen[0].headers["Authorization"] == "Bearer secret"
    async with aiohttp.ClientSession() as session:
        async with NodeClient(client.base_url, session) as other:
            await other.why()
        assert not session.closed
        assert "Authorization" not in seen[1].headers


@pytest.mark.parametrize("base", ["ftp://x", "http://", "", "http://x/?a=b", "http://x/#a"])
def test_bases_that_are_no_nodes(base: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        NodeClient(base)


def test_bases_may_be_short() -> None:
    assert NodeClient("localhost:80").base_url == "http://localhost"
    assert NodeClient("https://x.example/node/").base_url == "https://x.example/node"
    assert str(NodeClient("x/node").url("/moot/why")) == "http://x/node/moot/why"


# --- the feed ----------------------------------------------------------------------------------


async def test_feed_gives_frames_as_they_come(network: Any, client: NodeClient) -> None:
    frames = client.feed()
    assert await anext(frames) == node_module.FeedFrame("hello", {"engine": "pbft"})
    await network.make_block()
    assert (await anext(frames)).fields == {"height": 1}
    assert (await anext(frames)).kind == "final"
    await frames.aclose()


async def test_feed_reconnects_and_says_so(
    node: Any, client: NodeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "RECONNECT_S", (0.01, 0.02))
    frames = client.feed()
    await anext(frames)
    await node.stop()
    following = asyncio.ensure_future(anext(frames))
    await node.start()
    assert (await following).kind == "gap"
    assert (await anext(frames)).kind == "hello"
    await frames.aclose()


async def test_feed_ends_where_it_is_not_to_reconnect(node: Any, client: NodeClient) -> None:
    frames = client.feed(reconnect=False)
    await anext(frames)
    await node.stop()
    assert [frame async for frame in frames] == []


async def test_feed_that_is_none(serve: Serve) -> None:
    client, _ = await serve("/moot/feed", {})
    with pytest.raises((BadAnswer, NodeRefused)):
        await anext(client.feed())
    other, _ = await serve("/elsewhere", {})
    with pytest.raises(NodeRefused) as caught:
        await anext(other.feed())
    assert caught.value.status == 404


async def test_feed_frames_without_a_kind_make_no_sense(serve: Serve) -> None:
    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str('{"height": 1}')
        await socket.receive()
        return socket

    client, _ = await serve("/moot/feed", answer)
    with pytest.raises(BadAnswer, match="without a kind"):
        await anext(client.feed())
