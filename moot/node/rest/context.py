"""What the handlers know: the node behind the API, and how to read a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
from aiohttp import web

from chain.address import Address
from chain.bech32m import parse_address, show_address
from chain.errors import Invalid
from chain.hashing import parse_id
from moot.node.rest.routes import Problem
from p2p.limits import TokenBucket

if TYPE_CHECKING:
    from moot.node.core import NodeCore
    from moot.node.runtime import NodeRuntime

T = TypeVar("T")

FAUCET_BURST = 60
"""Gifts at once, one more each second: a class of students, not a flood."""


class Context:
    """One node's API state."""

    def __init__(self, runtime: NodeRuntime) -> None:
        self.runtime = runtime
        self.faucet_budget = TokenBucket(1, FAUCET_BURST, runtime.uptime_ms())

    @property
    def core(self) -> NodeCore:
        return self.runtime.core

    @property
    def prefix(self) -> str:
        return self.core.ledger.genesis.prefix

    def show(self, address: Address) -> str:
        return show_address(address, self.prefix)

    def address(self, text: str) -> Address:
        """Raises Problem 400."""
        try:
            return parse_address(text, self.prefix)
        except Invalid as error:
            raise Problem(400, error.code, error.sentence) from None


def identifier(text: str) -> bytes:
    """A block or transaction id in a path. Raises Problem 400."""
    try:
        return parse_id(text)
    except Invalid as error:
        raise Problem(400, error.code, error.sentence) from None


async def json_body(request: web.Request, kind: type[T]) -> T:
    """The JSON body of a POST. Raises Problem 400 or 415; too large is 413 by aiohttp."""
    if request.content_type != "application/json":
        raise Problem(415, "not-json", "send Content-Type: application/json")
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Problem(400, "malformed-json", f"the body is not what is expected: {error}") from None
