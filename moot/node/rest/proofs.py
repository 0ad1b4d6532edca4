"""Proof documents: a block's, a transaction's, an account's; for ``moot verify``."""

from __future__ import annotations

import msgspec
from aiohttp import web

from chain import codec
from chain.block import BlockHead
from chain.genesis_file import genesis_to_json
from chain.hashing import BlockId, show_id
from chain.merkle import merkle_branch
from chain.proof import Proof
from chain.state.accounts import account_key
from moot.node.documents import (
    CONFIRMATIONS_MAX,
    SET_CHANGES_MAX,
    AccountProof,
    BlockProof,
    SetChange,
    TransactionProof,
)
from moot.node.rest.context import Context, identifier
from moot.node.rest.routes import Problem, Table

table = Table()


@table.add("GET", "/moot/block/{id}/proof", BlockProof, errors=(400, 404, 409))
async def block(context: Context, request: web.Request) -> BlockProof:
    """What shows a block final, from JSON alone."""
    return block_proof(context, identifier(request.match_info["id"]))


def block_proof(context: Context, block_id: BlockId) -> BlockProof:
    """The document of a final (or confirmed) block. Raises Problem 404 or 409."""
    core, ledger = context.core, context.core.ledger
    if not ledger.knows(block_id) or not ledger.in_best_chain(block_id):
        raise Problem(404, "unknown-block", "no such block is on this node's best chain")
    head = ledger.header(block_id)
    if head.height > ledger.height(ledger.confirmed()):
        raise Problem(409, "not-final", "this block is not final yet; ask again later")
    top, proof = _shown_by(context, head)
    above = [_main_head(context, height) for height in range(head.height + 1, top + 1)]
    shown = above[-1] if above and proof is not None else head
    validators = ledger.validators(shown.previous if shown.height else block_id)
    changes = _set_changes(context, top) if proof is not None else []
    return BlockProof(
        engine=core.protocol.name,
        chain_id=show_id(ledger.chain_id),
        genesis=msgspec.json.decode(genesis_to_json(ledger.genesis)),
        head=codec.encode(head).hex(),
        proof=None if proof is None else codec.encode(proof).hex(),
        validators=codec.encode(validators).hex(),
        confirmations=[codec.encode(each).hex() for each in above],
        set_changes=changes,
    )


def _shown_by(context: Context, head: BlockHead) -> tuple[int, Proof | None]:
    """Up to which height heads are shown, and the proof of that block. Raises Problem.

    Where nothing is final: as many as a document has room for. Else it is the block itself, or
    where no proof of it came here, the next one above it of which one did.
    """
    ledger = context.core.ledger
    if not ledger.finalizes:
        top = min(ledger.height(ledger.head()), head.height + CONFIRMATIONS_MAX)
        return top, None
    if not head.height:
        return 0, None
    height = ledger.proven_from(head.height)
    block = None if height is None else ledger.id_at(height)
    if height is None or block is None:
        raise Problem(
            404,
            "no-proof",
            "this node learnt of this block's finality from one far above it, and holds no proof "
            "of any near it; ask another node",
        )
    return height, ledger.proof(block)


def _set_changes(context: Context, below: int) -> list[SetChange]:
    """How the set that decides height ``below`` follows from the genesis set. Raises Problem."""
    ledger = context.core.ledger
    if missing := [height for height, _ in ledger.unproven if height < below]:
        raise Problem(
            404,
            "no-proof",
            f"the members changed after height {missing[0]}, and this node holds no proof of its "
            "own for that block; it asks its peers, ask again later or ask another node",
        )
    links = ledger.set_links(below)
    if len(links) > SET_CHANGES_MAX:
        raise Problem(409, "too-many-changes", "the members changed too often for one document")
    return [
        SetChange(*(codec.encode(part).hex() for part in (link.head, link.proof, link.members)))
        for link in links
    ]


def _main_head(context: Context, height: int) -> BlockHead:
    ledger = context.core.ledger
    block_id = ledger.id_at(height)
    head = None if block_id is None else ledger.head_of(block_id)
    if head is None:
        raise Problem(404, "pruned", f"this node no longer holds the head at height {height}")
    return head


@table.add("GET", "/moot/tx/{id}/proof", TransactionProof, errors=(400, 404, 409, 410))
async def transaction(context: Context, request: web.Request) -> TransactionProof:
    """What shows a transaction to be in a final block, from JSON alone."""
    ledger = context.core.ledger
    located = ledger.transaction(identifier(request.match_info["id"]))
    if located is None or located.transaction is None:
        raise Problem(404, "unknown-transaction", "this transaction is in no block of this node")
    found = ledger.block(located.block_id)
    if found is None:
        raise Problem(410, "pruned", "this node no longer holds the block's body")
    position = located.position + 1
    return TransactionProof(
        transaction=located.transaction.raw.hex(),
        position=position,
        branch=[sibling.hex() for sibling in merkle_branch(found.leaves, position)],
        block=block_proof(context, located.block_id),
    )


@table.add(
    "GET",
    "/moot/account/{address}/proof",
    AccountProof,
    query={"block": "a block id"},
    errors=(400, 404, 409),
)
async def account(context: Context, request: web.Request) -> AccountProof:
    """What shows an account's balance after a final block (the newest, unless one is named)."""
    ledger = context.core.ledger
    address = context.address(request.match_info["address"])
    text = request.query.get("block")
    block_id = ledger.confirmed() if text is None else identifier(text)
    document = block_proof(context, block_id)
    try:
        tree = ledger.state(block_id)
    except KeyError:
        raise Problem(404, "old-state", "this node holds the state of newer blocks only") from None
    found = ledger.account(address, block_id)
    exists = tree.get(account_key(address)) is not None
    return AccountProof(
        address=context.show(address),
        account={"nonce": found.nonce, "balance": found.balance} if exists else None,
        state_proof=codec.encode(tree.prove(account_key(address))).hex(),
        block=document,
    )
