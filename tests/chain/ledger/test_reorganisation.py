"""Reorganisations of any depth leave no trace of the branch that lost."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.block import Block
from chain.changes import Mint, StateChange
from chain.execution import total_supply
from chain.genesis import COIN, Genesis
from chain.hashing import BlockId
from chain.ledger import Ledger
from chain.state.accounts import get_supply
from chain.storage.memory import MemoryStore
from chain.transaction import BUNDLE, Transfer
from tests.chain.ledger.observe import best_chain, rows
from tests.support.chains import (
    address,
    extend,
    grow,
    make_block,
    make_genesis,
    make_transaction,
    open_ledger,
)

GENESIS = make_genesis()


class Forest:
    """Blocks of a random tree, each with what the rules said of it."""

    def __init__(self, ledger: Ledger, rng: random.Random) -> None:
        self.ledger, self.rng = ledger, rng
        self.blocks: dict[BlockId, tuple[Block, int, tuple[StateChange, ...]]] = {}

    def grow(self, parent: BlockId, tag: int) -> Block:
        """A child with random transfers (some of which fail), rewards now and rewards later."""
        rng, chain_id = self.rng, self.ledger.chain_id
        height = self.ledger.height(parent) + 1
        time_ms = self.ledger.header(parent).time_ms + 1_000
        probe = self.ledger.execution(parent, time_ms=time_ms, producer=address(1_000))
        transactions = []
        for _ in range(rng.randrange(4)):
            sender = rng.randrange(4)
            actions = [
                Transfer(address(rng.randrange(5)), rng.choice((0, 1, COIN, 700 * COIN)))
                for _ in range(rng.randint(1, 3))
            ]
            transaction = make_transaction(
                chain_id,
                sender,
                probe.account(address(sender)).nonce,
                actions,
                mode=rng.choice((0, BUNDLE)),
                signed=False,
            )
            probe.apply(transaction)
            transactions.append(transaction)
        changes = tuple(
            Mint(address(rng.randrange(5)), rng.choice((0, 7, COIN)), height + later)
            for later in rng.choice(((), (0,), (2,), (0, 3), (4, 4)))
        )
        block = make_block(self.ledger, parent, transactions, changes=changes, tag=tag)
        weight = rng.randint(1, 3)
        self.ledger.insert(block, weight, changes)
        self.blocks[block.id] = (block, weight, changes)
        return block

    def straight(self, tip: BlockId) -> Ledger:
        """A ledger that saw the winning branch only, and never flushed."""
        other = open_ledger(GENESIS, finalizes=False, flush_depth=10_000)
        branch = []
        while tip in self.blocks:
            branch.append(tip)
            tip = self.blocks[tip][0].previous
        for each in reversed(branch):
            other.insert(*self.blocks[each])
            other.set_head(each)
        return other


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    flush_depth=st.integers(2, 4),
    flush_blocks=st.integers(1, 3),
    steps=st.integers(5, 45),
)
def test_a_reorganised_ledger_is_one_that_saw_the_winner_only(
    seed: int, flush_depth: int, flush_blocks: int, steps: int
) -> None:
    rng = random.Random(seed)
    store = MemoryStore()
    ledger = open_ledger(
        GENESIS, store, finalizes=False, flush_depth=flush_depth, flush_blocks=flush_blocks
    )
    forest = Forest(ledger, rng)
    known = [ledger.chain_id]
    for step in range(steps):
        # Mostly deep into recent blocks, now and then far back.
        parent = known[-1 - min(int(rng.expovariate(0.6)), len(known) - 1)]
        if rng.random() < 0.1:
            parent = rng.choice(known)
        known.append(forest.grow(parent, step).id)
        if rng.random() < 0.6:
            goal = known[-1] if rng.random() < 0.8 else rng.choice(known)
            old = ledger.head()
            moved = ledger.set_head(goal)
            check_moved(ledger, old, goal, moved.removed, moved.added)
    assert best_chain(ledger) == best_chain(forest.straight(ledger.head()))
    assert total_supply(ledger.state()) == get_supply(ledger.state())
    for block in known:
        assert ledger.knows(block)
        assert set(ledger.children(block)) == {
            b.id for b, _, _ in forest.blocks.values() if b.previous == block
        }


def test_the_property_above_goes_deep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the property: its random walks do reorganise below the base, from disk."""
    depths: list[int] = []
    plain = Ledger._retreat

    def retreat(ledger: Ledger, fork: int) -> None:
        depths.append(ledger._tree.base.height - fork)
        plain(ledger, fork)

    monkeypatch.setattr(Ledger, "_retreat", retreat)
    for seed in range(40):
        test_a_reorganised_ledger_is_one_that_saw_the_winner_only.hypothesis.inner_test(
            seed, 2, 2, 40
        )
    assert len(depths) > 20 and max(depths) > 6


def check_moved(
    ledger: Ledger, old: BlockId, new: BlockId, removed: tuple[Block, ...], added: tuple[Block, ...]
) -> None:
    assert ledger.head() == new
    if removed:
        assert removed[-1].id == old
    if added:
        assert added[-1].id == new
    if removed and added:
        assert removed[0].previous == added[0].previous
    for block in added:
        assert ledger.in_best_chain(block.id)
    for block in removed:
        assert not ledger.in_best_chain(block.id)


def test_unwinding_to_genesis_leaves_the_disk_as_it_was() -> None:
    store = MemoryStore()
    ledger = open_ledger(GENESIS, store, finalizes=False, flush_depth=2, flush_blocks=2)
    tables = b"SHTAC"
    empty = rows(store, tables)
    forest = Forest(ledger, random.Random(5))
    parent = ledger.chain_id
    for step in range(30):
        parent = forest.grow(parent, step).id
        ledger.set_head(parent)
    assert rows(store, tables) != empty
    ledger.set_head(ledger.chain_id)
    assert rows(store, tables) == empty
    ledger.set_head(parent)
    assert best_chain(ledger) == best_chain(forest.straight(parent))


def test_a_deep_branch_is_extended_after_it_left_memory() -> None:
    ledger = open_ledger(GENESIS, finalizes=False, flush_depth=3, flush_blocks=1)
    stale = grow(ledger, ledger.chain_id, tag=1)
    main = extend(ledger, 12)
    assert ledger.counts()["blocks"] < 6
    assert ledger.children(ledger.chain_id) in (
        (stale.id, main[0].id),
        (main[0].id, stale.id),
    )
    tip = stale
    for _ in range(14):
        tip = grow(ledger, tip.id, tag=1)
    assert ledger.ancestor(tip.id, 1) == stale.id
    assert not ledger.descends(tip.id, main[0].id)
    moved = ledger.set_head(tip.id)
    assert list(moved.removed) == main and len(moved.added) == 15
    assert ledger.id_at(1) == stale.id
    assert ledger.counts()["blocks"] < 6


def test_the_head_may_move_back() -> None:
    ledger = open_ledger(GENESIS, finalizes=False, flush_depth=2, flush_blocks=1)
    blocks = extend(ledger, 10)
    moved = ledger.set_head(blocks[2].id)
    assert list(moved.removed) == blocks[3:] and moved.added == ()
    assert ledger.id_at(4) is None
    again = ledger.set_head(blocks[9].id)
    assert list(again.added) == blocks[3:]


@pytest.mark.parametrize("finalizes", [False, True])
def test_setting_the_same_head_changes_nothing(finalizes: bool) -> None:
    ledger = open_ledger(GENESIS, finalizes=finalizes)
    block = extend(ledger, 1)[0]
    moved = ledger.set_head(block.id)
    assert moved.removed == () and moved.added == ()


def test_confirmed_is_the_ancestor_at_the_depth_of_the_era() -> None:
    genesis: Genesis = make_genesis(parameters=(("confirmation_depth", 3),))
    ledger = open_ledger(genesis, finalizes=False)
    assert ledger.confirmed() == ledger.chain_id
    blocks = extend(ledger, 8)
    assert ledger.confirmed() == blocks[4].id
    assert ledger.finalized() == ledger.chain_id
    default = open_ledger(GENESIS, finalizes=False)
    assert default.confirmed() == default.chain_id
    assert extend(default, 8)[1].id == default.confirmed()


def test_the_state_of_a_confirmed_block_can_be_read_though_it_left_memory() -> None:
    """A chain that confirms deeper than it keeps states in memory still answers for accounts."""
    genesis: Genesis = make_genesis(parameters=(("confirmation_depth", 5),))
    ledger = open_ledger(genesis, finalizes=False, flush_depth=1, flush_blocks=1)
    paid = make_transaction(ledger.chain_id, 0, 0, [Transfer(address(1), COIN)])
    ledger.set_head(grow(ledger, ledger.head(), [paid]).id)
    extend(ledger, 5)
    confirmed = ledger.confirmed()
    assert ledger.state_held(confirmed) is None
    assert ledger.account(address(0), confirmed).nonce == 1
    assert ledger.account(address(0), ledger.chain_id).nonce == 0
    assert ledger.state(confirmed).root == ledger.header(confirmed).manifest.state_root
