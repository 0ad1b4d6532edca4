"""Who may ask, how much, how slowly; and that nothing sent makes a node say anything but sense."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import random
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from chain.errors import StoreFailure
from chain.transaction import Transfer
from moot.node.config import ConfigError, RestSection
from moot.node.rest import server
from moot.node.rest.routes import Refusal
from moot.node.rest.server import BODY_SIZE_MAX, ROUTES
from tests.support.one_node import KEYS, OneNode
from tests.support.rest_api import Api


def test_what_waits_is_not_charged_as_time() -> None:
    waiting = {route.path for route in ROUTES if route.method == "GET" and not route.at_once}
    assert waiting == {"/moot/feed", "/moot/mining/template"}


def refused(value: Any) -> str:
    """The code of a refusal, which has this form and no other."""
    assert value.keys() == {"code", "error"} == set(Refusal.__struct_fields__)
    assert 5 < len(value["error"]) < 300 and "Traceback" not in value["error"]
    return str(value["code"])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:1234", 200),
        ("LOCALHOST", 200),
        ("[::1]:9600", 200),
        ("127.8.9.10", 200),
        ("my.node", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("10.0.0.1", 403),
        ("[::1", 403),
        ("", 403),
        ("a@b:c:d", 403),
    ],
)
async def test_only_own_names_are_answered(tmp_path: Path, host: str, status: int) -> None:
    section = RestSection(port=0, names=("my.node",))
    async with OneNode(tmp_path, rest=section) as node, Api(node.url) as api:
        answer = await api.get("/moot/status", status, headers={"Host": host})
        if status != 200:
            assert refused(answer.value) == "foreign-host"
            # Under a foreign name not even the errors of other paths are told.
            await api.get("/nothing", 403, headers={"Host": host})


async def test_a_request_that_names_no_host_is_refused_without_asking_the_resolver(
    node: OneNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(socket, "getfqdn", lambda name="": asked.append(name) or "localhost")
    reader, writer = await open_connection(node)
    writer.write(b"GET /moot/status HTTP/1.0\r\n\r\n")
    async with asyncio.timeout(10):
        assert b" 403 " in await reader.readline()
    writer.close()
    assert asked == []


async def test_a_node_on_all_interfaces_answers_to_the_address_it_was_reached_at(
    tmp_path: Path,
) -> None:
    section = RestSection(host="0.0.0.0", port=0)
    async with OneNode(tmp_path, rest=section) as node, Api(node.url) as api:
        await api.get("/moot/status", headers={"Host": "127.0.0.1:1"})
        await api.get("/moot/status", 403, headers={"Host": "192.0.2.1"})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "OWN"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Origin": "http://[::1"}, 403),
        ({"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
async def test_pages_of_others_read_but_do_not_write(
    api: Api, headers: dict[str, str], status: int
) -> None:
    headers = {name: api.url if text == "OWN" else text for name, text in headers.items()}
    written = await api.request(
        "POST", "/moot/transactions", json={"transactions": []}, headers=headers
    )
    assert written.status == status
    if status == 403:
        assert refused(written.value) == "foreign-origin"
        assert "Access-Control-Allow-Origin" not in written.headers
        text = await api.request("POST", "/api/tx", data="00", headers=headers)
        assert text.status == 403
    read = await api.get("/moot/status", headers=headers)
    assert read.headers["Access-Control-Allow-Origin"] == "*"
    assert read.headers["X-Content-Type-Options"] == "nosniff"
    assert read.headers["Server"] == "moot"  # what it is made of is nobody's business


async def test_a_preflight_allows_reading_only(api: Api) -> None:
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = await api.request("OPTIONS", "/moot/transactions", headers=asked)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD"


async def test_json_is_taken_as_json_only(api: Api) -> None:
    text = json.dumps({"transactions": []})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = await api.post("/moot/transactions", text, 415, headers={"Content-Type": kind})
        assert refused(answer.value) == "not-json"
    kind = "application/json; charset=utf-8"
    await api.post("/moot/transactions", text, headers={"Content-Type": kind})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"transactions":null}',
        b'{"transactions":[1]}',
        b'{"transactions":' + b"[" * 100_000,
        b'{"transactions":["\xff"]}',
        b"\xef\xbb\xbf{}",
        json.dumps({"transactions": ["00"] * 1_001}).encode(),
    ],
)
async def test_malformed_json_is_400(api: Api, body: bytes) -> None:
    answer = await api.post(
        "/moot/transactions", body, 400, headers={"Content-Type": "application/json"}
    )
    assert refused(answer.value) == "malformed-json"


async def test_each_transaction_is_judged_by_itself(node: OneNode, api: Api) -> None:
    good = node.sign(KEYS[0], [Transfer(KEYS[1].address, 5)])
    texts = ["", "zz", "0", "00", good.raw.hex(), good.raw.hex() + "00", "ff" * 70_000]
    answer = await api.post("/moot/transactions", {"transactions": texts})
    codes = [result["code"] for result in answer.value["results"]]
    assert codes[4] == "" and all(codes[:4]) and all(codes[5:])
    asked = {"ids": ["zz"]}
    assert refused((await api.post("/moot/transactions/status", asked, 400)).value)


@pytest.mark.parametrize("path", ["/moot/transactions", "/api/tx", "/moot/faucet"])
async def test_bodies_are_bounded(api: Api, path: str) -> None:
    headers = {"Content-Type": "application/json"}

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(BODY_SIZE_MAX // 65_536 + 2):
            yield b"0" * 65_536

    for body in (b"0" * (BODY_SIZE_MAX + 1), chunks()):
        answer = await api.request("POST", path, data=body, headers=headers)
        if path == "/moot/faucet":
            assert answer.status in (404, 413)  # without a faucet there is nothing to read
            continue
        assert answer.status == 413
        assert f"{BODY_SIZE_MAX} bytes" in answer.text
        assert path.startswith("/api") or refused(answer.value) == "too-large"
    await api.get("/moot/status")


async def test_a_small_body_that_unpacks_to_a_large_one_is_refused(api: Api) -> None:
    bomb = gzip.compress(b"0" * (4 * BODY_SIZE_MAX))
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await api.request("POST", "/moot/transactions", data=bomb, headers=headers)
    assert answer.status == 413
    await api.get("/moot/status")


async def test_a_body_that_trickles_is_cut_off(node: OneNode, api: Api) -> None:
    assert node.runtime.rest is not None
    node.runtime.rest.context.body_timeout_s = 0.1
    reader, writer = await open_connection(node)
    writer.write(
        b"POST /moot/transactions HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    )
    async with asyncio.timeout(10):
        assert b" 408 " in await reader.readline()
    writer.close()


async def test_headers_that_trickle_are_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "KEEPALIVE_S", 0.2)
    async with OneNode(tmp_path) as node:
        reader, writer = await open_connection(node)
        writer.write(b"GET /moot/status HTTP/1.1\r\nHost: loc")
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"POST /api/tx HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/tx HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_no_http_gets_no_more_than_a_400(node: OneNode, request_bytes: bytes) -> None:
    reader, writer = await open_connection(node)
    writer.write(request_bytes)
    writer.write_eof()
    async with asyncio.timeout(10):
        answer = await reader.read()
    assert answer == b"" or answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400")), answer[:100]
    assert b"Traceback" not in answer and b".py" not in answer
    writer.close()


async def open_connection(
    node: OneNode,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = node.url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


async def test_unknown_paths_and_wrong_methods(api: Api) -> None:
    for path in ("/nothing", "/moot", "/moot/status/", "/moot/../etc/passwd", "/%2e%2e/x"):
        assert refused((await api.get(path, 404)).value) == "unknown-path"
    answer = await api.request("DELETE", "/moot/status")
    assert (answer.status, refused(answer.value)) == (405, "wrong-method")
    assert answer.headers["Allow"] == "GET, HEAD"
    answer = await api.request("GET", "/moot/transactions")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    answer = await api.request("PUT", "/api/tx")
    assert answer.status == 405 and answer.text == "this path takes POST"


async def test_head_says_what_get_would(api: Api) -> None:
    for path in ("/moot/genesis", "/api/blocks", "/api/blocks/tip/hash", "/healthz"):
        head, whole = await api.request("HEAD", path), await api.get(path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == whole.headers["Content-Length"]
        assert head.headers["Content-Type"] == whole.headers["Content-Type"]
    assert (await api.request("HEAD", "/api/tx/zz")).status == 400


async def test_requests_are_counted_by_address(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOCAL_BURST", 5)
    monkeypatch.setattr(server, "LOCAL_RATE", 1)
    answers = [await api.request("GET", "/healthz") for _ in range(8)]
    statuses = [answer.status for answer in answers]
    assert statuses[:5] == [200] * 5 and 429 in statuses[5:]
    late = next(answer for answer in answers if answer.status == 429)
    assert refused(late.value) == "too-many-requests" and late.headers["Retry-After"] == "1"


async def test_a_stranger_has_less_than_this_machine_and_few_are_remembered(
    node: OneNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = node.runtime.rest
    assert rest is not None
    asked = [rest._within_rate("192.0.2.1") for _ in range(server.BURST + 50)]
    assert all(asked[: server.BURST]) and not asked[-1]
    assert all(rest._within_rate("127.0.0.1") for _ in range(server.BURST + 50))
    monkeypatch.setattr(server, "ADDRESSES_MAX", 10)
    for number in range(50):
        assert rest._within_rate(f"192.0.2.{number + 2}")
    assert len(rest._budgets) <= 12


async def test_costly_questions_of_strangers_are_charged(
    node: OneNode, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = node.runtime.rest
    assert rest is not None
    now_ms = 0
    monkeypatch.setattr(node.runtime, "uptime_ms", lambda: now_ms)
    for address in ("192.0.2.1", "192.0.2.2", "::1"):
        assert rest._within_rate(address)
        rest._charge(address, server.TIME_BURST_MS)
        assert rest._within_rate(address)
    rest._charge("192.0.2.1", 100)
    rest._charge("::1", 10**9)
    assert not rest._within_rate("192.0.2.1")
    assert rest._within_rate("192.0.2.2") and rest._within_rate("::1")
    now_ms = 1_000 * 100 // server.TIME_RATE_MS
    assert rest._within_rate("192.0.2.1")
    # Each answer is charged to whoever asked.
    charged: list[tuple[str, int]] = []
    monkeypatch.setattr(rest, "_charge", lambda *what: charged.append(what))
    await api.get("/api/blocks")
    await api.get("/api/tx/zz", 400)
    await api.post("/moot/transactions", {"transactions": []})
    assert [address for address, _ in charged] == ["127.0.0.1"] * 2


async def test_an_operators_call_needs_the_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("correct horse battery\n")
    section = RestSection(port=0, admin_token_file=str(token))
    command = {"name": "dance"}
    async with OneNode(tmp_path, rest=section) as node, Api(node.url) as api:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic é"}):
            answer = await api.post("/moot/command", command, 401, headers=headers)
            assert refused(answer.value) == "wrong-token"
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        headers = {"Authorization": "Bearer correct horse battery"}
        answer = await api.post("/moot/command", command, headers=headers)
        assert answer.value == {"outcome": "refused: pbft knows no command 'dance'"}
        await api.post("/moot/command", {}, 400, headers=headers)


async def test_without_a_token_set_there_are_no_operators_calls(api: Api) -> None:
    for headers in ({}, {"Authorization": "Bearer "}):
        answer = await api.post("/moot/command", {"name": "dance"}, 403, headers=headers)
        assert refused(answer.value) == "no-token-set"


async def test_a_short_token_is_refused_at_the_start(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("1234")
    section = RestSection(port=0, admin_token_file=str(token))
    with pytest.raises(ConfigError, match="16 characters"):
        async with OneNode(tmp_path, rest=section):
            pass


async def test_what_has_not_changed_is_not_sent_again(node: OneNode, api: Api) -> None:
    first = await api.get("/api/blocks")
    tag = first.headers["ETag"]
    for known in (tag, "*", f'"other", {tag}'):
        again = await api.get("/api/blocks", 304, headers={"If-None-Match": known})
        assert again.body == b"" and again.headers["ETag"] == tag
        assert again.headers["Cache-Control"] == first.headers["Cache-Control"]
    await node.final(node.sign(KEYS[0], [Transfer(KEYS[1].address, 5)]))
    changed = await api.get("/api/blocks", headers={"If-None-Match": tag})
    assert changed.headers["ETag"] != tag
    # What must be fresh, and what was refused, carries none.
    assert "ETag" not in (await api.get("/moot/status")).headers
    assert "ETag" not in (await api.get("/api/tx/zz", 400)).headers


def broken(app: web.Application) -> None:
    async def fail(request: web.Request) -> web.Response:
        raise KeyError("secret of the house")

    app.router.add_get("/broken", fail)
    app.router.add_get("/api/broken", fail)


async def test_our_own_mistakes_are_logged_and_not_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with OneNode(tmp_path, rest_extensions=(broken,)) as node, Api(node.url) as api:
        with caplog.at_level(logging.ERROR, "moot.node"):
            async with api.session.get(f"{api.url}/broken") as answer:
                assert answer.status == 500
                assert refused(await answer.json()) == "our-mistake"
            async with api.session.get(f"{api.url}/api/broken") as answer:
                text = await answer.text()
                assert answer.status == 500 and answer.content_type == "text/plain"
        assert "secret" not in text and "Traceback" not in text
        assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [
            KeyError,
            KeyError,
        ]
        await api.get("/moot/status")  # the node lives on


async def test_a_disk_that_fails_under_a_submission_ends_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreFailure):
        async with OneNode(tmp_path) as node, Api(node.url) as api:

            def fail(transactions: object, source: object = None) -> None:
                raise StoreFailure("the disk is full")

            monkeypatch.setattr(node.core, "submit", fail)
            answer = await api.post("/moot/transactions", {"transactions": []}, 503)
            assert refused(answer.value) == "stopping"


async def test_a_stopping_node_takes_no_writes(node: OneNode, api: Api) -> None:
    node.runtime.request_stop()
    answer = await api.post("/moot/transactions", {"transactions": []}, 503)
    assert refused(answer.value) == "stopping"


GETS = [route.path for route in ROUTES if route.method == "GET"]
NONSENSE = (
    "-1",
    "0",
    "1",
    "9" * 15,
    "9" * 16,
    "1e9",
    "\u0661",
    "0x0",
    "%00",
    "...",
    "null",
    "'; drop",
    "\U0001f4a9",
    "00" * 32,
    "ff" * 32,
    "zz" * 32,
    "0" * 63,
    " " * 64,
    "rmoot1",
    "rmoot1q" + "q" * 58,
    "RMOOT1q",
    "moot1" + "q" * 59,
    "a" * 4_000,
)


@pytest.mark.parametrize("word", NONSENSE)
async def test_no_parameter_makes_any_route_fail(api: Api, word: str) -> None:
    """Each answer is also held against the document: its status must be announced there."""
    for path in GETS:
        filled = re.sub(r"{\w+}", quote(word, safe=""), path)
        parameters = {name: word for route in ROUTES if route.path == path for name in route.query}
        answer = await api.request("GET", filled, params=parameters)
        assert answer.status != 500, filled


async def test_random_bytes_make_no_post_fail(api: Api) -> None:
    rng = random.Random(1)
    for _ in range(40):
        body = rng.randbytes(rng.randrange(200))
        for route in ROUTES:
            if route.method == "POST":
                headers = {"Content-Type": "application/json"}
                answer = await api.request("POST", route.path, data=body, headers=headers)
                assert 400 <= answer.status < 500, (route.path, body)
