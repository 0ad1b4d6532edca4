"""Reorganisations: what the branch left behind held, and the new one does not, waits again.

And the indexes of the chain are those of its blocks, however often blocks were taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from chain.address import Address
from chain.errors import InvalidTransaction
from chain.hashing import BlockId, TxId, show_id
from chain.ledger import Ledger
from chain.transaction import Transaction, Transfer
from consensus.contract import Effect, Event, SetHead
from moot.lab.node import SimulatedNode
from moot.lab.planting import judged_honestly
from moot.lab.report import Findings

HISTORY_PAGE: Final = 100


class Returned:
    """For one node: no payment is forgotten because the block that held it lost; one that cannot
    come back is listed as displaced where nothing is final."""

    def __init__(self, node: SimulatedNode, findings: Findings) -> None:
        self._node = node
        self._findings = findings
        self._left: dict[TxId, Transaction] = {}
        node.started.append(self._begin)
        node.observe(self._observe, SetHead)

    def _begin(self, node: SimulatedNode) -> None:
        self._left.clear()  # what waits is kept in memory only, and dies with the node

    @judged_honestly
    def _observe(self, thing: Event | Effect) -> None:
        """Before the head moves: soon the branch that it leaves may be pruned."""
        if isinstance(thing, SetHead):
            ledger = self._node.running.ledger
            before = ledger.head()
            if not ledger.descends(thing.block, before):
                for transaction in left_behind(ledger, before, thing.block):
                    self._left[transaction.id] = transaction

    def look(self) -> None:
        """When the node has done all that it had to do."""
        if self._left:
            self._look_for_them()

    @judged_honestly
    def _look_for_them(self) -> None:
        core = self._node.running
        height = core.ledger.height(core.ledger.head())
        now_ms = self._node.clock().steady_ms
        left, self._left = self._left, {}
        for transaction in left.values():
            if transaction.id in core.mempool or core.ledger.transaction(transaction.id):
                continue
            try:
                core.mempool.check(transaction, core.ledger, height, now_ms)
            except InvalidTransaction:
                # Another one took its place, or it has expired: then its sender is told, unless the
                # chain has finality, before which no block is a promise (moot.node.displaced).
                if core.ledger.finalizes:
                    continue
                if core.displaced.get(transaction.id) is None:
                    self._findings.violated(
                        "displaced",
                        f"{self._node.name} does not list {show_id(transaction.id)}, whose block "
                        "lost and which cannot come back",
                        self._node.world.now_ms,
                    )
                else:
                    self._findings.exercised["displaced"] += 1
                continue
            self._findings.violated(
                "returned",
                f"{self._node.name} forgot {show_id(transaction.id)} when its block lost at "
                f"height {height}",
                self._node.world.now_ms,
            )


def left_behind(ledger: Ledger, before: BlockId, head: BlockId) -> Iterator[Transaction]:
    """Transactions of the blocks that ``before`` has and ``head`` has not, newest block first."""
    fork = min(ledger.height(before), ledger.height(head))
    while ledger.ancestor(before, fork) != ledger.ancestor(head, fork):
        fork -= 1
    for height in range(ledger.height(before), fork, -1):
        block = ledger.block(ledger.ancestor(before, height))
        assert block is not None, "the head's branch has no gaps"
        yield from block.transactions


@judged_honestly
def check_indexes(node: SimulatedNode, addresses: Iterable[Address], findings: Findings) -> None:
    """What a ledger tells of transactions and accounts is what its blocks hold, as far as it has
    them.

    ``addresses``: of accounts that mine nothing.
    """
    ledger = node.running.ledger
    places: dict[TxId, int] = {}
    touched: dict[Address, list[tuple[int, TxId]]] = {address: [] for address in addresses}
    lowest = max(1, ledger.bodies_from)
    for height in range(lowest, ledger.height(ledger.head()) + 1):
        block_id = ledger.id_at(height)
        block = None if block_id is None else ledger.block(block_id)
        receipts = ledger.receipts(block_id) if block_id is not None else None
        assert block is not None and receipts is not None, "the head's branch has no gaps"
        for transaction, receipt in zip(block.transactions, receipts, strict=True):
            places[transaction.id] = height
            paid = [
                action.recipient
                for action, result in zip(transaction.actions, receipt.results, strict=True)
                if isinstance(action, Transfer) and result.ok
            ]
            for address in dict.fromkeys((transaction.sender, *paid)):
                if address in touched:
                    touched[address].append((height, transaction.id))

    def violated(what: str) -> None:
        findings.violated("indexes", f"{node.name}: {what}", node.world.now_ms)

    for txid, height in places.items():
        located = ledger.transaction(txid)
        if located is None or located.height != height:
            violated(f"{show_id(txid)} of height {height} is not where the index says")
    for address, expected in touched.items():
        try:
            told = history_of(ledger, address)
        except (AssertionError, IndexError):
            violated("an account's history names what is not in the chain")
            continue
        heights = [height for height, _ in told]
        if heights != sorted(heights, reverse=True) or sorted(told) != sorted(expected):
            violated(f"an account's history has {len(told)} entries, its chain {len(expected)}")
        allocated = sum(each.address == address for each in ledger.genesis.allocations)
        counted = ledger.address_stats(address).tx_count - allocated
        if counted != len(expected) and lowest == 1:  # sums go back further than what is kept
            violated(f"an account counts {counted} transactions, its chain {len(expected)}")


def history_of(ledger: Ledger, address: Address) -> list[tuple[int, TxId]]:
    """All of an account's history by height and transaction, rewards left out, newest first."""
    found: list[tuple[int, TxId]] = []
    before: tuple[int, int] | None = None
    while page := ledger.history(address, before=before, count=HISTORY_PAGE):
        before = (page[-1].height, page[-1].position)
        found += [
            (each.height, each.transaction.id) for each in page if each.transaction is not None
        ]
    return found
