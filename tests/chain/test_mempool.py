"""The mempool's rules: one test for each code, and what blocks and moves do to it."""

from __future__ import annotations

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chain.address import POLICY, Address, key_address
from chain.block import Block
from chain.errors import InvalidTransaction
from chain.execution import BlockExecution
from chain.genesis import Limits
from chain.hashing import TxId
from chain.header import Header
from chain.manifest import Manifest
from chain.mempool import Mempool, MempoolLimits, fee_min
from chain.mempool.policy import MINIMUM_HALF_LIFE_MS, RollingMinimum
from chain.signatures import Signed
from chain.state.accounts import Account as RealAccount
from chain.state.accounts import account_key, encode_account
from chain.state.tree import StateTree
from chain.transaction import ATOMIC, Transaction, Transfer
from chain.verifiers import default_verifier

CHAIN = b"c" * 32
NOW = 1_700_000_000_000


class Account(msgspec.Struct, frozen=True):
    nonce: int = 0
    balance: int = 0


class Accounts:
    """A model of the head's accounts; also of a block being made on them."""

    def __init__(self) -> None:
        self.held: dict[Address, Account] = {}
        self.reads = 0

    def account(self, address: Address) -> Account:
        self.reads += 1
        return self.held.get(address, Account())

    def give(self, address: Address, amount: int) -> None:
        account = self.held.get(address, Account())
        self.held[address] = Account(account.nonce, account.balance + amount)

    def copy(self) -> Accounts:
        other = Accounts()
        other.held = dict(self.held)
        return other

    def apply(self, transaction: Transaction) -> None:
        account = self.account(transaction.sender)
        cost = transaction.fee + sum(a.amount for a in transaction.actions)
        if transaction.nonce != account.nonce:
            low = transaction.nonce < account.nonce
            raise InvalidTransaction(f"wrong-nonce-{'low' if low else 'high'}", "not the next")
        if cost > account.balance:
            raise InvalidTransaction("insufficient-balance", "too poor")
        self.held[transaction.sender] = Account(account.nonce + 1, account.balance - cost)
        for action in transaction.actions:
            self.give(action.recipient, action.amount)


class CountingVerifier:
    def __init__(self) -> None:
        self.batches: list[int] = []

    def verify(self, claims: list[Signed]) -> list[bool]:
        self.batches.append(len(claims))
        return default_verifier().verify(claims)


class Person:
    def __init__(self, seed: int) -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(seed.to_bytes(32, "big"))
        self.address = key_address(self.key.public_key().public_bytes_raw())

    def pay(
        self,
        nonce: int,
        fee: int = 1_000,
        *,
        to: Address | None = None,
        amount: int = 10,
        expiry: int = 0,
        memo: bytes = b"",
        chain: bytes = CHAIN,
    ) -> Transaction:
        action = Transfer(to if to is not None else key_address(b"r" * 32), amount, memo)
        unsigned = Transaction(self.address, nonce, fee, expiry, ATOMIC, (action,))
        signature = self.key.sign(unsigned.signing_bytes(chain))
        return msgspec.structs.replace(unsigned, witness=(signature,))


ANN, BEN, CAT = (Person(seed) for seed in (1, 2, 3))


def block(height: int, *transactions: Transaction, producer: Address = BEN.address) -> Block:
    manifest = Manifest(height, NOW, producer, bytes(32), bytes(32), b"", 0, bytes(8))
    return Block(Header(0, bytes(32), bytes(32), 0, 0, 0), manifest, transactions)


class House:
    """A mempool over model accounts, at some height and time."""

    def __init__(self, *, fee_per_kilobyte: int = 1_000, **limits: int) -> None:
        self.verifier = CountingVerifier()
        self.verified: set[TxId] = set()
        self.pool = Mempool(
            MempoolLimits(**limits),
            CHAIN,
            Limits(fee_per_kilobyte_min=fee_per_kilobyte),
            self.verifier,
            self.verified,
        )
        self.accounts = Accounts()
        for person in (ANN, BEN, CAT):
            self.accounts.give(person.address, 10**12)
        self.height, self.now = 10, NOW

    def add(self, *transactions: Transaction) -> None:
        for transaction in transactions:
            self.pool.add(transaction, self.accounts, self.height, self.now)

    def refusal(self, transaction: Transaction) -> str:
        """The code with which check and add (alike) refuse; the pool is as before."""
        before = (self.pool.ids(), self.pool.waiting(), self.pool.size_bytes)
        with pytest.raises(InvalidTransaction) as dry:
            self.pool.check(transaction, self.accounts, self.height, self.now)
        counted = sum(self.pool.rejected_total.values())
        with pytest.raises(InvalidTransaction) as wet:
            self.add(transaction)
        assert wet.value.code == dry.value.code
        assert sum(self.pool.rejected_total.values()) == counted + 1
        assert (self.pool.ids(), self.pool.waiting(), self.pool.size_bytes) == before
        return wet.value.code

    def mine(self, *transactions: Transaction):
        for transaction in transactions:
            self.accounts.apply(transaction)
        self.height += 1
        added = [block(self.height, *transactions)]
        return self.pool.moved([], added, self.accounts, self.height, self.now)

    def select(self, bytes_max: int = 1_000_000) -> list[Transaction]:
        return self.pool.select(self.accounts.copy(), bytes_max)


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
        state, chain_id=CHAIN, limits=Limits(), height=11, time_ms=NOW, producer=CAT.address
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
