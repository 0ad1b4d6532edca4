"""What several commands share: options, JSON output, parsing of what people type."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click
import msgspec

from chain.bech32m import parse_address
from chain.errors import Invalid
from moot.node.config import REST_PORT

Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_NODE = f"http://127.0.0.1:{REST_PORT}"


def json_option(function: Function) -> Function:
    """``--json``: one JSON document on standard output."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(
        function
    )


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


def print_json(document: Any) -> None:
    """One indented JSON document."""
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def parameters_of(pairs: Iterable[str]) -> dict[str, int | str]:
    """``KEY=VALUE`` pairs; digits become integers. Raises BadParameter."""
    parameters: dict[str, int | str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE")
        parameters[key] = int(value) if value.lstrip("-").isdigit() else value
    return parameters


def address_of(text: str, prefix: str) -> bytes:
    """An address that a person typed. Raises BadParameter."""
    try:
        return parse_address(text, prefix)
    except Invalid as error:
        raise click.BadParameter(error.sentence) from None
