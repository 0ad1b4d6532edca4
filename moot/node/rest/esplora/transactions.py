"""``/api/tx...``."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from aiohttp import web

from chain.block import Block
from chain.errors import Invalid, InvalidTransaction
from chain.hashing import show_id
from chain.ledger.reading import Located
from chain.ledger.touches import REWARD_POSITION
from chain.merkle import merkle_branch
from chain.transaction import Transaction, parse_transaction
from moot.node.rest.context import Context, identifier
from moot.node.rest.esplora.merkleblock import merkle_block
from moot.node.rest.esplora.shapes import (
    SHORT_S,
    UNCONFIRMED,
    EsploraTransaction,
    TransactionStatus,
    cache_seconds,
    confirmed_status,
    located_shape,
    transaction_shape,
)
from moot.node.rest.routes import Cached, Problem, Table, Text

PACKAGE_MAX: Final = 25
"""Transactions in one package, as in Bitcoin Core."""
NO_OUTPUTS: Final = (
    "this chain keeps accounts, not unspent outputs: what was credited is not spent one by one"
)

table = Table(text_errors=True)


def _find(context: Context, request: web.Request) -> Located | Transaction:
    """On the best chain, or waiting. Raises Problem 404."""
    txid = identifier(request.match_info["txid"])
    located = context.core.ledger.transaction(txid)
    if located is not None:
        return located
    waiting = context.core.mempool.get(txid)
    if waiting is None:
        raise Problem(404, "unknown-transaction", "Transaction not found")
    return waiting


def _in_block(context: Context, request: web.Request) -> tuple[Block, int]:
    """The block of a transaction and its position among the leaves. Raises Problem 404."""
    found = _find(context, request)
    if isinstance(found, Transaction):
        raise Problem(404, "unconfirmed", "Transaction not found or is unconfirmed")
    return context.block(found.block_id), found.position - REWARD_POSITION


@table.add("GET", "/api/tx/{txid}", EsploraTransaction, errors=(400, 404))
async def transaction(context: Context, request: web.Request) -> Cached:
    """A transaction: debits, credits, fee, where it stands."""
    found = _find(context, request)
    if isinstance(found, Transaction):
        return Cached(transaction_shape(context, found, None, UNCONFIRMED), SHORT_S)
    return Cached(located_shape(context, found), cache_seconds(context, found.block_id))


@table.add("GET", "/api/tx/{txid}/status", TransactionStatus, errors=(400, 404))
async def status(context: Context, request: web.Request) -> Cached:
    """Whether and where a transaction is in a block."""
    found = _find(context, request)
    if isinstance(found, Transaction):
        return Cached(UNCONFIRMED, SHORT_S)
    head = context.core.ledger.header(found.block_id)
    return Cached(confirmed_status(context, head), cache_seconds(context, found.block_id))


def _raw(context: Context, request: web.Request) -> tuple[bytes, int]:
    found = _find(context, request)
    if isinstance(found, Transaction):
        return found.raw, SHORT_S
    seconds = cache_seconds(context, found.block_id)
    if found.transaction is None:
        return context.core.ledger.header(found.block_id).manifest.raw, seconds
    return found.transaction.raw, seconds


@table.add("GET", "/api/tx/{txid}/hex", str, errors=(400, 404))
async def raw_hex(context: Context, request: web.Request) -> Cached:
    """The canonical encoding in hex."""
    raw, seconds = _raw(context, request)
    return Cached(raw.hex(), seconds)


@table.add("GET", "/api/tx/{txid}/raw", bytes, errors=(400, 404))
async def raw_bytes(context: Context, request: web.Request) -> Cached:
    """The canonical encoding."""
    return Cached(*_raw(context, request))


class MerkleProof(msgspec.Struct):
    """Electrum's form: siblings from the leaf upwards, in display order."""

    block_height: int
    merkle: list[str]
    pos: int


@table.add("GET", "/api/tx/{txid}/merkle-proof", MerkleProof, errors=(400, 404))
async def merkle_proof(context: Context, request: web.Request) -> Cached:
    """What ties a transaction to its block's header."""
    block, position = _in_block(context, request)
    branch = [show_id(sibling) for sibling in merkle_branch(block.leaves, position)]
    return Cached(MerkleProof(block.height, branch, position), cache_seconds(context, block.id))


@table.add("GET", "/api/tx/{txid}/merkleblock-proof", str, errors=(400, 404))
async def merkleblock_proof(context: Context, request: web.Request) -> Cached:
    """The same as a merkleblock message in hex (BIP37)."""
    block, position = _in_block(context, request)
    proof = merkle_block(block.header, block.leaves, position)
    return Cached(proof.hex(), cache_seconds(context, block.id))


class Outspend(msgspec.Struct):
    """Whether an output was spent. Never answered: see NO_OUTPUTS."""

    spent: bool


@table.add("GET", "/api/tx/{txid}/outspend/{vout}", Outspend, errors=(404,))
async def outspend(context: Context, request: web.Request) -> Outspend:
    """Answers 404: accounts have no outputs that could be spent."""
    raise Problem(404, "no-outputs", NO_OUTPUTS)


@table.add("GET", "/api/tx/{txid}/outspends", list[Outspend], errors=(404,))
async def outspends(context: Context, request: web.Request) -> list[Outspend]:
    """Answers 404: accounts have no outputs that could be spent."""
    raise Problem(404, "no-outputs", NO_OUTPUTS)


def parse_hex(text: str) -> Transaction:
    """A signed transaction in hex. Raises InvalidTransaction or InvalidEncoding."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        sentence = "a transaction is sent as hexadecimal digits"
        raise InvalidTransaction("malformed", sentence) from None
    return parse_transaction(raw)


@table.add("POST", "/api/tx", str, body=Text)
async def broadcast(context: Context, request: web.Request) -> str:
    """Takes a signed transaction in hex; answers with its id."""
    body = await context.read(request)
    try:
        parsed = parse_hex(body.decode("ascii").strip())
    except UnicodeDecodeError:
        raise Problem(400, "malformed", "a transaction is sent as hexadecimal digits") from None
    except Invalid as error:
        raise Problem(400, error.code, f"{error.code}: {error.sentence}") from None
    refusal = _submit(context, [parsed])[0]
    if refusal is not None:
        raise Problem(400, refusal.code, f"{refusal.code}: {refusal.sentence}")
    return show_id(parsed.id)


def _submit(context: Context, parsed: list[Transaction]) -> list[InvalidTransaction | None]:
    """As the mempool says, except that sending the same again does no harm."""
    results = context.submit(parsed)
    known = "already-known"
    return [None if e is not None and e.code == known else e for e in results]


class PackageFees(msgspec.Struct):
    """In base units."""

    base: int


class PackageResult(msgspec.Struct, omit_defaults=True):
    """What became of one transaction of a package; ``error`` only where it was refused."""

    txid: str
    vsize: int = 0
    fees: PackageFees | None = None
    error: str = ""


class PackageAnswer(msgspec.Struct, rename={"tx_results": "tx-results"}):
    """As Bitcoin Core's submitpackage says it: results by transaction id."""

    package_msg: str
    tx_results: dict[str, PackageResult]


PackageBody = Annotated[list[str], msgspec.Meta(min_length=1, max_length=PACKAGE_MAX)]


@table.add("POST", "/api/txs/package", PackageAnswer, body=PackageBody, errors=(415,))
async def package(context: Context, request: web.Request) -> PackageAnswer:
    """Takes up to 25 signed transactions in hex, each judged by itself."""
    texts: list[str] = await context.json(request, PackageBody)
    parsed: list[Transaction] = []
    for place, text in enumerate(texts):
        try:
            parsed.append(parse_hex(text.strip()))
        except Invalid as error:
            sentence = f"transaction {place}: {error.code}: {error.sentence}"
            raise Problem(400, error.code, sentence) from None
    results: dict[str, PackageResult] = {}
    for each, refusal in zip(parsed, _submit(context, parsed), strict=True):
        txid = show_id(each.id)
        if refusal is None:
            results[txid] = PackageResult(txid, each.size, PackageFees(each.fee))
        else:
            results[txid] = PackageResult(txid, error=f"{refusal.code}: {refusal.sentence}")
    failed = any(result.error for result in results.values())
    return PackageAnswer("transaction failed" if failed else "success", results)
