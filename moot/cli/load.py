"""``moot load``: a workload at a true rate, for any network."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from chain.bech32m import show_address
from moot.cli.common import DEFAULT_NODE, Failure, json_option, print_facts, print_json
from moot.cli.network import client_of, run
from moot.cli.wallet.common import home_option, open_wallet, party, password_option
from moot.client.load import Goal, LoadGenerator
from moot.client.node import NodeClient
from wallet.development import development_key
from wallet.keys import Key

DEVELOPMENT_ACCOUNTS = range(2, 10)
"""A devnet's accounts that carry load; the first two are left to people."""
DRAIN_TIMEOUT_S = 30.0
REFRESH_S = 0.5


@click.command(name="load")
@click.option(
    "--node",
    "node_urls",
    multiple=True,
    default=[DEFAULT_NODE],
    show_default=True,
    envvar="MOOT_NODE",
    help="Address of a node's REST API (repeatable: the load is shared out).",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, 100_000, min_open=True),
    default=10.0,
    show_default=True,
    help="Transfers a second.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 86_400 * 7),
    default=10.0,
    show_default=True,
    help="How long to send.",
)
@click.option(
    "--wallet",
    "wallets",
    multiple=True,
    help="Send from this wallet (repeatable) [default: a devnet's accounts 2 to 9].",
)
@click.option(
    "--until",
    "goal",
    type=click.Choice(["final", "committed"]),
    default="final",
    show_default=True,
    help="When a transfer counts as done.",
)
@home_option
@password_option
@json_option
def load(
    node_urls: Sequence[str],
    rate: float,
    seconds: float,
    wallets: Sequence[str],
    goal: Goal,
    home: Path,
    password_file: Path | None,
    as_json: bool,
) -> None:
    """Send transfers at a true rate, and measure what becomes of them.

    Latencies count from the time at which a transfer was to be sent, so a node that stalls shows.

    Example: moot load --rate 100 --seconds 20
    """
    if wallets:
        keys = [open_wallet(home, party(home, name), password_file) for name in wallets]
    else:
        keys = [development_key(index) for index in DEVELOPMENT_ACCOUNTS]
    client = client_of(node_urls[0])
    report = run(_load(client, list(node_urls), keys, rate, seconds, goal, as_json))
    if as_json:
        print_json(report)
    else:
        _show(report)
    if report["pending"]:
        raise Failure(
            f"{report['pending']} transfers were still open {DRAIN_TIMEOUT_S:g} s after the last"
            + (f"; a node said: {report['problem']}" if report["problem"] else "")
        )


async def _load(
    client: NodeClient,
    urls: list[str],
    keys: list[Key],
    rate: float,
    seconds: float,
    goal: Goal,
    as_json: bool,
) -> dict[str, Any]:
    await _check_means(client, keys)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with LoadGenerator(urls, keys, rate, goal=goal) as generator:
        with _line(generator, as_json):
            running = asyncio.create_task(generator.run(seconds))
            waiting = asyncio.create_task(stop.wait())
            await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            generator.stop()
            if not running.done():
                running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            await generator.drain(DRAIN_TIMEOUT_S)
        return generator.report()


async def _check_means(client: NodeClient, keys: list[Key]) -> None:
    """Raises Failure where nobody could pay: every transfer would be refused."""
    async with client:
        status = await client.status()
        poor = []
        for key in keys:
            address = show_address(key.address, status.prefix)
            if not (await client.account(address)).balance:
                poor.append(address)
    if len(poor) == len(keys):
        raise Failure(
            f"the sending accounts own nothing on this chain (the first is {poor[0]}): "
            "fund them, or name others with --wallet"
        )


@contextlib.contextmanager
def _line(generator: LoadGenerator, as_json: bool) -> Any:
    """A line that is kept up to date, on a terminal."""
    screen = Console(stderr=as_json, highlight=False)
    if not screen.is_terminal or not sys.stderr.isatty():
        yield
        return
    with Live(console=screen, transient=True, auto_refresh=False) as live:

        async def refresh() -> None:
            while True:
                report = generator.report()
                text = "  ".join(
                    f"{report[name]} {name}" for name in ("submitted", "finalized", "pending")
                )
                live.update(Text(f"{text}  {report['tps']:g}/s", no_wrap=True), refresh=True)
                await asyncio.sleep(REFRESH_S)

        task = asyncio.get_running_loop().create_task(refresh())
        try:
            yield
        finally:
            task.cancel()


def _show(report: dict[str, Any]) -> None:
    latency = report["latency_ms"] or {}
    shown = [f"{latency[name]:g} ms {name}" for name in ("p50", "p99") if name in latency]
    reasons = ", ".join(f"{count} {code}" for code, count in report["failed_by_reason"].items())
    print_facts(
        [
            ("Submitted", report["submitted"]),
            ("Finalized", report["finalized"]),
            ("Committed", report["committed"]),
            ("Failed", f"{report['failed']}" + (f" ({reasons})" if reasons else "")),
            ("Pending", report["pending"]),
            ("Throughput", f"{report['tps']:g} transfers a second"),
            ("Latency", ", ".join(shown)),
        ]
    )
