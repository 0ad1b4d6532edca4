"""``moot lab bench``: committed operations a second, and how long each takes, on real processes."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import click
import msgspec

from moot.cli.common import (
    Failure,
    engine_option,
    json_option,
    parameters_of,
    print_json,
    print_table,
)
from moot.cli.devnet.plan import Plan, open_or_make, properties_of
from moot.cli.devnet.processes import Fleet
from moot.cli.devnet.watch import Watcher
from moot.cli.network import run
from moot.cli.numbers import Numbers
from moot.client.closed_loop import ClosedLoopReport, Goal, closed_loop
from wallet.development import development_key

OUTSTANDING_MAX = 10_000
UP_TIMEOUT_S = 60.0
ACCOUNTS = 10
"""Funded accounts of a devnet: as many requests can be under way at a time."""


class Run(msgspec.Struct, frozen=True):
    """One measurement. ``cpu_ms``: processor time of all nodes together for each transfer, which a
    busy machine changes least; None where nodes cannot tell (not on macOS)."""

    loop: ClosedLoopReport
    cpu_ms: float | None


class Bench(msgspec.Struct, frozen=True):
    """What was measured, in order. ``asked``: the node that was given all of it."""

    engine: str
    nodes: int
    goal: str
    asked: str
    runs: list[Run]


@click.command()
@engine_option
@click.option(
    "--nodes", default=3, show_default=True, type=click.IntRange(1, 32), help="Node processes."
)
@click.option(
    "--outstanding",
    default="1,100,1000",
    show_default=True,
    type=Numbers(OUTSTANDING_MAX),
    help="Transfers under way at a time; one measurement for each number.",
)
@click.option(
    "--batch",
    default=0,
    type=click.IntRange(0, 1000),
    help="Transfers in one request; 0: a tenth of those under way.",
)
@click.option(
    "--seconds",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0.5, 3600),
    help="Length of each measurement, after a second of warming up.",
)
@click.option("--set", "parameters", multiple=True, metavar="KEY=VALUE", help="Engine parameter.")
@json_option
def bench(
    as_json: bool,
    engine: str,
    nodes: int,
    outstanding: tuple[int, ...],
    batch: int,
    seconds: float,
    parameters: tuple[str, ...],
) -> None:
    """Measure committed transfers a second, and their latency, on real node processes.

    Real signatures, real disks with fsync, TLS between the nodes, all on this machine. A closed
    loop: so many transfers are under way, and each that is final makes room for the next.

    Example: moot lab bench --engine pbft --nodes 4 --outstanding 1,100 --seconds 5
    """
    given = parameters_of(parameters)
    with tempfile.TemporaryDirectory(prefix="moot-bench-") as name:
        directory = Path(name) / "net"
        plan = open_or_make(directory, engine, nodes, given, first_port=0)
        found = run(_bench(directory, plan, outstanding, batch, seconds))
    if as_json:
        print_json(found)
    else:
        _show(found)


async def _bench(
    directory: Path, plan: Plan, outstanding: tuple[int, ...], batch: int, seconds: float
) -> Bench:
    properties = properties_of(plan, directory)
    goal: Goal = "final" if properties.finalizes else "committed"
    keys = [development_key(index) for index in range(ACCOUNTS)]
    fleet, watcher = Fleet(directory, plan, {}), Watcher(plan.urls())
    try:
        await fleet.start()
        if not await watcher.all_up(UP_TIMEOUT_S):
            raise Failure(f"not all nodes came up within {UP_TIMEOUT_S:g} s")
        # The first block elects a leader where there is one.
        url = plan.urls()[0]
        await closed_loop(url, keys, outstanding=1, batch=1, seconds=1, goal=goal, warm_up_s=0)
        asked, url = await _leader(watcher, plan)
        runs = []
        for count in outstanding:
            size = min(batch or max(1, count // ACCOUNTS), count)
            if count // size > ACCOUNTS:
                raise Failure(f"at most {ACCOUNTS} requests at a time: use a larger --batch")
            before = await _cpu_seconds(watcher)
            report = await closed_loop(
                url, keys, outstanding=count, batch=size, seconds=seconds, goal=goal
            )
            after = await _cpu_seconds(watcher)
            spent_ms = None
            if before is not None and after is not None and report.all_operations:
                spent_ms = round(1000 * (after - before) / report.all_operations, 3)
            runs.append(Run(report, spent_ms))
        return Bench(plan.engine, len(plan.nodes), goal, asked, runs)
    finally:
        await watcher.close()
        await fleet.stop()


async def _leader(watcher: Watcher, plan: Plan) -> tuple[str, str]:
    """Name and URL of the node that makes the blocks; the first where nobody in particular does."""
    answer = await watcher.clients[0].consensus()
    names = [member.name for member in answer.validators if member.address == answer.leader]
    at = next((i for i, node in enumerate(plan.nodes) if node.name in names), 0)
    return plan.nodes[at].name, plan.urls()[at]


async def _cpu_seconds(watcher: Watcher) -> float | None:
    """Processor time that all nodes have used, by their own metrics."""
    texts = [await client.get_text("/metrics") for client in watcher.clients]
    found = [re.search(r"^process_cpu_seconds_total (\S+)$", text, re.MULTILINE) for text in texts]
    if not all(found):
        return None
    return sum(float(match[1]) for match in found if match is not None)


def _show(found: Bench) -> None:
    click.echo(
        f"{found.engine}, {found.nodes} nodes, signed transfers, fsync on, given to {found.asked}; "
        f"latency until {found.goal}"
    )
    rows = []
    for run_ in found.runs:
        one, times = run_.loop, run_.loop.latency_ms
        failed = ", ".join(f"{count} {code}" for code, count in one.failed.items())
        rows.append(
            [
                str(one.outstanding),
                str(one.batch),
                f"{one.per_second:g}",
                "" if times is None else f"{times['p50']:.2f}",
                "" if times is None else f"{times['p99']:.2f}",
                "" if run_.cpu_ms is None else f"{run_.cpu_ms:.2f}",
                failed,
            ]
        )
    print_table(
        ["Outstanding", "Batch", "Per second", "p50 ms", "p99 ms", "CPU ms each", "Failed"], rows
    )
