"""What people ask of the mempool: lists, sums and histograms, worked out when asked."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from chain.address import Address
from chain.genesis import Limits
from chain.hashing import TxId
from chain.mempool.lanes import AccountReader, Entry, Lane
from chain.mempool.policy import RollingMinimum
from chain.transaction import Transaction


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
        for action in entry.transaction.transfers:
            if action.recipient == address:
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


class MempoolViews:
    """The reading half of a Mempool, and what both halves share."""

    def __init__(self, chain_limits: Limits) -> None:
        self.size_bytes = 0
        self.total_fee = 0
        self.rejected_total: dict[str, int] = {}
        """Refusals so far, by code."""
        self.evicted_total = 0
        self._chain_limits = chain_limits
        self._by_id: dict[TxId, Entry] = {}
        self._by_recipient: dict[Address, dict[TxId, Entry]] = {}
        self._lanes: dict[Address, Lane] = {}
        self._pending = 0
        self._minimum = RollingMinimum()

    def waiting(self) -> int:
        """How many are executable now; queued ones do not count."""
        return self._pending

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, txid: object) -> bool:
        return txid in self._by_id

    def get(self, txid: TxId) -> Transaction | None:
        entry = self._by_id.get(txid)
        return None if entry is None else entry.transaction

    def ids(self) -> tuple[TxId, ...]:
        """All ids, in order of arrival."""
        return tuple(self._by_id)

    def recent(self, count: int) -> tuple[Transaction, ...]:
        """The last ``count`` to arrive, newest first."""
        return tuple(e.transaction for e in islice(reversed(self._by_id.values()), count))

    def pending_of(self, address: Address) -> tuple[Transaction, ...]:
        """What the sender could have in a block now, by nonce."""
        lane = self._lanes.get(address)
        if lane is None:
            return ()
        return tuple(lane.entries[n].transaction for n in range(lane.nonce, lane.end))

    def queued_of(self, address: Address) -> tuple[Transaction, ...]:
        """What waits for an earlier nonce or for coins, by nonce."""
        lane = self._lanes.get(address)
        if lane is None:
            return ()
        return tuple(entry.transaction for entry in lane.ordered() if not entry.executable)

    def touching(self, address: Address) -> tuple[Transaction, ...]:
        """All that the address sends or receives, newest first."""
        return tuple(entry.transaction for entry in self._touching(address))

    def stats_of(self, address: Address) -> AddressStats:
        """Counts and sums of what waits for or from the address."""
        return address_stats(address, self._touching(address))

    def fee_histogram(self) -> list[tuple[int, int]]:
        """(rate in base units per 1,000 bytes, bytes), highest rate first."""
        return fee_histogram(self._by_id.values())

    def fee_per_kilobyte_min(self, now_ms: int) -> int:
        """What gets in now: the chain's floor or the rolling minimum, per 1,000 bytes."""
        rolling = -(-self._minimum.rate(now_ms) // 1_000)
        return max(self._chain_limits.fee_per_kilobyte_min, rolling)

    def next_nonce(self, address: Address, accounts: AccountReader) -> int:
        """The first nonce of the sender that neither the chain nor the mempool has used."""
        lane = self._lanes.get(address)
        return accounts.account(address).nonce if lane is None else lane.next

    def _touching(self, address: Address) -> list[Entry]:
        entries = dict(self._by_recipient.get(address, {}))
        lane = self._lanes.get(address)
        if lane is not None:
            entries.update({entry.transaction.id: entry for entry in lane.entries.values()})
        return sorted(entries.values(), key=lambda entry: -entry.sequence)
