"""``/moot/admin``, ``/moot/devnet``: breaking a development network by hand.

``/moot/admin/links`` wants the token in ``rest.admin_token_file``. ``/moot/devnet/fault`` is what
the buttons on a devnet's pages press: the node passes it on to the devnet that started it. Both are
there on networks of kind "dev" only, and the latter only for this machine.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Final

import msgspec
from aiohttp import web

from moot.node.config import ConfigError
from moot.node.rest.context import Context
from moot.node.rest.control import (
    ControlFile,
    ControlRefused,
    Fault,
    FaultOutcome,
    ask_state,
    give_fault,
    load_control,
)
from moot.node.rest.routes import Problem, Table

LINKS_MAX: Final = 1_000
"""Keys in one list: more nodes than any development network has."""

table = Table()


class LinksBody(msgspec.Struct, forbid_unknown_fields=True):
    """``blocked``: nodes (addresses, or keys in hex) that this one shall have no link with."""

    blocked: Annotated[list[str], msgspec.Meta(max_length=LINKS_MAX)]


class LinksAnswer(msgspec.Struct):
    blocked: list[str]
    peers: int


@table.add("POST", "/moot/admin/links", LinksAnswer, body=LinksBody, errors=(404, 415), admin=True)
async def links(context: Context, request: web.Request) -> LinksAnswer:
    """Cuts the links to the named nodes and allows all others (development networks, token)."""
    _only_development(context)
    body = await context.json(request, LinksBody)
    try:
        keys = context.runtime.cut_links(body.blocked)
    except ConfigError as error:
        raise Problem(400, "malformed-key", str(error)) from None
    shown = [context.show(b"\x00" + key) for key in keys]
    return LinksAnswer(shown, len(context.runtime.transport.peers()))


@table.add("GET", "/moot/devnet", FaultOutcome, errors=(503,))
async def devnet(context: Context, request: web.Request) -> FaultOutcome:
    """The nodes of this node's devnet: running, paused, killed, cut. Elsewhere there are none."""
    try:
        control = _control(context, request)
    except Problem as problem:
        return FaultOutcome(problem.sentence, ())
    try:
        return await ask_state(control)
    except ControlRefused as refusal:
        raise Problem(503, refusal.code, refusal.sentence) from None


@table.add("POST", "/moot/devnet/fault", FaultOutcome, body=Fault, errors=(404, 409, 415))
async def fault(context: Context, request: web.Request) -> FaultOutcome:
    """Kills, pauses, resumes, restarts, cuts or heals nodes of this devnet."""
    control = _control(context, request)
    wanted = await context.json(request, Fault)
    try:
        return await give_fault(control, wanted)
    except ControlRefused as refusal:
        status = 503 if refusal.code == "devnet-gone" else 409
        raise Problem(status, refusal.code, refusal.sentence) from None


def _only_development(context: Context) -> None:
    if context.core.ledger.genesis.network != "dev":
        raise Problem(404, "development-only", "this is there on development networks only")


def _control(context: Context, request: web.Request) -> ControlFile:
    """The devnet that started this node. Raises Problem 403 or 404."""
    _only_development(context)
    name = context.runtime.config.rest.devnet_control
    if not name:
        raise Problem(404, "no-devnet", "this node was not started by `moot devnet`")
    if not ipaddress.ip_address(request.remote or "0.0.0.0").is_loopback:
        raise Problem(403, "not-here", "a devnet is broken from its own machine only")
    try:
        return load_control(Path(name))
    except ConfigError as error:
        raise Problem(404, "no-devnet", str(error)) from None
