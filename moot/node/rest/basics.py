"""``/moot/status``, submission, genesis, health."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from aiohttp import web

from chain.errors import Invalid
from chain.genesis_file import genesis_to_json
from chain.hashing import parse_id, show_id
from chain.transaction import Transaction, parse_transaction
from moot import __version__
from moot.node.rest.context import Context
from moot.node.rest.routes import Problem, Table
from moot.node.rest.waiting import WAIT_S_MAX, Goal, TooManyWait

SUBMIT_MAX = 1_000
"""Transactions in one POST."""

table = Table()


class HeadFacts(msgspec.Struct):
    id: str
    height: int
    time_ms: int


class FinalFacts(msgspec.Struct):
    id: str
    height: int


class MempoolFacts(msgspec.Struct):
    count: int
    bytes: int
    pending: int


class StatusAnswer(msgspec.Struct):
    chain_id: str
    network: str
    prefix: str
    name: str
    engine: str
    node: str
    agent: str
    version: str
    head: HeadFacts
    finalized: FinalFacts
    finality: str
    finality_means: str
    syncing: bool
    peers: int
    mempool: MempoolFacts
    state_root: str
    fee_per_kilobyte_min: int
    mining: bool
    faucet: bool
    uptime_ms: int
    hash_rate: float
    """Hashes a second of this node's own miner; 0 where it does not mine."""
    keeping: KeepingFacts


class KeepingFacts(msgspec.Struct):
    """What this node keeps of the chain.

    ``bodies_from``, ``heads_from``: least height, genesis apart, of which blocks (and heads) are
    kept. ``snapshots``: heights of those that peers can fetch here. ``fetching``: height of the one
    that is being taken in; ``fetched_per_mille``: how much of its state is here.
    """

    bodies_from: int
    heads_from: int
    snapshots: list[int]
    fetching: int | None
    fetched_per_mille: int


def _keeping(context: Context) -> KeepingFacts:
    ledger, keeper = context.core.ledger, context.core.snapshots
    staged = keeper.staged
    return KeepingFacts(
        bodies_from=max(1, ledger.bodies_from),
        heads_from=max(1, ledger.heads_from),
        snapshots=[each.height for each in keeper.kept],
        fetching=None if staged is None else staged.height,
        fetched_per_mille=0 if staged is None else keeper.received_per_mille,
    )


def status_answer(context: Context) -> StatusAnswer:
    """Where a node stands now."""
    core, ledger = context.core, context.core.ledger
    head, final = ledger.header(ledger.head()), ledger.header(ledger.confirmed())
    return StatusAnswer(
        chain_id=show_id(ledger.chain_id),
        network=ledger.genesis.network,
        prefix=context.prefix,
        name=ledger.genesis.name,
        engine=core.protocol.name,
        node=context.show(core.me),
        agent=core.settings.agent,
        version=__version__,
        head=HeadFacts(show_id(head.id), head.height, head.time_ms),
        finalized=FinalFacts(show_id(final.id), final.height),
        finality="final" if core.rules.properties.finalizes else "confirmed",
        finality_means=core.rules.properties.confirmed,
        syncing=core.sync.syncing,
        peers=len(core.peers),
        mempool=MempoolFacts(len(core.mempool), core.mempool.size_bytes, core.mempool.waiting()),
        state_root=final.manifest.state_root.hex(),
        fee_per_kilobyte_min=ledger.genesis.limits.fee_per_kilobyte_min,
        mining=core.settings.mining,
        faucet=bool(context.runtime.config.rest.faucet_key),
        uptime_ms=context.runtime.uptime_ms(),
        hash_rate=context.runtime.hash_rate(),
        keeping=_keeping(context),
    )


@table.add("GET", "/moot/status", StatusAnswer)
async def status(context: Context, request: web.Request) -> StatusAnswer:
    """Where this node stands."""
    return status_answer(context)


class SubmitBody(msgspec.Struct):
    transactions: Annotated[list[str], msgspec.Meta(max_length=SUBMIT_MAX)]


class SubmitResult(msgspec.Struct):
    """``state`` and ``height`` are told where the request waited (see TransactionState)."""

    txid: str
    code: str
    sentence: str
    state: str = ""
    height: int | None = None


class SubmitAnswer(msgspec.Struct):
    results: list[SubmitResult]


@table.add(
    "POST",
    "/moot/transactions",
    SubmitAnswer,
    body=SubmitBody,
    query={
        "wait": "committed or final: answer when all that were taken are that far, or were dropped",
        "seconds": f"how long to wait at most, up to {WAIT_S_MAX:g} (default: 10)",
    },
    errors=(415,),
    waits=True,
)
async def submit(context: Context, request: web.Request) -> SubmitAnswer:
    """Submit up to 1,000 transactions (hex); each gets a result of its own."""
    wish = _wish(request)
    body = await context.json(request, SubmitBody)
    results: list[SubmitResult] = []
    parsed: list[tuple[int, Transaction]] = []
    for place, text in enumerate(body.transactions):
        results.append(SubmitResult("", "", ""))
        try:
            parsed.append((place, parse_transaction(bytes.fromhex(text))))
        except ValueError:
            results[place] = SubmitResult("", "malformed", "not hexadecimal")
        except Invalid as error:
            results[place] = SubmitResult("", error.code, error.sentence)
    outcomes = context.submit([transaction for _, transaction in parsed])
    for (place, transaction), refusal in zip(parsed, outcomes, strict=True):
        code, sentence = ("", "") if refusal is None else (refusal.code, refusal.sentence)
        results[place] = SubmitResult(show_id(transaction.id), code, sentence)
    if wish is not None:
        await _wait(context, results, *wish)
    return SubmitAnswer(results)


def _wish(request: web.Request) -> tuple[Goal, float] | None:
    """What to wait for, and how many seconds; None: for nothing. Raises Problem 400."""
    goal = request.query.get("wait")
    if goal is None:
        return None
    if goal not in ("committed", "final"):
        raise Problem(400, "unknown-wait", "wait is committed or final")
    text = request.query.get("seconds", "10")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= WAIT_S_MAX:
        raise Problem(400, "bad-seconds", f"seconds is a number up to {WAIT_S_MAX:g}")
    return ("final" if goal == "final" else "committed"), seconds


async def _wait(context: Context, results: list[SubmitResult], goal: Goal, seconds: float) -> None:
    """Fills in how far each transaction that was taken got."""
    taken = [result for result in results if result.code in ("", "already-known")]
    try:
        await context.waiting.until([parse_id(r.txid) for r in taken], goal, seconds)
    except TooManyWait:
        raise Problem(
            503,
            "too-many-wait",
            "the transactions were taken, but too many requests wait here; ask for their statuses",
        ) from None
    for result in taken:
        state = _state(context, result.txid)
        result.state, result.height = state.state, state.height


class StatusesBody(msgspec.Struct):
    ids: Annotated[list[str], msgspec.Meta(max_length=SUBMIT_MAX)]


class TransactionState(msgspec.Struct, omit_defaults=True):
    txid: str
    state: str
    height: int | None = None
    code: str = ""


class StatusesAnswer(msgspec.Struct):
    statuses: list[TransactionState]


@table.add("POST", "/moot/transactions/status", StatusesAnswer, body=StatusesBody, errors=(415,))
async def statuses(context: Context, request: web.Request) -> StatusesAnswer:
    """Where transactions stand: unknown, pending, committed, final, failed or displaced."""
    body = await context.json(request, StatusesBody)
    return StatusesAnswer([_state(context, text) for text in body.ids])


def _state(context: Context, text: str) -> TransactionState:
    try:
        txid = parse_id(text)
    except Invalid as error:
        raise Problem(400, error.code, error.sentence) from None
    ledger = context.core.ledger
    located = ledger.transaction(txid)
    if located is None:
        if txid in context.core.mempool:
            return TransactionState(text, "pending")
        displaced = context.core.displaced.get(txid)
        if displaced is None:
            return TransactionState(text, "unknown")
        return TransactionState(text, "displaced", code=displaced.code)
    final = located.height <= ledger.height(ledger.confirmed())
    receipt = located.receipt
    if receipt is None:
        return TransactionState(text, "final" if final else "committed", located.height)
    if final and not receipt.ok:
        return TransactionState(text, "failed", located.height, receipt.code)
    return TransactionState(text, "final" if final else "committed", located.height, receipt.code)


@table.add("GET", "/moot/genesis", dict[str, Any])
async def genesis(context: Context, request: web.Request) -> web.Response:
    """The network's genesis file."""
    text = genesis_to_json(context.core.ledger.genesis)
    return web.Response(text=text, content_type="application/json")


@table.add("GET", "/healthz", str)
async def healthz(context: Context, request: web.Request) -> str:
    """200 as long as the node runs."""
    return "ok"
