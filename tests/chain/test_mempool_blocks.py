"""What blocks take from the mempool, what a moved head changes in it, and what it shows."""

from __future__ import annotations

import msgspec
import pytest

from chain.address import key_address
from chain.execution import BlockExecution
from chain.genesis import Limits
from chain.membership import FIXED
from chain.state.accounts import Account as RealAccount
from chain.state.accounts import account_key, encode_account
from chain.state.tree import StateTree
from tests.support.mempools import (
    ANN,
    BEN,
    CAT,
    CHAIN,
    NOW,
    Account,
    Accounts,
    House,
    Person,
    block,
)


@pytest.fixture(autouse=True)
def no_rechecks(monkeypatch):
    """Only what a move touched is read again, so that a test sees what the move missed."""
    monkeypatch.setattr("chain.mempool.pool.RECHECKED_PER_MOVE", 0)


def test_select_takes_the_best_rate_first_and_nonces_in_order():
    house = House()
    ann = [ANN.pay(0, 1_000), ANN.pay(1, 9_000), ANN.pay(2, 8_000)]
    ben = [BEN.pay(0, 5_000), BEN.pay(1, 500)]
    house.add(*reversed(ann), *reversed(ben))
    assert house.select() == [ben[0], ann[0], ann[1], ann[2], ben[1]]
    assert house.select() == [ben[0], ann[0], ann[1], ann[2], ben[1]], "nothing is used up"


def test_select_breaks_ties_by_arrival():
    house = House()
    people = [BEN, ANN, CAT]
    house.add(*(person.pay(0) for person in people))
    assert [t.sender for t in house.select()] == [person.address for person in people]


def test_select_fills_the_room_with_what_fits():
    house = House()
    large = ANN.pay(0, 9_000, memo=bytes(250))
    small = BEN.pay(0, 1_000)
    house.add(large, ANN.pay(1, 9_000), small)
    assert house.select(bytes_max=small.size + 10) == [small]
    assert house.select(bytes_max=small.size - 1) == []
    assert sum(t.size for t in house.select(bytes_max=large.size + small.size)) <= (
        large.size + small.size
    )


def test_select_skips_a_sender_whom_execution_refuses_and_the_next_move_looks_again():
    house = House()
    house.add(ANN.pay(0), ANN.pay(1), BEN.pay(0, 900))
    house.accounts.held[ANN.address] = Account(0, 5)  # behind the mempool's back
    assert house.select() == [BEN.pay(0, 900)]
    moved = house.mine(BEN.pay(0, 900))
    assert [code for _, code in moved.dropped] == ["insufficient-balance"] * 2
    assert len(house.pool) == 0


def test_select_on_a_parent_above_the_head_passes_over_what_is_in_it():
    house = House()
    house.add(ANN.pay(0), ANN.pay(1), ANN.pay(2), BEN.pay(0, 900))
    parent = house.accounts.copy()
    parent.apply(ANN.pay(0))
    parent.apply(ANN.pay(1))
    assert house.pool.select(parent, 10**6) == [ANN.pay(2), BEN.pay(0, 900)]


def test_select_with_the_real_execution():
    house = House()
    state = StateTree.build(
        (account_key(address), encode_account(RealAccount(account.nonce, account.balance)))
        for address, account in house.accounts.held.items()
    )
    execution = BlockExecution(
        state,
        chain_id=CHAIN,
        limits=Limits(),
        height=11,
        time_ms=NOW,
        producer=CAT.address,
        membership=FIXED,
    )
    house.add(ANN.pay(0, 2_000), ANN.pay(1, 9_000), BEN.pay(0, 3_000))
    chosen = house.pool.select(execution, 10**6)
    assert chosen == [BEN.pay(0, 3_000), ANN.pay(0, 2_000), ANN.pay(1, 9_000)]
    executed = execution.finish(())
    assert all(receipt.ok for receipt in executed.receipts) and executed.fees == 14_000


def test_included_ones_leave_and_rivals_of_them_are_dropped():
    house = House()
    house.add(ANN.pay(0), ANN.pay(1), ANN.pay(2))
    rival = ANN.pay(1, 5_000, amount=7)
    moved = house.mine(ANN.pay(0), rival)
    assert moved.returned == () and moved.expired == ()
    assert moved.dropped == ((ANN.pay(1), "wrong-nonce-low"),)
    assert house.pool.pending_of(ANN.address) == (ANN.pay(2),)
    assert house.select() == [ANN.pay(2)]


def test_a_payment_received_makes_queued_ones_executable():
    house = House()
    house.accounts.held[ANN.address] = Account(0, 4_000)
    house.add(ANN.pay(0), ANN.pay(1), ANN.pay(2))
    house.accounts.held[ANN.address] = Account(0, 1_500)
    house.pool.moved([], [], house.accounts, 11, NOW, credited=[ANN.address])
    assert house.pool.waiting() == 1 and len(house.pool) == 3
    house.mine(BEN.pay(0, to=ANN.address, amount=10**6))
    assert house.pool.waiting() == 3


def test_a_reorganisation_puts_displaced_ones_back_unverified_again():
    house = House()
    before = house.accounts.copy()
    old = [ANN.pay(0), ANN.pay(1), BEN.pay(0), CAT.pay(0, expiry=11)]
    house.add(*old, ANN.pay(2))
    house.mine(*old)
    assert house.pool.ids() == (ANN.pay(2).id,)
    house.verified.clear()
    batches = list(house.verifier.batches)
    rival = BEN.pay(0, 7_000, amount=1)
    house.accounts = before
    house.accounts.apply(ANN.pay(0))
    house.accounts.apply(rival)
    moved = house.pool.moved(
        [block(11, *old)], [block(11, ANN.pay(0), rival)], house.accounts, 11, NOW
    )
    assert moved.returned == (ANN.pay(1),)
    assert moved.dropped == ((BEN.pay(0), "wrong-nonce-low"), (CAT.pay(0, expiry=11), "expired"))
    assert house.pool.pending_of(ANN.address) == (ANN.pay(1), ANN.pay(2))
    assert house.verifier.batches == batches, "signatures of blocks are known to be good"


def test_what_comes_back_displaces_its_senders_last_ones():
    house = House(sender_count_max=3)
    before = house.accounts.copy()
    first = [ANN.pay(0), ANN.pay(1)]
    house.add(*first)
    house.mine(*first)
    house.add(ANN.pay(2), ANN.pay(3), ANN.pay(4))
    house.accounts = before
    moved = house.pool.moved([block(11, *first)], [], house.accounts, 10, NOW)
    assert moved.returned == tuple(first)
    assert moved.dropped == tuple((ANN.pay(n), "too-many-from-sender") for n in (4, 3))
    assert [t.nonce for t in house.pool.pending_of(ANN.address)] == [0, 1, 2]


def test_what_comes_back_may_not_overfill():
    house = House(count_max=2)
    before = house.accounts.copy()
    house.mine(CAT.pay(0, 2_000))
    house.add(ANN.pay(0, 1_000), BEN.pay(0, 3_000))
    house.accounts = before
    moved = house.pool.moved([block(11, CAT.pay(0, 2_000))], [], house.accounts, 10, NOW)
    assert moved.returned == (CAT.pay(0, 2_000),)
    assert moved.dropped == ((ANN.pay(0, 1_000), "mempool-full"),)
    assert len(house.pool) == 2


def test_expiry_by_height_and_by_age():
    house = House(age_ms_max=1_000)
    house.add(ANN.pay(0, expiry=12), ANN.pay(1))
    house.now += 500
    house.add(BEN.pay(0))
    assert house.pool.expire(11, house.now) == ()
    assert house.pool.expire(12, house.now) == (ANN.pay(0, expiry=12),)
    assert house.pool.waiting() == 1, "nonce 1 waits for another nonce 0"
    house.now += 500
    assert house.pool.expire(12, house.now) == (ANN.pay(1),)
    assert house.pool.ids() == (BEN.pay(0).id,)


def test_senders_that_no_block_touched_are_read_again_in_turn(monkeypatch):
    monkeypatch.setattr("chain.mempool.pool.RECHECKED_PER_MOVE", 1)
    house = House()
    house.add(ANN.pay(0), CAT.pay(0))
    for person in (ANN, CAT):
        house.accounts.held[person.address] = Account(0, 0)
    for left in (1, 0):
        house.pool.moved([], [], house.accounts, 11, NOW)
        assert len(house.pool) == left


def test_views():
    house = House()
    house.add(ANN.pay(0, 1_000, to=BEN.address, amount=5), ANN.pay(1, 2_000, to=ANN.address))
    house.add(BEN.pay(1, 3_000, to=CAT.address))
    pool = house.pool
    assert [t.fee for t in pool.recent(2)] == [3_000, 2_000]
    assert pool.ids() == tuple(t.id for t in reversed(pool.recent(9)))
    assert pool.next_nonce(ANN.address, house.accounts) == 2
    assert pool.next_nonce(BEN.address, house.accounts) == 0, "nonce 0 is still missing"
    assert pool.next_nonce(CAT.address, house.accounts) == 0
    assert [t.fee for t in pool.touching(BEN.address)] == [3_000, 1_000]
    assert pool.stats_of(BEN.address) == (2, 1, 5, 1, 3_010)
    assert pool.stats_of(ANN.address) == (2, 1, 10, 2, 3_015)
    assert pool.pending_of(CAT.address) == () == pool.queued_of(CAT.address)
    assert pool.touching(key_address(b"x" * 32)) == ()
    histogram = pool.fee_histogram()
    assert sum(size for _, size in histogram) == pool.size_bytes
    assert histogram == sorted(histogram, reverse=True) and len(histogram) == 3
    for (bucket, _), fee in zip(histogram, (3_000, 2_000, 1_000), strict=True):
        rate = fee * 1_000 // ANN.pay(0).size
        assert bucket <= rate * 1.02 and rate < bucket * 1.15
    house.mine(ANN.pay(0, 1_000, to=BEN.address, amount=5))
    assert pool.stats_of(BEN.address) == (1, 0, 0, 1, 3_010)


def test_a_flood_of_free_ones_fills_the_pool_once_and_stays_outside_afterwards():
    house = House(fee_per_kilobyte=0, count_max=50)
    flood = [Person(100 + seed) for seed in range(60)]
    for person in flood:
        house.accounts.give(person.address, 1_000)
    results = house.pool.add_many(
        [person.pay(0, 0, amount=0) for person in flood], house.accounts, 10, NOW
    )
    assert [r.code for r in results if r is not None] == ["mempool-full"] * 10
    house.add(ANN.pay(0, 1))
    assert len(house.pool) == 50 and ANN.pay(0, 1).id in house.pool


def test_ten_thousand_from_one_sender():
    house = House(sender_count_max=10_000, sender_size_max=10**7)
    template = ANN.pay(0)
    batch = [msgspec.structs.replace(template, nonce=nonce) for nonce in range(10_000)]
    house.verified.update(transaction.id for transaction in batch)
    assert not any(house.pool.add_many(batch, house.accounts, 10, NOW))
    assert house.pool.waiting() == 10_000
    chosen = house.select(bytes_max=10**7)
    assert chosen == batch
    house.mine(*batch[:4_000])
    assert house.pool.waiting() == 6_000 and house.select(10**7) == batch[4_000:]


def test_arrival_in_reverse_is_executable_once_the_gap_closes():
    house = House()
    house.add(*(ANN.pay(nonce) for nonce in reversed(range(1, 65))))
    assert house.pool.waiting() == 0
    house.add(ANN.pay(0))
    assert house.pool.waiting() == 65


def test_what_was_put_back_and_had_to_go_again_is_not_called_returned():
    house = House(count_max=1)
    displaced = block(11, ANN.pay(0, 1_000), BEN.pay(0, 5_000))
    moved = house.pool.moved([displaced], [], house.accounts, 10, NOW)
    assert moved.returned == (BEN.pay(0, 5_000),)
    assert moved.dropped == ((ANN.pay(0, 1_000), "mempool-full"),)


def test_select_tries_each_once_although_its_lane_was_pushed_twice():
    house = House()
    house.accounts.held[ANN.address] = Account(0, 1_100)
    house.add(ANN.pay(0))
    house.accounts.give(ANN.address, 5_000)
    house.add(ANN.pay(1))
    tried = []

    class Watching(Accounts):
        def apply(self, transaction):
            tried.append(transaction.nonce)
            super().apply(transaction)

    watching = Watching()
    watching.held = dict(house.accounts.held)
    assert len(house.pool.select(watching, 10**6)) == 2
    assert tried == [0, 1]
