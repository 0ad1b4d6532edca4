"""Proof of work on the real ledger, builder and importer, with real work in every block."""

from __future__ import annotations

import msgspec
import pytest

from chain.block import Block
from chain.hashing import BlockId
from chain.header import parse_header
from chain.mempool import Mempool, MempoolLimits
from chain.storage.memory import MemoryStore
from consensus.contract import WorkRules
from consensus.pow import PowParameters, PowRules
from consensus.registry import parameter_list
from moot.miner import kernel
from moot.node.builder import Builder
from moot.node.eras import EraBook
from moot.node.importer import ORPHANS_MAX, Arrival, Importer, Result
from tests.support.chains import (
    START_MS,
    TrustingVerifier,
    address,
    make_genesis,
    open_ledger,
    transfer,
)

PARAMETERS = PowParameters(
    target_spacing_ms=1_000,
    half_life_ms=60_000,
    initial_bits=0x207F_FFFF,
    pow_limit_bits=0x207F_FFFF,
    fixed_difficulty=1,
    maturity=6,
)


class Node:
    """The parts of a node that judge and keep blocks; no engine, no network."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        genesis = make_genesis(engine="pow", parameters=parameter_list(PARAMETERS))
        self.ledger = open_ledger(genesis, store, finalizes=False, flush_depth=2, flush_blocks=1)
        self.chain_id = self.ledger.chain_id
        self.mempool = Mempool(
            MempoolLimits(), self.chain_id, genesis.limits, TrustingVerifier(), self.ledger.verified
        )
        eras = EraBook()
        rules = eras.rules_after(self.ledger, self.ledger.head())
        assert isinstance(rules, PowRules) and isinstance(rules, WorkRules)
        self.rules = rules
        self.builder = Builder(
            self.ledger, self.mempool, eras, lambda request, block: None, lambda at_ms: None
        )
        self.importer = Importer(
            self.ledger,
            eras,
            lambda arrival, result: None,
            lambda ids, hint: None,
            lambda at_ms: None,
            lambda seals: True,
        )
        self.clock_ms = START_MS + 60_000

    def template(self, parent: BlockId, producer: int = 0, extra: int = 0) -> Block:
        bits = self.rules.next_bits(self.ledger, parent, 0)
        return self.builder.make(
            parent,
            claims=b"",
            bits=bits,
            reward=self.rules.reward(self.ledger.height(parent) + 1),
            producer=address(producer),
            wall_ms=self.clock_ms,
            extra_nonce=extra.to_bytes(8, "big"),
        )

    def mine(self, parent: BlockId, producer: int = 0, extra: int = 0) -> Block:
        return with_work(self.template(parent, producer, extra), self.rules)

    def offer(self, block: Block) -> Result:
        return self.importer.offer(Arrival(block, "gossip", None), self.clock_ms)

    def replay(self) -> list[str]:
        """Starts on what the store holds; what became of each block."""
        return [
            self.importer.offer(Arrival(block, "replay", None), self.clock_ms).outcome
            for block in self.ledger.replay()
        ]

    def grow(self, parent: BlockId, count: int, producer: int = 0) -> BlockId:
        for _ in range(count):
            block = self.mine(parent, producer)
            assert self.offer(block).outcome == "imported"
            parent = block.id
        return parent


def with_work(block: Block, rules: PowRules) -> Block:
    target = rules.target(block.header.bits)
    nonce = kernel.scan(block.header.raw, target, 0, 2**16)
    assert nonce is not None
    return Block(
        msgspec.structs.replace(block.header, nonce=nonce), block.manifest, block.transactions
    )


@pytest.fixture
def node() -> Node:
    return Node()


def test_a_template_with_work_is_a_block(node: Node) -> None:
    block = node.mine(node.chain_id, producer=3)
    assert node.offer(block).outcome == "imported"
    node.ledger.set_head(block.id)
    assert node.ledger.weight(block.id) == 2


def test_a_garbled_seal_does_not_condemn_the_honest_block(node: Node) -> None:
    """The seal lies outside the id: a liar must not be able to make us refuse the real block."""
    block = node.mine(node.chain_id)
    garbled = msgspec.structs.replace(block, seal=b"\xff" * 64)
    assert garbled.id == block.id
    assert node.offer(garbled).code == "unexpected-seal"
    assert node.offer(block).outcome == "imported"


def test_a_foreign_manifest_does_not_condemn_the_honest_block(node: Node) -> None:
    block = node.mine(node.chain_id)
    manifest = msgspec.structs.replace(block.manifest, reward=1)
    assert node.offer(Block(block.header, manifest)).code == "bad-merkle-root"
    assert node.offer(block).outcome == "imported"


def test_rewards_and_fees_ripen(node: Node) -> None:
    """Bitcoin's coinbase maturity, fees included; nothing is minted that the subsidy denies."""
    before = node.ledger.account(address(9)).balance
    node.mempool.add(
        transfer(node.chain_id, 0, 1, 500, 0, fee=2_000), node.ledger, 0, node.clock_ms
    )
    first = node.mine(node.chain_id, producer=9)
    assert len(first.transactions) == 1
    assert node.offer(first).outcome == "imported"
    tip = node.grow(first.id, PARAMETERS.maturity - 1)
    assert node.ledger.account(address(9), tip).balance == before
    tip = node.grow(tip, 1)
    assert node.ledger.account(address(9), tip).balance == before + PARAMETERS.subsidy + 2_000


def test_a_greedy_miner_is_refused(node: Node) -> None:
    honest = node.template(node.chain_id)
    greedy = node.builder.make(
        node.chain_id,
        claims=b"",
        bits=honest.header.bits,
        reward=PARAMETERS.subsidy + 1,
        producer=address(0),
        wall_ms=node.clock_ms,
    )
    assert node.offer(with_work(greedy, node.rules)).code == "bad-reward"


def test_a_block_without_work_is_refused(node: Node) -> None:
    template = node.template(node.chain_id)
    target = node.rules.target(template.header.bits)
    lazy = next(
        header
        for nonce in range(1_000)
        if not kernel.has_work(
            (header := msgspec.structs.replace(template.header, nonce=nonce)).raw, target
        )
    )
    assert node.offer(Block(lazy, template.manifest)).code == "insufficient-work"


def test_a_header_far_ahead_is_held_until_its_time(node: Node) -> None:
    node.clock_ms += 10_000_000
    block = node.mine(node.chain_id)
    node.clock_ms -= 10_000_000
    assert node.offer(block).outcome == "held"
    node.clock_ms += 10_000_000 - PARAMETERS.future_limit_ms
    node.importer.release(node.clock_ms)
    assert node.ledger.knows(block.id)


def test_a_clock_set_back_takes_no_stored_block_away() -> None:
    """Authority, 6 nodes, seed 538 at half a minute: a stored block was held for the clock, deleted
    from the disk meanwhile, and then taken in as if it were still there."""
    store = MemoryStore()
    node = Node(store)
    node.clock_ms += 10_000_000
    stored = node.grow(node.chain_id, 2)

    again = Node(store)
    assert again.replay() == ["imported", "imported"]
    again.ledger.set_head(stored)
    assert again.importer.held == 0

    again.clock_ms = node.clock_ms
    again.ledger.set_head(again.grow(stored, 8))
    assert again.ledger.block(stored) is not None, "what was replayed is on the disk for good"
    third = Node(store)
    third.replay()
    assert third.ledger.descends(third.ledger.stored_head(), stored)


def test_version_and_time_rolled_by_a_miner_pass(node: Node) -> None:
    template = node.template(node.chain_id)
    target = node.rules.target(template.header.bits)
    for number in (0xFFFF, 0x10000 + 3):  # all free bits; one second later and two bits
        variant = next(kernel.variants(template.header.raw, number, 1))
        nonce = kernel.scan(variant, target, 0, 2**16)
        assert nonce is not None
        header = parse_header(kernel.with_nonce(variant, nonce))
        assert node.offer(Block(header, template.manifest)).outcome == "imported"


def test_a_reorganisation_deeper_than_memory(node: Node) -> None:
    """Both branches outgrow the states kept in memory; the heavier one wins all the same."""
    old = node.grow(node.chain_id, 80, producer=1)
    node.ledger.set_head(old)
    new = node.grow(node.chain_id, 81, producer=2)
    moved = node.ledger.set_head(new)
    assert (len(moved.removed), len(moved.added)) == (80, 81)
    assert node.ledger.account(address(1)).balance < node.ledger.account(address(2)).balance


def test_orphans_are_kept_up_to_a_bound(node: Node) -> None:
    template = node.template(node.ledger.head())
    for number in range(ORPHANS_MAX + 20):
        header = msgspec.structs.replace(template.header, previous=number.to_bytes(32, "big"))
        orphan = Block(header, template.manifest)
        assert node.offer(orphan).outcome == "orphaned"
    assert node.importer.orphans == ORPHANS_MAX
