"""Following a transaction until it is final, and saying what became of it."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import click

from moot.cli.common import Failure, Function, plain
from moot.client.answers import NodeStatus, TransactionStatus
from moot.client.node import NodeClient

POLL_S = 0.25
TIMEOUT_S = 120.0
"""Seconds to wait for finality: several blocks of a slow test network."""
LOST_AFTER = 20
"""Looks in a row at which a node does not know a transaction that it took: it dropped it."""


def wait_options(function: Function) -> Function:
    """``--wait/--no-wait`` and ``--timeout``."""
    function = click.option(
        "--timeout",
        type=click.FloatRange(0, 86_400),
        default=TIMEOUT_S,
        show_default=True,
        help="Seconds to wait.",
    )(function)
    return click.option(
        "--wait/--no-wait", default=True, show_default=True, help="Wait until it is final."
    )(function)


class Outcome(NamedTuple):
    """Where a transaction stood when we stopped looking.

    ``state``: sent, pending, committed, final, failed, displaced or dropped. ``word``: what the
    chain calls final ("final" or "confirmed"). ``block`` is empty where it is in none.
    """

    txid: str
    state: str
    word: str
    height: int | None = None
    block: str = ""
    code: str = ""
    waited_s: float = 0.0
    means: str = ""
    """What that word is worth, where nothing is final."""

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "txid": self.txid,
            "state": self.state,
            "finality": self.word,
            "height": self.height,
            "block": self.block,
            "code": self.code,
        }


async def follow(
    node: NodeClient, txid: str, status: NodeStatus, wait: bool, timeout_s: float
) -> Outcome:
    """Looks until the transaction is final, has failed, was dropped, or the time is over."""
    if not wait:
        return Outcome(txid, "sent", status.finality)
    loop = asyncio.get_running_loop()
    deadline, unknown = loop.time() + timeout_s, 0
    while True:
        seen = (await node.transaction_statuses([txid]))[0]
        unknown = unknown + 1 if seen.state == "unknown" else 0
        if seen.state in ("final", "failed", "displaced"):
            found = await _outcome(node, seen, status.finality)
            return found._replace(means=status.finality_means)
        if unknown >= LOST_AFTER:
            return Outcome(txid, "dropped", status.finality)
        if loop.time() >= deadline:
            found = await _outcome(node, seen, status.finality)
            return found._replace(waited_s=timeout_s)
        await asyncio.sleep(POLL_S)


async def _outcome(node: NodeClient, seen: TransactionStatus, word: str) -> Outcome:
    block = "" if seen.height is None else await node.block_id_at(seen.height)
    return Outcome(seen.txid, seen.state, word, seen.height, block, seen.code)


def say_outcome(outcome: Outcome, as_json: bool) -> None:
    """The last line. Raises Failure unless the transaction is final, or was not waited for."""
    place = f"in block {outcome.block} at height {outcome.height}"
    if outcome.state == "failed":
        raise Failure(f"it failed ({outcome.code}) {place}; its fee is spent")
    if outcome.state == "displaced":
        raise Failure(
            f"a block of a branch that lost held it, and the branch that won cannot take it "
            f"({outcome.code}); see `moot node displaced`"
        )
    if outcome.state == "dropped":
        raise Failure(
            "the node has dropped the transaction: it expired, or better-paying ones came"
        )
    if outcome.state not in ("final", "sent"):
        where = place if outcome.block else "waiting in the node's mempool"
        raise Failure(
            f"not {outcome.word} after {outcome.waited_s:g} s, but {where}: it may still become so"
        )
    if as_json:
        return
    if outcome.state == "sent":
        click.echo("handed to the node; not waited for")
    else:
        click.echo(plain(f"{outcome.word} {place}"))
        if outcome.means:
            click.echo(plain(f"{outcome.word} means: {outcome.means}"))
