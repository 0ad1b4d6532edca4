"""What lies on disk, and under which key. One table, one place.

======  ===========================  =======================================================
prefix  rest of the key              value (canonical encoding unless said otherwise)
======  ===========================  =======================================================
``M``   ``genesis``                  the Genesis that this database was made for
``M``   ``base``                     BaseRow: the block whose state the ``S`` rows hold
``M``   ``head``, ``final``          block id (32 raw bytes); hints, trusted only where known
``M``   ``record``                   the engine's durable record (raw)
``M``   ``rebased``                  present: a snapshot was put in place since the record's writing
``M``   ``pruned``                   PrunedRow: what is not kept any more; absent: all is kept
``M``   ``area``                     ``S`` or ``U``: where the base's state lies; absent: ``S``
``M``   ``staged``                   Snapshot: the one that is being fetched
``M``   ``kept`` + height (8)        Snapshot: one that is complete here
``M``   ``unproven`` + height (8)    block id: a final block that lacks its ``L`` row
``S``   state key                    state value of the base block (raw), or of a staged snapshot
``U``   state key                    the other one of these two
``B``   height (8) + block id        Block, on any branch
``I``   block id                     IndexRow: head, weight, skip, hash of the validator set
``H``   height (8)                   block id (raw) of the main chain, up to the base
``R``   block id                     ResultRow: receipts and credits
``D``   block id                     DeltaRow: state before and after (no engine finality only)
``F``   block id                     Proof
``V``   hash                         ValidatorSet
``L``   height (8)                   SetLink: a final block that names another set, with its proof
``P``   height (8) + path (32)       StateChunk of a snapshot kept here
``G``   path (32)                    where the staged chunk that starts there ends (zeros: nowhere)
``T``   transaction id               PlaceRow, main chain up to the base; a manifest's leaf too
``A``   address, height (8), place   empty; place (4) is the position plus one, 0: the reward
``C``   address                      AddressStats, main chain up to the base
``N``   name                         what the node keeps for people; may be lost (raw)
======  ===========================  =======================================================

Integers in keys are big-endian, so that byte order is order of height.

No batch leans on an earlier unsynced one, because a power loss can keep a later write and lose an
earlier (a LevelDB log that was rotated): what moves the base is one synced batch that holds all it
needs; the rest (bodies, proofs, hints) is checked for gaps when it is read again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from chain.address import Address
from chain.block import Block, BlockHead
from chain.codec import Hash, Record, Uint
from chain.errors import DamagedStore
from chain.execution import Credit, Receipt
from chain.hashing import BlockId, TxId
from chain.proof import Proof
from chain.snapshot import SetLink, Snapshot
from chain.state.chunks import StateChunk
from chain.storage import Store
from chain.validators import ValidatorSet

K = TypeVar("K")
V = TypeVar("V")

GENESIS_KEY: Final = b"Mgenesis"
BASE_KEY: Final = b"Mbase"
HEAD_KEY: Final = b"Mhead"
FINAL_KEY: Final = b"Mfinal"
RECORD_KEY: Final = b"Mrecord"
REBASED_KEY: Final = b"Mrebased"
PRUNED_KEY: Final = b"Mpruned"
AREA_KEY: Final = b"Marea"
UNPROVEN: Final = b"Munproven"
STATE: Final = b"S"
OTHER_STATE: Final = b"U"
"""The second area for a state: a fetched one gathers there, and one small write makes it the
base's. Then they change roles."""
NOTE: Final = b"N"
BODY: Final = b"B"
HISTORY: Final = b"A"

INDEX_CACHE: Final = 8_192
"""Index rows kept decoded: a head weighs about 1 kB, so 8 MB."""
STATS_CACHE: Final = 65_536
"""Statistics of busy addresses kept decoded: some 15 MB."""
BODY_CACHE: Final = 16 * 1024 * 1024
"""Encoded bytes of the bodies kept decoded, and as much again of results."""
SETS_CACHE: Final = 64
"""Validator sets kept decoded; a set has at most 1,000 members."""

Rows = dict[bytes, bytes | None]
"""Keys to new values (None deletes) of one atomic write, in the order in which they came."""


class BaseRow(Record, frozen=True):
    """The block whose state lies flat on disk."""

    block: Hash
    height: Uint


class PrunedRow(Record, frozen=True):
    """What the database does not hold any more, genesis apart, which it always holds.

    ``bodies_from``: least height of which bodies (with results, undo, proofs, index entries) are
    kept. ``heads_from``: the same for heads; at most one less. ``swept``: deletion has come
    this far. What was not swept yet is not claimed either.
    """

    bodies_from: Uint = 0
    heads_from: Uint = 0
    swept: Uint = 0


class IndexRow(Record, frozen=True):
    """What is kept of each block for navigation.

    ``weight``: of the branch that ends here, big-endian (work outgrows 63 bits). ``skip``: the
    ancestor at ``skip_height(height)``. ``validators``: hash of the set in the state after it.
    """

    head: BlockHead
    weight: bytes
    skip: Hash
    validators: Hash


class ResultRow(Record, frozen=True):
    """What executing a block gave besides the state."""

    receipts: tuple[Receipt, ...]
    credits: tuple[Credit, ...]


class DeltaRow(Record, frozen=True):
    """(state key, value before, value after) for every key that a block changed."""

    changes: tuple[tuple[bytes, bytes | None, bytes | None], ...]


class PlaceRow(Record, frozen=True):
    """Where a transaction or a manifest stands on the main chain.

    ``place``: among the block's Merkle leaves; 0 is the manifest, which stands for the reward.
    """

    height: Uint
    place: Uint


class AddressStats(Record, frozen=True):
    """What an address did, in the words of Esplora's ``chain_stats``.

    A transaction is one debit of its sender (everything moved, plus the fee) and one credit for
    each transfer that was done; a block's reward is one credit for each recipient and change.
    Sums are in base units. ``tx_count`` counts transactions and rewards.
    """

    tx_count: int = 0
    funded_count: int = 0
    funded_sum: int = 0
    spent_count: int = 0
    spent_sum: int = 0


NO_STATS: Final = AddressStats()


def body_key(height: int, block: BlockId) -> bytes:
    return BODY + height.to_bytes(8, "big") + block


def index_key(block: BlockId) -> bytes:
    return b"I" + block


def height_key(height: int) -> bytes:
    return b"H" + height.to_bytes(8, "big")


def result_key(block: BlockId) -> bytes:
    return b"R" + block


def delta_key(block: BlockId) -> bytes:
    return b"D" + block


def proof_key(block: BlockId) -> bytes:
    return b"F" + block


def validators_key(hash_: bytes) -> bytes:
    return b"V" + hash_


def unproven_key(height: int) -> bytes:
    return UNPROVEN + height.to_bytes(8, "big")


def link_key(height: int) -> bytes:
    return b"L" + height.to_bytes(8, "big")


def place_key(txid: TxId) -> bytes:
    return b"T" + txid


def stats_key(address: Address) -> bytes:
    return b"C" + address


def history_key(address: Address, height: int, position: int) -> bytes:
    """``position`` -1 is the block's reward; it stands before the transactions."""
    return b"A%b%b" % (address, history_rest(height, position))


def history_rest(height: int, position: int) -> bytes:
    return (height << 32 | position + 1).to_bytes(12, "big")


class Cache(Generic[K, V]):
    """The values asked for last, as many as weigh ``size`` together."""

    def __init__(self, size: int) -> None:
        self._size, self._total = size, 0
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, weight: int = 1) -> None:
        self.drop(key)
        self._values[key] = (value, weight)
        self._total += weight
        while self._total > self._size and len(self._values) > 1:
            _, (_, oldest) = self._values.popitem(last=False)
            self._total -= oldest

    def drop(self, key: K) -> None:
        found = self._values.pop(key, None)
        if found is not None:
            self._total -= found[1]

    def __len__(self) -> int:
        return len(self._values)


class Disk:
    """Typed access to a Store. A value that does not decode is a DamagedStore."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._index: Cache[BlockId, IndexRow] = Cache(INDEX_CACHE)
        self._bodies: Cache[BlockId, Block] = Cache(BODY_CACHE)
        self._stats: Cache[Address, AddressStats] = Cache(STATS_CACHE)
        self._results: Cache[BlockId, ResultRow] = Cache(BODY_CACHE)
        self._sets: Cache[bytes, ValidatorSet] = Cache(SETS_CACHE)
        self.pruned = self._read(PRUNED_KEY, PrunedRow) or PrunedRow()
        self.area = store.get(AREA_KEY) or STATE
        """Where the base's state lies."""

    @property
    def other_area(self) -> bytes:
        """Where a state that is being fetched gathers."""
        return OTHER_STATE if self.area == STATE else STATE

    def write(self, rows: Rows, *, sync: bool) -> None:
        """One atomic write."""
        if rows:
            self.store.write(list(rows.items()), sync)

    def forget(self, block: BlockId) -> None:
        """Drops what is cached of a block that is deleted."""
        self._index.drop(block)
        self._bodies.drop(block)
        self._results.drop(block)

    def base(self) -> BaseRow | None:
        return self._read(BASE_KEY, BaseRow)

    def index(self, block: BlockId) -> IndexRow | None:
        row = self._index.get(block)
        if row is None:
            row = self._read(index_key(block), IndexRow)
            if row is not None:
                self._index.put(block, row)
        return row

    def body(self, height: int, block: BlockId) -> Block | None:
        return None if self.is_pruned(height) else self.stored_body(height, block)

    def stored_body(self, height: int, block: BlockId) -> Block | None:
        """Also of what is not claimed any more and not deleted yet."""
        body = self._bodies.get(block)
        if body is None:
            key = body_key(height, block)
            raw = self.store.get(key)
            if raw is not None:
                body = _decoded(key, raw, Block)
                self._bodies.put(block, body, len(raw))
        return body

    def bodies_from(self, height: int) -> Iterator[Block]:
        """All stored blocks at ``height`` and above, lowest first, ties by id."""
        start = height.to_bytes(8, "big")
        for key, raw in self.store.scan(BODY, start=start):
            yield _decoded(key, raw, Block)

    def ids_at(self, height: int) -> list[BlockId]:
        """Ids of the blocks stored at ``height`` on any branch, in byte order."""
        prefix = BODY + height.to_bytes(8, "big")
        return [key[len(prefix) :] for key, _ in self.store.scan(prefix)]

    def id_at(self, height: int) -> BlockId | None:
        if 0 < height < self.pruned.heads_from:
            return None
        return self.store.get(height_key(height))

    def result(self, block: BlockId) -> ResultRow | None:
        result = self._results.get(block)
        if result is None:
            key = result_key(block)
            raw = self.store.get(key)
            if raw is not None:
                result = _decoded(key, raw, ResultRow)
                self._results.put(block, result, len(raw))
        return result

    def delta(self, block: BlockId) -> DeltaRow | None:
        return self._read(delta_key(block), DeltaRow)

    def proof(self, block: BlockId) -> Proof | None:
        return self._read(proof_key(block), Proof)

    def is_pruned(self, height: int) -> bool:
        """Whether bodies at ``height`` are not kept (any more)."""
        return 0 < height < self.pruned.bodies_from

    def place(self, txid: TxId) -> PlaceRow | None:
        return self._read(place_key(txid), PlaceRow)

    def stats(self, address: Address) -> AddressStats:
        return self._stats.get(address) or self._read(stats_key(address), AddressStats) or NO_STATS

    def stats_written(self, totals: Mapping[Address, AddressStats]) -> None:
        """What was just written under ``stats_key``."""
        for address, stats in totals.items():
            self._stats.put(address, stats)

    def all_validators(self) -> Iterator[ValidatorSet]:
        """Every set that was stored, in no order that means anything."""
        for key, _ in self.store.scan(validators_key(b"")):
            found = self.validators(key[1:])
            assert found is not None
            yield found

    def validators(self, hash_: bytes) -> ValidatorSet | None:
        found = self._sets.get(hash_)
        if found is None:
            found = self._read(validators_key(hash_), ValidatorSet)
            if found is not None:
                self._sets.put(hash_, found)
        return found

    def snapshot(self, key: bytes) -> Snapshot:
        """The one under ``key``, which is there."""
        raw = self.store.get(key)
        assert raw is not None
        return _decoded(key, raw, Snapshot)

    def chunk(self, key: bytes, raw: bytes) -> StateChunk:
        """A chunk's row."""
        return _decoded(key, raw, StateChunk)

    def links(self) -> tuple[SetLink, ...]:
        """Proven changes of the validator set, lowest first."""
        return tuple(_decoded(key, raw, SetLink) for key, raw in self.store.scan(b"L"))

    def state_items(self, area: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values of the base's state, or of what lies in ``area``."""
        for key, value in self.store.scan(area or self.area):
            yield key[1:], value

    def history(
        self, address: Address, before: tuple[int, int] | None, count: int
    ) -> Iterator[tuple[int, int]]:
        """(height, position) of what touched an address, newest first, all before ``before``."""
        prefix = HISTORY + address
        start = b"" if before is None else history_rest(*before)
        for key, _ in self.store.scan(prefix, start=start, reverse=True):
            place = int.from_bytes(key[-12:-4], "big"), int.from_bytes(key[-4:], "big") - 1
            if place == before:
                continue
            if count <= 0:
                return
            count -= 1
            yield place

    def _read(self, key: bytes, kind: type[V]) -> V | None:
        raw = self.store.get(key)
        return None if raw is None else _decoded(key, raw, kind)


@lru_cache(maxsize=32)
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)


def _decoded(key: bytes, raw: bytes, kind: type[V]) -> V:
    # What lies here was canonical when it was written, and the store has checksums.
    try:
        value: V = _decoder(cast(Any, kind)).decode(raw)
        return value
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedStore(
            f"the database row {key[:1].decode('ascii', 'replace')}/{key[1:].hex()} cannot be "
            f"read ({error}); delete the database and let the node sync again"
        ) from error
