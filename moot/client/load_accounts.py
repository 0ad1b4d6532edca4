"""The load's senders: their nonces, and what they still have to send."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from chain.address import Address
from chain.bech32m import show_address
from chain.hashing import show_id
from wallet.build import sign_transaction, transfer
from wallet.keys import Key

AMOUNT: Final = 1
"""Base units that each transaction moves: the load is about transactions, not about money."""


class LoadTransaction:
    """One slot of the schedule, from its intended send time (seconds, loop clock) to its end."""

    __slots__ = (
        "attempts",
        "code",
        "committed_height",
        "committed_s",
        "ended_s",
        "filler",
        "intended_s",
        "nonce",
        "raw",
        "sender",
        "taken_s",
        "txid",
    )

    def __init__(self, sender: Sender, intended_s: float, *, filler: bool = False) -> None:
        self.sender = sender
        self.filler = filler
        """Not of the schedule and not counted: it only gives a refused one's nonce an owner."""
        self.intended_s = intended_s
        self.nonce = 0
        self.raw = b""
        self.txid = ""
        self.attempts = 0
        self.taken_s: float | None = None
        """When a node took it; None while it waits to be sent (again)."""
        self.committed_s: float | None = None
        self.committed_height: int | None = None
        self.ended_s: float | None = None
        """When it was seen final, or failed."""
        self.code = ""
        """Why it failed; empty while it has not."""


class Sender:
    """One account. Signs ahead; after a rejection the freed nonce is used again.

    ``home``: index of the node that it prefers. ``chain_id`` and ``fee_rate`` (base units for a
    kilobyte) bind its signatures.
    """

    def __init__(
        self, key: Key, recipient: Address, prefix: str, chain_id: bytes, fee_rate: int, home: int
    ) -> None:
        self.key = key
        self.address = show_address(key.address, prefix)
        self.home = home
        self.busy = False
        """A batch with some of its transactions is on its way: nothing may overtake that."""
        self.waiting: deque[LoadTransaction] = deque()
        """Signed, not yet taken by a node; by nonce, and so by intended time."""
        self.resync = False
        """A node must be asked for the account's nonce before anything more is sent."""
        self.filled_s = -math.inf
        """When a filler was last tried (loop clock)."""
        self._recipient = recipient
        self._chain_id = chain_id
        self._fee_rate = fee_rate
        self._cursor = 0
        self._used: set[int] = set()

    def add(self, item: LoadTransaction) -> None:
        """Sign a new transaction with the next nonce and queue it."""
        self._sign(item)
        self.waiting.append(item)

    def start_at(self, nonce: int) -> None:
        """The chain's next nonce is ``nonce``: what was never sent is signed anew from there on.

        Nonces of transactions that a node may have keep their owners.
        """
        self._cursor = nonce
        self.resync = False
        for item in self.waiting:
            if item.attempts == 0:
                self._sign(item)

    def release(self, items: list[LoadTransaction]) -> None:
        """``items`` failed without being included: their nonces are free, and are filled first."""
        self._used.difference_update(item.nonce for item in items)
        unsent = [item.nonce for item in self.waiting if item.attempts == 0]
        self.start_at(min(self._cursor, *unsent, *(item.nonce for item in items)))

    def drop_after(self, now_s: float) -> int:
        """Forget what is due after ``now_s``; how many that were."""
        dropped = 0
        while self.waiting and self.waiting[-1].intended_s > now_s:
            self._cursor = min(self._cursor, self.waiting.pop().nonce)
            dropped += 1
        return dropped

    def has_hole(self) -> bool:
        """Whether a nonce without an owner keeps later ones, sent already, from being included."""
        self._skip_used()
        return self._cursor < max(self._used, default=-1)

    def included(self, item: LoadTransaction) -> None:
        """``item`` is in a final block: nothing at or below its nonce comes back."""
        self._used.discard(item.nonce)

    def sent(self, item: LoadTransaction) -> None:
        """``item`` is being sent: from now on its bytes and its nonce stay as they are."""
        item.attempts += 1
        self._used.add(item.nonce)

    def send_again(self, items: list[LoadTransaction]) -> None:
        """Put ``items`` back in front, in order of their nonces."""
        for item in items:
            item.taken_s = None
        again = sorted(items, key=lambda item: item.nonce)
        self.waiting.extendleft(reversed(again))

    def _skip_used(self) -> None:
        while self._cursor in self._used:
            self._cursor += 1

    def _sign(self, item: LoadTransaction) -> None:
        self._skip_used()
        unsigned = transfer(
            self.key.address,
            self._recipient,
            AMOUNT,
            self._cursor,
            fee_per_kilobyte=self._fee_rate,
        )
        transaction = sign_transaction(unsigned, self.key, self._chain_id)
        item.nonce = self._cursor
        item.raw = transaction.raw
        item.txid = show_id(transaction.id)
        self._cursor += 1
