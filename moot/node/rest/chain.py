"""``/moot/block``, ``/moot/tx``, ``/moot/search``: the chain as it is, for explorers."""

from __future__ import annotations

import contextlib

import msgspec
from aiohttp import web

from chain.bech32m import parse_address
from chain.block import Block
from chain.errors import Invalid
from chain.execution import ActionResult, Receipt
from chain.hashing import BlockId, parse_id, show_id
from chain.ledger.reading import Located
from chain.transaction import ATOMIC, STANDINGS, Action, MembershipVote, Transaction, Transfer
from moot.node.displaced import Displaced, sentence_of
from moot.node.rest.context import HEIGHT_DIGITS_MAX, Context, identifier, whole_number
from moot.node.rest.routes import Problem, Table

table = Table()

SENTENCES = {
    "insufficient-funds": "the sender's balance did not cover the amount",
    "zero-amount": "a transfer of nothing",
    "unknown-recipient-kind": "the recipient is of a kind that this chain does not know",
    "membership-fixed": "no vote changes the members of this chain",
    "not-a-member": "the sender was no voter then",
    "change-in-progress": "an earlier change of the members was still being carried out",
    "unknown-standing": "a standing that this chain does not know",
    "unknown-subject-kind": "the subject is not an address that is a key",
    "bad-weight": "a voter needs a weight, and nobody else has one",
    "bad-name": "the name holds characters that do not show, or names somebody who leaves",
    "no-change": "the subject was that already",
    "no-vote": "the sender had no open vote on the subject",
    "last-voter": "nobody would have been left to decide",
    "too-many-members": "the chain has as many members as it can have",
    "too-many-votes": "the sender had too many open votes",
    "undone": "undone, because another action of the transaction failed",
    "not-tried": "not tried, because an earlier action of the transaction failed",
}
"""Plain words for the codes of receipts."""


class CreditFacts(msgspec.Struct):
    """Base units of reward and fees."""

    recipient: str
    amount: int


class BlockFacts(msgspec.Struct):
    """Header and manifest. Amounts in base units; ``status``: final, confirmed, head or side."""

    id: str
    previous: str
    height: int
    time_ms: int
    producer: str
    state_root: str
    next_validators: str
    reward: int
    claims: str
    bits: int
    nonce: int
    version: int
    transactions: int
    size: int
    status: str
    has_proof: bool
    """Whether this node can show it to be final: by a proof of it, or of a block near above it."""
    merkle_root: str
    reward_txid: str
    failed: int
    """Transactions whose receipt says that something in them was not done."""
    fees: int
    credits: list[CreditFacts]
    following: str | None
    """The next block of the best chain."""


def _facts(context: Context, found: Block) -> BlockFacts:
    ledger = context.core.ledger
    manifest, header = found.manifest, found.header
    receipts = ledger.receipts(found.id) or ()
    best = ledger.in_best_chain(found.id)
    following = ledger.id_at(found.height + 1) if best else None
    return BlockFacts(
        id=show_id(found.id),
        previous=show_id(header.previous),
        height=manifest.height,
        time_ms=manifest.time_ms,
        producer=context.show(manifest.producer),
        state_root=manifest.state_root.hex(),
        next_validators=manifest.next_validators.hex(),
        reward=manifest.reward,
        claims=manifest.claims.hex(),
        bits=header.bits,
        nonce=header.nonce,
        version=header.version,
        transactions=len(found.transactions),
        size=len(found.raw),
        status=block_status(context, found.id, found.height),
        has_proof=best and found.height > 0 and ledger.proven_from(found.height) is not None,
        merkle_root=show_id(header.merkle_root),
        reward_txid=show_id(manifest.leaf),
        failed=sum(not receipt.ok for receipt in receipts),
        fees=sum(receipt.fee for receipt in receipts),
        credits=[
            CreditFacts(context.show(credit.recipient), credit.amount)
            for credit in ledger.credits(found.id) or ()
        ],
        following=None if following is None else show_id(following),
    )


def block_status(context: Context, block_id: BlockId, height: int) -> str:
    """final (or confirmed), head (on the best chain, not yet final), or side."""
    ledger = context.core.ledger
    if not ledger.in_best_chain(block_id):
        return "side"
    if height > ledger.height(ledger.confirmed()):
        return "head"
    return "final" if context.core.rules.properties.finalizes else "confirmed"


@table.add("GET", "/moot/block/{id}", BlockFacts, errors=(400, 404, 410))
async def block(context: Context, request: web.Request) -> BlockFacts:
    """What a block's header and manifest say, and what executing it gave."""
    return _facts(context, context.block(identifier(request.match_info["id"])))


@table.add("GET", "/moot/block-height/{height}", BlockFacts, errors=(400, 404, 410))
async def block_at(context: Context, request: web.Request) -> BlockFacts:
    """The same for the best chain's block at a height."""
    height = whole_number(request.match_info["height"], "a height")
    return _facts(context, context.block(context.id_at(height)))


class TransferFacts(msgspec.Struct, tag_field="kind", tag="transfer"):
    """Coins moved; also a block's reward. ``memo`` in hex.

    ``ok`` is null while it waits; ``sentence`` says in words why it was not done.
    """

    recipient: str
    amount: int
    memo: str
    ok: bool | None
    code: str
    sentence: str


class RewardFacts(TransferFacts, tag_field="kind", tag="reward"):
    """What a block paid to somebody; as a transfer without a memo."""


class MembershipVoteFacts(msgspec.Struct, tag_field="kind", tag="membership-vote"):
    """A vote that ``subject`` be out, a learner or a voter; "withdrawn": no vote any more.

    ``standing`` is "unknown-" and its number where this chain knows no such standing. ``ok``: the
    vote counts; it says nothing of whether it was enough. The rest as for a transfer.
    """

    subject: str
    standing: str
    weight: int
    name: str
    ok: bool | None
    code: str
    sentence: str


ActionFacts = TransferFacts | RewardFacts | MembershipVoteFacts


class TransactionFacts(msgspec.Struct):
    """A transaction as it was signed, and what became of it.

    ``state``: pending, committed, final (or confirmed) or failed (final, not all of it done).
    ``fee``: offered; ``fee_charged``: taken, null while it waits. ``index``: its place among the
    block's Merkle leaves, the manifest being 0. ``mode``: atomic or bundle. Amounts in base units,
    ``memo`` in hex, ``size`` in bytes.
    """

    txid: str
    kind: str
    state: str
    sender: str | None
    nonce: int
    fee: int
    fee_charged: int | None
    expiry: int
    mode: str
    size: int
    ok: bool | None
    code: str
    sentence: str
    actions: list[ActionFacts]
    block: str | None
    height: int | None
    index: int | None
    time_ms: int | None


@table.add("GET", "/moot/tx/{id}", TransactionFacts, errors=(400, 404))
async def transaction(context: Context, request: web.Request) -> TransactionFacts:
    """A transaction's actions one by one, and its receipt."""
    core, txid = context.core, identifier(request.match_info["id"])
    located = core.ledger.transaction(txid)
    if located is not None:
        return _located(context, located)
    waiting = core.mempool.get(txid)
    if waiting is None and (gone := core.displaced.get(txid)) is not None:
        return _displaced(context, gone)
    if waiting is None:
        raise Problem(404, "unknown-transaction", _unknown(core.ledger.bodies_from))
    return _transaction(context, waiting, None, None)


def _unknown(bodies_from: int) -> str:
    """A pruned node cannot tell one that never was from one that it has forgotten."""
    if bodies_from <= 1:
        return "this node knows no such transaction"
    return (
        f"this node knows no such transaction from height {bodies_from} on; an older one took "
        "effect if its sender's final nonce is above its own"
    )


def _displaced(context: Context, gone: Displaced) -> TransactionFacts:
    """As in the block that held it, which lies on a branch that lost."""
    found = context.core.displaced.transaction(gone)
    if found is None:
        raise Problem(404, "unknown-transaction", "it was displaced; its block is not kept here")
    facts = _transaction(context, found, None, None)
    facts.state, facts.code, facts.sentence = "displaced", gone.code, sentence_of(gone)
    return facts


class DisplacedFacts(msgspec.Struct):
    """``block``, ``height``: what held it, on a branch that lost. ``rival``: the transaction that
    has its place now (the same sender and nonce), or empty."""

    txid: str
    sender: str
    nonce: int
    block: str
    height: int
    code: str
    sentence: str
    rival: str
    at_ms: int


class DisplacedAnswer(msgspec.Struct):
    displaced: list[DisplacedFacts]


@table.add("GET", "/moot/displaced", DisplacedAnswer)
async def displaced(context: Context, request: web.Request) -> DisplacedAnswer:
    """What a losing branch had taken and the winning one cannot take.

    The newest 1,000, oldest first. Always empty where blocks are final.
    """
    return DisplacedAnswer(
        [
            DisplacedFacts(
                show_id(each.txid),
                context.show(each.sender),
                each.nonce,
                show_id(each.block_id),
                each.height,
                each.code,
                sentence_of(each),
                show_id(each.rival) if each.rival else "",
                each.at_ms,
            )
            for each in context.core.displaced.all()
        ]
    )


def _located(context: Context, located: Located) -> TransactionFacts:
    if located.transaction is not None:
        return _transaction(context, located.transaction, located.receipt, located)
    ledger = context.core.ledger
    head = ledger.header(located.block_id)
    credits = ledger.credits(located.block_id) or ()
    return TransactionFacts(
        txid=show_id(head.manifest.leaf),
        kind="reward",
        state=_state(context, located, True),
        sender=None,
        nonce=0,
        fee=0,
        fee_charged=0,
        expiry=0,
        mode="atomic",
        size=len(head.manifest.raw),
        ok=True,
        code="",
        sentence="",
        actions=[
            RewardFacts(context.show(c.recipient), c.amount, "", True, "", "") for c in credits
        ],
        block=show_id(head.id),
        height=head.height,
        index=0,
        time_ms=head.time_ms,
    )


def _transaction(
    context: Context,
    found: Transaction,
    receipt: Receipt | None,
    located: Located | None,
) -> TransactionFacts:
    results: tuple[ActionResult | None, ...] = (None,) * len(found.actions)
    if receipt is not None:
        results = receipt.results
    code = "" if receipt is None else receipt.code
    head = None if located is None else context.core.ledger.header(located.block_id)
    return TransactionFacts(
        txid=show_id(found.id),
        kind="transaction",
        state="pending" if located is None else _state(context, located, not code),
        sender=context.show(found.sender),
        nonce=found.nonce,
        fee=found.fee,
        fee_charged=None if receipt is None else receipt.fee,
        expiry=found.expiry,
        mode="atomic" if found.mode == ATOMIC else "bundle",
        size=found.size,
        ok=None if receipt is None else receipt.ok,
        code=code,
        sentence=SENTENCES.get(code, code),
        actions=[
            _action(context, action, result)
            for action, result in zip(found.actions, results, strict=True)
        ],
        block=None if head is None else show_id(head.id),
        height=None if head is None else head.height,
        index=None if located is None else located.position + 1,
        time_ms=None if head is None else head.time_ms,
    )


def _action(context: Context, action: Action, result: ActionResult | None) -> ActionFacts:
    code = "" if result is None else result.code
    ok, sentence = None if result is None else result.ok, SENTENCES.get(code, code)
    match action:
        case Transfer():
            recipient = context.show(action.recipient)
            return TransferFacts(recipient, action.amount, action.memo.hex(), ok, code, sentence)
        case MembershipVote():
            subject = context.show(action.subject)
            standing = STANDINGS.get(action.standing, f"unknown-{action.standing}")
            return MembershipVoteFacts(
                subject, standing, action.weight, action.name, ok, code, sentence
            )


def _state(context: Context, located: Located, ok: bool | None) -> str:
    state = block_status(context, located.block_id, located.height)
    if state == "head":
        return "committed"
    return state if ok else "failed"


class SearchAnswer(msgspec.Struct):
    """``kind``: block, transaction, address, height or none; ``target``: the explorer's path."""

    kind: str
    target: str


@table.add("GET", "/moot/search", SearchAnswer, query={"q": "a height, an id or an address"})
async def search(context: Context, request: web.Request) -> SearchAnswer:
    """What a person may have meant."""
    text = request.query.get("q", "").strip()
    ledger = context.core.ledger
    if text.isascii() and text.isdigit() and len(text) <= HEIGHT_DIGITS_MAX:
        block_id = ledger.id_at(int(text))
        if block_id is not None:
            return SearchAnswer("height", f"/block/{show_id(block_id)}")
    with contextlib.suppress(Invalid):
        identity = parse_id(text)
        if ledger.knows(identity):
            return SearchAnswer("block", f"/block/{show_id(identity)}")
        known = identity in context.core.mempool or context.core.displaced.get(identity)
        if known or ledger.transaction(identity) is not None:
            return SearchAnswer("transaction", f"/tx/{show_id(identity)}")
    with contextlib.suppress(Invalid):
        shown = context.show(parse_address(text, context.prefix))
        return SearchAnswer("address", f"/address/{shown}")
    return SearchAnswer("none", "")
