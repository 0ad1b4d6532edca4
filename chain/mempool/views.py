"""What people ask of the mempool: sums and histograms, worked out when asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from chain.address import Address
from chain.mempool.lanes import Entry
from chain.transaction import Transfer


class AddressStats(NamedTuple):
    """Esplora's mempool_stats of an address: credits are funded outputs, debits spent ones.

    One debit a transaction (all that it may take from its sender), one credit a transfer; sums in
    base units.
    """

    tx_count: int
    funded_count: int
    funded_sum: int
    spent_count: int
    spent_sum: int


def address_stats(address: Address, entries: Iterable[Entry]) -> AddressStats:
    """The sums over ``entries``, each of which touches ``address``, each once."""
    count = funded_count = funded_sum = spent_count = spent_sum = 0
    for entry in entries:
        count += 1
        if entry.transaction.sender == address:
            spent_count += 1
            spent_sum += entry.cost
        for action in entry.transaction.actions:
            if isinstance(action, Transfer) and action.recipient == address:
                funded_count += 1
                funded_sum += action.amount
    return AddressStats(count, funded_count, funded_sum, spent_count, spent_sum)


def fee_histogram(entries: Iterable[Entry]) -> list[tuple[int, int]]:
    """(least rate of the bucket in base units per 1,000 bytes, bytes in it), highest rate first.

    Eight buckets an octave: at most 13 % between what a bucket says and what its members pay.
    """
    buckets: dict[int, int] = {}
    for entry in entries:
        rate = entry.transaction.fee * 1_000 // entry.size
        shift = max(rate.bit_length() - 4, 0)
        bucket = rate >> shift << shift
        buckets[bucket] = buckets.get(bucket, 0) + entry.size
    return sorted(buckets.items(), reverse=True)
