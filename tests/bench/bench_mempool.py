"""What the mempool costs a transaction: ``python tests/bench/bench_mempool.py [count]``."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import msgspec

from chain.address import key_address
from chain.block import Block
from chain.genesis import Limits
from chain.header import Header
from chain.ledger import VerifiedSignatures
from chain.manifest import Manifest
from chain.mempool import Mempool, MempoolLimits
from chain.signatures import Signed
from chain.state.accounts import Account
from chain.transaction import ATOMIC, Transaction, Transfer, parse_transaction
from chain.verifiers import default_verifier

CHAIN = b"c" * 32
RICH = Account(0, 2**60)


class Accounts:
    def account(self, address: bytes) -> Account:
        return RICH


class Advanced:
    """The accounts after some transactions."""

    def __init__(self, transactions: Iterable[Transaction]) -> None:
        self.used = Counter(transaction.sender for transaction in transactions)

    def account(self, address: bytes) -> Account:
        return Account(self.used[address], RICH.balance)


class AllGood:
    def verify(self, claims: list[Signed]) -> list[bool]:
        return [True] * len(claims)


class Anything:
    def apply(self, transaction: Transaction) -> None:
        return None


def make(count: int, senders: int) -> list[Transaction]:
    """Parsed anew, as from the wire, with ids known (gossip asks for them first)."""
    transactions = []
    recipient = key_address(b"r" * 32)
    for number in range(count):
        sender = key_address((number % senders).to_bytes(32, "big"))
        made = Transaction(
            sender,
            number // senders,
            1_000 + number * 7_919 % 5_000,
            0,
            ATOMIC,
            (Transfer(recipient, 1),),
            (number.to_bytes(64, "big"),),
        )
        transactions.append(parse_transaction(made.raw))
    for transaction in transactions:
        transaction.id  # noqa: B018
    return transactions


def pool(count: int, verifier: object) -> Mempool:
    limits = MempoolLimits(count_max=count, sender_count_max=count, sender_size_max=2**30)
    return Mempool(limits, CHAIN, Limits(), verifier, VerifiedSignatures(10 * count))


@contextmanager
def clock(name: str, count: int) -> Iterator[None]:
    start = time.perf_counter()
    yield
    spent = time.perf_counter() - start
    print(f"{name:58} {spent / count * 1e6:8.2f} us each")


def main(count: int) -> None:
    accounts = Accounts()
    for senders in (1, 10, 1_000, count):
        transactions = make(count, senders)
        mempool = pool(count, AllGood())
        for transaction in transactions:
            mempool._verified.add(transaction.id)
        with clock(f"add, signature known, {senders} senders", count):
            for transaction in transactions:
                mempool.add(transaction, accounts, 1, 0)
        assert mempool.waiting() == count
        with clock(f"select all, {senders} senders", count):
            assert len(mempool.select(Anything(), 2**40)) == count
        few = min(count, 1_000)
        with clock(f"select {few} of {count}, {senders} senders", few):
            mempool.select(Anything(), few * 152)
        fresh = [msgspec.structs.replace(t, fee=t.fee * 2) for t in transactions[:few]]
        for transaction in fresh:
            mempool._verified.add(transaction.id)
        with clock(f"replace, signature known, {senders} senders", few):
            for transaction in fresh:
                mempool.add(transaction, accounts, 1, 0)
    transactions = make(count, 1_000)
    mempool = pool(count, AllGood())
    with clock("add, with signing bytes and a verifier that always says yes", count):
        for transaction in transactions:
            mempool.add(transaction, accounts, 1, 0)
    richer = [
        msgspec.structs.replace(
            t, sender=key_address(b"s" * 28 + i.to_bytes(4, "big")), fee=9**6, nonce=0
        )
        for i, t in enumerate(transactions[:1_000])
    ]
    for transaction in richer:
        mempool._verified.add(transaction.id)
    with clock("add to a full pool, evicting one", 1_000):
        for transaction in richer:
            mempool.add(transaction, accounts, 1, 0)
    transactions = make(count, 1_000)
    mempool = pool(count, AllGood())
    mempool.add_many(transactions, accounts, 1, 0)
    manifest = Manifest(2, 0, key_address(b"p" * 32), bytes(32), bytes(32), b"", 0, bytes(8))
    chosen = tuple(transactions[:5_000])
    block = Block(Header(0, bytes(32), bytes(32), 0, 0, 0), manifest, chosen)
    with clock("moved by a block of 5,000, 1,000 senders", len(chosen)):
        mempool.moved([], [block], Advanced(chosen), 2, 0)
    assert mempool.waiting() == count - len(chosen)
    with clock("moved back", len(chosen)):
        mempool.moved([block], [], accounts, 1, 0)
    assert mempool.waiting() == count
    claim = Signed(transactions[0].sender[1:], transactions[0].signing_bytes(CHAIN), bytes(64))
    verifier = default_verifier()
    with clock(f"{type(verifier).__name__} alone", 1_000):
        verifier.verify([claim] * 1_000)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
