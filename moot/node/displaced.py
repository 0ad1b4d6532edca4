"""Displaced transactions: what a branch that lost had taken, and the winning one cannot take.

Where nothing is final (gossip, authority, pow), a head that moves to another branch gives back
what only the old one held. Most of it is included again. A double spend is not, nor what nobody can
pay for any more: its sender was once shown it in a block, and must be told. So it is listed, by id,
with the reason and with what took its place, until a later move of the head includes it after all.

Blocks of a branch that never was the head here count as well: so every node that has seen both
sides of a partition lists the same, whichever side it was on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final

import msgspec

from chain import codec
from chain.address import Address
from chain.block import Block
from chain.codec import Hash, Record, Uint
from chain.errors import InvalidEncoding
from chain.hashing import BlockId, TxId
from chain.ledger import HeadMoved, Ledger
from chain.mempool import Moved
from chain.transaction import Transaction

DISPLACED_MAX: Final = 1_000
"""Transactions listed; the oldest go first. Some hundred bytes each, on disk as one row."""
RETURNED_MAX: Final = 20_000
"""Transactions of left blocks that wait to be included again; far more than a block holds."""
NOTE: Final = "displaced"
"""Under which name the list is kept in the ledger's store."""
EXPIRED: Final = "expired"


REASONS: Final = {
    "wrong-nonce-low": "another transaction of its sender took its place (a double spend)",
    "insufficient-balance": "on the branch that won, its sender cannot pay for it",
    "insufficient-funds": "on the branch that won, its sender had too little, and it failed",
    EXPIRED: "it expired before the branch that won could include it",
}


class Displaced(Record, frozen=True):
    """``block_id``, ``height``: the block that held it, on a branch that lost. ``code``: why it is
    not included again, or why it fails now that it is. ``rival``: the transaction that has its
    place (sender and nonce), 32 bytes, or empty. ``at_ms``: wall clock."""

    txid: Hash
    sender: Address
    nonce: Uint
    block_id: Hash
    height: Uint
    code: Annotated[str, msgspec.Meta(max_length=64)]
    rival: Annotated[bytes, msgspec.Meta(max_length=32)]
    at_ms: Uint


def sentence_of(displaced: Displaced) -> str:
    """Why, in words."""
    reason = REASONS.get(displaced.code, f"the branch that won refuses it ({displaced.code})")
    return f"it was in a block of a branch that lost; {reason}"


class _Left(msgspec.Struct, frozen=True):
    """A transaction that a left block held, and whether it did there what it was to do."""

    transaction: Transaction
    block_id: BlockId
    height: int
    ok: bool


class DisplacedBook:
    """Kept in the ledger's store. Under an engine that finalizes it stays empty."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._listed: OrderedDict[TxId, Displaced] = OrderedDict()
        self._returned: OrderedDict[TxId, _Left] = OrderedDict()
        self._changed = False
        self._load()

    def _load(self) -> None:
        raw = self._ledger.note(NOTE)
        if raw is None:
            return
        try:
            kept = codec.decode(raw, tuple[Displaced, ...])
        except InvalidEncoding:
            return  # it is for people only: a list from another version is no reason to stop
        self._listed.update((each.txid, each) for each in kept)

    # ---------------------------------------------------------------------------------- reading

    def __len__(self) -> int:
        return len(self._listed)

    def get(self, txid: TxId) -> Displaced | None:
        return self._listed.get(txid)

    def all(self) -> tuple[Displaced, ...]:
        """Oldest first."""
        return tuple(self._listed.values())

    def transaction(self, displaced: Displaced) -> Transaction | None:
        """Its body, from the block that held it; None where that is not kept any more."""
        block = self._ledger.block(displaced.block_id)
        if block is None:
            return None
        return next((one for one in block.transactions if one.id == displaced.txid), None)

    # ---------------------------------------------------------------------------------- writing

    def head_moved(self, moved: HeadMoved, outcome: Moved, at_ms: int) -> None:
        """After the mempool has followed the same move."""
        if self._ledger.finalizes:
            return
        held = {left.transaction.id: left for b in moved.removed for left in self._held_by(b)}
        rivals = self._included(moved.added, held, at_ms)
        gone = {transaction.id: code for transaction, code in outcome.dropped}
        gone.update((transaction.id, EXPIRED) for transaction in outcome.expired)
        included = {one.id for block in moved.added for one in block.transactions}
        for txid, left in held.items():
            if txid not in included:
                self._wait_for(left)
        for txid in [txid for txid in self._returned if txid in gone]:
            self._list(self._returned.pop(txid), gone[txid], rivals, at_ms)
        self._keep()

    def side_block(
        self, block: Block, refused: Sequence[tuple[Transaction, str]], at_ms: int
    ) -> None:
        """A block beside the head's branch came. ``refused``: what the mempool would not take of
        it, and why; what it took, or has, waits now, and may be displaced later."""
        codes = {transaction.id: code for transaction, code in refused}
        for left in self._held_by(block):
            txid = left.transaction.id
            if self._ledger.transaction(txid) is not None:
                continue
            if txid in codes:
                self._list(left, codes[txid], {}, at_ms)
            else:
                self._wait_for(left)
        self._keep()

    def _included(
        self, added: Iterable[Block], held: Mapping[TxId, _Left], at_ms: int
    ) -> dict[tuple[Address, int], Transaction]:
        """Strikes off what is in a block again, unless it fails there; and who has which nonce."""
        rivals: dict[tuple[Address, int], Transaction] = {}
        for block in added:
            for now in self._held_by(block):
                transaction = now.transaction
                rivals[transaction.sender, transaction.nonce] = transaction
                if self._listed.pop(transaction.id, None) is not None:
                    self._changed = True
                before = self._returned.pop(transaction.id, held.get(transaction.id))
                if before is not None and before.ok and not now.ok:
                    receipts = self._ledger.receipts(block.id) or ()
                    place = block.transactions.index(transaction)
                    self._list(before, receipts[place].code, {}, at_ms)
        return rivals

    def _held_by(self, block: Block) -> list[_Left]:
        receipts = self._ledger.receipts(block.id) or ()
        fine = [receipt.ok for receipt in receipts] or [True] * len(block.transactions)
        return [
            _Left(transaction, block.id, block.height, ok)
            for transaction, ok in zip(block.transactions, fine, strict=True)
        ]

    def _wait_for(self, left: _Left) -> None:
        self._returned[left.transaction.id] = left
        while len(self._returned) > RETURNED_MAX:
            self._returned.popitem(last=False)

    def _list(
        self,
        left: _Left,
        code: str,
        rivals: dict[tuple[Address, int], Transaction],
        at_ms: int,
    ) -> None:
        transaction = left.transaction
        rival = rivals.get((transaction.sender, transaction.nonce)) or self._rival_of(transaction)
        self._listed[transaction.id] = Displaced(
            transaction.id,
            transaction.sender,
            transaction.nonce,
            left.block_id,
            left.height,
            code,
            b"" if rival is None or rival.id == transaction.id else rival.id,
            at_ms,
        )
        self._changed = True
        while len(self._listed) > DISPLACED_MAX:
            self._listed.popitem(last=False)

    def _rival_of(self, transaction: Transaction) -> Transaction | None:
        """What the head's branch holds of the same sender and nonce, if that is not long ago."""
        for located in self._ledger.history(transaction.sender):
            found = located.transaction
            if (
                found is not None
                and found.sender == transaction.sender
                and found.nonce == transaction.nonce
            ):
                return found
        return None

    def _keep(self) -> None:
        if self._changed:
            self._changed = False
            self._ledger.put_note(NOTE, codec.encode(tuple(self._listed.values())))
