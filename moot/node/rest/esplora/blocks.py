"""``/api/block...`` and ``/api/blocks...``."""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from chain.block import Block
from chain.hashing import show_id
from moot.node.rest.context import Context, identifier, whole_number
from moot.node.rest.esplora.shapes import (
    SHORT_S,
    EsploraBlock,
    EsploraTransaction,
    block_shape,
    cache_seconds,
    coinbase_shape,
    confirmed_status,
    transaction_shape,
)
from moot.node.rest.routes import Cached, Problem, Table

BLOCKS_PER_PAGE: Final = 10
TRANSACTIONS_PER_PAGE: Final = 25

table = Table(text_errors=True)


def _block(context: Context, request: web.Request) -> Block:
    return context.block(identifier(request.match_info["hash"]))


@table.add("GET", "/api/block/{hash}", EsploraBlock, errors=(400, 404, 410))
async def block(context: Context, request: web.Request) -> Cached:
    """A block's header and sizes."""
    found = _block(context, request)
    return Cached(block_shape(context, found), cache_seconds(context, found.id))


@table.add("GET", "/api/v1/block/{hash}", EsploraBlock, errors=(400, 404, 410))
async def block_v1(context: Context, request: web.Request) -> Cached:
    """The same under mempool.space's path."""
    found = _block(context, request)
    return Cached(block_shape(context, found), cache_seconds(context, found.id))


@table.add("GET", "/api/block/{hash}/header", str, errors=(400, 404, 410))
async def header(context: Context, request: web.Request) -> Cached:
    """The 80-byte header in hex."""
    found = _block(context, request)
    return Cached(found.header.raw.hex(), cache_seconds(context, found.id))


@table.add("GET", "/api/block/{hash}/raw", bytes, errors=(400, 404, 410))
async def raw(context: Context, request: web.Request) -> Cached:
    """The block's canonical encoding."""
    found = _block(context, request)
    return Cached(found.raw, cache_seconds(context, found.id))


class BlockStatus(msgspec.Struct):
    """Whether a block lies on the best chain; height and next block only if it does."""

    in_best_chain: bool
    height: int | None
    next_best: str | None


@table.add("GET", "/api/block/{hash}/status", BlockStatus, errors=(400, 404, 410))
async def status(context: Context, request: web.Request) -> Cached:
    """Whether the block lies on the best chain."""
    ledger = context.core.ledger
    block_id = identifier(request.match_info["hash"])
    if not ledger.knows(block_id):
        raise Problem(404, "unknown-block", "Block not found: this node has no such block")
    if not ledger.in_best_chain(block_id):
        return Cached(BlockStatus(False, None, None), SHORT_S)
    height = ledger.height(block_id)
    following = ledger.id_at(height + 1)
    answer = BlockStatus(True, height, None if following is None else show_id(following))
    return Cached(answer, cache_seconds(context, block_id))


@table.add("GET", "/api/block/{hash}/txids", list[str], errors=(400, 404, 410))
async def txids(context: Context, request: web.Request) -> Cached:
    """The ids of the manifest and of all transactions: the Merkle tree's leaves."""
    found = _block(context, request)
    return Cached([show_id(leaf) for leaf in found.leaves], cache_seconds(context, found.id))


@table.add("GET", "/api/block/{hash}/txid/{index}", str, errors=(400, 404, 410))
async def txid(context: Context, request: web.Request) -> Cached:
    """One leaf's id."""
    found = _block(context, request)
    index = whole_number(request.match_info["index"], "an index")
    if index >= len(found.leaves):
        raise Problem(404, "index-too-large", "tx index out of range: the block has fewer")
    return Cached(show_id(found.leaves[index]), cache_seconds(context, found.id))


@table.add("GET", "/api/block/{hash}/txs", list[EsploraTransaction], errors=(400, 404, 410))
async def first_transactions(context: Context, request: web.Request) -> Cached:
    """The block's first 25 transactions, the manifest (as coinbase) first."""
    return _page(context, _block(context, request), 0)


@table.add("GET", "/api/block/{hash}/txs/{start}", list[EsploraTransaction], errors=(400, 404, 410))
async def transactions(context: Context, request: web.Request) -> Cached:
    """25 of the block's transactions from an index that is a multiple of 25."""
    found = _block(context, request)
    start = whole_number(request.match_info["start"], "a start index")
    if start % TRANSACTIONS_PER_PAGE:
        raise Problem(400, "bad-start", "start index must be a multiple of 25")
    if start >= len(found.leaves):
        raise Problem(404, "bad-start", "start index out of range: the block has fewer")
    return _page(context, found, start)


def _page(context: Context, found: Block, start: int) -> Cached:
    ledger = context.core.ledger
    receipts = ledger.receipts(found.id) or ()
    where = confirmed_status(context, found)
    if not ledger.in_best_chain(found.id):
        where = msgspec.structs.replace(where, confirmed=False)
    answer = []
    for index in range(start, min(start + TRANSACTIONS_PER_PAGE, len(found.leaves))):
        if index == 0:
            shape = coinbase_shape(context, found, ledger.credits(found.id) or ())
            shape.status = where
        else:
            transaction = found.transactions[index - 1]
            shape = transaction_shape(context, transaction, receipts[index - 1], where)
        answer.append(shape)
    return Cached(answer, cache_seconds(context, found.id))


@table.add("GET", "/api/block-height/{height}", str, errors=(400, 404, 410))
async def block_height(context: Context, request: web.Request) -> Cached:
    """The id of the block at a height of the best chain."""
    height = whole_number(request.match_info["height"], "a height")
    found = context.id_at(height)
    return Cached(show_id(found), cache_seconds(context, found))


def _downwards(context: Context, start: int | None) -> Cached:
    ledger = context.core.ledger
    head = ledger.height(ledger.head())
    top = head if start is None else min(start, head)
    answer = []
    for height in range(top, max(-1, top - BLOCKS_PER_PAGE), -1):
        if 0 < height < ledger.bodies_from:
            break  # pruned here
        block_id = ledger.id_at(height)
        assert block_id is not None, "the best chain has no gaps"
        answer.append(block_shape(context, context.block(block_id)))
    return Cached(answer, SHORT_S)


@table.add("GET", "/api/blocks", list[EsploraBlock])
async def newest_blocks(context: Context, request: web.Request) -> Cached:
    """The ten newest blocks."""
    return _downwards(context, None)


@table.add("GET", "/api/v1/blocks", list[EsploraBlock])
async def newest_blocks_v1(context: Context, request: web.Request) -> Cached:
    """The same under mempool.space's path."""
    return _downwards(context, None)


# Before /api/blocks/{start}, which would take "tip" for a height.
@table.add("GET", "/api/blocks/tip/height", str)
async def tip_height(context: Context, request: web.Request) -> Cached:
    """The head's height."""
    ledger = context.core.ledger
    return Cached(str(ledger.height(ledger.head())), SHORT_S)


@table.add("GET", "/api/blocks/tip/hash", str)
async def tip_hash(context: Context, request: web.Request) -> Cached:
    """The head's id."""
    return Cached(show_id(context.core.ledger.head()), SHORT_S)


@table.add("GET", "/api/blocks/{start}", list[EsploraBlock], errors=(400,))
async def blocks_from(context: Context, request: web.Request) -> Cached:
    """Ten blocks downwards from a height."""
    return _downwards(context, whole_number(request.match_info["start"], "a height"))


@table.add("GET", "/api/v1/blocks/{start}", list[EsploraBlock], errors=(400,))
async def blocks_from_v1(context: Context, request: web.Request) -> Cached:
    """The same under mempool.space's path."""
    return _downwards(context, whole_number(request.match_info["start"], "a height"))
