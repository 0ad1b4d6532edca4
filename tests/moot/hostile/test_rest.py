"""The REST API under strangers' requests: an answer of four hundred and something, and no trace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from moot.node.rest.server import TABLES
from tests.support.node_under_attack import NodeUnderAttack, found, node_key

IDS = [
    "",
    "0",
    "z" * 64,
    "0" * 63,
    "0" * 65,
    "f" * 64,
    "0" * 64,
    "%00" * 8,
    "%ff" * 32,
    "..",
    "é" * 64,
]
NUMBERS = ["-1", "99999999999999999999999", "1.5", "0x10", "²", "١", "1e9", "%20", "+1", "-0"]
ADDRESSES = ["x", "rmoot1", "rmoot1" + "q" * 500, "RMOOT1" + "Q" * 38, "%F0%9F%92%A9", "moot1qqqq"]
TEXTS = [*IDS, *NUMBERS, *ADDRESSES]


@pytest.fixture(params=["pow", "pbft"])
async def node(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[NodeUnderAttack]:
    engine: str = request.param
    genesis = found(engine, 0 if engine == "pow" else 1, {})
    async with NodeUnderAttack(tmp_path / "n", genesis, node_key(0)) as node:
        yield node


def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """No handler of ours stumbled: aiohttp would have logged its traceback.

    It also logs what it cannot read as HTTP, before anything of ours sees it.
    """
    loud = [
        record
        for record in caplog.records
        if record.exc_info
        and not isinstance(record.exc_info[1], aiohttp.http_exceptions.HttpProcessingError)
    ]
    assert not loud, [(r.getMessage(), r.exc_text) for r in loud]


def paths(node: NodeUnderAttack) -> list[tuple[str, str]]:
    """Every route with its parameters' names still in braces."""
    return [(route.method, route.path) for table in TABLES for route in table.routes]


async def test_malformed_ids_numbers_and_addresses(
    node: NodeUnderAttack, caplog: pytest.LogCaptureFixture
) -> None:
    async with aiohttp.ClientSession() as session:
        for method, path in paths(node):
            if method != "GET" or "feed" in path or "{" not in path:
                continue
            for text in TEXTS:
                filled = path
                while "{" in filled:
                    start, rest = filled.split("{", 1)
                    filled = start + text + rest.split("}", 1)[1]
                url = URL(node.url + quote(filled, safe="/%"), encoded=True)
                async with session.get(url, allow_redirects=False) as answer:
                    body = await answer.text()
                    assert answer.status < 500, (path, text, answer.status, body)
    quiet(caplog)
    node.check_alive()


async def test_odd_queries(node: NodeUnderAttack, caplog: pytest.LogCaptureFixture) -> None:
    async with aiohttp.ClientSession() as session:
        for table in TABLES:
            for route in table.routes:
                if route.method != "GET" or route.path in ("/moot/feed", "/readyz"):
                    continue
                filled = route.path
                while "{" in filled:
                    start, rest = filled.split("{", 1)
                    filled = start + "0" + rest.split("}", 1)[1]
                for name in [*route.query, "count", "page", "from", "after", "limit", "block"]:
                    for text in (*NUMBERS, "", "f" * 64, "%ff"):
                        if name == "longpoll":
                            continue
                        query = quote(f"{name}={text}", safe="=%+")
                        url = URL(f"{node.url}{filled}?{query}", encoded=True)
                        async with session.get(url, allow_redirects=False) as answer:
                            await answer.read()
                            assert answer.status < 500, (str(url), answer.status)
    quiet(caplog)


BODIES: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"\xff\xfe",
    b'{"transactions": 5}',
    b'{"transactions": [5]}',
    b'{"transactions": ["zz", "", "90", "c0", "ff", "\xc2\xb2"]}',
    b'{"transactions": ["' + b"9" * 140_000 + b'"]}',
    json.dumps({"transactions": ["00"] * 1_001}).encode(),
    b'{"address": "x"}',
    b'{"address": 5}',
    b'{"job": "1", "header": "00"}',
    b'{"job": "1", "header": "' + b"00" * 80 + b'"}',
    b'{"job": "1", "header": "\xc2\xb2"}',
    b'{"ids": ["x"]}',
    b'{"ids": ["\\u0000"]}',
    b'{"transactions": ["\\ud800"]}',
    b'{"address": "\\ud800"}',
    b"1e999",
    b"9" * 5_000,
    bytes(1_000),
]


async def test_odd_bodies(node: NodeUnderAttack, caplog: pytest.LogCaptureFixture) -> None:
    async with aiohttp.ClientSession() as session:
        for method, path in paths(node):
            if method == "GET":
                continue
            for body in BODIES:
                for kind in ("application/json", "text/plain", "x/y; charset=nonsense"):
                    headers = {"Content-Type": kind}
                    async with session.request(
                        method, node.url + path, data=body, headers=headers
                    ) as answer:
                        text = await answer.text()
                        assert answer.status < 500, (path, body[:40], answer.status, text)
    quiet(caplog)


async def test_bodies_that_are_too_large_are_refused(node: NodeUnderAttack) -> None:
    async with aiohttp.ClientSession() as session:
        for method, path in paths(node):
            if method == "GET":
                continue
            headers = {"Content-Type": "application/json"}
            body = b'{"transactions": ["' + b"0" * (9 * 1024 * 1024) + b'"]}'
            try:
                async with session.request(
                    method, node.url + path, data=body, headers=headers
                ) as answer:
                    assert answer.status in (400, 403, 404, 413), (path, answer.status)
            except aiohttp.ClientError:
                continue  # hung up on while it sent
    node.check_alive()


RAW = [
    b"GET /moot/status HTTP/1.1\r\nHost: [::1\r\n\r\n",
    b"GET /moot/status HTTP/1.1\r\nHost: a:b:c\r\n\r\n",
    b"GET /moot/status HTTP/1.1\r\nHost: \xff\r\n\r\n",
    b"GET /moot/status HTTP/1.1\r\nHost: 127.0.0.1:99999999\r\n\r\n",
    b"GET /moot/status HTTP/1.1\r\n\r\n",
    b"POST /moot/transactions HTTP/1.1\r\nHost: localhost\r\nOrigin: http://[\r\n"
    b"Content-Length: 0\r\n\r\n",
    b"POST /moot/transactions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
    b"GET http://[/moot/status HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /moot/account/%zz%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /moot/feed HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \xff\r\n\r\n",
]


@pytest.mark.parametrize("request_", RAW, ids=lambda request: repr(request[:60]))
async def test_raw_requests(
    node: NodeUnderAttack, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert node.runtime.rest is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", node.runtime.rest.port)
    writer.write(request_)
    answer = b""
    try:
        async with asyncio.timeout(0.5):
            answer = await reader.readuntil(b"\r\n")
    except (TimeoutError, asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.transport.abort()
    assert b" 500 " not in answer, answer
    quiet(caplog)
    node.check_alive()


async def test_a_foreign_page_may_not_write(node: NodeUnderAttack) -> None:
    async with aiohttp.ClientSession() as session:
        for origin in ("http://evil.example", "null", "http://localhost.evil.example", "http://["):
            async with session.post(
                node.url + "/moot/transactions",
                json={"transactions": []},
                headers={"Origin": origin},
            ) as answer:
                assert answer.status == 403, origin
