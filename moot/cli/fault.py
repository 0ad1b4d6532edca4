"""``moot fault``: break a running devnet from a second terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from moot.cli.common import Failure, console, json_option, print_json
from moot.cli.devnet.control import find_control
from moot.node.rest.control import (
    ControlRefused,
    Fault,
    FaultOutcome,
    NodeState,
    ask_state,
    give_fault,
)

dir_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="The devnet's folder [default: the devnet started last].",
)


@click.group(name="fault")
def fault() -> None:
    """Break and mend a running devnet by hand.

    NODE is a name (node2), a number (2) or the word leader. Only nodes of a devnet on this machine
    can be broken.

    Example: moot fault kill leader
    """


def _say(outcome: FaultOutcome, as_json: bool) -> None:
    if as_json:
        print_json(outcome)
    else:
        click.echo(outcome.sentence[:1].upper() + outcome.sentence[1:] + ".")


def _give(given: Fault, directory: Path | None, as_json: bool) -> None:
    try:
        _say(asyncio.run(give_fault(find_control(directory), given)), as_json)
    except ControlRefused as refusal:
        raise Failure(refusal.sentence) from None


def _command(action: Any, text: str, *, required: bool = True) -> Callable[..., None]:
    @fault.command(name=action, help=text)
    @click.argument("nodes", nargs=-1, required=required, metavar="NODE...")
    @dir_option
    @json_option
    def command(nodes: tuple[str, ...], directory: Path | None, as_json: bool) -> None:
        _give(Fault(action, nodes), directory, as_json)

    return command


_command("kill", "Kill nodes (SIGKILL): power loss.\n\nExample: moot fault kill leader")
_command(
    "pause",
    "Pause nodes (SIGSTOP): they keep their links and say nothing.\n\n"
    "Example: moot fault pause node2",
)
_command("resume", "Let paused nodes go on (SIGCONT).\n\nExample: moot fault resume node2")
_command(
    "restart",
    "Start killed nodes; stop running ones first.\n\nExample: moot fault restart node1",
)
_command(
    "cut",
    "Cut the first node's links to the others named, or to all.\n\n"
    "Examples: moot fault cut leader\n\n          moot fault cut node1 node2",
)
_command(
    "heal",
    "Mend all cut links, or those of the nodes named.\n\nExample: moot fault heal",
    required=False,
)


@fault.command(name="list")
@dir_option
@json_option
def list_(directory: Path | None, as_json: bool) -> None:
    """Show the nodes: running, paused, killed, cut.

    Example: moot fault list
    """
    try:
        outcome = asyncio.run(ask_state(find_control(directory)))
    except ControlRefused as refusal:
        raise Failure(refusal.sentence) from None
    if as_json:
        print_json(outcome)
    else:
        console().print(_table(outcome.nodes))


def _table(nodes: tuple[NodeState, ...]) -> Table:
    table = Table()
    for column in ("node", "state", "cut from", "REST"):
        table.add_column(column)
    for node in nodes:
        table.add_row(node.name, node.state, ", ".join(node.cut), node.url)
    return table
