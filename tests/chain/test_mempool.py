"""What the mempool takes: one test for each code, and who goes when it is full."""

from __future__ import annotations

import msgspec
import pytest

from chain.address import POLICY
from chain.genesis import Limits
from chain.mempool import fee_min
from chain.mempool.policy import MINIMUM_HALF_LIFE_MS, RollingMinimum
from chain.transaction import Transfer
from tests.support.mempools import ANN, BEN, CAT, NOW, Account, House, Person


@pytest.fixture(autouse=True)
def no_rechecks(monkeypatch):
    """Only what a move touched is read again, so that a test sees what the move missed."""
    monkeypatch.setattr("chain.mempool.pool.RECHECKED_PER_MOVE", 0)


def test_a_good_transaction_waits_and_is_verified_once():
    house = House()
    transaction = ANN.pay(0)
    house.pool.check(transaction, house.accounts, house.height, house.now)
    house.add(transaction)
    assert house.pool.waiting() == len(house.pool) == 1
    assert transaction.id in house.pool and house.pool.get(transaction.id) == transaction
    assert house.verifier.batches == [1] and transaction.id in house.verified
    assert house.pool.size_bytes == transaction.size and house.pool.total_fee == 1_000


def test_already_known():
    house = House()
    house.add(ANN.pay(0))
    assert house.refusal(ANN.pay(0)) == "already-known"


def test_too_large():
    house = House()
    house.pool._chain_limits = Limits(transaction_size_max=300)
    assert house.refusal(ANN.pay(0, memo=bytes(200))) == "too-large"


def test_too_many_actions():
    house = House()
    actions = (Transfer(BEN.address, 1),) * 101
    assert (
        house.refusal(msgspec.structs.replace(ANN.pay(0, 10**6), actions=actions))
        == "too-many-actions"
    )
    assert (
        house.refusal(msgspec.structs.replace(ANN.pay(0, 10**6), actions=())) == "too-many-actions"
    )


def test_bad_sender_kind():
    policy = bytes([POLICY]) + ANN.address[1:]
    house = House()
    assert house.refusal(msgspec.structs.replace(ANN.pay(0), sender=policy)) == "bad-sender-kind"


@pytest.mark.parametrize("witness", [(), (bytes(63),), (bytes(65),), (bytes(64), bytes(64))])
def test_wrong_witness(witness):
    house = House()
    assert house.refusal(msgspec.structs.replace(ANN.pay(0), witness=witness)) == "wrong-witness"


def test_expired_when_the_next_block_may_not_hold_it():
    house = House()
    assert house.refusal(ANN.pay(0, expiry=house.height)) == "expired"
    house.add(ANN.pay(0, expiry=house.height + 1))


def test_fee_below_minimum_is_exactly_the_chains_floor():
    house = House(fee_per_kilobyte=1_000)
    size = ANN.pay(0, 170).size
    least = fee_min(size, 1_000)
    assert ANN.pay(0, least).size == size
    assert house.refusal(ANN.pay(0, least - 1)) == "fee-below-minimum"
    house.add(ANN.pay(0, least))


def test_wrong_nonce_low():
    house = House()
    house.accounts.held[ANN.address] = Account(5, 10**9)
    assert house.refusal(ANN.pay(4)) == "wrong-nonce-low"
    house.add(ANN.pay(5))
    assert house.refusal(ANN.pay(4)) == "wrong-nonce-low"


def test_nonce_gap_too_large_is_counted_from_the_first_missing_one():
    house = House(gap_max=64)
    assert house.refusal(ANN.pay(65)) == "nonce-gap-too-large"
    house.add(ANN.pay(64))
    assert house.pool.waiting() == 0 and len(house.pool) == 1
    house.add(ANN.pay(0))
    house.add(ANN.pay(65))
    assert house.pool.waiting() == 1 and house.pool.queued_of(ANN.address)[0].nonce == 64


def test_insufficient_balance_counts_what_waits_before():
    house = House()
    house.accounts.held[ANN.address] = Account(0, 2_500)
    assert house.refusal(ANN.pay(0, 1_000, amount=1_501)) == "insufficient-balance"
    house.add(ANN.pay(0, 1_000, amount=500))
    assert house.refusal(ANN.pay(1, 1_000, amount=1)) == "insufficient-balance"
    house.add(ANN.pay(1, 1_000, amount=0))


def test_insufficient_balance_counts_what_is_queued_before():
    house = House()
    house.accounts.held[ANN.address] = Account(0, 2_500)
    house.add(ANN.pay(3, 1_000, amount=500))
    assert house.refusal(ANN.pay(5, 1_000, amount=1)) == "insufficient-balance"
    house.add(ANN.pay(5, 1_000, amount=0))


def test_a_credit_that_no_transaction_made_is_seen_when_it_is_needed():
    house = House()
    house.accounts.held[ANN.address] = Account(0, 1_100)
    house.add(ANN.pay(0))
    assert house.refusal(ANN.pay(1)) == "insufficient-balance"
    house.accounts.give(ANN.address, 5_000)
    house.add(ANN.pay(1))
    assert house.pool.waiting() == 2


def test_replacement_must_pay_ten_percent_more_in_all_and_a_byte():
    house = House()
    first = ANN.pay(0, 1_000)
    house.add(first)
    assert house.refusal(ANN.pay(0, 1_000, amount=11)) == "replacement-underpriced"
    assert house.refusal(ANN.pay(0, 1_099)) == "replacement-underpriced"
    assert house.refusal(ANN.pay(0, 1_100, memo=bytes(200))) == "replacement-underpriced"
    second = ANN.pay(0, 1_100)
    house.add(second)
    assert house.pool.ids() == (second.id,) and house.pool.total_fee == 1_100
    assert house.select() == [second]


def test_a_free_transaction_is_not_replaced_for_free():
    house = House(fee_per_kilobyte=0)
    house.add(ANN.pay(0, 0))
    assert house.refusal(ANN.pay(0, 0, amount=11)) == "replacement-underpriced"


def test_replacement_churn_leaves_one_and_bounded_heaps():
    house = House()
    transaction = ANN.pay(0, 1_000, expiry=100)
    house.add(transaction)
    rounds = 0
    while transaction.fee < 10**11:
        # The signature is not under test: its id is marked as verified.
        fee = transaction.fee * 6 // 5
        transaction = msgspec.structs.replace(transaction, fee=fee)
        house.verified.add(transaction.id)
        house.add(transaction)
        rounds += 1
    pool = house.pool
    assert rounds > 100
    assert len(pool) == pool.waiting() == 1 and pool.select(house.accounts, 10**6) == [transaction]
    assert pool.size_bytes == transaction.size and pool.total_fee == transaction.fee


def test_the_heaps_of_a_churned_pool_stay_bounded(monkeypatch):
    monkeypatch.setattr("chain.mempool.pool.DEAD_MAX", 10)
    house = House()
    transaction = ANN.pay(0, 1_000, expiry=100)
    house.add(transaction)
    for _ in range(100):
        fee = transaction.fee * 6 // 5
        transaction = msgspec.structs.replace(transaction, fee=fee)
        house.verified.add(transaction.id)
        house.add(transaction)
        assert len(house.pool._heads) <= 15 and len(house.pool._expiries) <= 15
    assert house.select() == [transaction]


def test_too_many_from_sender_by_count_and_by_bytes():
    house = House(sender_count_max=3)
    house.add(*(ANN.pay(nonce) for nonce in range(3)))
    assert house.refusal(ANN.pay(3)) == "too-many-from-sender"
    house.add(BEN.pay(0), ANN.pay(2, 2_000))
    size = ANN.pay(0).size
    house = House(sender_size_max=2 * size)
    house.add(ANN.pay(0), ANN.pay(1))
    assert house.refusal(ANN.pay(2)) == "too-many-from-sender"
    assert house.refusal(ANN.pay(1, 9_000, memo=b"more")) == "too-many-from-sender"


def test_mempool_full_unless_it_pays_more_than_the_worst():
    house = House(count_max=2)
    house.add(ANN.pay(0, 2_000), BEN.pay(0, 3_000))
    assert house.refusal(CAT.pay(0, 2_000)) == "mempool-full"
    newcomer = CAT.pay(0, 2_500)
    house.add(newcomer)
    assert house.pool.pending_of(ANN.address) == () and newcomer.id in house.pool
    assert house.pool.evicted_total == 1


def test_the_rolling_minimum_rises_with_an_eviction_and_decays():
    house = House(count_max=2)
    house.add(ANN.pay(0, 5_000), BEN.pay(0, 6_000), CAT.pay(0, 7_000))
    assert house.refusal(ANN.pay(0, 5_000)) == "fee-below-minimum"
    before = house.pool.fee_per_kilobyte_min(house.now)
    assert before > 5_000 * 1_000 // 300
    house.now += MINIMUM_HALF_LIFE_MS
    assert house.pool.fee_per_kilobyte_min(house.now) == pytest.approx(before / 2, rel=0.01)
    assert house.refusal(ANN.pay(0, 5_000)) == "mempool-full"


def test_the_rolling_minimum_never_rises_by_itself():
    minimum = RollingMinimum()
    minimum.evicted(1_000_000, 1_000, NOW)
    rates = [minimum.rate(NOW + step * 10_000) for step in range(400)]
    assert rates[0] == 1_001_000 and rates == sorted(rates, reverse=True)
    minimum.evicted(5, 5, NOW)
    assert minimum.rate(NOW) == 1_001_000
    assert minimum.rate(NOW + 100 * MINIMUM_HALF_LIFE_MS) == 0


def test_queued_ones_are_evicted_before_any_that_can_be_executed():
    house = House(count_max=3)
    house.add(ANN.pay(0, 1_000), BEN.pay(1, 90_000), BEN.pay(2, 90_000))
    house.add(CAT.pay(0, 500))
    assert [t.nonce for t in house.pool.queued_of(BEN.address)] == [1]
    assert house.pool.waiting() == 2


def test_a_dear_tail_behind_a_cheap_head_goes_before_a_middling_one():
    house = House(count_max=3)
    house.add(ANN.pay(0, 1_000), ANN.pay(1, 90_000), BEN.pay(0, 2_000))
    house.add(CAT.pay(0, 3_000))
    assert [t.nonce for t in house.pool.pending_of(ANN.address)] == [0]


def test_a_large_newcomer_that_is_not_worth_its_victims_evicts_nobody():
    sizes = ANN.pay(0, 1_000).size
    house = House(size_max=2 * sizes)
    house.add(ANN.pay(0, 1_000), BEN.pay(0, 5_000))
    large = CAT.pay(0, 4_000, memo=bytes(sizes - 20))
    assert house.refusal(large) == "mempool-full"
    assert house.pool.waiting() == 2


def test_one_sender_cannot_push_out_its_own_to_get_in():
    house = House(count_max=2)
    house.add(ANN.pay(0, 1_000), ANN.pay(1, 1_000))
    assert house.refusal(ANN.pay(2, 9_000)) == "mempool-full"


def test_bad_signature():
    house = House()
    stolen = msgspec.structs.replace(ANN.pay(0), witness=BEN.pay(0).witness)
    assert house.refusal(stolen) == "bad-signature"
    assert house.refusal(ANN.pay(0, chain=b"d" * 32)) == "bad-signature"
    assert not house.verified


def test_add_many_takes_one_batch_and_answers_each():
    house = House()
    good = [ANN.pay(nonce) for nonce in range(100)]
    forged = msgspec.structs.replace(BEN.pay(0), witness=(bytes(64),))
    hopeless = msgspec.structs.replace(BEN.pay(5_000), witness=(bytes(64),))
    batch = [*good, forged, good[0], BEN.pay(0, 1), hopeless, CAT.pay(0), CAT.pay(0, 1_050)]
    results = house.pool.add_many(batch, house.accounts, house.height, house.now)
    codes = [None if result is None else result.code for result in results]
    assert codes == [None] * 100 + [
        "bad-signature",
        "already-known",
        "fee-below-minimum",
        "nonce-gap-too-large",
        None,
        "replacement-underpriced",
    ]
    assert house.verifier.batches == [104], "cheap refusals cost no signature"
    assert house.pool.waiting() == 101
    assert house.pool.rejected_total == {
        code: codes.count(code) for code in dict.fromkeys(codes) if code is not None
    }


def test_add_many_of_a_verified_one_checks_no_signature():
    house = House()
    transaction = ANN.pay(0)
    house.verified.add(transaction.id)
    assert house.pool.add_many([transaction], house.accounts, 10, NOW) == [None]
    assert house.verifier.batches == [0]


def test_add_many_reads_each_account_once():
    house = House()
    house.accounts.reads = 0
    batch = [person.pay(nonce) for nonce in range(5) for person in (ANN, BEN, CAT)]
    assert not any(house.pool.add_many(batch, house.accounts, 10, NOW))
    assert house.accounts.reads == 3


def test_the_floor_is_rounded_up():
    assert [fee_min(size, 1_001) for size in (1, 999, 1_000, 1_001)] == [2, 1_000, 1_001, 1_003]


def test_a_dear_newcomer_behind_its_senders_cheap_head_is_worth_no_more_than_that():
    house = House(count_max=2)
    house.add(ANN.pay(0, 1_000), BEN.pay(0, 2_000))
    assert house.refusal(ANN.pay(1, 90_000)) == "mempool-full"


def test_a_senders_queued_ones_do_not_make_room_for_itself():
    house = House(count_max=2)
    house.add(ANN.pay(5, 1_000), BEN.pay(0, 2_000))
    assert house.refusal(ANN.pay(0, 1_500)) == "mempool-full"
    assert house.pool.next_nonce(ANN.address, house.accounts) == 0


def test_evicting_a_queued_one_does_not_raise_the_minimum():
    house = House(count_max=2)
    house.add(ANN.pay(5, 90_000), BEN.pay(0, 2_000), CAT.pay(0, 1_000))
    assert house.pool.evicted_total == 1
    assert house.pool.fee_per_kilobyte_min(house.now) == 1_000


def test_a_replacement_counts_for_its_sender_in_place_of_the_old_one():
    size = ANN.pay(0).size
    house = House(sender_size_max=2 * size + 20)
    house.add(ANN.pay(0, memo=bytes(20)), ANN.pay(1))
    house.add(ANN.pay(0, 5_000))
    house.add(ANN.pay(1, 5_000, memo=bytes(18)))
    assert house.pool.waiting() == 2


def test_a_full_pool_goes_on_making_room():
    house = House(count_max=2)
    crowd = [Person(100 + seed) for seed in range(12)]
    for number, person in enumerate(crowd):
        house.accounts.give(person.address, 10**9)
        house.add(person.pay(0, 1_000 * (number + 1)))
    assert [t.fee for t in house.pool.recent(9)] == [12_000, 11_000]
    assert house.pool.evicted_total == 10
