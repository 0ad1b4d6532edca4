"""``/moot/faucet``: coins for whoever asks, on test networks only."""

from __future__ import annotations

from pathlib import Path

import msgspec
from aiohttp import web

from chain.bech32m import show_address
from chain.errors import Invalid
from chain.hashing import show_id
from moot.node.config import load_seed
from moot.node.rest.context import Context
from moot.node.rest.routes import Problem, Table
from wallet.amounts import parse_amount
from wallet.build import sign_transaction, transfer
from wallet.keys import Key

table = Table()


class FaucetBody(msgspec.Struct):
    address: str


class FaucetAnswer(msgspec.Struct):
    txid: str
    amount: int


@table.add("POST", "/moot/faucet", FaucetAnswer, body=FaucetBody, errors=(404, 415))
async def give(context: Context, request: web.Request) -> FaucetAnswer:
    """Sends some coins to an address; answers with the transaction's id."""
    core, section = context.core, context.runtime.config.rest
    if not section.faucet_key or core.ledger.genesis.network == "main":
        raise Problem(404, "no-faucet", "this node has no faucet")
    if core.sync.syncing:
        raise Problem(503, "syncing", "this node is catching up; ask again soon")
    recipient = context.address((await context.json(request, FaucetBody)).address)
    if not context.faucet_budget.take(1, context.runtime.uptime_ms()):
        raise Problem(429, "faucet-dry", "the faucet is asked too often; try again in a minute")
    key = Key.from_seed(load_seed(Path(section.faucet_key)))
    amount = parse_amount(section.faucet_amount)
    transaction = sign_transaction(
        transfer(
            key.address,
            recipient,
            amount,
            core.mempool.next_nonce(key.address, core.ledger),
            fee_per_kilobyte=core.ledger.genesis.limits.fee_per_kilobyte_min,
        ),
        key,
        core.ledger.chain_id,
    )
    refusal: Invalid | None = context.submit([transaction])[0]
    if refusal is not None:
        who = show_address(key.address, context.prefix)
        raise Problem(503, refusal.code, f"the faucet {who} could not pay: {refusal.sentence}")
    return FaucetAnswer(show_id(transaction.id), amount)
