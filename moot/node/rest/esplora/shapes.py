"""Esplora's JSON, and how the account model shows in it."""

from __future__ import annotations

from typing import Final

import msgspec

from chain.address import KEY, Address
from chain.block import Block, BlockHead
from chain.execution import Credit, Receipt
from chain.hashing import ZERO_HASH, BlockId, show_id
from chain.ledger.reading import Located
from chain.transaction import Transaction, Transfer
from consensus.contract import WorkRules
from moot.node.rest.context import Context, is_shown

DEEP: Final = 10
"""Blocks on top after which an answer counts as settled (Esplora's own number)."""
FOREVER_S: Final = 157_784_630
"""Seconds that settled answers may be cached: five years, as Esplora says it."""
SHORT_S: Final = 10
"""Seconds that everything else may be cached."""
COINBASE_OUTPUT: Final = 0xFFFF_FFFF
"""Bitcoin's output index of an input that spends nothing."""
SEQUENCE_FINAL: Final = 0xFFFF_FFFF
VERSION: Final = 1
MEDIAN_SPAN: Final = 11
"""Headers whose median time Bitcoin's tools show."""
DIFFICULTY_ONE: Final = 0xFFFF << 208
"""The target that Bitcoin calls difficulty 1."""


class Output(msgspec.Struct, omit_defaults=True):
    """A credit; as a ``prevout``, a debit. ``value`` in base units.

    The address is left out where it is of a kind that nobody knows.
    """

    scriptpubkey: str
    scriptpubkey_asm: str
    scriptpubkey_type: str
    value: int
    scriptpubkey_address: str = ""


class Input(msgspec.Struct):
    """A debit; ``prevout`` is null for a block's manifest (the coinbase)."""

    txid: str
    vout: int
    prevout: Output | None
    scriptsig: str
    scriptsig_asm: str
    witness: list[str]
    is_coinbase: bool
    sequence: int


class TransactionStatus(msgspec.Struct, omit_defaults=True):
    """Where a transaction stands; the last three only once it is in a block."""

    confirmed: bool
    block_height: int | None = None
    block_hash: str | None = None
    block_time: int | None = None


class EsploraTransaction(msgspec.Struct):
    """A transaction in Bitcoin's shape. ``fee`` in base units, ``size`` in bytes."""

    txid: str
    version: int
    locktime: int
    vin: list[Input]
    vout: list[Output]
    size: int
    weight: int
    fee: int
    status: TransactionStatus


class EsploraBlock(msgspec.Struct):
    """A block in Bitcoin's shape. Times in seconds, ``size`` in bytes of the whole block."""

    id: str
    height: int
    version: int
    timestamp: int
    tx_count: int
    size: int
    weight: int
    merkle_root: str
    previousblockhash: str | None
    mediantime: int
    nonce: int
    bits: int
    difficulty: float


def cache_seconds(context: Context, block_id: BlockId) -> int:
    """How long an answer about a block may be kept."""
    ledger = context.core.ledger
    if not ledger.in_best_chain(block_id):
        return SHORT_S
    height = ledger.height(block_id)
    settled = height <= ledger.height(ledger.confirmed())
    deep = height + DEEP <= ledger.height(ledger.head())
    return FOREVER_S if settled and deep else SHORT_S


def weight_of(size: int) -> int:
    """BIP141's weight units: four a byte, since nothing here is discounted."""
    return 4 * size


def output(context: Context, address: Address, value: int) -> Output:
    """A credit of ``value`` base units."""
    key = address[1:].hex()
    if not is_shown(address):
        return Output(f"6a21{address.hex()}", f"OP_RETURN {address.hex()}", "unknown", value)
    shown = context.show(address)
    if address[0] == KEY:
        return Output(f"0020{key}", f"OP_0 OP_PUSHBYTES_32 {key}", "moot_key", value, shown)
    script = f"OP_PUSHNUM_1 OP_PUSHBYTES_32 {key}"
    return Output(f"5120{key}", script, "moot_policy", value, shown)


def confirmed_status(context: Context, block: BlockHead | Block) -> TransactionStatus:
    """Of a transaction in a block of the best chain."""
    return TransactionStatus(True, block.height, show_id(block.id), block.header.time_s)


UNCONFIRMED: Final = TransactionStatus(False)


def transaction_shape(
    context: Context,
    transaction: Transaction,
    receipt: Receipt | None,
    status: TransactionStatus,
) -> EsploraTransaction:
    """``receipt`` None: it waits, and is shown as if all of it will be done."""
    if receipt is None:
        done, fee = list(transaction.transfers), transaction.fee
    else:
        pairs = zip(transaction.actions, receipt.results, strict=True)
        acted = [action for action, result in pairs if result.ok]
        done, fee = [action for action in acted if isinstance(action, Transfer)], receipt.fee
    outputs = [output(context, action.recipient, action.amount) for action in done]
    debit = sum(action.amount for action in done) + fee
    spent = Input(
        show_id(ZERO_HASH),
        0,
        output(context, transaction.sender, debit),
        "",
        "",
        [part.hex() for part in transaction.witness],
        False,
        SEQUENCE_FINAL,
    )
    return EsploraTransaction(
        show_id(transaction.id),
        VERSION,
        0,
        [spent],
        outputs,
        transaction.size,
        weight_of(transaction.size),
        fee,
        status,
    )


def coinbase_shape(
    context: Context, block: BlockHead | Block, credits: tuple[Credit, ...]
) -> EsploraTransaction:
    """A block's manifest as the transaction that pays reward and fees out."""
    manifest = block.manifest
    spent = Input(
        show_id(ZERO_HASH), COINBASE_OUTPUT, None, manifest.raw.hex(), "", [], True, SEQUENCE_FINAL
    )
    size = len(manifest.raw)
    return EsploraTransaction(
        show_id(manifest.leaf),
        VERSION,
        0,
        [spent],
        [output(context, credit.recipient, credit.amount) for credit in credits],
        size,
        weight_of(size),
        0,
        confirmed_status(context, block),
    )


def located_shape(context: Context, located: Located) -> EsploraTransaction:
    """A transaction, or a reward, of the best chain."""
    ledger = context.core.ledger
    head = ledger.header(located.block_id)
    if located.transaction is None:
        return coinbase_shape(context, head, ledger.credits(located.block_id) or ())
    return transaction_shape(
        context, located.transaction, located.receipt, confirmed_status(context, head)
    )


def block_shape(context: Context, block: Block) -> EsploraBlock:
    """A block of any branch."""
    header = block.header
    size = len(block.raw)
    return EsploraBlock(
        show_id(block.id),
        block.height,
        header.version,
        header.time_s,
        1 + len(block.transactions),
        size,
        weight_of(size),
        show_id(header.merkle_root),
        show_id(header.previous) if block.height else None,
        median_time_s(context, block),
        header.nonce,
        header.bits,
        difficulty(context, block),
    )


def median_time_s(context: Context, block: Block) -> int:
    """Median of the header times of a block and the ten before it, in seconds."""
    ledger = context.core.ledger
    times, block_id = [], block.id
    for _ in range(MEDIAN_SPAN):
        head = ledger.header(block_id)
        times.append(head.header.time_s)
        if head.height == 0:
            break
        block_id = head.previous
    return sorted(times)[len(times) // 2]


def difficulty(context: Context, block: Block) -> float:
    """How many times harder than Bitcoin's easiest target; 0 where blocks need no work."""
    rules = context.core.rules
    if not isinstance(rules, WorkRules) or not block.header.bits:
        return 0.0
    return DIFFICULTY_ONE / max(rules.target(block.header.bits), 1)
