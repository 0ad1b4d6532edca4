"""``moot miner``: mining for a node elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from moot.cli.common import Failure, json_option, node_option, print_facts, print_json
from moot.cli.network import client_of, run
from moot.cli.wallet.common import Party, home_option, on_network, party
from moot.client.errors import ClientError
from moot.client.node import NodeClient
from moot.miner.standalone import MinerStatus, StandaloneMiner, benchmark
from moot.miner.workers import Grinder

LOG_EVERY_S = 10.0
"""Seconds between two lines where no terminal shows them in place."""
THREADS_MAX = 256
UNITS = ((1e9, "GH/s"), (1e6, "MH/s"), (1e3, "kH/s"))


@click.group(name="miner")
def miner() -> None:
    """Mine for a node, on this machine's processors.

    Example: moot miner run --address alice
    """


@miner.command(name="run")
@click.option("--address", "payee", metavar="WALLET|ADDRESS", help="Who is paid for blocks.")
@click.option(
    "--threads",
    type=click.IntRange(1, THREADS_MAX),
    default=1,
    show_default=True,
    help="Processors to use.",
)
@click.option("--seconds", type=click.FloatRange(0.1, 86_400 * 365), help="Stop after this.")
@click.option(
    "--benchmark",
    "only_measure",
    is_flag=True,
    help="Measure this processor's kernels, on one thread, and mine nothing.",
)
@home_option
@node_option
@json_option
def run_(
    payee: str | None,
    threads: int,
    seconds: float | None,
    only_measure: bool,
    home: Path,
    node_url: str,
    as_json: bool,
) -> None:
    """Mine against a node until Ctrl-C.

    Example: moot miner run --address alice --threads 2
    """
    if only_measure:
        _measure(as_json)
        return
    if payee is None:
        raise click.UsageError("name who is paid: --address WALLET or ADDRESS")
    mining = _Mining(party(home, payee), threads, seconds, as_json)
    client = client_of(node_url)
    report = run(mining.run(client))
    if as_json:
        print_json(report)
        return
    click.echo(
        f"{report['accepted']} accepted, {report['stale']} stale, {report['rejected']} refused, "
        f"{report['lost']} lost in {report['seconds']:g} s at {show_rate(report['hash_rate'])}"
    )


def show_rate(hashes_per_second: float) -> str:
    """Such as ``1.25 MH/s``."""
    for size, unit in UNITS:
        if hashes_per_second >= size:
            return f"{hashes_per_second / size:.2f} {unit}"
    return f"{hashes_per_second:.0f} H/s"


def _measure(as_json: bool) -> None:
    figures = benchmark()
    if as_json:
        print_json(figures)
        return
    print_facts(
        (kernel["name"], show_rate(kernel["mhs"] * 1e6) + _mark(kernel["name"], figures["chosen"]))
        for kernel in figures["kernels"]
    )


def _mark(name: str, chosen: str) -> str:
    return "  (used)" if name == chosen else ""


class _Mining:
    """One run of the miner."""

    def __init__(self, payee: Party, threads: int, seconds: float | None, as_json: bool) -> None:
        self._payee = payee
        self._grinder = Grinder(threads)
        self._seconds = seconds
        self._screen = Console(stderr=as_json, highlight=False)
        self._live: Live | None = None
        self._said = ("", 0.0)
        self._rates: list[float] = []

    async def run(self, client: NodeClient) -> dict[str, float]:
        """Mines until Ctrl-C, SIGTERM or the end of the time; what came of it."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        began = time.monotonic()
        async with client:
            status = await client.status()
            payout = on_network(self._payee, status.prefix)
            await self._check_work(client, payout, status.engine)
            self._screen.print(f"mining for {payout} at {client.base_url}", soft_wrap=True)
            miner = StandaloneMiner(
                client, self._grinder, payout, report=self._report, unreachable=(ClientError,)
            )
            with contextlib.ExitStack() as stack:
                stack.callback(self._grinder.close)
                if self._screen.is_terminal:
                    self._live = stack.enter_context(Live(console=self._screen, transient=True))
                task = asyncio.create_task(miner.run())
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self._seconds)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        final = miner.status()
        rates = [rate for rate in self._rates if rate > 0]
        return {
            "seconds": round(time.monotonic() - began, 1),
            "hash_rate": round(sum(rates) / len(rates)) if rates else 0,
            "accepted": final.accepted,
            "stale": final.stale,
            "rejected": final.rejected,
            "lost": final.lost,
        }

    async def _check_work(self, client: NodeClient, payout: str, engine: str) -> None:
        """Before waiting for ever: a chain without proof of work has nothing to mine."""
        try:
            await client.mining_template(payout)
        except ClientError as error:
            if getattr(error, "code", "") == "no-work":
                raise Failure(f"nothing can be mined here: the chain runs {engine}") from None

    def _report(self, status: MinerStatus) -> None:
        self._rates.append(status.hash_rate)
        del self._rates[:-600]
        line = (
            f"{show_rate(status.hash_rate):>12}  {status.accepted} accepted  {status.stale} stale"
            + (f"  {status.rejected} refused" if status.rejected else "")
            + (f"  {status.lost} lost" if status.lost else "")
        )
        if self._live is not None:
            self._live.update(Text(f"{line}  {status.sentence}", overflow="ellipsis", no_wrap=True))
            return
        now = time.monotonic()
        news = status.sentence if not status.sentence.startswith("searching") else self._said[0]
        if news != self._said[0] or now - self._said[1] >= LOG_EVERY_S:
            self._said = (news, now)
            self._screen.print(f"{line}  {status.sentence}", soft_wrap=True)
