"""What the handlers know: the node behind the API, and how to read a request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from aiohttp import web

from chain.address import KEY, POLICY, Address
from chain.bech32m import parse_address, show_address
from chain.block import Block
from chain.errors import Invalid, InvalidTransaction
from chain.hashing import BlockId, parse_id
from chain.transaction import Transaction
from moot.node.importer import Result
from moot.node.rest.routes import Problem
from moot.node.rest.waiting import Waiting
from p2p.limits import TokenBucket

if TYPE_CHECKING:
    from moot.node.core import NodeCore
    from moot.node.rest.feed import FeedHub
    from moot.node.rest.monitoring import Monitoring
    from moot.node.runtime import NodeRuntime

T = TypeVar("T")

FAUCET_BURST: Final = 60
"""Gifts at once, one more each second: a class of students, not a flood."""
ADDRESSES_SHOWN: Final = 8_192
"""Addresses whose text is kept: a page shows the same few again and again, and bech32m in Python
takes a tenth of a millisecond."""
BODY_TIMEOUT_S: Final = 15.0
"""Seconds that a request's body may take: 4 MiB over a slow line, and no slow-loris."""
HISTOGRAM_LIFE_MS: Final = 500
"""How old the fee histogram may be: a full mempool's takes a tenth of a second to make."""
HEIGHT_DIGITS_MAX: Final = 15
"""Digits of a height in a path: more than any chain has, fewer than make work."""


class Context:
    """One node's API state."""

    def __init__(self, runtime: NodeRuntime, feed: FeedHub, monitoring: Monitoring) -> None:
        self.runtime = runtime
        self.feed = feed
        self.monitoring = monitoring
        self.waiting = Waiting()
        self.body_timeout_s = BODY_TIMEOUT_S
        self._histogram: tuple[int, list[tuple[int, int]]] | None = None
        self.faucet_budget = TokenBucket(1, FAUCET_BURST, runtime.uptime_ms())

    def fee_histogram(self) -> list[tuple[int, int]]:
        """The mempool's, at most HISTOGRAM_LIFE_MS old: it costs a look at all that waits."""
        now_ms = self.runtime.uptime_ms()
        if self._histogram is None or now_ms - self._histogram[0] > HISTOGRAM_LIFE_MS:
            self._histogram = (now_ms, self.core.mempool.fee_histogram())
        return self._histogram[1]

    @property
    def core(self) -> NodeCore:
        return self.runtime.core

    @property
    def prefix(self) -> str:
        return self.core.ledger.genesis.prefix

    def show(self, address: Address) -> str:
        """As people see it; in hex where it is of a kind that has no such form."""
        return _shown(address, self.prefix) if is_shown(address) else address.hex()

    def address(self, text: str) -> Address:
        """Raises Problem 400."""
        try:
            return parse_address(text, self.prefix)
        except Invalid as error:
            raise Problem(400, error.code, error.sentence) from None

    def block(self, block_id: BlockId) -> Block:
        """A block with its body, on any branch. Raises Problem 404, or 410 where it was pruned."""
        ledger = self.core.ledger
        found = ledger.block(block_id)
        if found is None and ledger.knows(block_id):
            raise self._pruned()
        if found is None:
            raise Problem(404, "unknown-block", "Block not found: this node has no such block")
        return found

    def id_at(self, height: int) -> BlockId:
        """The best chain's block at a height. Raises Problem 404, or 410 where it was pruned."""
        ledger = self.core.ledger
        found = ledger.id_at(height)
        if found is None and height < ledger.heads_from:
            raise self._pruned()
        if found is None:
            raise Problem(404, "unknown-block", "Block not found: the chain is not that high")
        return found

    def _pruned(self) -> Problem:
        lowest = self.core.ledger.bodies_from
        return Problem(
            410, "pruned", f"Block pruned here: this node keeps blocks from height {lowest} on"
        )

    def submit(self, transactions: Sequence[Transaction]) -> list[InvalidTransaction | None]:
        """To the mempool and to the peers. Raises Problem 503 if that is this node's end."""
        results: list[InvalidTransaction | None] | None = None
        with self.runtime.our_part():
            results = self.core.submit(transactions)
        self.runtime.wake()
        return self._unless_failed(results)

    def offer_mined(self, block: Block) -> Result:
        """A block that somebody found the work for. Raises Problem 503 as ``submit`` does."""
        result: Result | None = None
        with self.runtime.our_part():
            result = self.core.offer_mined(block)
        return self._unless_failed(result)

    def _unless_failed(self, result: T | None) -> T:
        if result is None:
            raise Problem(503, "stopping", "this node met an error of its own and stops")
        return result

    async def read(self, request: web.Request) -> bytes:
        """A request's body. Raises Problem 408; too large is 413 by aiohttp."""
        try:
            async with asyncio.timeout(self.body_timeout_s):
                return await request.read()
        except TimeoutError:
            raise Problem(408, "too-slow", "the request's body came too slowly") from None

    async def json(self, request: web.Request, kind: type[T]) -> T:
        """The JSON body of a POST. Raises Problem 400, 408 or 415."""
        if request.content_type != "application/json":
            raise Problem(415, "not-json", "send Content-Type: application/json")
        try:
            return msgspec.json.decode(await self.read(request), type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            sentence = f"the body is not what is expected: {error}"
            raise Problem(400, "malformed-json", sentence) from None


def is_shown(address: Address) -> bool:
    """Whether the address is of a known kind: a transaction may name any 33 bytes."""
    return address[0] in (KEY, POLICY)


@lru_cache(maxsize=ADDRESSES_SHOWN)
def _shown(address: Address, prefix: str) -> str:
    return show_address(address, prefix)


def identifier(text: str) -> bytes:
    """A block or transaction id in a path. Raises Problem 400."""
    try:
        return parse_id(text)
    except Invalid as error:
        raise Problem(400, error.code, error.sentence) from None


def whole_number(text: str, what: str) -> int:
    """A height or an index in a path. Raises Problem 400."""
    if not (text.isascii() and text.isdigit()) or len(text) > HEIGHT_DIGITS_MAX:
        raise Problem(400, "malformed-number", f"{what} is a whole number")
    return int(text)
