"""``moot engines``: what is installed and what each engine claims."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.table import Table

from consensus.contract import EngineProtocol
from consensus.registry import engine_names, protocol
from moot.cli.common import console, json_option, print_json
from moot.cli.engine_package import package_files, write_package

NODES_SHOWN: Final = (3, 4, 5, 7)
"""Sizes for which f and quorum are shown."""
_NAMES: Final = re.compile(r"(`*\w+`*(?:(?:, | and )`*\w+`*)*): (.+)")
"""How the meaning of one or more parameters begins in their struct's docstring."""


def describe(found: EngineProtocol) -> dict[str, object]:
    """One engine's claims and parameters, as JSON."""
    properties = found.rules(found.parameters()).properties
    meaning = meanings(found.parameters)
    return {
        "engine": found.name,
        "summary": found.summary,
        "fault_model": properties.fault_model,
        "synchrony": properties.synchrony,
        "finality": properties.finality,
        "finalizes": properties.finalizes,
        "permissioned": properties.permissioned,
        "needs": properties.needs,
        "confirmed": properties.confirmed,
        "nodes": [
            {"n": n, "faults": properties.faults(n), "quorum": properties.quorum(n)}
            for n in NODES_SHOWN
        ],
        "parameters": {
            field.name: {
                "default": field.default,
                "devnet": found.devnet_parameters.get(field.name, field.default),
                "meaning": meaning.get(field.name, ""),
            }
            for field in msgspec.structs.fields(found.parameters)
        },
    }


def meanings(parameters: type[msgspec.Struct]) -> dict[str, str]:
    """What each parameter means, as the struct's docstring says: ``name: text`` in lines."""
    fields = {field.name for field in msgspec.structs.fields(parameters)}
    found: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc(parameters.__doc__ or "").splitlines():
        begun = _NAMES.fullmatch(line)
        told = [] if begun is None else re.findall(r"\w+", begun[1].replace(" and ", ", "))
        if begun is not None and fields.issuperset(told):
            names, line = told, begun[2]
        for name in names:
            found[name] = f"{found.get(name, '')} {line}".strip()
    return found


class Engines(click.Group):
    """A group in which the name of an engine stands where a command would: it is shown."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return "show", self.commands["show"], args


@click.group(name="engines", cls=Engines, invoke_without_command=True)
@json_option
@click.pass_context
def engines(context: click.Context, as_json: bool) -> None:
    """List the installed engines, show one of them, or write one of your own.

    Examples: moot engines
              moot engines pbft
    """
    if context.invoked_subcommand is None:
        _list(as_json)


@engines.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show what an engine claims, and its parameters.

    Example: moot engines show pbft
    """
    _show_one(describe(protocol(name)), as_json)


@engines.command()
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=None,
    help="Write it here [default: ./moot-engine-NAME].",
)
def new(name: str, directory: Path | None) -> None:
    """Write an engine of your own, made from `authority`: a package to install and to change.

    Example: moot engines new mine
    """
    found = directory if directory is not None else Path(f"moot-engine-{name}")
    files = package_files(name, engine_names())
    write_package(found, files)
    click.echo(f"{found}: {', '.join(sorted(files))}")
    click.echo(f"Now: pip install -e {found}, then: moot lab prove {name}")


def _list(as_json: bool) -> None:
    found = [describe(protocol(each)) for each in engine_names()]
    if as_json:
        print_json({"engines": found})
        return
    sizes = ", ".join(map(str, NODES_SHOWN))
    caption = f"borne: faults that {sizes} nodes bear; quorum: how many of them decide"
    table = Table("engine", "faults", "finality", "borne", "quorum", "needs", caption=caption)
    for each in found:
        claims = (str(each[key]) for key in ("engine", "fault_model", "finality"))
        table.add_row(*claims, *_sizes(each, ""), str(each["needs"]))
    console().print(table, soft_wrap=False)


def _sizes(facts: dict[str, object], of: str) -> tuple[str, str]:
    """How many faults each of the sizes bears, and how many decide. ``of``: between the two."""
    nodes = facts["nodes"]
    assert isinstance(nodes, list)

    def told(key: str) -> str:
        return ", ".join(f"{each[key]}{of}{each['n'] if of else ''}" for each in nodes)

    return told("faults"), told("quorum") if any(each["quorum"] for each in nodes) else "-"


def _show_one(facts: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    screen = console()
    screen.print(f"[bold]{facts['engine']}[/bold]: {facts['summary']}")
    for key in ("fault_model", "synchrony", "finality", "permissioned", "needs"):
        screen.print(f"  {key}: {facts[key]}")
    bears, quorum = _sizes(facts, " of ")
    screen.print(f"  bears: {bears}")
    screen.print(f"  quorum: {quorum}")
    if facts["confirmed"]:
        screen.print(f"  confirmed means: {facts['confirmed']}")
    table = Table("parameter", "default", "devnet", "meaning")
    parameters = facts["parameters"]
    assert isinstance(parameters, dict)
    for parameter, values in parameters.items():
        table.add_row(parameter, *(str(values[key]) for key in ("default", "devnet", "meaning")))
    screen.print(table, soft_wrap=False)
