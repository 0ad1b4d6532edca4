"""Transactions that wait: the mempool, gossip about it, and who must hear of a change."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chain.block import Block
from chain.errors import InvalidTransaction
from chain.hashing import TxId
from chain.ledger import HeadMoved, Ledger
from chain.mempool import Mempool
from chain.transaction import Transaction
from consensus import contract
from consensus.contract import Event
from moot.node import feed
from moot.node.displaced import DisplacedBook
from moot.node.feed import Feed
from moot.node.ports import Shell
from p2p.actions import Action
from p2p.gossip import TransactionGossip


class TransactionDesk:
    """``do`` carries out what gossip wants; ``post`` gives an event to the engine; ``wake_builder``
    lets open Builds look at the mempool again."""

    def __init__(
        self,
        ledger: Ledger,
        mempool: Mempool,
        feed_: Feed,
        shell: Shell,
        do: Callable[[Sequence[Action]], None],
        post: Callable[[Event], None],
        wake_builder: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._mempool = mempool
        self._feed = feed_
        self._shell = shell
        self._do = do
        self._post = post
        self._wake_builder = wake_builder
        self.gossip = TransactionGossip(self._has, self._raw, mempool.ids)
        self.producer: bytes | None = None
        """Key of the node that makes the next block, if the engine names one (a hint)."""
        self.displaced = DisplacedBook(ledger)
        self._some_waiting = False
        self.idle_since_ms = shell.clock().steady_ms
        """Steady time of the last progress: the head moved, or something began to wait."""

    def submit(
        self, transactions: Sequence[Transaction], source: bytes | None = None
    ) -> list[InvalidTransaction | None]:
        """Offers transactions to the mempool; None for each that was taken.

        ``source``: the peer that brought them; None: a client of ours.
        """
        results = self._mempool.add_many(
            transactions, self._ledger, self._head_height(), self._steady()
        )
        taken = [
            transaction.id
            for transaction, error in zip(transactions, results, strict=True)
            if error is None
        ]
        for transaction, code in self._mempool.take_pushed_out():
            self._feed.publish(feed.TransactionDropped(transaction.id, code))
        for txid in taken:
            self._feed.publish(feed.TransactionSeen(txid))
        if taken and source is None and self.producer is not None:
            self._do(self.gossip.push(taken, self.producer))
        if taken:
            self._do(self.gossip.announce(taken, self._steady(), source))
            self._changed()
        return results

    def received(self, peer: bytes, transactions: Sequence[Transaction]) -> None:
        """Bodies that a peer sent. A wrong signature costs it; what is merely late does not."""
        results = self.submit(transactions, source=peer)
        if any(e is not None and e.code in ("bad-signature", "wrong-witness") for e in results):
            self._shell.network.misbehaved(peer, "invalid-transaction")

    def head_moved(self, moved: HeadMoved) -> None:
        """The chain took some and may have given some back. ``announce_waiting`` comes after."""
        self.idle_since_ms = self._steady()
        self.look(moved)

    def look(self, moved: HeadMoved) -> None:
        """Brings the mempool up to the head; with nothing moved: looks for expired ones."""
        outcome = self._mempool.moved(
            moved.removed, moved.added, self._ledger, self._head_height(), self._steady()
        )
        self.displaced.head_moved(moved, outcome, self._shell.clock().wall_ms)
        for transaction, code in outcome.dropped:
            self._feed.publish(feed.TransactionDropped(transaction.id, code))
        for transaction in outcome.expired:
            self._feed.publish(feed.TransactionDropped(transaction.id, "expired"))
        if outcome.returned:
            ids = [transaction.id for transaction in outcome.returned]
            self._do(self.gossip.announce(ids, self._steady(), None))
        self._changed()

    def side_block(self, block: Block) -> None:
        """A block beside the head's branch was imported, where nothing is ever final. What it
        holds waits here too, so that the whole network may include it; what cannot is listed."""
        ledger = self._ledger
        if ledger.finalizes or ledger.descends(block.id, ledger.head()):
            return
        fresh = [
            transaction
            for transaction in block.transactions
            if transaction.id not in self._mempool and ledger.transaction(transaction.id) is None
        ]
        errors = self.submit(fresh)
        refused = [
            (transaction, error.code)
            for transaction, error in zip(fresh, errors, strict=True)
            if error is not None
        ]
        self.displaced.side_block(block, refused, self._shell.clock().wall_ms)

    def announce_waiting(self) -> None:
        """Tells the engine after a SetHead how many wait, whether or not that changed."""
        waiting = self._waiting()
        self._some_waiting = waiting > 0
        self._post(contract.TransactionsWaiting(waiting))
        self._wake_builder()

    def _waiting(self) -> int:
        """What a child of the head could include. A change of members that is voted and not in
        force yet is a duty of the chain, and counts as one: blocks must come for it to take effect.
        """
        return self._mempool.waiting() + self._ledger.change_pending(self._ledger.head())

    def _changed(self) -> None:
        waiting = self._waiting()
        if (waiting > 0) != self._some_waiting:
            self._some_waiting = waiting > 0
            self.idle_since_ms = self._steady()
            self._post(contract.TransactionsWaiting(waiting))
        if waiting:
            self._wake_builder()

    def _has(self, txid: TxId) -> bool:
        """Whether a peer need not send it.

        The index on disk is asked only for what this node has seen in this run: gossip asks for
        each transaction several times, and hardly any is old. One from before a restart is
        fetched once more, and refused for its nonce.
        """
        if txid in self._mempool:
            return True
        return txid in self._ledger.verified and self._ledger.transaction(txid) is not None

    def _raw(self, txid: TxId) -> bytes | None:
        transaction = self._mempool.get(txid)
        return None if transaction is None else transaction.raw

    def _head_height(self) -> int:
        return self._ledger.height(self._ledger.head())

    def _steady(self) -> int:
        return self._shell.clock().steady_ms
