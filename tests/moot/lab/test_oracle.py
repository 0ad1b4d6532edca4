"""The naive oracles agree with the node where it is right, and notice where it is not."""

from __future__ import annotations

import msgspec
import pytest

from chain.block import Block, BlockHead
from chain.changes import Mint
from chain.execution import Receipt
from chain.hashing import BlockId
from chain.ledger import Ledger
from chain.membership import FIXED
from chain.transaction import ATOMIC, BUNDLE, Transaction, Transfer
from moot.lab.cluster import Cluster
from moot.lab.oracle import NaiveLedger, decided_head, heaviest, re_execute, work_of
from moot.lab.signer import CheapVerifier
from tests.support.mistakes import plant_coins_of_nothing


def ran(engine: str, milliseconds: int) -> Cluster:
    cluster = Cluster(engine, 3, 4, mean_find_ms=400)
    cluster.start()
    cluster.load(60)
    cluster.run(milliseconds)
    return cluster


@pytest.fixture(scope="module")
def pbft() -> Cluster:
    return ran("pbft", 4_000)


@pytest.fixture(scope="module")
def pow_() -> Cluster:
    return ran("pow", 12_000)


def test_a_chain_executes_again_to_its_roots_and_to_the_naive_balances(pbft: Cluster) -> None:
    for node in pbft.nodes:
        ledger = node.running.ledger
        assert ledger.height(ledger.finalized()) > 10
        assert re_execute(ledger, CheapVerifier()) == []


def test_so_does_a_chain_with_rewards_that_mature(pow_: Cluster) -> None:
    ledger = pow_.nodes[0].running.ledger
    height = ledger.height(ledger.head())
    assert height > 20
    assert re_execute(ledger, CheapVerifier(), height) == []


class Forger(Ledger):
    """A node's ledger that tells other stories about the block at height 5."""

    def __init__(self, ledger: Ledger) -> None:
        self.__dict__.update(ledger.__dict__)
        self.told = ledger

    @property
    def forged(self) -> BlockId:
        found = self.told.id_at(5)
        assert found is not None
        return found


class OtherReceipts(Forger):
    def receipts(self, block: BlockId) -> tuple[Receipt, ...] | None:
        told = self.told.receipts(block)
        assert told is not None
        if block != self.forged:
            return told
        return tuple(msgspec.structs.replace(one, code="no") for one in told)


class OtherBody(Forger):
    def block(self, block: BlockId) -> Block | None:
        told = self.told.block(block)
        assert told is not None
        return msgspec.structs.replace(told, transactions=()) if block == self.forged else told


class NoBody(Forger):
    def block(self, block: BlockId) -> Block | None:
        return None if block == self.forged else self.told.block(block)


class OtherBranch(Forger):
    def id_at(self, height: int) -> BlockId | None:
        return self.told.id_at(height + 1 if height >= 5 else height)


@pytest.mark.parametrize(
    ("forger", "sentence"),
    [
        (OtherReceipts, "the node's receipts are"),
        (OtherBody, "it does not execute again"),
        (NoBody, "the body is missing"),
        (OtherBranch, "its parent is not the block before it"),
    ],
)
def test_a_chain_that_was_not_executed_so_is_noticed(
    pbft: Cluster, forger: type[Forger], sentence: str
) -> None:
    ledger = pbft.nodes[0].running.ledger
    (found,) = re_execute(forger(ledger), CheapVerifier())
    assert found.height == 5
    assert found.sentence.startswith(sentence)


def test_a_mistake_that_all_nodes_share_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each payment makes one unit of nothing: all agree on the roots, and all are wrong."""
    plant_coins_of_nothing(monkeypatch)
    cluster = ran("pbft", 500)
    found = re_execute(cluster.nodes[0].running.ledger, CheapVerifier())
    assert {one.height for one in found} == {1}
    assert any(one.sentence.startswith("the supply is") for one in found)
    assert any(one.sentence.startswith("the balance of") for one in found)


# -------------------------------------------------------------------------------- naive ledger


def with_body(block: Block, *transactions: Transaction) -> Block:
    return msgspec.structs.replace(block, transactions=transactions)


def test_the_naive_ledger_by_hand(pbft: Cluster) -> None:
    genesis = pbft.genesis
    ledger = pbft.nodes[0].running.ledger
    first = ledger.id_at(1)
    assert first is not None
    block = ledger.block(first)
    assert block is not None
    ann, bob = pbft.users[0].address, pbft.users[1].address
    naive = NaiveLedger(genesis, FIXED)
    start = naive.balances[ann]
    too_much = Transfer(bob, start)
    receipts = naive.apply(
        with_body(
            block,
            Transaction(ann, 0, 10, 0, ATOMIC, (Transfer(bob, 5), too_much)),
            Transaction(ann, 1, 10, 0, BUNDLE, (Transfer(bob, 5), too_much, Transfer(bob, 1))),
            Transaction(ann, 2, 10, 0, ATOMIC, (Transfer(bob, 0),)),
            Transaction(ann, 3, 10, 0, ATOMIC, (Transfer(bytes([9]) + bytes(32), 1),)),
        ),
        (Mint(bob, 100, 1), Mint(bob, 7, 3)),
    )
    codes = ["insufficient-funds", "insufficient-funds", "zero-amount", "unknown-recipient-kind"]
    assert [receipt.code for receipt in receipts] == codes
    assert naive.balances[ann] == start - 40 - 6
    assert naive.balances[bob] == start + 6 + 100 + 40
    assert naive.nonces == {ann: 4}
    assert naive.total() == naive.supply == sum(a.amount for a in genesis.allocations) + 107
    with pytest.raises(ValueError, match="does not follow"):
        naive.apply(block, ())


@pytest.mark.parametrize(
    ("nonce", "fee", "expiry", "complaint"),
    [(1, 1, 0, "out of turn"), (0, 10**15, 0, "cannot pay"), (0, 1, 1, "expired")],
)
def test_what_no_block_may_hold(
    pbft: Cluster, nonce: int, fee: int, expiry: int, complaint: str
) -> None:
    ledger = pbft.nodes[0].running.ledger
    blocks = []
    for height in (1, 2):
        block_id = ledger.id_at(height)
        assert block_id is not None
        block = ledger.block(block_id)
        assert block is not None
        blocks.append(with_body(block))
    naive = NaiveLedger(pbft.genesis, FIXED)
    naive.apply(blocks[0], ())
    ann, bob = pbft.users[0].address, pbft.users[1].address
    bad = Transaction(ann, nonce, fee, expiry, ATOMIC, (Transfer(bob, 1),))
    with pytest.raises(ValueError, match=complaint):
        naive.apply(with_body(blocks[1], bad), ())


# --------------------------------------------------------------------------------- fork choice


def chain_of(ledger: Ledger) -> list[BlockHead]:
    heads = []
    for height in range(1, ledger.height(ledger.head()) + 1):
        block = ledger.id_at(height)
        assert block is not None
        heads.append(ledger.header(block))
    return heads


def test_the_heaviest_branch_is_the_nodes_head(pow_: Cluster) -> None:
    ledger = pow_.nodes[0].running.ledger
    heads = chain_of(ledger)
    genesis = ledger.genesis_block.id
    assert heaviest(heads, genesis) == ledger.head()
    for head in heads[:5]:
        assert work_of(head.header.bits) == pow_.nodes[0].running.rules.weight(head)
    assert heaviest([], genesis) == genesis
    # Of two equal ones the first seen; a heavier one wins whenever it comes.
    rival = msgspec.structs.replace(
        heads[0], header=msgspec.structs.replace(heads[0].header, nonce=2**32 - 1)
    )
    assert heaviest([rival, heads[0]], genesis) == rival.id
    assert heaviest([heads[0], rival], genesis) == heads[0].id
    assert heaviest([rival, *heads[:2]], genesis) == heads[1].id


def test_work_by_bits_is_bitcoins() -> None:
    """Block 0 of Bitcoin: difficulty 1 is 2**32 + 2**16 + 1 hashes."""
    assert work_of(0x1D00_FFFF) == 0x1_0001_0001
    assert work_of(0x207F_FFFF) == 2


def test_a_decided_chain_has_no_gaps(pbft: Cluster) -> None:
    ledger = pbft.nodes[0].running.ledger
    heads = chain_of(ledger)
    final = heads[: ledger.height(ledger.finalized())]
    genesis = ledger.genesis_block.id
    assert decided_head(final, genesis) == ledger.finalized() == ledger.head()
    with pytest.raises(ValueError, match="is not a child"):
        decided_head([final[0], final[2]], genesis)
