"""Forgetting old bodies: never claimed when gone, whatever a crash did; the rest is untouched."""

from __future__ import annotations

import random

import pytest

from chain.block import Block
from chain.errors import InvalidBlock
from chain.ledger import Ledger
from chain.proof import Proof
from tests.chain.ledger.observe import rows
from tests.chain.ledger.test_crash import FusedStore, PowerLoss
from tests.support.chains import (
    address,
    extend,
    grow,
    make_block,
    make_genesis,
    open_ledger,
    transfer,
)


def chain_of(ledger: Ledger, count: int) -> list[Block]:
    """A payment in each block; where the chain finalizes, all are final but the last."""
    blocks: list[Block] = []
    for number in range(count):
        paid = transfer(ledger.chain_id, 0, 1, 5 + number, number, signed=False)
        block = grow(ledger, ledger.head(), [paid])
        ledger.set_head(block.id)
        if blocks and ledger.finalizes:
            ledger.finalize(blocks[-1].id, Proof("test", b"p%d" % number))
        blocks.append(block)
    return blocks


def sweep_all(ledger: Ledger) -> None:
    while ledger.sweep(3):
        pass


@pytest.mark.parametrize("finalizes", [True, False])
def test_bodies_go_and_heads_stay(finalizes: bool) -> None:
    store = FusedStore()
    ledger = open_ledger(None, store, finalizes=finalizes, flush_depth=4, flush_blocks=1)
    blocks = chain_of(ledger, 30)
    stats, account = ledger.address_stats(address(0)), ledger.account(address(1))
    state = ledger.state().root
    assert ledger.prune(20) == 20
    for again in (ledger, None):
        if again is None:
            ledger.persist(b"record", (blocks[-1].id,))
            ledger.flush()
            ledger = open_ledger(None, store, finalizes=finalizes, flush_depth=4, flush_blocks=1)
            for block in ledger.replay():
                ledger.insert(block, 1, (), replaying=True)
                ledger.set_head(block.id)
        else:
            check_pruned(ledger, blocks, 20)  # before anything is deleted
            sweep_all(ledger)
        check_pruned(ledger, blocks, 20)
        assert ledger.address_stats(address(0)) == stats
        assert ledger.account(address(1)) == account and ledger.state().root == state
    assert min(int.from_bytes(key[1:9], "big") for key, _ in rows(store, b"B")[1:]) == 20
    kept = {block.id for block in blocks[19:]}
    for prefix in (b"R", b"D", b"F"):
        assert {key[1:] for key, _ in rows(store, prefix)} - {ledger.chain_id} <= kept
    assert len(rows(store, b"T")) == 1 + 2 * (30 - 19 - (1 if finalizes else 4))
    assert not ledger.sweep(), "there is nothing left to do"
    extend(ledger, 10)


def check_pruned(ledger: Ledger, blocks: list[Block], bodies_from: int) -> None:
    assert ledger.bodies_from == bodies_from and ledger.heads_from == 0
    assert ledger.block(ledger.chain_id) is not None
    for block in blocks:
        assert ledger.knows(block.id) and ledger.id_at(block.height) == block.id
        assert ledger.head_of(block.id) == block.head
        is_kept = block.height >= bodies_from
        assert (ledger.block(block.id) is not None) == is_kept
        assert (ledger.receipts(block.id) is not None) == is_kept
        assert (ledger.credits(block.id) is not None) == is_kept
        assert (ledger.transaction(block.transactions[0].id) is not None) == is_kept
    heights = [one.height for one in ledger.history(address(0), count=100)]
    assert heights[-2:] == [bodies_from, 0], "of genesis everything is kept"


def test_never_more_is_pruned_than_lies_below_the_base() -> None:
    ledger = open_ledger(finalizes=False, flush_depth=4, flush_blocks=1)
    extend(ledger, 10)
    assert ledger.prune(1_000) == 6
    assert ledger.prune(3) == 6, "it never goes back"


def test_a_branch_below_what_is_kept_is_refused_and_one_above_is_taken() -> None:
    ledger = open_ledger(finalizes=False, flush_depth=3, flush_blocks=1)
    blocks = extend(ledger, 20)
    too_low = make_block(ledger, blocks[7].id, tag=7)
    on_it = grow(ledger, blocks[8].id, tag=8)
    ledger.prune(10)
    sweep_all(ledger)
    assert not ledger.can_extend(blocks[7].id) and ledger.can_extend(on_it.id)
    with pytest.raises(InvalidBlock) as raised:
        ledger.insert(too_low, 1, ())
    assert raised.value.code == "conflicts-with-pruned"
    tip = on_it.id
    for _ in range(14):
        tip = grow(ledger, tip, tag=9).id
    moved = ledger.set_head(tip)
    assert [block.height for block in moved.removed] == list(range(10, 21))
    assert ledger.id_at(10) == on_it.id
    ledger.set_head(grow(ledger, blocks[19].id).id)
    assert ledger.id_at(20) == blocks[19].id


@pytest.mark.parametrize("swept", [True, False])
def test_from_a_pruned_ancestor_children_lead_up_to_every_branch_that_is_kept(swept: bool) -> None:
    """As an engine looks after a restart for the heaviest tip, from far below the head."""
    ledger = open_ledger(finalizes=False, flush_depth=3, flush_blocks=1)
    blocks = extend(ledger, 12)
    lost = grow(ledger, blocks[4].id, tag=7)
    lost_too = grow(ledger, lost.id, tag=8)
    kept = grow(ledger, blocks[8].id, tag=9)
    extend(ledger, 8)
    ledger.prune(10)
    if swept:
        sweep_all(ledger)
    assert ledger.children(ledger.chain_id) == (blocks[0].id,)
    assert ledger.children(blocks[4].id) == (blocks[5].id,), "the other can win no more"
    assert ledger.children(lost.id) == () and ledger.knows(lost_too.id)
    assert set(ledger.children(blocks[8].id)) == {blocks[9].id, kept.id}
    found, open_ = set(), [ledger.chain_id]
    while open_:
        block = open_.pop()
        found.add(block)
        open_.extend(ledger.children(block))
    assert ledger.head() in found and kept.id in found


def test_a_side_branch_does_not_take_the_main_chains_entries_along() -> None:
    ledger = open_ledger(finalizes=False, flush_depth=3, flush_blocks=1)
    paid = transfer(ledger.chain_id, 0, 1, 5, 0, signed=False)
    side = grow(ledger, ledger.chain_id, [paid], tag=1)
    first = extend(ledger, 1)[0]
    late = grow(ledger, first.id)
    ledger.set_head(late.id)
    paying = grow(ledger, late.id, [paid])
    ledger.set_head(paying.id)
    extend(ledger, 10)
    ledger.prune(3)
    sweep_all(ledger)
    assert ledger.block(side.id) is None
    found = ledger.transaction(paid.id)
    assert found is not None and found.block_id == paying.id


@pytest.mark.parametrize("finalizes", [True, False])
@pytest.mark.parametrize("power", [True, False])
def test_a_crash_at_any_write_leaves_less_claimed_than_is_there(
    finalizes: bool, power: bool
) -> None:
    fuse = 0
    while True:
        store = FusedStore()
        options = {"finalizes": finalizes, "flush_depth": 4, "flush_blocks": 1}
        ledger = open_ledger(make_genesis(), store, **options)  # type: ignore[arg-type]
        blocks = chain_of(ledger, 24)
        ledger.flush()
        store.fuse = fuse
        try:
            ledger.prune(9)
            ledger.sweep(2)
            ledger.prune(15)
            sweep_all(ledger)
        except PowerLoss:
            pass
        finished = store.fuse is not None and store.fuse > 0
        store.fuse = None
        if power:
            store.lose_unsynced(random.Random(fuse), rotated=True)
        again = open_ledger(make_genesis(), store, **options)  # type: ignore[arg-type]
        for block in blocks[: again.height(again.head())]:
            claimed = again.block(block.id) is not None
            assert claimed == (block.height >= again.bodies_from)
        sweep_all(again)
        heights = [int.from_bytes(key[1:9], "big") for key, _ in rows(store, b"B")]
        base = again.height(again.head())
        stored = [height for height in heights if height <= base]
        assert stored == [0, *range(max(1, again.bodies_from), base + 1)]
        if finished:
            return
        fuse += 1
