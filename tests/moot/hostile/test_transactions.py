"""Floods and lies about transactions, against whole nodes over real links and REST."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import msgspec
import pytest

from chain.hashing import sha256
from chain.transaction import Transaction
from p2p.gossip import TransactionGossip
from p2p.wire import AnnounceTransactions, GetTransactions, Transactions
from tests.moot.hostile.test_pow_lies import BIG, of_another_chain, pay, tampered
from tests.support.hostile_peer import HostilePeer
from tests.support.node_under_attack import USERS, NodeUnderAttack, found, node_key


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[NodeUnderAttack]:
    async with NodeUnderAttack(tmp_path / "n", found("pow", 0, {}), node_key(0)) as node:
        yield node


async def hand_over(node: NodeUnderAttack, peer: HostilePeer, *bodies: Transaction) -> None:
    """Announced, asked for, delivered: as gossip wants it."""
    await peer.say(AnnounceTransactions(tuple(body.id for body in bodies)))
    for body in bodies:
        await peer.hear(
            lambda message, name=body.id: (
                isinstance(message, GetTransactions) and name in message.ids
            )
        )
    await peer.say(Transactions(tuple(body.raw for body in bodies)))
    await peer.settle()


LIES: dict[str, Callable[[NodeUnderAttack], Transaction]] = {
    "bad-signature": tampered,
    "for-another-chain": of_another_chain,
    "no-witness": lambda n: msgspec.structs.replace(pay(n, 0), witness=()),
    "many-witnesses": lambda n: msgspec.structs.replace(pay(n, 0), witness=(bytes(64),) * 33),
    "short-witness": lambda n: msgspec.structs.replace(pay(n, 0), witness=(b"x",)),
    "amount-past-all": lambda n: pay(n, 0, (BIG,)),
    "amounts-overflow-together": lambda n: pay(n, 0, (2**62,) * 4),
    "fee-past-all": lambda n: pay(n, 0, fee=BIG),
    "fee-and-amount-overflow": lambda n: pay(n, 0, (BIG,), fee=BIG),
    "no-fee": lambda n: pay(n, 0, fee=0),
    "nonce-past-all": lambda n: pay(n, BIG),
    "changed-after-signing": lambda n: msgspec.structs.replace(pay(n, 0), nonce=2**40),
    "unknown-sender": lambda n: msgspec.structs.replace(pay(n, 0), sender=bytes(33)),
    "odd-address-kind": lambda n: msgspec.structs.replace(pay(n, 0), sender=b"\xee" + bytes(32)),
}
CHARGED = {
    "bad-signature",
    "for-another-chain",
    "no-witness",
    "many-witnesses",
    "short-witness",
    "unknown-sender",
}
"""What is signed to deceive. The others are refused before a signature is looked at, and may be
true on another branch or under newer rules."""


@pytest.mark.parametrize("name", LIES)
async def test_a_bad_transaction_is_not_kept(node: NodeUnderAttack, name: str) -> None:
    async with node.attacker() as liar:
        await liar.enter()
        await hand_over(node, liar, LIES[name](node))
        assert len(node.core.mempool) == 0
        assert (node.score(liar) > 0) == (name in CHARGED)
    honest = pay(node, 0)
    async with node.attacker(667) as friend:
        await friend.enter()
        await hand_over(node, friend, honest)
        await node.until(lambda: honest.id in node.core.mempool)


async def test_a_rest_client_hears_why(node: NodeUnderAttack) -> None:
    """One answer for each, whatever the others are."""
    bodies = [lie(node).raw.hex() for lie in LIES.values()]
    texts = [*bodies, pay(node, 0).raw.hex(), "", "zz", "ff" * 70_000]
    async with (
        aiohttp.ClientSession() as session,
        session.post(node.url + "/moot/transactions", json={"transactions": texts}) as answer,
    ):
        results = (await answer.json())["results"]
    codes = [result["code"] for result in results]
    assert len(codes) == len(texts)
    assert [place for place, code in enumerate(codes) if not code] == [len(bodies)]
    assert all(result["sentence"] for result in results if result["code"])
    assert len(node.core.mempool) == 1


async def test_ten_thousand_transactions_of_one_sender(node: NodeUnderAttack) -> None:
    """With and without gaps in the nonces: bounded for the sender, and others get in."""
    async with aiohttp.ClientSession() as session:
        for start in range(0, 10_000, 1_000):
            step = 1 if start < 5_000 else 7
            texts = [pay(node, (start + number) * step, (1,)).raw.hex() for number in range(1_000)]
            async with session.post(
                node.url + "/moot/transactions", json={"transactions": texts}
            ) as answer:
                assert answer.status == 200
    mempool = node.core.mempool
    held = len(mempool)
    assert 0 < held < 10_000
    of_sender = len(mempool.pending_of(USERS[0].address)) + len(mempool.queued_of(USERS[0].address))
    assert of_sender == held
    other = pay(node, 0, sender=2)
    assert node.core.submit([other]) == [None]
    block = node.template(node.ledger.head())
    assert other.id in {transaction.id for transaction in block.transactions}


async def test_replacements_of_one_nonce_do_not_pile_up(node: NodeUnderAttack) -> None:
    for number in range(2_000):
        node.core.submit([pay(node, 0, (1,), fee=10_000 + number)])
    assert len(node.core.mempool) == 1


async def test_a_peer_that_announces_and_never_delivers(node: NodeUnderAttack) -> None:
    """100,000 ids of nothing: bounded, charged, and an honest peer's bodies still come."""
    gossip: TransactionGossip = node.core.gossip
    async with node.attacker() as liar, node.attacker(667) as friend:
        await liar.enter()
        await friend.enter()
        honest = pay(node, 0)
        await liar.say(AnnounceTransactions((honest.id,)))
        for batch in range(100):
            ids = tuple(sha256(b"%d/%d" % (batch, number)) for number in range(1_000))
            await liar.say(AnnounceTransactions(ids))
        await liar.settle()
        counts = gossip.counts()
        assert all(count <= 60_000 for count in counts.values()), counts
        await friend.say(AnnounceTransactions((honest.id,)))
        await friend.hear(
            lambda message: isinstance(message, GetTransactions) and honest.id in message.ids
        )
        await friend.say(Transactions((honest.raw,)))
        await node.until(lambda: honest.id in node.core.mempool)
        assert node.score(friend) == 0
    await node.until(lambda: not node.runtime.transport.peers())
    assert all(count <= 60_000 for count in gossip.counts().values()), gossip.counts()


async def test_garbage_bodies_are_charged(node: NodeUnderAttack) -> None:
    async with node.attacker() as liar:
        await liar.enter()
        name = sha256(b"promised")
        await liar.say(AnnounceTransactions((name,)))
        await liar.hear(lambda message: isinstance(message, GetTransactions))
        await liar.say(Transactions((b"\x90", b"\xff" * 1_000, b"", pay(node, 0).raw)))
        await node.until(lambda: node.score(liar) > 0 or node.is_banned(liar))
    assert len(node.core.mempool) == 0


async def test_a_node_that_is_asked_for_everything_at_once(node: NodeUnderAttack) -> None:
    """Requests for what it has, thousands of times: bodies go out once a link."""
    payments = [pay(node, nonce) for nonce in range(20)]
    assert node.core.submit(payments) == [None] * 20
    async with node.attacker() as greedy:
        await greedy.enter()
        ids = tuple(payment.id for payment in payments)
        for _ in range(500):
            await greedy.say(GetTransactions(ids))
        await greedy.settle()
        await asyncio.sleep(0.2)
        sent = sum(
            len(message.bodies) for message in greedy.heard if isinstance(message, Transactions)
        )
        assert sent <= len(payments)
