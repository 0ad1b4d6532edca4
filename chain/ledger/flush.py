"""Which rows a block adds to the disk, and which it takes away when it is unwound."""

from __future__ import annotations

from collections.abc import Sequence

from chain import codec
from chain.address import Address
from chain.block import Block
from chain.genesis import Genesis
from chain.ledger.beginning import genesis_credits, genesis_state
from chain.ledger.disk import (
    BASE_KEY,
    GENESIS_KEY,
    HEAD_KEY,
    AddressStats,
    BaseRow,
    DeltaRow,
    Disk,
    IndexRow,
    PlaceRow,
    ResultRow,
    Rows,
    body_key,
    delta_key,
    height_key,
    history_key,
    index_key,
    place_key,
    result_key,
    stats_key,
    validators_key,
)
from chain.ledger.touches import Totals, add_stats
from chain.ledger.tree import Entry


def block_rows(entry: Entry, *, with_delta: bool) -> Rows:
    """The block itself, wherever it stands: body, index, results, and with ``with_delta`` undo."""
    block = entry.id
    rows: Rows = {
        body_key(entry.height, block): entry.block.raw,
        index_key(block): codec.encode(entry.row),
        result_key(block): codec.encode(entry.result),
    }
    if with_delta:
        rows[delta_key(block)] = codec.encode(DeltaRow(entry.changes))
    return rows


Stats = dict[Address, AddressStats]
"""Statistics of the addresses that a move of the base touches, as they are after it."""


def advance_rows(disk: Disk, entries: Sequence[Entry]) -> tuple[Rows, Stats]:
    """What moves the base from the parent of the first entry to the last, bodies apart."""
    rows: Rows = {}
    totals: Totals = {}
    for entry in entries:
        height = entry.height
        rows[height_key(height)] = entry.id
        for key, _, value in entry.changes:
            rows[disk.area + key] = value
        for place, leaf in enumerate(entry.block.leaves):
            rows[place_key(leaf)] = codec.encode(PlaceRow(height, place))
        for touch in entry.touches:
            rows[history_key(touch[0], height, touch[1])] = b""
        add_stats(totals, entry.touches, disk.stats)
    after = {address: AddressStats(*five) for address, five in totals.items()}
    for address, stats in after.items():
        rows[stats_key(address)] = codec.encode(stats)
    last = entries[-1]
    rows[BASE_KEY] = codec.encode(BaseRow(last.id, last.height))
    return rows, after


def retreat_rows(disk: Disk, entries: Sequence[Entry]) -> tuple[Rows, Stats]:
    """Everything that moves the base from the first entry to the parent of the last one.

    ``entries``: highest first. Bodies, index and deltas stay: the branch may win again.
    """
    rows: Rows = {}
    totals: Totals = {}
    for entry in entries:
        height = entry.height
        rows[height_key(height)] = None
        for key, value, _ in entry.changes:
            rows[disk.area + key] = value
        for leaf in entry.block.leaves:
            rows[place_key(leaf)] = None
        for touch in entry.touches:
            rows[history_key(touch.address, height, touch.position)] = None
        add_stats(totals, entry.touches, disk.stats, -1)
    after = {address: AddressStats(*five) for address, five in totals.items()}
    for address, stats in after.items():
        rows[stats_key(address)] = codec.encode(stats) if stats.tx_count else None
    last = entries[-1]
    rows[BASE_KEY] = codec.encode(BaseRow(last.block.previous, last.height - 1))
    return rows, after


def genesis_rows(disk: Disk, genesis: Genesis, block: Block) -> Rows:
    """Everything that an empty database begins with."""
    validators, state = genesis.validator_set, genesis_state(genesis)
    row = IndexRow(block.head, weight_bytes(0), block.previous, validators.hash)
    # Allocations are block 0's credits, so that an address's sums give its balance.
    result = ResultRow((), genesis_credits(genesis))
    entry = Entry(block, row, state, result, (), stored=False, synced=False)
    rows: Rows = {
        GENESIS_KEY: genesis.raw,
        HEAD_KEY: block.id,
        validators_key(validators.hash): codec.encode(validators),
    }
    rows.update(block_rows(entry, with_delta=False))
    rows.update(advance_rows(disk, (entry,))[0])
    rows.update({disk.area + key: value for key, value in state.items()})
    return rows


def weight_bytes(weight: int) -> bytes:
    """Big-endian, as an IndexRow keeps it."""
    return weight.to_bytes((weight.bit_length() + 7) // 8, "big")
