"""``/moot/mining``: work for the standalone miner, in its simplest form."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from chain.errors import InvalidBlock, InvalidEncoding
from chain.hashing import show_id
from chain.header import parse_header
from moot.node.clock import system_clock
from moot.node.feed import HeadMovedTo, News
from moot.node.mining import NoWork
from moot.node.rest.context import Context
from moot.node.rest.routes import Problem, Table

TEMPLATE_LIFE_MS = 20_000
"""After this a miner should ask again: fees and time have moved on."""
LONGPOLL_S_MAX = 25.0

table = Table()


class TemplateAnswer(msgspec.Struct):
    job: str
    header: str
    target: str
    height: int
    expires_ms: int


@table.add(
    "GET",
    "/moot/mining/template",
    TemplateAnswer,
    query={"payout": "an address", "longpoll": "the job in hand: answer when there is a new head"},
    errors=(400, 404, 503),
    waits=True,
)
async def template(context: Context, request: web.Request) -> TemplateAnswer:
    """An 80-byte header to find a nonce for, and the target (big-endian)."""
    text = request.query.get("payout")
    if text is None:
        raise Problem(400, "no-payout", "say who is to be paid: ?payout=ADDRESS")
    payout = context.address(text)
    core = context.core
    if core.sync.syncing:
        raise Problem(503, "syncing", "this node is catching up; ask again soon")
    longpoll = request.query.get("longpoll")
    if longpoll is not None and core.mining.is_current(longpoll):
        await _new_head(context)
    try:
        job = core.mining.template(payout, system_clock().wall_ms)
    except NoWork as error:
        raise Problem(404, "no-work", str(error)) from None
    return TemplateAnswer(
        job=job.name,
        header=job.block.header.raw.hex(),
        target=f"{job.target:064x}",
        height=job.block.height,
        expires_ms=TEMPLATE_LIFE_MS,
    )


async def _new_head(context: Context) -> None:
    moved = asyncio.Event()

    def hear(news: News) -> None:
        if isinstance(news, HeadMovedTo):
            moved.set()

    unsubscribe = context.core.feed.subscribe(hear)
    try:
        await asyncio.wait_for(moved.wait(), LONGPOLL_S_MAX)
    except TimeoutError:
        return
    finally:
        unsubscribe()


class SubmitBody(msgspec.Struct):
    job: str
    header: str


class SubmitAnswer(msgspec.Struct):
    accepted: bool
    code: str
    sentence: str
    id: str


@table.add("POST", "/moot/mining/submit", SubmitAnswer, body=SubmitBody, errors=(415,))
async def submit(context: Context, request: web.Request) -> SubmitAnswer:
    """Takes a header that meets its target."""
    body = await context.json(request, SubmitBody)
    try:
        header = parse_header(bytes.fromhex(body.header))
        block = context.core.mining.found(body.job, header)
    except ValueError:
        raise Problem(400, "malformed-header", "a header is 160 hexadecimal digits") from None
    except InvalidEncoding as error:
        raise Problem(400, error.code, error.sentence) from None
    except InvalidBlock as error:
        return SubmitAnswer(False, error.code, error.sentence, "")
    result = context.offer_mined(block)
    accepted = result.outcome in ("imported", "known")
    sentence = result.sentence or ("" if accepted else f"the block was {result.outcome}")
    return SubmitAnswer(accepted, result.code, sentence, show_id(block.id))
