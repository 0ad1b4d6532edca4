"""``/moot/account/:address``: what an account holds, as fresh as the client asks for."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from aiohttp import web

from chain.address import Address
from chain.hashing import BlockId
from chain.state.accounts import get_maturing
from moot.node.requests import TOO_MANY
from moot.node.rest.context import Context
from moot.node.rest.routes import WAITED_S, Problem, Table

MATURITY_MAX: Final = 1_000
"""Heights ahead that are searched for maturing rewards: ten times Bitcoin's maturity."""
READ_TIMEOUT_S: Final = 5.0
"""Seconds that a linearizable read may wait for a quorum: some elections or view changes of the
default settings, and no more than a person waits."""
CONSISTENCIES: Final = ("head", "serializable", "linearizable")

table = Table()


class MaturingFacts(msgspec.Struct):
    """Base units that can be spent from ``height`` on."""

    height: int
    amount: int


class AccountAnswer(msgspec.Struct):
    """``height``: of the block whose state this is. ``consistency``: what was asked for."""

    address: str
    balance: int
    nonce: int
    pending_nonce: int
    maturing: list[MaturingFacts]
    height: int
    consistency: str


@table.add(
    "GET",
    "/moot/account/{address}",
    AccountAnswer,
    query={
        "consistency": "head (default): this node's newest block, which may not stay; "
        "serializable: its last final block, which may be old; linearizable: no older than "
        "anything that anybody was told is final before this request"
    },
    errors=(400, 503),
)
async def account(context: Context, request: web.Request) -> AccountAnswer:
    """Balance, nonce, and what matures."""
    core, ledger = context.core, context.core.ledger
    address = context.address(request.match_info["address"])
    consistency = request.query.get("consistency", "head")
    if consistency not in CONSISTENCIES:
        sentence = f"consistency is one of {', '.join(CONSISTENCIES)}"
        raise Problem(400, "unknown-consistency", sentence)
    if consistency == "linearizable":
        await _permission(context, request)
    block = ledger.head() if consistency == "head" else ledger.confirmed()
    found = ledger.account(address, block)
    return AccountAnswer(
        context.show(address),
        found.balance,
        found.nonce,
        core.mempool.next_nonce(address, ledger),
        _maturing(context, address, block),
        ledger.height(block),
        consistency,
    )


async def _permission(context: Context, request: web.Request) -> None:
    """Returns when the engine vouches for the confirmed state. Raises Problem 400 or 503."""
    core = context.core
    promised = core.rules.properties.linearizable_reads
    if promised and core.sync.syncing:
        sentence = "this node is still catching up with the others; ask another, or ask again"
        raise Problem(503, "syncing", sentence)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    outcome: asyncio.Future[str] = loop.create_future()

    def done(why_not: str) -> None:
        if not outcome.done():
            outcome.set_result(why_not)

    number = None
    with context.runtime.our_part():
        number = core.requests.read(done)
    context.runtime.wake()
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            why_not = await outcome
    except TimeoutError:
        why = " ".join(core.engine_status().why)
        sentence = (
            f"no quorum has confirmed within {READ_TIMEOUT_S:g} s that what this node knows is the "
            "newest; ask again, ask another node, or take consistency=serializable, which may be "
            f"old. {why}"
        )
        raise Problem(503, "no-quorum", sentence.rstrip()) from None
    finally:
        request[WAITED_S] = loop.time() - began_s
        if number is not None:
            core.requests.cancel(number)
    if why_not == TOO_MANY:
        raise Problem(503, "too-many-reads", why_not)
    if why_not and promised:
        raise Problem(503, "read-refused", why_not)
    if why_not:
        raise Problem(400, "no-linearizable-reads", why_not)


def _maturing(context: Context, address: Address, block: BlockId) -> list[MaturingFacts]:
    """Rewards of the address that wait, by height, for at most MATURITY_MAX blocks to come."""
    ledger = context.core.ledger
    maturity = dict(ledger.params(block).parameters).get("maturity", 0)
    assert isinstance(maturity, int)
    state, height = ledger.state(block), ledger.height(block)
    found = []
    for due in range(height + 1, height + min(maturity, MATURITY_MAX) + 1):
        entries = get_maturing(state, due)
        amount = sum(entry.amount for entry in entries if entry.recipient == address)
        if amount:
            found.append(MaturingFacts(due, amount))
    return found
