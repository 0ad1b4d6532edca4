"""Submitting and waiting for the outcome in one request."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from chain.transaction import Transaction, Transfer
from moot.node.rest import waiting
from tests.support.one_node import KEYS, OneNode
from tests.support.rest_api import Api

ALICE, BOB, *_ = KEYS


def paying(node: OneNode, amount: int = 5, **options: Any) -> Transaction:
    return node.sign(ALICE, [Transfer(BOB.address, amount)], **options)


async def post(api: Api, transactions: list[Transaction], query: str, status: int = 200) -> Any:
    body = {"transactions": [transaction.raw.hex() for transaction in transactions]}
    return (await api.post(f"/moot/transactions{query}", body, status)).value


async def test_the_answer_comes_with_the_outcome(node: OneNode, api: Api) -> None:
    first = paying(node, nonce=0)
    second = paying(node, amount=0, nonce=1)  # taken, and does nothing
    results = (await post(api, [first, second], "?wait=final"))["results"]
    assert [result["state"] for result in results] == ["final", "failed"]
    ledger = node.core.ledger
    for result, transaction in zip(results, (first, second), strict=True):
        located = ledger.transaction(transaction.id)
        assert located is not None
        assert located.height == result["height"]


async def test_what_is_final_already_is_answered_at_once(node: OneNode, api: Api) -> None:
    transaction = paying(node)
    await node.final(transaction)
    (result,) = (await post(api, [transaction], "?wait=final&seconds=30"))["results"]
    assert result["code"] in ("already-known", "wrong-nonce-low")


async def test_time_is_up_and_the_transaction_still_waits(node: OneNode, api: Api) -> None:
    later = paying(node, nonce=3)  # nothing fills the nonces before it
    (result,) = (await post(api, [later], "?wait=final&seconds=0.1"))["results"]
    assert (result["code"], result["state"], result["height"]) == ("", "pending", None)
    (again,) = (await post(api, [later], "?wait=committed&seconds=0.1"))["results"]
    assert (again["code"], again["state"]) == ("already-known", "pending")


async def test_one_that_is_refused_is_not_waited_for(node: OneNode, api: Api) -> None:
    poor = paying(node, nonce=0, fee=1)
    (result,) = (await post(api, [poor], "?wait=final&seconds=30"))["results"]
    assert (result["code"], result["state"]) == ("fee-below-minimum", "")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?wait=soon", "unknown-wait"),
        ("?wait=", "unknown-wait"),
        ("?wait=final&seconds=soon", "bad-seconds"),
        ("?wait=final&seconds=0", "bad-seconds"),
        ("?wait=final&seconds=-1", "bad-seconds"),
        ("?wait=final&seconds=nan", "bad-seconds"),
        ("?wait=final&seconds=31", "bad-seconds"),
        ("?wait=final&seconds=inf", "bad-seconds"),
    ],
)
async def test_wishes_that_are_none(node: OneNode, api: Api, query: str, code: str) -> None:
    assert (await post(api, [paying(node)], query, 400))["code"] == code
    assert not len(node.core.mempool)


async def test_no_more_wait_than_there_is_room_for(
    node: OneNode, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "WAITED_FOR_MAX", 1)
    ahead = [paying(node, nonce=nonce) for nonce in (1, 2)]  # nonce 0 is missing
    refusal = await post(api, ahead, "?wait=final", 503)
    assert refusal["code"] == "too-many-wait"
    assert len(node.core.mempool) == 2
    # Nothing is left behind by the refused one: there is room for one again.
    (result,) = (await post(api, ahead[:1], "?wait=final&seconds=0.1"))["results"]
    assert result["state"] == "pending"


async def test_committed_comes_before_confirmed(tmp_path: Path) -> None:
    async with OneNode(tmp_path, "pow") as node, Api(node.url) as api:
        transaction = paying(node)
        answers = asyncio.gather(
            post(api, [transaction], "?wait=committed"),
            post(api, [transaction], "?wait=final&seconds=30"),
        )
        await node.until(lambda: len(node.core.mempool) == 1)
        await node.mine()
        depth = node.core.ledger.height(node.core.ledger.head())
        while not answers.done():
            await asyncio.sleep(0.01)
            if depth < 20:
                await node.mine()
                depth += 1
        (committed,), (final,) = (answer["results"] for answer in answers.result())
        assert committed["state"] in ("committed", "final")
        assert final["state"] == "final"
        assert committed["height"] == final["height"] == 1


async def test_one_that_is_dropped_is_not_waited_for_any_longer(tmp_path: Path) -> None:
    async with OneNode(tmp_path, "pow") as node, Api(node.url) as api:
        cheap, dear = paying(node, nonce=0), paying(node, nonce=0, fee=50_000)
        waits = asyncio.create_task(post(api, [cheap], "?wait=final&seconds=30"))
        await node.until(lambda: len(node.core.mempool) == 1)
        results = (await post(api, [dear], ""))["results"]
        assert results[0]["code"] == ""
        (result,) = (await waits)["results"]
        assert result["state"] == "unknown"


async def test_a_node_that_stops_answers_those_who_wait(tmp_path: Path) -> None:
    async with OneNode(tmp_path, "pow") as node, Api(node.url) as api:
        waits = asyncio.create_task(post(api, [paying(node)], "?wait=final&seconds=30"))
        await node.until(lambda: len(node.core.mempool) == 1)
        node.runtime.request_stop()
        (result,) = (await waits)["results"]
        assert result["state"] == "pending"


async def test_the_client_waits_too(node: OneNode) -> None:
    (result,) = await node.client.submit([paying(node).raw], wait="final", wait_s=20)
    assert (result.code, result.state, result.height) == ("", "final", 1)
