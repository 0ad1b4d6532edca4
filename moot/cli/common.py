"""What several commands share: options, JSON output, parsing of what people type."""

from __future__ import annotations

import inspect
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console

from chain.bech32m import parse_address
from chain.errors import Invalid
from moot.node.config import REST_PORT
from wallet.amounts import parse_amount

Function = TypeVar("Function", bound=Callable[..., Any])

INTEGER = re.compile("-?[0-9]{1,19}")

DEFAULT_NODE = f"http://127.0.0.1:{REST_PORT}"
LONG_WIDTH_MIN = 13
"""Least columns for an id or an address: enough to tell two apart."""
PIPED_WIDTH = 200
"""Columns where output goes into a file or a program: nothing need be cut to fit a screen."""


class Failure(click.ClickException):
    """What was asked cannot be done; exit status 1 and one sentence."""

    def __init__(self, message: str) -> None:
        super().__init__(plain(message))


def plain(text: str) -> str:
    """The text without control characters: a node's words must not steer our terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def json_option(function: Function) -> Function:
    """``--json``: one JSON document on standard output."""
    return click.option(
        "--json", "as_json", is_flag=True, envvar="MOOT_JSON", help="Print one JSON document."
    )(function)


def engine_option(function: Function) -> Function:
    """``--engine`` and its alias ``--consensus``."""
    return click.option(
        "--engine",
        "--consensus",
        "engine",
        default="pbft",
        show_default=True,
        envvar="MOOT_ENGINE",
        help="Consensus engine; see `moot engines`.",
    )(function)


def node_option(function: Function) -> Function:
    """``--node URL``: which node a client command talks to."""
    return click.option(
        "--node",
        "node_url",
        default=DEFAULT_NODE,
        show_default=True,
        envvar="MOOT_NODE",
        help="Address of a node's REST API.",
    )(function)


def document(command: click.Command) -> None:
    """Makes ``--help`` name every option's environment variable and leave examples unbroken."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.expose_value:
            parameter.show_envvar = True
    if command.help:
        # The mark after which click leaves a paragraph's lines as they are.
        text = inspect.cleandoc(command.help)
        command.help = re.sub(r"\n\n(Examples?:)", "\n\n\b\n\\1", text)
    if isinstance(command, click.Group):
        for child in command.commands.values():
            document(child)


def print_json(document: Any) -> None:
    """One indented JSON document."""
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def console() -> Console:
    """Standard output for tables and colours; wide where no screen limits it."""
    return Console(
        width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False, soft_wrap=True
    )


def print_facts(facts: Iterable[tuple[str, object]], *, err: bool = False) -> None:
    """Names and values in two aligned columns; values that are empty are left out."""
    shown = [(name, plain(str(value))) for name, value in facts if value not in ("", None)]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{name.ljust(width)}  {value}", err=err)


def print_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Collection[str] = (),
    long: Collection[str] = (),
) -> None:
    """Aligned columns under dim headers; all but those named in ``left`` and ``long`` to the right.

    ``long`` columns (ids, addresses) share what a terminal leaves them, cut in the middle; where
    the output is piped, nothing is cut.
    """
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    if sys.stdout.isatty():
        flexible = [place for place, name in enumerate(headers) if name in long]
        fixed = sum(widths) - sum(widths[place] for place in flexible) + 2 * (len(widths) - 1)
        room = (shutil.get_terminal_size().columns - fixed) // max(1, len(flexible))
        for place in flexible:
            widths[place] = min(widths[place], max(LONG_WIDTH_MIN, room))

    def line(cells: Sequence[str]) -> str:
        parts = []
        for name, cell, width in zip(headers, cells, widths, strict=True):
            text = shortened(plain(cell), width)
            parts.append(text.ljust(width) if name in left or name in long else text.rjust(width))
        return "  ".join(parts).rstrip()

    click.echo(click.style(line(headers), dim=True))
    for row in rows:
        click.echo(line(row))


def shortened(text: str, width: int) -> str:
    """The text, its middle left out where it is longer than ``width``."""
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def parameters_of(pairs: Iterable[str]) -> dict[str, int | str]:
    """``KEY=VALUE`` pairs; digits become integers. Raises BadParameter."""
    parameters: dict[str, int | str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE")
        parameters[key] = int(value) if INTEGER.fullmatch(value) else value
    return parameters


def address_of(text: str, prefix: str | None) -> bytes:
    """An address that a person typed; ``prefix`` None: of any network. Raises BadParameter."""
    try:
        return parse_address(text, prefix)
    except Invalid as error:
        raise click.BadParameter(error.sentence) from None


def coins(text: str) -> int:
    """An amount that a person typed, in coins; becomes base units. Raises BadParameter."""
    try:
        return parse_amount(text)
    except Invalid as error:
        raise click.BadParameter(f"{text!r}: {error.sentence}") from None
