"""``/api/...``: the Esplora REST API (blocks, transactions, addresses, mempool, tip)."""

from __future__ import annotations

from aiohttp import web

from chain.hashing import show_id
from moot.node.rest.context import Context
from moot.node.rest.routes import Problem, Table

table = Table(text_errors=True)


@table.add("GET", "/api/block-height/{height}", str)
async def block_height(context: Context, request: web.Request) -> str:
    """The id of the block at a height of the best chain."""
    text = request.match_info["height"]
    if not text.isdigit() or len(text) > 18:
        raise Problem(400, "malformed-height", "a height is a whole number")
    found = context.core.ledger.id_at(int(text))
    if found is None:
        raise Problem(404, "unknown-block", "Block not found")
    return show_id(found)
