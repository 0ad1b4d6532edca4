"""Random traffic, blocks and reorganisations against a model: the mempool's invariants hold."""

from __future__ import annotations

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chain.address import Address, key_address
from chain.block import Block
from chain.errors import InvalidTransaction
from chain.genesis import Limits
from chain.header import Header
from chain.manifest import Manifest
from chain.mempool import Mempool, MempoolLimits, cost_of
from chain.transaction import ATOMIC, Transaction, Transfer

PEOPLE = tuple(key_address(bytes([number]) * 32) for number in range(1, 6))
LIMITS = MempoolLimits(
    size_max=4_000,
    count_max=20,
    sender_count_max=8,
    sender_size_max=1_500,
    gap_max=3,
    age_ms_max=10_000,
)
KNOWN = "already-known"
CODES = {
    KNOWN,
    "fee-below-minimum",
    "wrong-nonce-low",
    "nonce-gap-too-large",
    "insufficient-balance",
    "replacement-underpriced",
    "too-many-from-sender",
    "mempool-full",
    "expired",
}


class Account(msgspec.Struct, frozen=True):
    nonce: int = 0
    balance: int = 0


class State:
    """Accounts as a block leaves them, with the rules of execution that matter here."""

    def __init__(self, held: dict[Address, Account]) -> None:
        self.held = dict(held)

    def account(self, address: Address) -> Account:
        return self.held.get(address, Account())

    def apply(self, transaction: Transaction) -> None:
        account = self.account(transaction.sender)
        if transaction.nonce != account.nonce:
            low = transaction.nonce < account.nonce
            raise InvalidTransaction(f"wrong-nonce-{'low' if low else 'high'}", "not the next")
        if cost_of(transaction) > account.balance:
            raise InvalidTransaction("insufficient-balance", "too poor")
        self.held[transaction.sender] = Account(
            account.nonce + 1, account.balance - cost_of(transaction)
        )
        for action in transaction.actions:
            to = self.account(action.recipient)
            self.held[action.recipient] = Account(to.nonce, to.balance + action.amount)


class AllGood:
    def verify(self, claims):
        return [True] * len(claims)


def make(sender, nonce, fee, recipient, amount, memo, expiry) -> Transaction:
    action = Transfer(recipient, amount, bytes(memo))
    return Transaction(sender, nonce, fee, expiry, ATOMIC, (action,), (bytes(64),))


people = st.sampled_from(PEOPLE)
fees = st.integers(0, 3_000)
memos = st.sampled_from([0, 0, 0, 50, 200])


class MempoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pool = Mempool(LIMITS, b"c" * 32, Limits(fee_per_kilobyte_min=100), AllGood())
        self.states = [State({person: Account(0, 20_000) for person in PEOPLE})]
        self.blocks: list[Block] = []
        self.now = 1_000_000

    @property
    def state(self) -> State:
        return self.states[-1]

    @property
    def height(self) -> int:
        return len(self.blocks)

    def transaction(self, sender, ahead, fee, recipient, amount, memo, expiry) -> Transaction:
        nonce = max(self.state.account(sender).nonce + ahead, 0)
        lives_to = self.height + expiry if expiry else 0
        return make(sender, nonce, fee, recipient, amount, memo, lives_to)

    @rule(
        sender=people,
        ahead=st.integers(-1, 12),
        fee=fees,
        recipient=people,
        amount=st.integers(0, 4_000),
        memo=memos,
        expiry=st.integers(0, 4),
    )
    def add(self, sender, ahead, fee, recipient, amount, memo, expiry):
        transaction = self.transaction(sender, ahead, fee, recipient, amount, memo, expiry)
        dry = None
        try:
            self.pool.check(transaction, self.state, self.height, self.now)
        except InvalidTransaction as error:
            dry = error.code
        try:
            self.pool.add(transaction, self.state, self.height, self.now)
        except InvalidTransaction as error:
            assert error.code == dry and error.code in CODES
        else:
            assert dry is None and transaction.id in self.pool

    @rule(sender=people, count=st.integers(1, 12), fee=fees)
    def add_many(self, sender, count, fee):
        first = self.pool.next_nonce(sender, self.state)
        batch = [make(sender, first + n, fee, PEOPLE[0], 1, 0, 0) for n in range(count)]
        results = self.pool.add_many(batch, self.state, self.height, self.now)
        for transaction, result in zip(batch, results, strict=True):
            assert (transaction.id in self.pool) == (result is None or result.code == KNOWN)
            assert result is None or result.code in CODES

    @rule(millis=st.integers(0, 4_000))
    def wait(self, millis):
        self.now += millis
        for gone in self.pool.expire(self.height, self.now):
            assert gone.id not in self.pool

    def build(self, bytes_max: int, strangers: list[Transaction]) -> tuple[Block, State]:
        state = State(self.state.held)
        chosen = []
        for stranger in strangers:
            try:
                state.apply(stranger)
            except InvalidTransaction:
                continue
            chosen.append(stranger)
        chosen += self.pool.select(state, bytes_max)
        manifest = Manifest(
            self.height + 1, self.now, PEOPLE[0], bytes(32), bytes(32), b"", 0, bytes(8)
        )
        return Block(Header(0, bytes(32), bytes(32), 0, 0, 0), manifest, tuple(chosen)), state

    @rule(bytes_max=st.integers(0, 1_500), sender=people, fee=fees, amount=st.integers(0, 9_000))
    def mine(self, bytes_max, sender, fee, amount):
        stranger = self.transaction(sender, 0, fee, PEOPLE[1], amount, 0, 0)
        self.move(0, [self.build(bytes_max, [stranger])])

    @precondition(lambda self: len(self.blocks) > 1)
    @rule(depth=st.integers(1, 3), bytes_max=st.integers(0, 1_000), fee=fees)
    def reorganise(self, depth, bytes_max, fee):
        """To a longer or shorter branch that holds some of the same transactions."""
        depth = min(depth, len(self.blocks))
        base = State(self.states[-1 - depth].held)
        kept = [t for block in self.blocks[-depth:] for t in block.transactions][::2]
        manifest = self.blocks[-depth].manifest
        chosen = []
        for transaction in kept:
            try:
                base.apply(transaction)
            except InvalidTransaction:
                continue
            chosen.append(transaction)
        block = Block(Header(1, bytes(32), bytes(32), fee, 0, 0), manifest, tuple(chosen))
        self.move(depth, [(block, base)])

    def move(self, depth: int, added: list[tuple[Block, State]]) -> None:
        removed = self.blocks[len(self.blocks) - depth :]
        before = set(self.pool.ids())
        del self.blocks[len(self.blocks) - depth :]
        del self.states[len(self.states) - depth :]
        self.blocks += [block for block, _ in added]
        self.states += [state for _, state in added]
        moved = self.pool.moved(
            removed, [block for block, _ in added], self.state, self.height, self.now
        )
        self.account_for(before, removed, [block for block, _ in added], moved)

    def account_for(self, before, removed, added, moved) -> None:
        """Every transaction that was here or displaced is here, included, or told of."""
        after = set(self.pool.ids())
        included = {t.id for block in added for t in block.transactions}
        displaced = {t.id for block in removed for t in block.transactions} - included
        dropped = {transaction.id for transaction, _ in moved.dropped}
        expired = {transaction.id for transaction in moved.expired}
        assert not included & after
        assert {t.id for t in moved.returned} == displaced & after
        gone = (before | displaced) - included - after
        assert gone <= dropped | expired
        assert not (dropped | expired) & after

    @invariant()
    def limits_hold(self):
        pool = self.pool
        held = [pool.get(txid) for txid in pool.ids()]
        assert len(pool) == len(held) <= LIMITS.count_max
        assert pool.size_bytes == sum(t.size for t in held) <= LIMITS.size_max
        assert pool.total_fee == sum(t.fee for t in held)
        assert sum(size for _, size in pool.fee_histogram()) == pool.size_bytes
        for person in PEOPLE:
            mine = [t for t in held if t.sender == person]
            assert len(mine) <= LIMITS.sender_count_max
            assert sum(t.size for t in mine) <= LIMITS.sender_size_max
            assert len({t.nonce for t in mine}) == len(mine)
            touching = [t for t in held if person in (t.sender, *(a.recipient for a in t.actions))]
            assert sorted(t.id for t in pool.touching(person)) == sorted(t.id for t in touching)

    @invariant()
    def pending_is_executable_in_order(self):
        total = 0
        for person in PEOPLE:
            account = self.state.account(person)
            pending, queued = self.pool.pending_of(person), self.pool.queued_of(person)
            total += len(pending)
            assert [t.nonce for t in pending] == list(
                range(account.nonce, account.nonce + len(pending))
            )
            assert sum(cost_of(t) for t in pending) <= account.balance
            for transaction in queued:
                if transaction.nonce == account.nonce + len(pending):
                    spent = sum(cost_of(t) for t in pending) + cost_of(transaction)
                    assert spent > account.balance, "it could be executed, yet is queued"
        assert self.pool.waiting() == total

    @invariant()
    def select_gives_all_that_is_pending_best_first(self):
        chosen = self.pool.select(State(self.state.held), 10**6)
        assert len(chosen) == self.pool.waiting()
        waiting = {person: list(self.pool.pending_of(person)) for person in PEOPLE}
        for transaction in chosen:
            heads = [lane[0] for lane in waiting.values() if lane]
            best = max(t.fee * 1_000_000 // t.size for t in heads)
            assert transaction.fee * 1_000_000 // transaction.size == best
            assert waiting[transaction.sender].pop(0) == transaction


MempoolMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)
test_mempool_machine = MempoolMachine.TestCase
