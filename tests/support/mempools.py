"""People with keys, a model of the accounts, and a mempool over it."""

from __future__ import annotations

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chain.address import Address, key_address
from chain.block import Block
from chain.errors import InvalidTransaction
from chain.genesis import Limits
from chain.hashing import TxId
from chain.header import Header
from chain.manifest import Manifest
from chain.mempool import Mempool, MempoolLimits
from chain.signatures import Signed
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
