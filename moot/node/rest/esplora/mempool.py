"""``/api/mempool...`` and fee estimates."""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from chain.hashing import show_id
from moot.node.clock import system_clock
from moot.node.rest.context import Context
from moot.node.rest.esplora.shapes import SHORT_S
from moot.node.rest.routes import Cached, Table

RECENT: Final = 10
RECENT_S: Final = 5
"""Seconds that the newest arrivals may be cached."""
TARGETS: Final = (*range(1, 26), 144, 504, 1008)
"""Blocks that one may be ready to wait (Esplora's list)."""
IDS_MAX: Final = 50_000
"""Ids in one answer: 3.4 MB of JSON."""

table = Table(text_errors=True)


class MempoolAnswer(msgspec.Struct):
    """What waits. ``vsize`` in bytes, ``fee_histogram``: base units a byte to bytes."""

    count: int
    vsize: int
    total_fee: int
    fee_histogram: list[tuple[float, int]]


@table.add("GET", "/api/mempool", MempoolAnswer)
async def mempool(context: Context, request: web.Request) -> Cached:
    """How much waits, by fee rate, highest first."""
    pool = context.core.mempool
    histogram = [(rate / 1000, size) for rate, size in context.fee_histogram()]
    return Cached(MempoolAnswer(len(pool), pool.size_bytes, pool.total_fee, histogram), SHORT_S)


@table.add("GET", "/api/mempool/txids", list[str])
async def txids(context: Context, request: web.Request) -> Cached:
    """The ids of what waits, in order of arrival (the newest 50,000)."""
    return Cached([show_id(txid) for txid in context.core.mempool.ids()[-IDS_MAX:]], SHORT_S)


class Recent(msgspec.Struct):
    """A transaction that came lately. Amounts in base units, ``vsize`` in bytes."""

    txid: str
    fee: int
    vsize: int
    value: int


@table.add("GET", "/api/mempool/recent", list[Recent])
async def recent(context: Context, request: web.Request) -> Cached:
    """The ten that came last, newest first."""
    answer = [
        Recent(show_id(each.id), each.fee, each.size, sum(a.amount for a in each.transfers))
        for each in context.core.mempool.recent(RECENT)
    ]
    return Cached(answer, RECENT_S)


def _rates(context: Context) -> dict[int, float]:
    """Base units a byte that should suffice for each target.

    What waits fills the next blocks, dearest first; a target's rate is that of the last byte which
    still fits, and no less than what the mempool asks for now.
    """
    core = context.core
    floor = core.mempool.fee_per_kilobyte_min(system_clock().steady_ms)
    block_size = core.ledger.genesis.limits.block_size_max
    histogram = context.fee_histogram()
    rates: dict[int, float] = {}
    for target in TARGETS:
        room, rate = target * block_size, floor
        for bucket, size in histogram:
            room -= size
            if room < 0:
                rate = max(bucket + 1, floor)
                break
        rates[target] = rate / 1000
    return rates


@table.add("GET", "/api/fee-estimates", dict[str, float])
async def fee_estimates(context: Context, request: web.Request) -> Cached:
    """Fee rates in base units a byte, by the count of blocks one is ready to wait."""
    return Cached({str(target): rate for target, rate in _rates(context).items()}, SHORT_S)


class Recommended(msgspec.Struct):
    """mempool.space's names; base units a byte."""

    fastestFee: float
    halfHourFee: float
    hourFee: float
    economyFee: float
    minimumFee: float


@table.add("GET", "/api/v1/fees/recommended", Recommended)
async def recommended(context: Context, request: web.Request) -> Cached:
    """Fee rates by urgency."""
    rates = _rates(context)
    return Cached(Recommended(rates[1], rates[3], rates[6], rates[25], rates[1008]), SHORT_S)


@table.add("GET", "/api/v1/fees/precise", Recommended)
async def precise(context: Context, request: web.Request) -> Cached:
    """The same: rates here are never rounded."""
    rates = _rates(context)
    return Cached(Recommended(rates[1], rates[3], rates[6], rates[25], rates[1008]), SHORT_S)


class BlockToCome(msgspec.Struct):
    """A block that what waits would fill. Sizes in bytes, fees in base units a byte."""

    blockSize: int
    blockVSize: int
    nTx: int
    totalFees: int
    medianFee: float
    feeRange: list[float]


BLOCKS_TO_COME: Final = 8
PROJECTED_MAX: Final = 5_000
"""Transactions sorted for the projection: some milliseconds."""


@table.add("GET", "/api/v1/fees/mempool-blocks", list[BlockToCome])
async def mempool_blocks(context: Context, request: web.Request) -> Cached:
    """The next blocks as the mempool's newest transactions would fill them, dearest first."""
    core = context.core
    waiting = sorted(
        (
            (each.fee / each.size, each.size, each.fee)
            for each in core.mempool.recent(PROJECTED_MAX)
        ),
        reverse=True,
    )
    room_max = core.ledger.genesis.limits.block_size_max
    blocks: list[BlockToCome] = []
    rates: list[float] = []
    size_so_far = fees = 0
    for rate, size, fee in waiting:
        if size_so_far + size > room_max:
            blocks.append(_to_come(rates, size_so_far, fees))
            rates, size_so_far, fees = [], 0, 0
            if len(blocks) == BLOCKS_TO_COME:
                break
        rates.append(rate)
        size_so_far += size
        fees += fee
    if rates:
        blocks.append(_to_come(rates, size_so_far, fees))
    return Cached(blocks, SHORT_S)


def _to_come(rates: list[float], size: int, fees: int) -> BlockToCome:
    ends = [rates[-1], rates[len(rates) // 2], rates[0]]
    return BlockToCome(size, size, len(rates), fees, ends[1], ends)
