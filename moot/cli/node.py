"""``moot node``: one node of a network."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import sys
from pathlib import Path

import click
import msgspec

from chain.bech32m import show_address
from moot.cli.common import Failure, address_of, print_facts
from moot.cli.genesis import read_genesis
from moot.cli.node_asked import displaced, peers, status, transfer, why
from moot.explorer import add_pages
from moot.miner.workers import Grinder
from moot.node.config import (
    P2P_PORT,
    REST_PORT,
    Folder,
    NodeConfig,
    NodeSection,
    P2pSection,
    load_seed,
)
from moot.node.founding import init_folder
from moot.node.logs import set_up_logs
from moot.node.runtime import NodeRuntime, parse_peer
from wallet.keys import Key

COLLECTOR_THRESHOLDS = (50_000, 20, 50)
"""Of Python's cycle collector (700, 10, 10 by default). A node makes and drops tens of thousands
of small objects a second, hardly any of them in cycles; looking for those so often took a tenth of
its time."""

dir_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    envvar="MOOT_DIR",
    help="The node's folder.",
)


@click.group(name="node")
def node() -> None:
    """Set up, run and question one node.

    Example: moot node run --dir n1
    """


for asked in (status, peers, why, displaced, transfer):
    node.add_command(asked)


@node.command()
@dir_option
@click.option(
    "--genesis",
    "genesis_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="The network's genesis file.",
)
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The node's key file, for a validator; default: a new key.",
)
@click.option("--name", default="node", show_default=True, help="Name for people and logs.")
@click.option(
    "--p2p-port",
    type=click.IntRange(0, 65535),
    default=P2P_PORT,
    show_default=True,
    help="Port for other nodes.",
)
@click.option(
    "--rest-port",
    type=click.IntRange(0, 65535),
    default=REST_PORT,
    show_default=True,
    help="Port for the REST API and the explorer.",
)
@click.option("--peer", "peers", multiple=True, metavar="[KEY@]HOST:PORT", help="A node to dial.")
@click.option("--mine/--no-mine", default=False, help="Mine in the node (proof of work).")
@click.option("--payout", default="", help="Address that the node's mining pays.")
@click.option(
    "--faucet-key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Key file of the network's faucet, to serve it.",
)
@click.option("--record-lost", is_flag=True, help="This key voted before; its database is lost.")
def init(
    directory: Path,
    genesis_file: Path,
    key_file: Path | None,
    name: str,
    p2p_port: int,
    rest_port: int,
    peers: tuple[str, ...],
    mine: bool,
    payout: str,
    faucet_key: Path | None,
    record_lost: bool,
) -> None:
    """Make a node's folder: genesis, key, configuration, database.

    Example: moot node init --dir n1 --genesis net/genesis.json --key net/keys/node1.key
    """
    genesis = read_genesis(genesis_file)
    seed = load_seed(key_file) if key_file else os.urandom(32)
    for peer in peers:
        parse_peer(peer, genesis.prefix)
    if payout:
        address_of(payout, genesis.prefix)
    config = NodeConfig(
        node=NodeSection(name=name), p2p=P2pSection(port=p2p_port, peers=tuple(peers))
    )
    faucet_path = str(faucet_key.resolve()) if faucet_key else ""
    config = msgspec.structs.replace(
        config,
        rest=msgspec.structs.replace(config.rest, port=rest_port, faucet_key=faucet_path),
        mining=msgspec.structs.replace(config.mining, enabled=mine, payout=payout),
    )
    init_folder(Folder(directory), genesis, seed, config, record_lost=record_lost)
    print_facts(
        [
            ("Node", show_address(Key.from_seed(seed).address, genesis.prefix)),
            ("Folder", directory),
            ("Settings", Folder(directory).config),
            ("Run it", f"moot node run --dir {directory}"),
        ]
    )


@node.command()
@dir_option
@click.option("--name", default=None, help="Overrides the configured name.")
@click.option(
    "--log-format",
    type=click.Choice(["json", "text"]),
    default=None,
    help="Overrides the configured one [default: text on a terminal].",
)
@click.option("--die-with-parent", is_flag=True, help="Stop when standard input closes.")
def run(directory: Path, name: str | None, log_format: str | None, die_with_parent: bool) -> None:
    """Run a node until Ctrl-C or SIGTERM.

    Example: moot node run --dir n1
    """
    folder = Folder(directory)
    config = folder.load_config()
    if log_format is None and sys.stderr.isatty() and "MOOT_LOG_FORMAT" not in os.environ:
        log_format = "text"
    log = msgspec.structs.replace(config.log, format=log_format or config.log.format)
    set_up_logs(log, name or config.node.name)
    runtime = NodeRuntime(folder, config, Grinder, rest_extensions=(add_pages,))
    try:
        asyncio.run(_run(runtime, die_with_parent))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise Failure(_taken(folder, config, str(error))) from error


def _taken(folder: Folder, config: NodeConfig, said: str) -> str:
    """Which port another program has, and what to do."""
    setting = "rest.port" if f", {config.rest.port})" in said else "p2p.port"
    port = config.rest.port if setting == "rest.port" else config.p2p.port
    return f"port {port} is taken by another program: change {setting} in {folder.config}"


async def _run(runtime: NodeRuntime, die_with_parent: bool) -> None:
    loop = asyncio.get_running_loop()
    if die_with_parent:
        # The parent never writes; its end of the pipe closes when it dies, however it dies.
        loop.add_reader(sys.stdin.fileno(), runtime.request_stop)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, runtime.request_stop)
    await runtime.run(_started)


def _started(runtime: NodeRuntime) -> None:
    """The node runs: what is in memory now stays there, so the collector need not look at it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    if sys.stderr.isatty():
        _introduce(runtime)


def _introduce(runtime: NodeRuntime) -> None:
    """What a person at a terminal needs to see first."""
    genesis, rest = runtime.core.ledger.genesis, runtime.config.rest
    url = f"http://{rest.host}:{runtime.rest.port}" if runtime.rest is not None else "off"
    click.echo(
        f"{runtime.config.node.name} of {genesis.name} ({runtime.core.protocol.name}) is up.\n"
        f"Explorer and API: {url}\nCtrl-C stops it.",
        err=True,
    )
