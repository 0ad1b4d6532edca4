"""The ``moot devnet`` command and its course: start, show, load, drain, report, stop."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live

from chain.bech32m import show_address
from moot.cli.common import json_option, parameters_of, print_json
from moot.cli.devnet.chaos import episodes, run_chaos
from moot.cli.devnet.control import Control, check_idle, control_path, make_token, token_path
from moot.cli.devnet.faults import Faults, Impossible
from moot.cli.devnet.plan import ACCOUNT_COINS, NODES_MAX, Plan, open_or_make, properties_of
from moot.cli.devnet.processes import Fleet, NodeProcess
from moot.cli.devnet.table import network_table
from moot.cli.devnet.watch import Agreement, Watcher
from moot.client.errors import ClientError
from moot.client.load import Goal, LoadGenerator
from moot.node.config import REST_PORT
from moot.node.rest.control import Fault
from wallet.development import development_key

START_TIMEOUT_S = 30.0
DRAIN_TIMEOUT_S = 30.0
MENDED_TIMEOUT_S = 30.0
"""Seconds for all nodes to come to agree again after the last fault is mended."""
REFRESH_S = 0.5
FIRST_LOOK_S = 0.1
LOAD_ACCOUNTS = range(2, 10)
"""Accounts that carry the load; the first two are left to people."""


@click.command(name="devnet")
@click.option(
    "--engine",
    "--consensus",
    "engine",
    default=None,
    envvar="MOOT_ENGINE",
    help="Consensus engine; see `moot engines` [default: pbft].",
)
@click.option(
    "--nodes", type=click.IntRange(1, NODES_MAX), default=None, help="How many [default: 4]."
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Keep the network here, and resume it next time [default: a fresh temporary folder].",
)
@click.option("--load", type=click.FloatRange(0, 100_000), default=0.0, help="Transfers a second.")
@click.option("--seconds", type=click.FloatRange(1, 86_400), default=None, help="Stop after this.")
@click.option(
    "--rest-port",
    type=click.IntRange(0, 65_535),
    default=None,
    help=f"REST port of the first node, if it is free; 0: any [default: where it was, else "
    f"{REST_PORT}].",
)
@click.option("--param", "pairs", multiple=True, metavar="KEY=VALUE", help="Engine parameter.")
@click.option(
    "--on-death",
    type=click.Choice(["stop", "restart"]),
    default="stop",
    show_default=True,
    help="When a node's process ends: stop the network, or start the node again.",
)
@click.option("--chaos", is_flag=True, help="Kill, pause and cut off nodes at random, and mend.")
@click.option(
    "--chaos-seed",
    type=click.IntRange(0, 2**63 - 1),
    default=None,
    help="Which faults --chaos makes [default: a new seed; the report names it].",
)
@json_option
def devnet(
    engine: str | None,
    nodes: int | None,
    directory: Path | None,
    load: float,
    seconds: float | None,
    rest_port: int | None,
    pairs: tuple[str, ...],
    on_death: str,
    chaos: bool,
    chaos_seed: int | None,
    as_json: bool,
) -> int:
    """Run a whole network on this machine: real processes, keys, TLS, databases.

    Example: moot devnet --engine pow --nodes 3 --load 50
    """
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="moot-")))
        check_idle(directory)
        plan = open_or_make(directory, engine, nodes, parameters_of(pairs), first_port=rest_port)
        seed = chaos_seed if chaos_seed is not None else secrets.randbits(32) if chaos else None
        run = Devnet(directory, plan, load, seconds, on_death == "restart", seed, as_json)
        report = asyncio.run(run.run())
    if as_json:
        print_json(report)
    return run.exit_status


class Devnet:
    """One run of a devnet."""

    def __init__(
        self,
        directory: Path,
        plan: Plan,
        load: float,
        seconds: float | None,
        restart: bool,
        chaos_seed: int | None,
        as_json: bool,
    ) -> None:
        self.directory = directory
        self.plan = plan
        self.rate = load
        self.seconds = seconds
        self.restart = restart
        self.as_json = as_json
        self.exit_status = 0
        self.events: list[dict[str, Any]] = []
        environment = {
            "MOOT_REST_ADMIN_TOKEN_FILE": str(token_path(directory)),
            "MOOT_REST_DEVNET_CONTROL": str(control_path(directory)),
        }
        self.fleet = Fleet(directory, plan, environment)
        token = make_token(directory)
        self.faults = Faults(self.fleet.nodes, plan.urls(), token, self._fault_event)
        self.control = Control(directory, self.faults)
        self.chaos_seed = chaos_seed
        self.watcher = Watcher(plan.urls())
        self.load: LoadGenerator | None = None
        self._console = Console(stderr=as_json)
        self._stop = asyncio.Event()
        self._started = time.monotonic()

    async def run(self) -> dict[str, Any]:
        """From start to report. Leaves no process behind, however it ends."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        try:
            await self.fleet.start()
            guard = asyncio.create_task(self._guard())
            try:
                return await self._course()
            finally:
                guard.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await guard
        finally:
            if self.load is not None:
                await self.load.close()
            await self.control.stop()
            await self.faults.close()
            await self.watcher.close()
            await self.fleet.stop()

    async def _course(self) -> dict[str, Any]:
        if not await self._unless_stopped(self.watcher.all_up(START_TIMEOUT_S)):
            self._fail("the network did not come up")
            return self._report(None)
        self._event("up")
        await self.control.start()
        self._introduce()
        first = asyncio.create_task(self._first_transaction())
        with self._table() as refresh:
            if self.rate:
                await self._unless_stopped(self._run_load())
            else:
                async with self._chaos():
                    await self._wait(self.seconds)
                await self._unless_stopped(self._mend())
            refresh()
        first.cancel()
        verdict = await self._verdict()
        if self.load is not None and self.load.goal == "committed" and not self._stop.is_set():
            # The sides have met: what was in a block of the one that lost is looked at again.
            await self.load.drain(DRAIN_TIMEOUT_S)
        report = self._report(verdict)
        if not properties_of(self.plan, self.directory).finalizes:
            report["converged"] = report["agreement"]
            report["displaced"] = await self.watcher.displaced()
        return report

    async def _first_transaction(self) -> None:
        """The faucet's gift to the first test account: a newcomer sees a transaction become final
        at once, and that the network works."""
        client, prefix = self.watcher.clients[0], "rmoot"
        with contextlib.suppress(ClientError):
            gift = await client.faucet(show_address(development_key(0).address, prefix))
            # Other processes decide, so there is nothing of ours to wait on.
            while (await client.transaction_statuses([gift.txid]))[0].state != "final":  # noqa: ASYNC110
                await asyncio.sleep(FIRST_LOOK_S)
            self._event("first-transaction-final")
            seconds = self._elapsed_ms() / 1000
            word = self.watcher.latest[0].finality if self.watcher.latest[0] else "final"
            self._console.print(
                f"First transaction {word} after {seconds:.1f} s: {client.base_url}/tx/{gift.txid}",
                soft_wrap=True,
                highlight=False,
            )

    async def _run_load(self) -> None:
        keys = [development_key(index) for index in LOAD_ACCOUNTS]
        properties = properties_of(self.plan, self.directory)
        # Where nothing is ever more than likely, what counts is the branch that all end up on.
        goal: Goal = "committed" if properties.finality == "none" else "final"
        self.load = LoadGenerator(self.plan.urls(), keys, self.rate, goal=goal)
        async with self._chaos():
            await self.load.run(self.seconds if self.seconds is not None else 86_400)
        self._event("load-stopped")
        await self._mend()
        await self.load.drain(DRAIN_TIMEOUT_S)

    @contextlib.asynccontextmanager
    async def _chaos(self) -> AsyncIterator[None]:
        """Random faults meanwhile, if they were asked for."""
        if self.chaos_seed is None:
            yield
            return
        properties = properties_of(self.plan, self.directory)
        names = [node.name for node in self.plan.nodes]
        # Where there are no members any node but one may fail: the others go on.
        count = len(names)
        bearable = properties.faults(count) if properties.has_validators else count - 1
        self._fault_event("chaos", {"seed": self.chaos_seed})
        plan = episodes(random.Random(self.chaos_seed), names, bearable)
        task = asyncio.create_task(run_chaos(self.faults, plan, self._fault_event))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _mend(self) -> None:
        """Before anything is counted: whatever was broken on purpose is whole again."""
        try:
            await self.faults.mend()
        except Impossible as error:
            self._fail(str(error))

    async def _verdict(self) -> Agreement | None:
        finalizes = properties_of(self.plan, self.directory).finalizes
        if (finalizes and not self.faults.any_yet) or self._stop.is_set():
            return await self.watcher.agreement()
        # Who was away has to catch up, and sides that were cut off have to become one.
        return await self.watcher.agreement_within(MENDED_TIMEOUT_S)

    async def _guard(self) -> None:
        """When a node ends although nobody stopped it: restart it, or take the network down."""
        while not self._stop.is_set():
            dead = await self.fleet.one_died()
            if self._stop.is_set():
                return
            self._event("died", dead)
            if self.restart:
                await self._start_again(dead)
                continue
            status = None if dead.process is None else dead.process.returncode
            self._fail(f"{dead.node.name} ended (status {status}); its last words:")
            click.echo(dead.last_words(), err=True)
            self._stop.set()

    async def _start_again(self, dead: NodeProcess) -> None:
        try:
            await self.faults.give(Fault("restart", (dead.node.name,)), by="death")
        except Impossible as error:
            click.echo(f"Error: {error}", err=True)

    # ------------------------------------------------------------------------------- small

    async def _unless_stopped(self, work: Any) -> Any:
        """The result of ``work``, or None as soon as the devnet is to stop."""
        task, stop = asyncio.ensure_future(work), asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if task.done():
            return task.result()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return None

    async def _wait(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    def _event(self, name: str, node: NodeProcess | None = None) -> None:
        event: dict[str, Any] = {"at_ms": self._elapsed_ms(), "event": name}
        if node is not None:
            event["node"] = node.node.name
        self.events.append(event)

    def _fault_event(self, name: str, fields: dict[str, Any]) -> None:
        self.events.append({"at_ms": self._elapsed_ms(), "event": name, **fields})

    def _elapsed_ms(self) -> int:
        return int((time.monotonic() - self._started) * 1000)

    def _fail(self, sentence: str) -> None:
        self.exit_status = 1
        click.echo(f"Error: {sentence}", err=True)

    def _introduce(self) -> None:
        """What a newcomer needs to see first."""
        say, prefix = partial(self._console.print, soft_wrap=True, highlight=False), "rmoot"
        url = self.plan.urls()[0]
        say(f"[bold]{len(self.plan.nodes)} {self.plan.engine} nodes[/bold] in {self.directory}")
        say(f"Explorer: [link={url}]{url}[/link]")
        if self.plan.nodes[0].rest_port != REST_PORT:
            say(f"For client commands: export MOOT_NODE={url}")
        for index in range(2):
            address = show_address(development_key(index).address, prefix)
            say(f"Test account {index}: {address}  ({ACCOUNT_COINS:,} coins)")
        say("The test accounts' keys are public knowledge: never use them on another network.")
        say("Break it from a second terminal: moot fault kill leader (or pause, cut, heal, ...)")
        say("Ctrl-C stops the network.\n")

    @contextlib.contextmanager
    def _table(self) -> Any:
        if self.as_json or not sys.stdout.isatty():
            yield lambda: None
            return
        with Live(console=self._console, auto_refresh=False) as live:

            def refresh() -> None:
                load = None if self.load is None else self.load.report()
                live.update(
                    network_table(
                        self.plan,
                        self.watcher.latest,
                        load,
                        self._elapsed_ms(),
                        self.faults.states(),
                    ),
                    refresh=True,
                )

            task = asyncio.get_running_loop().create_task(self._refresh_always(refresh))
            try:
                yield refresh
            finally:
                task.cancel()

    async def _refresh_always(self, refresh: Callable[[], None]) -> None:
        while True:
            await self.watcher.look()
            refresh()
            await asyncio.sleep(REFRESH_S)

    def _report(self, verdict: Agreement | None) -> dict[str, Any]:
        load = None if self.load is None else self.load.report()
        interrupted = self._stop.is_set()
        if load is not None and load["pending"] and not interrupted:
            self._fail(f"{load['pending']} transactions are still open")
        if (verdict is None or not verdict.agreement) and not interrupted:
            self._fail("the nodes were not found in agreement" + self._why(verdict))
        counts = ("submitted", "committed", "finalized", "failed", "pending")
        return {
            "engine": self.plan.engine,
            "nodes": len(self.plan.nodes),
            "seconds": round(self._elapsed_ms() / 1000, 1),
            "height": verdict.height if verdict else 0,
            "finalized_height": verdict.finalized_height if verdict else 0,
            "agreement": verdict is not None and verdict.agreement,
            **{name: (load or {}).get(name, 0) for name in counts},
            "failed_by_reason": (load or {}).get("failed_by_reason", {}),
            "tps": (load or {}).get("tps", 0.0),
            "latency_ms": (load or {}).get("latency_ms"),
            "state_root": verdict.state_root if verdict else "",
            "restarts": sum(node.restarts for node in self.fleet.nodes),
            "events": self.events,
        }

    @staticmethod
    def _why(verdict: Agreement | None) -> str:
        return f": {verdict.sentence}" if verdict is not None and verdict.sentence else ""
