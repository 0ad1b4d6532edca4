"""``/api/address...`` and ``/api/scripthash...``."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec
from aiohttp import web

from chain.address import Address
from chain.ledger.touches import REWARD_POSITION
from moot.node.rest.context import Context, identifier
from moot.node.rest.esplora.shapes import (
    SHORT_S,
    UNCONFIRMED,
    EsploraTransaction,
    located_shape,
    transaction_shape,
)
from moot.node.rest.esplora.transactions import NO_OUTPUTS
from moot.node.rest.routes import Cached, Problem, Table

CONFIRMED_PER_PAGE: Final = 25
WAITING_MAX: Final = 50
NO_SCRIPTS: Final = (
    "this node keeps no index of script hashes: a hash does not lead back to its address; "
    "ask /api/address/ADDRESS"
)
NO_PREFIXES: Final = "this node keeps no index of addresses by prefix; ask for a whole address"

table = Table(text_errors=True)


class Stats(msgspec.Struct):
    """Counts and sums in base units: credits are funded outputs, debits spent ones."""

    tx_count: int
    funded_txo_count: int
    funded_txo_sum: int
    spent_txo_count: int
    spent_txo_sum: int


class AddressAnswer(msgspec.Struct):
    """What an address did on the best chain and what of it waits."""

    address: str
    chain_stats: Stats
    mempool_stats: Stats


class _Counts(Protocol):
    @property
    def tx_count(self) -> int: ...
    @property
    def funded_count(self) -> int: ...
    @property
    def funded_sum(self) -> int: ...
    @property
    def spent_count(self) -> int: ...
    @property
    def spent_sum(self) -> int: ...


def _stats(counts: _Counts) -> Stats:
    return Stats(
        counts.tx_count,
        counts.funded_count,
        counts.funded_sum,
        counts.spent_count,
        counts.spent_sum,
    )


def _address(context: Context, request: web.Request) -> Address:
    return context.address(request.match_info["address"])


@table.add("GET", "/api/address/{address}", AddressAnswer, errors=(400,))
async def address(context: Context, request: web.Request) -> Cached:
    """Counts and sums of an address."""
    found = _address(context, request)
    answer = AddressAnswer(
        context.show(found),
        _stats(context.core.ledger.address_stats(found)),
        _stats(context.core.mempool.stats_of(found)),
    )
    return Cached(answer, SHORT_S)


def _waiting(context: Context, found: Address) -> list[EsploraTransaction]:
    newest = context.core.mempool.touching(found)[:WAITING_MAX]
    return [transaction_shape(context, each, None, UNCONFIRMED) for each in newest]


def _confirmed(
    context: Context, found: Address, before: tuple[int, int] | None
) -> list[EsploraTransaction]:
    ledger = context.core.ledger
    page = ledger.history(found, before=before, count=CONFIRMED_PER_PAGE)
    return [located_shape(context, located) for located in page]


@table.add("GET", "/api/address/{address}/txs", list[EsploraTransaction], errors=(400,))
async def transactions(context: Context, request: web.Request) -> Cached:
    """Up to 50 waiting transactions, then the newest 25 on the chain, newest first."""
    found = _address(context, request)
    return Cached(_waiting(context, found) + _confirmed(context, found, None), SHORT_S)


@table.add("GET", "/api/address/{address}/txs/mempool", list[EsploraTransaction], errors=(400,))
async def waiting(context: Context, request: web.Request) -> Cached:
    """Up to 50 transactions that wait, newest first."""
    return Cached(_waiting(context, _address(context, request)), SHORT_S)


@table.add("GET", "/api/address/{address}/txs/chain", list[EsploraTransaction], errors=(400,))
async def confirmed(context: Context, request: web.Request) -> Cached:
    """The newest 25 transactions on the chain, newest first."""
    return Cached(_confirmed(context, _address(context, request), None), SHORT_S)


@table.add(
    "GET",
    "/api/address/{address}/txs/chain/{last_seen}",
    list[EsploraTransaction],
    errors=(400, 404),
)
async def confirmed_after(context: Context, request: web.Request) -> Cached:
    """The 25 before a transaction seen last."""
    found = _address(context, request)
    last = context.core.ledger.transaction(identifier(request.match_info["last_seen"]))
    if last is None:
        raise Problem(404, "unknown-transaction", "the transaction seen last is in no block")
    place = (last.height, max(last.position, REWARD_POSITION))
    return Cached(_confirmed(context, found, place), SHORT_S)


class Unspent(msgspec.Struct):
    """An unspent output. Never answered: see NO_OUTPUTS."""

    txid: str
    vout: int
    value: int


@table.add("GET", "/api/address/{address}/utxo", list[Unspent], errors=(404,))
async def unspent(context: Context, request: web.Request) -> list[Unspent]:
    """Answers 404: accounts have no unspent outputs."""
    raise Problem(404, "no-outputs", NO_OUTPUTS)


@table.add("GET", "/api/address-prefix/{prefix}", list[str], errors=(404,))
async def by_prefix(context: Context, request: web.Request) -> list[str]:
    """Answers 404: there is no such index."""
    raise Problem(404, "no-prefixes", NO_PREFIXES)


@table.add("GET", "/api/scripthash/{hash}", AddressAnswer, errors=(404,))
async def by_script(context: Context, request: web.Request) -> AddressAnswer:
    """Answers 404: there is no such index."""
    raise Problem(404, "no-scripts", NO_SCRIPTS)


@table.add("GET", "/api/scripthash/{hash}/txs", list[EsploraTransaction], errors=(404,))
async def by_script_transactions(context: Context, request: web.Request) -> AddressAnswer:
    """Answers 404: there is no such index."""
    raise Problem(404, "no-scripts", NO_SCRIPTS)


@table.add("GET", "/api/scripthash/{hash}/utxo", list[Unspent], errors=(404,))
async def by_script_unspent(context: Context, request: web.Request) -> list[Unspent]:
    """Answers 404: accounts have no unspent outputs."""
    raise Problem(404, "no-outputs", NO_OUTPUTS)
