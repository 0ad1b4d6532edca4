"""A proof-of-work node takes blocks from anyone: a forged one costs its sender, and no more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from chain.block import Block
from chain.genesis import SUPPLY_MAX
from chain.header import Header
from chain.manifest import Manifest
from chain.merkle import merkle_root
from chain.transaction import Transaction, Transfer
from moot.node.importer import HELD_MAX
from p2p.wire import AnnounceBlock, BlockBody, GetBlocks, Status
from tests.support.node_under_attack import COINS, USERS, NodeUnderAttack, found, node_key
from wallet.build import sign_transaction

FUTURE_S = 7_200
"""The default of pow's future_limit_ms, in seconds."""


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[NodeUnderAttack]:
    async with NodeUnderAttack(tmp_path / "n", found("pow", 0, {}), node_key(0)) as node:
        yield node


def has_work(header: Header) -> bool:
    exponent, digits = header.bits >> 24, header.bits & 0x7F_FFFF
    target = digits << 8 * (exponent - 3) if exponent > 3 else digits
    return int.from_bytes(header.id, "little") <= target


def mined(block: Block) -> Block:
    """The block with a nonce that meets its own bits (two tries where they are easy)."""
    for nonce in range(100_000):
        header = msgspec.structs.replace(block.header, nonce=nonce)
        if has_work(header):
            return Block(header, block.manifest, block.transactions, block.seal)
    raise AssertionError("no work found")


def forge(
    block: Block,
    *,
    header: dict[str, object] | None = None,
    manifest: dict[str, object] | None = None,
    transactions: tuple[Transaction, ...] | None = None,
    seal: bytes = b"",
) -> Block:
    """``block`` with other contents, its Merkle root made right again, and mined."""
    changed: Manifest = msgspec.structs.replace(block.manifest, **(manifest or {}))
    body = block.transactions if transactions is None else transactions
    root = merkle_root((changed.leaf, *(transaction.id for transaction in body)))
    made: Header = msgspec.structs.replace(
        block.header, merkle_root=root, time_s=changed.time_ms // 1000
    )
    made = msgspec.structs.replace(made, **(header or {}))
    return mined(Block(made, changed, body, seal))


def pay(
    node: NodeUnderAttack,
    nonce: int,
    amounts: tuple[int, ...] = (5,),
    *,
    fee: int = 10_000,
    sender: int = 0,
    expiry: int = 0,
) -> Transaction:
    """A signed payment of user ``sender`` to user 1; the amounts may be absurd."""
    draft = Transaction(
        USERS[sender].address,
        nonce,
        fee,
        expiry,
        0,
        tuple(Transfer(USERS[1].address, amount) for amount in amounts),
    )
    return sign_transaction(draft, USERS[sender], node.ledger.chain_id)


def tampered(node: NodeUnderAttack) -> Transaction:
    good = pay(node, 0)
    return msgspec.structs.replace(good, fee=good.fee + 1)


def of_another_chain(node: NodeUnderAttack) -> Transaction:
    draft = msgspec.structs.replace(pay(node, 0), witness=())
    return sign_transaction(draft, USERS[0], bytes(32))


Forgery = Callable[[NodeUnderAttack, Block], Block]
BIG = 2**63 - 1

FORGERIES: dict[str, Forgery] = {
    "harder-bits-than-due": lambda n, b: forge(b, header={"bits": 0x203FFFFF}),
    "version-bits": lambda n, b: forge(b, header={"version": 0xFFFFFFFF}),
    "wrong-height": lambda n, b: forge(b, manifest={"height": b.height + 5}),
    "height-past-all": lambda n, b: forge(b, manifest={"height": BIG}),
    "wrong-reward": lambda n, b: forge(b, manifest={"reward": b.manifest.reward + 1}),
    "reward-past-supply": lambda n, b: forge(b, manifest={"reward": SUPPLY_MAX}),
    "reward-63-bits": lambda n, b: forge(b, manifest={"reward": BIG}),
    "wrong-state-root": lambda n, b: forge(b, manifest={"state_root": bytes(32)}),
    "wrong-next-validators": lambda n, b: forge(b, manifest={"next_validators": bytes(32)}),
    "claims-garbage": lambda n, b: forge(b, manifest={"claims": b"\xff" * 64 * 1024}),
    "seal-garbage": lambda n, b: forge(b, seal=b"\x90" * 4_096),
    "another-producer": lambda n, b: forge(b, manifest={"producer": USERS[3].address}),
    "time-before-parent": lambda n, b: forge(b, manifest={"time_ms": 1_000}),
    "time-zero": lambda n, b: forge(b, manifest={"time_ms": 0}),
    "header-time-of-another": lambda n, b: forge(b, header={"time_s": b.header.time_s - 3}),
    "bad-signature": lambda n, b: forge(b, transactions=(tampered(n),)),
    "signed-for-another-chain": lambda n, b: forge(b, transactions=(of_another_chain(n),)),
    "no-witness": lambda n, b: forge(
        b, transactions=(msgspec.structs.replace(pay(n, 0), witness=()),)
    ),
    "nonce-gap": lambda n, b: forge(b, transactions=(pay(n, 1),)),
    "nonce-63-bits": lambda n, b: forge(b, transactions=(pay(n, BIG),)),
    "double-spend": lambda n, b: forge(b, transactions=(pay(n, 0), pay(n, 0, (6,)))),
    "same-transaction-twice": lambda n, b: forge(b, transactions=(pay(n, 0), pay(n, 0))),
    "pays-more-than-it-has": lambda n, b: forge(b, transactions=(pay(n, 0, (COINS,)),)),
    "amount-63-bits": lambda n, b: forge(b, transactions=(pay(n, 0, (BIG,)),)),
    "amounts-that-overflow-together": lambda n, b: forge(
        b, transactions=(pay(n, 0, (2**62,) * 4 + (1,)),)
    ),
    "fee-63-bits": lambda n, b: forge(b, transactions=(pay(n, 0, fee=BIG),)),
    "fees-that-overflow-together": lambda n, b: forge(
        b, transactions=(pay(n, 0, fee=2**62), pay(n, 0, fee=2**62, sender=2))
    ),
    "fee-too-low": lambda n, b: forge(b, transactions=(pay(n, 0, fee=0),)),
    "expired": lambda n, b: forge(b, transactions=(pay(n, 0, expiry=1),)),
    "transactions-unpaid-for-in-the-root": lambda n, b: forge(b, transactions=(pay(n, 0),)),
}


async def grow(node: NodeUnderAttack, count: int) -> Block:
    """Honest blocks on the head, found outside and handed in."""
    for _ in range(count):
        block = mined(node.template(node.ledger.head()))
        assert node.core.offer_mined(block).outcome == "imported"
        await node.until(lambda block=block: node.ledger.head() == block.id)
    return block


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_block_is_refused_and_its_sender_banned(
    node: NodeUnderAttack, name: str
) -> None:
    """The head and the state stay; an honest block of an honest peer is still taken."""
    await grow(node, 2)
    head, root = node.ledger.head(), node.ledger.state().root
    block = FORGERIES[name](node, node.template(head, extra=7))
    async with node.attacker() as liar:
        await liar.enter()
        await liar.offer(block)
        await node.until(lambda: node.is_banned(liar) or node.score(liar) > 0)
        for _ in range(10):  # it may insist, until it is banned
            if node.is_banned(liar):
                break
            await liar.offer(block)
            await asyncio.sleep(0.02)
    assert (node.ledger.head(), node.ledger.state().root) == (head, root)
    assert not node.ledger.knows(block.id)
    async with node.attacker(667) as honest:
        await honest.enter()
        good = mined(node.template(head))
        await honest.offer(good)
        await node.until(lambda: node.ledger.head() == good.id)
        assert node.score(honest) == 0


BODIES: dict[str, Callable[[NodeUnderAttack, Block], Block]] = {
    "a-leaf-twice": lambda n, b: Block(b.header, b.manifest, (*b.transactions, b.transactions[-1])),
    "a-transaction-missing": lambda n, b: Block(b.header, b.manifest, b.transactions[:-1]),
    "another-order": lambda n, b: Block(b.header, b.manifest, b.transactions[::-1]),
    "another-manifest": lambda n, b: Block(
        b.header, msgspec.structs.replace(b.manifest, reward=1), b.transactions
    ),
    "a-seal": lambda n, b: Block(b.header, b.manifest, b.transactions, b"\x90" * 100),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_mutated_body_does_not_condemn_the_honest_one(
    node: NodeUnderAttack, name: str
) -> None:
    """CVE-2012-2459: the same id, first with a mutated body, then with the honest one."""
    await grow(node, 1)
    payments = [pay(node, nonce, (nonce + 1,)) for nonce in range(2)]
    assert node.core.submit(payments) == [None, None]
    block = mined(node.template(node.ledger.head()))
    assert len(block.transactions) == 2
    mutated = BODIES[name](node, block)
    assert mutated.id == block.id
    async with node.attacker() as liar, node.attacker(667) as honest:
        await liar.enter()
        await honest.enter()
        liar.blocks[block.id] = mutated
        await liar.say(AnnounceBlock(block.head, False))
        await liar.hear(lambda message: isinstance(message, GetBlocks))
        await node.until(lambda: node.score(liar) > 0 or node.is_banned(liar) or name == "a-seal")
        await honest.offer(block)
        await node.until(lambda: node.ledger.head() == block.id)
        assert node.score(honest) == 0
        assert node.ledger.block(block.id) == block


async def test_what_follows_a_forged_block_is_refused_with_it(node: NodeUnderAttack) -> None:
    await grow(node, 1)
    head = node.ledger.head()
    bad = forge(node.template(head), manifest={"state_root": bytes(32)})
    child = mined(
        Block(
            msgspec.structs.replace(bad.header, previous=bad.id),
            msgspec.structs.replace(
                bad.manifest, height=bad.height + 1, time_ms=bad.manifest.time_ms + 1_000
            ),
        )
    )
    child = forge(child)
    async with node.attacker() as liar:
        await liar.enter()
        liar.heads = (bad.head, child.head)
        await liar.offer(bad, child)
        await liar.say(Status(child.id, child.height, 0, b"\xff"))
        await node.until(lambda: node.is_banned(liar))
    assert node.ledger.head() == head
    async with node.attacker(667) as second:
        await second.enter()
        await second.offer(bad, child)
        await second.settle()
        await second.offer(bad)
        await node.until(lambda: node.score(second) > 0)
    assert node.ledger.head() == head
    assert node.core.importer.orphans == 0
    await grow(node, 2)


async def test_a_block_ahead_of_the_clock_waits_and_harms_nobody(node: NodeUnderAttack) -> None:
    await grow(node, 1)
    head = node.ledger.head()
    now_s = time.time_ns() // 10**9
    far = forge(node.template(head), manifest={"time_ms": (2**32 - 1) * 1000})
    near = forge(node.template(head, extra=1), manifest={"time_ms": (now_s + FUTURE_S + 2) * 1000})
    async with node.attacker() as peer:
        await peer.enter()
        await peer.offer(near)
        await peer.offer(far)
        await node.until(lambda: node.ledger.knows(near.id))
        assert not node.ledger.knows(far.id)
        assert not node.is_banned(peer)
    await node.until(lambda: node.ledger.head() == near.id)
    assert near.header.time_s * 1000 <= time.time_ns() // 10**6 + FUTURE_S * 1000


async def test_held_blocks_are_bounded_and_the_furthest_goes_first(node: NodeUnderAttack) -> None:
    head = node.ledger.head()
    now_s = time.time_ns() // 10**9
    async with node.attacker() as peer:
        await peer.enter()
        for number in range(HELD_MAX + 20):
            time_ms = (now_s + FUTURE_S + 1_000 - number) * 1000
            await peer.offer(
                forge(node.template(head, extra=number), manifest={"time_ms": time_ms})
            )
        await node.until(lambda: node.core.importer.held == HELD_MAX)
    due = [until_ms for until_ms, _ in node.core.importer._held.values()]
    assert max(due) <= (now_s + 1_000 - 20) * 1000


async def test_an_oversize_block_is_refused(tmp_path: Path) -> None:
    """Larger than the chain's limit, smaller than the frame's."""
    genesis = found("pow", 0, {})
    genesis = msgspec.structs.replace(
        genesis, limits=msgspec.structs.replace(genesis.limits, block_size_max=1_000)
    )
    async with NodeUnderAttack(tmp_path / "n", genesis, node_key(0)) as node:
        payments = tuple(pay(node, nonce) for nonce in range(20))
        for one in payments:
            assert node.core.mempool.add(one, node.ledger, 0, 0) is None
        head = node.ledger.head()
        whole = forge(node.template(head), transactions=payments)
        assert len(whole.raw) > 1_000
        async with node.attacker() as liar:
            await liar.enter()
            await liar.offer(whole)
            await node.until(lambda: node.is_banned(liar))
        assert node.ledger.head() == head


async def test_orphans_and_announcements_that_lead_nowhere_stay_bounded(
    node: NodeUnderAttack,
) -> None:
    """Thousands of heads on parents that nobody has, announced and never delivered."""
    await grow(node, 1)
    template = node.template(node.ledger.head())
    async with node.attacker() as liar:
        await liar.enter()
        liar.delivers = False
        for number in range(2_000):
            parent = number.to_bytes(32, "big")
            header = msgspec.structs.replace(template.header, previous=parent)
            await liar.say(AnnounceBlock(Block(header, template.manifest).head, False))
            if liar.closed.is_set():
                break
        for number in range(300):
            unknown = Block(
                msgspec.structs.replace(template.header, previous=number.to_bytes(32, "little")),
                template.manifest,
            )
            await liar.say(BlockBody(unknown, None))
        await node.until(lambda: liar.closed.is_set() or node.score(liar) >= 0)
        counts = node.core.sync.counts()
        assert all(count <= 2_048 for count in counts.values()), counts
        assert node.core.importer.orphans <= 256
    await node.until(lambda: not node.runtime.transport.peers())
    assert node.core.sync.counts()["asked"] == 0
    await grow(node, 2)
