"""What the mempool takes: limits, fees, and the checks that need nothing but the transaction."""

from __future__ import annotations

from typing import Annotated, Final, Protocol

import msgspec

from chain.address import KEY, Address
from chain.codec import Uint
from chain.errors import InvalidTransaction
from chain.genesis import Limits
from chain.hashing import TxId
from chain.transaction import ACTIONS_MAX, Transaction

SIGNATURE_SIZE: Final = 64
RATE_SCALE: Final = 1_000_000
"""Fee rates are whole base units per this many bytes: fine enough to order, and no float."""
MINIMUM_HALF_LIFE_MS: Final = 10 * 60 * 1000
"""The rolling minimum halves in ten minutes: blocks come in seconds here, so a burst is forgotten
after some hundred blocks (Bitcoin takes 12 hours, about 72 blocks)."""
REPLACEMENT_PERCENT: Final = 110
"""A replacement pays 10 % more, in all and a byte (geth's price bump): each round of churn costs
more than the last, so it ends soon."""

Positive = Annotated[int, msgspec.Meta(ge=1)]


class MempoolLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one node is willing to hold. A setting of the node, not of the chain.

    size_max: bytes of encodings in all; 16 full blocks of the default size.
    count_max: transactions in all; 10 s of the fastest load measured (5,000 a second), and with
    Python's 2 kB an entry about 100 MB.
    sender_count_max: of one sender. High, since one exchange or load generator is often the only
    sender and its nonces are contiguous; still 1/50 of the whole.
    sender_size_max: bytes of one sender: two full blocks, so that it can never starve for room.
    gap_max: nonces missing before a queued one (geth's account queue is 64).
    age_ms_max: milliseconds that one may wait (geth's lifetime, 3 hours).
    """

    size_max: Positive = 32 * 1024 * 1024
    count_max: Positive = 50_000
    sender_count_max: Positive = 1_000
    sender_size_max: Positive = 4 * 1024 * 1024
    gap_max: Uint = 64
    age_ms_max: Positive = 3 * 60 * 60 * 1000


class VerifiedSignatures(Protocol):
    """The bounded memory of ids whose signatures this node has checked (the ledger owns it)."""

    def add(self, txid: TxId, /) -> None: ...

    def __contains__(self, txid: TxId, /) -> bool: ...


class RollingMinimum:
    """The fee rate below which nothing enters for a while after an eviction.

    It rises to the evicted rate and one step more, as Bitcoin's, so that a transaction cannot
    be pushed in for free behind the one that it pushed out; it decays with time alone.
    """

    def __init__(self) -> None:
        self._rate = 0
        self._since_ms = 0

    def rate(self, now_ms: int) -> int:
        """Base units per RATE_SCALE bytes; linear between halvings, to stay in integers."""
        if not self._rate:
            return 0
        halvings, rest = divmod(max(now_ms - self._since_ms, 0), MINIMUM_HALF_LIFE_MS)
        rate = self._rate >> min(halvings, 64)
        return rate - rate * rest // (2 * MINIMUM_HALF_LIFE_MS)

    def evicted(self, rate: int, step: int, now_ms: int) -> None:
        """Something of ``rate`` had to go; ``step`` is the rate by which one must do better."""
        if rate + step > self.rate(now_ms):
            self._rate, self._since_ms = rate + step, now_ms


def fee_rate(fee: int, size: int) -> int:
    """Base units per RATE_SCALE bytes, rounded down."""
    return fee * RATE_SCALE // size


def fee_min(size: int, fee_per_kilobyte: int) -> int:
    """The least fee of ``size`` bytes at a rate per 1,000 bytes, rounded up."""
    return -(-size * fee_per_kilobyte // 1_000)


def cost_of(transaction: Transaction) -> int:
    """The most that it can take from its sender's balance: the fee and all that it moves."""
    return transaction.fee + sum(action.amount for action in transaction.transfers)


def recipients_of(transaction: Transaction) -> list[Address]:
    """Whom it gives coins, as often as it does."""
    return [action.recipient for action in transaction.transfers]


def bad_signature() -> InvalidTransaction:
    return InvalidTransaction(
        "bad-signature", "the signature is not the sender's, or was made for another chain"
    )


def mempool_full() -> InvalidTransaction:
    return InvalidTransaction(
        "mempool-full", "the mempool is full of transactions that pay no less"
    )


def nonce_low(transaction: Transaction, nonce: int) -> InvalidTransaction:
    return InvalidTransaction(
        "wrong-nonce-low",
        f"nonce {transaction.nonce} is used; the sender's next nonce is {nonce}",
    )


def check_form(transaction: Transaction, height: int, chain_limits: Limits) -> None:
    """Raises InvalidTransaction for what the transaction alone shows; ``height`` is the head's."""
    size = transaction.size
    if size > chain_limits.transaction_size_max:
        raise InvalidTransaction(
            "too-large",
            f"{size} bytes where this chain allows {chain_limits.transaction_size_max}",
        )
    if not 0 < len(transaction.actions) <= ACTIONS_MAX:
        raise InvalidTransaction(
            "too-many-actions",
            f"{len(transaction.actions)} actions where 1 to {ACTIONS_MAX} may be",
        )
    if transaction.sender[0] != KEY:
        raise InvalidTransaction("bad-sender-kind", "only an address that is a key can send")
    witness = transaction.witness
    if len(witness) != 1 or len(witness[0]) != SIGNATURE_SIZE:
        raise InvalidTransaction("wrong-witness", "the witness must be one signature of 64 bytes")
    if transaction.expiry and transaction.expiry <= height:
        raise InvalidTransaction(
            "expired",
            f"it may stand in blocks up to {transaction.expiry}, and the next is {height + 1}",
        )
    least = fee_min(size, chain_limits.fee_per_kilobyte_min)
    if transaction.fee < least:
        raise InvalidTransaction(
            "fee-below-minimum", f"a fee of {transaction.fee} where {least} is this chain's least"
        )


def check_replacement(fee: int, size: int, fee_before: int, size_before: int) -> None:
    """Raises InvalidTransaction unless the new one pays 10 % more, in all and a byte."""
    percent = REPLACEMENT_PERCENT
    if (
        fee <= fee_before
        or fee * 100 < fee_before * percent
        or fee * size_before * 100 < fee_before * size * percent
    ):
        least = max(fee_before + 1, -(-fee_before * percent // 100))
        least = max(least, -(-fee_before * size * percent // (100 * size_before)))
        raise InvalidTransaction(
            "replacement-underpriced",
            f"one with this nonce waits already; to replace it pay a fee of at least {least}",
        )
