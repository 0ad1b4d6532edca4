"""Accounts, as fresh as one asks for; and why an answer cannot be as fresh as that."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from chain.view import ChainView
from consensus import contract
from consensus.contract import Effect, Engine, Event, Now, ReadRequested, Status
from moot.client.errors import NodeRefused
from moot.node import requests
from moot.node.rest import accounts
from moot.node.rest.context import Context
from moot.node.rest.routes import WAITED_S
from tests.support.one_node import COINS, KEYS, OneNode
from tests.support.rest_api import Api


class Unwilling:
    """An engine that refuses every read, or (None) never says a word about it."""

    def __init__(self, inner: Engine, refusal: str | None) -> None:
        self.inner = inner
        self.refusal = refusal

    def handle(self, event: Event, view: ChainView, now: Now) -> list[Effect]:
        if not isinstance(event, ReadRequested):
            return self.inner.handle(event, view, now)
        return [] if self.refusal is None else [contract.Answer(event.request, self.refusal)]

    def status(self, view: ChainView, now: Now) -> Status:
        return self.inner.status(view, now)


def path_of(node: OneNode, consistency: str) -> str:
    return f"/moot/account/{node.show(KEYS[0].address)}?consistency={consistency}"


async def refused(node: OneNode, api: Api) -> tuple[int, str, str]:
    """Status, code and sentence of a linearizable read; the other two are still answered."""
    answer = await api.request("GET", path_of(node, "linearizable"))
    for consistency in ("serializable", "head"):
        await api.get(path_of(node, consistency))
    return answer.status, answer.value["code"], answer.value["error"]


async def test_every_consistency_is_answered_and_named(node: OneNode, api: Api) -> None:
    for consistency in accounts.CONSISTENCIES:
        value = (await api.get(path_of(node, consistency))).value
        assert (value["balance"], value["consistency"]) == (COINS, consistency)
    text = node.show(KEYS[0].address)
    assert (await node.client.account(text)).consistency == "head"
    assert (await node.client.account(text, "linearizable")).consistency == "linearizable"


async def test_an_unknown_consistency_is_refused_with_the_known_ones(
    node: OneNode, api: Api
) -> None:
    answer = await api.get(path_of(node, "eventual"), 400)
    assert answer.value["code"] == "unknown-consistency"
    assert answer.value["error"].endswith("head, serializable, linearizable")


async def test_work_promises_no_linearizable_read_and_answers_what_is_confirmed(
    tmp_path: Path,
) -> None:
    async with OneNode(tmp_path, "pow") as node, Api(node.url) as api:
        for _ in range(8):
            await node.mine()
        status, code, sentence = await refused(node, api)
        assert (status, code) == (400, "no-linearizable-reads")
        assert "under pow no block is final" in sentence
        miner = node.show(node.key.address)
        head = await node.client.account(miner)
        confirmed = await node.client.account(miner, "serializable")
        assert (head.height, confirmed.height) == (8, 2)
        assert confirmed.balance < head.balance
        assert [entry.height for entry in confirmed.maturing] == [4, 5]
        with pytest.raises(NodeRefused, match="under pow no block is final"):
            await node.client.account(miner, "linearizable")


async def test_waiting_for_a_quorum_is_not_charged(
    node: OneNode, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client pays for the node's time; a node that waits for others spends none."""
    charged: list[int] = []
    waited: list[float] = []
    ask = accounts._permission

    async def asked(context: Context, request: web.Request) -> None:
        try:
            await ask(context, request)
        finally:
            waited.append(request[WAITED_S])
            request[WAITED_S] = 1_000.0  # more than any test takes

    rest = node.runtime.rest
    assert rest is not None
    monkeypatch.setattr(rest, "_charge", lambda who, milliseconds: charged.append(milliseconds))
    monkeypatch.setattr(accounts, "READ_TIMEOUT_S", 0.1)
    monkeypatch.setattr(accounts, "_permission", asked)
    node.core.driver.engine = Unwilling(node.core.driver.engine, None)
    await api.get(path_of(node, "linearizable"), 503)
    assert waited[0] > 0.09
    assert charged[0] < 0


async def test_silence_ends_and_leaves_nothing_behind(
    node: OneNode, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "READ_TIMEOUT_S", 0.05)
    monkeypatch.setattr(requests, "REQUESTS_MAX", 1)
    node.core.driver.engine = Unwilling(node.core.driver.engine, None)
    for _ in range(3):
        status, code, sentence = await refused(node, api)
        assert (status, code) == (503, "no-quorum")
        assert "within 0.05 s" in sentence and "consistency=serializable" in sentence


async def test_the_engines_own_refusal_is_told(node: OneNode, api: Api) -> None:
    node.core.driver.engine = Unwilling(node.core.driver.engine, "refused: no leader is known")
    assert await refused(node, api) == (503, "read-refused", "refused: no leader is known")


async def test_too_many_open_reads_are_refused(
    node: OneNode, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "REQUESTS_MAX", 0)
    assert await refused(node, api) == (503, "too-many-reads", requests.TOO_MANY)


async def test_a_node_that_catches_up_does_not_vouch(
    node: OneNode, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(node.core.sync), "syncing", True)
    status, code, sentence = await refused(node, api)
    assert (status, code) == (503, "syncing")
    assert "catching up" in sentence
