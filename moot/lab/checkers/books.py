"""The naive ledger beside the nodes: the main chain of every honest node, executed by hand.

Auditors that run production code share its mistakes. These books are dictionaries
(moot.lab.oracle.NaiveLedger) that remember what each block did to whom, so that whatever a node
says of a receipt, an account or the supply, at whatever height, can be looked up.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from chain.address import Address
from chain.block import Block
from chain.changes import StateChange
from chain.genesis import Genesis
from chain.hashing import BlockId, TxId, show_id
from chain.ledger import Ledger
from chain.state.accounts import get_supply
from moot.lab.node import SimulatedNode
from moot.lab.oracle import NaiveLedger, NaiveReceipt
from moot.lab.oracle_members import NaiveSet, as_naive
from moot.lab.planting import judged_honestly
from moot.lab.report import Findings
from moot.node.eras import EraBook

CHECKER = "naive-ledger"


class Entry(NamedTuple):
    """A block with what its engine's rules pay out, and what must come of its transactions."""

    block: Block
    changes: tuple[StateChange, ...]
    receipts: tuple[NaiveReceipt, ...]
    supply: int


class _Values(msgspec.Struct):
    """An account after each block that touched it; ``heights`` rise."""

    heights: list[int]
    values: list[tuple[int, int]]


class Books:
    """One chain from genesis up, executed naively, and every account's past."""

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = genesis
        self._naive = NaiveLedger(genesis, EraBook().membership(genesis.eras[0]))
        self._entries: list[Entry] = []
        self._ids: dict[TxId, int] = {}
        self._accounts: dict[Address, _Values] = {}
        self._write(0)

    @property
    def height(self) -> int:
        return len(self._entries)

    @property
    def blocks(self) -> Iterator[Block]:
        """From height 1 up."""
        return (entry.block for entry in self._entries)

    def entry(self, height: int) -> Entry:
        return self._entries[height - 1]

    def append(self, block: Block, changes: Sequence[StateChange]) -> None:
        """Executes the next block. Raises ValueError where it contains what no block may; these
        books are then of no more use."""
        for transaction in block.transactions:
            before = self._ids.setdefault(transaction.id, block.height)
            if before != block.height:
                raise ValueError(f"{show_id(transaction.id)} is at height {before} already")
        if len({transaction.id for transaction in block.transactions}) < len(block.transactions):
            raise ValueError("it holds a transaction twice")
        receipts = tuple(self._naive.apply(block, changes))
        self._entries.append(Entry(block, tuple(changes), receipts, self._naive.supply))
        self._write(block.height)
        if self._naive.total() != self._naive.supply:
            raise ValueError(f"{self._naive.total()} units exist, not {self._naive.supply}")

    def _write(self, height: int) -> None:
        naive = self._naive
        for address, balance in naive.balances.items():
            value = (naive.nonces.get(address, 0), balance)
            kept = self._accounts.setdefault(address, _Values([], []))
            if not kept.values or kept.values[-1] != value:
                kept.heights.append(height)
                kept.values.append(value)

    def account(self, address: Address, height: int) -> tuple[int, int]:
        """(nonce, balance) as the block at ``height`` left them; (0, 0): never heard of."""
        kept = self._accounts.get(address)
        place = 0 if kept is None else bisect_right(kept.heights, height)
        return kept.values[place - 1] if kept is not None and place else (0, 0)

    def deciders(self, height: int) -> NaiveSet:
        """Members and outgoing voters that decide the block at ``height``, at most one above."""
        return self._naive.members.decides(height)

    def addresses(self) -> list[Address]:
        """All that ever held or sent something."""
        return list(self._accounts)

    def holds(self, block: BlockId, height: int) -> bool:
        """Whether that block is the one at that height."""
        return 0 < height <= self.height and self.entry(height).block.id == block

    def up_to(self, height: int) -> Books:
        """A copy that ends at ``height``."""
        copy = Books(self._genesis)
        for entry in self._entries[:height]:
            copy.append(entry.block, entry.changes)
        return copy


class BookKeeper:
    """Keeps the books of the chain that was decided, and compares every node's ledger to them."""

    def __init__(self, genesis: Genesis, findings: Findings) -> None:
        self.books = Books(genesis)
        self.is_sound = True
        """Whether all blocks so far could be executed."""
        self._eras = EraBook()
        self._findings = findings
        self._tails: dict[BlockId, Books] = {}
        """By head, where that stands beside or above the decided chain."""

    def append(self, block: Block, changes: Sequence[StateChange], at_ms: int) -> None:
        """The next block of the decided chain."""
        if not self.is_sound:
            return
        try:
            self.books.append(block, changes)
        except ValueError as error:
            self.is_sound = False
            self._findings.violated(CHECKER, f"height {block.height}: {error}", at_ms)

    def compare(self, node: SimulatedNode) -> None:
        """A node's main chain: receipts of all blocks; accounts and supply at the head."""
        if not self.is_sound:
            return
        ledger = node.running.ledger
        books = self._books_of(node)
        if books is None:
            return
        head = ledger.height(ledger.head())
        for height in range(1, head + 1):
            entry = books.entry(height)
            stored = ledger.receipts(entry.block.id)
            if stored is None:
                continue  # pruned
            told = tuple(NaiveReceipt(one.code, one.fee) for one in stored)
            if told != entry.receipts:
                self._violated(node, height, f"its receipts are {told}, not {entry.receipts}")
        for height in sorted({ledger.height(ledger.confirmed()), head} - {0}):
            self._compare_state(node, books, height)

    def _compare_state(self, node: SimulatedNode, books: Books, height: int) -> None:
        ledger, entry = node.running.ledger, books.entry(height)
        supply = get_supply(ledger.state(entry.block.id))
        if supply != entry.supply:
            self._violated(node, height, f"its supply is {supply}, not {entry.supply}")
        if as_naive(ledger.validators(entry.block.id)) != books.deciders(height + 1):
            self._violated(node, height, "those who decide the next block are not those voted for")
        for address in books.addresses():
            account = ledger.account(address, entry.block.id)
            told, right = (account.nonce, account.balance), books.account(address, height)
            if told != right:
                what = f"(nonce, balance) of {address.hex()} are {told}, not {right}"
                self._violated(node, height, what)

    @judged_honestly
    def _books_of(self, node: SimulatedNode) -> Books | None:
        """Of the node's main chain; None, and a violation, where it cannot be executed.

        None alone where these books end below what the node has pruned, as when nothing is final
        and the run ended before its chain was audited: what is missing is missing by right.
        """
        ledger = node.running.ledger
        head = ledger.head()
        top = ledger.height(head)
        if top == 0 or self.books.holds(head, top):
            return self.books
        if head in self._tails:
            return self._tails[head]
        fork = min(top, self.books.height)
        while fork and not self.books.holds(ledger.ancestor(head, fork), fork):
            fork -= 1
        books = self.books.up_to(fork)
        for height in range(fork + 1, top + 1):
            block = _body(ledger, height)
            if block is None and height < ledger.bodies_from:
                return None
            if block is None:
                self._violated(node, height, "its main chain has a gap")
                return None
            rules = self._eras.rules_after(ledger, block.previous)
            try:
                books.append(block, rules.state_changes(block.head, ledger))
            except ValueError as error:
                self._violated(node, height, str(error))
                return None
        self._tails[head] = books
        return books

    def _violated(self, node: SimulatedNode, height: int, what: str) -> None:
        message = f"{node.name}, height {height}: {what}"
        self._findings.violated(CHECKER, message, node.world.now_ms)


def _body(ledger: Ledger, height: int) -> Block | None:
    block_id = ledger.id_at(height)
    return None if block_id is None else ledger.block(block_id)
