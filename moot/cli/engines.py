"""``moot engines``: what is installed and what each engine claims."""

from __future__ import annotations

import click
import msgspec
from rich.table import Table

from consensus.contract import EngineProtocol
from consensus.registry import engine_names, protocol
from moot.cli.common import console, json_option, print_json

NODES_SHOWN = (4, 7)
"""Sizes for which f and quorum are shown."""


def describe(found: EngineProtocol) -> dict[str, object]:
    """One engine's claims and parameters, as JSON."""
    properties = found.rules(found.parameters()).properties
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
            }
            for field in msgspec.structs.fields(found.parameters)
        },
    }


@click.command(name="engines")
@click.argument("name", required=False)
@json_option
def engines(name: str | None, as_json: bool) -> None:
    """List the installed engines, or show one of them.

    Example: moot engines pbft
    """
    if name is not None:
        _show_one(describe(protocol(name)), as_json)
        return
    found = [describe(protocol(each)) for each in engine_names()]
    if as_json:
        print_json({"engines": found})
        return
    table = Table("engine", "faults borne", "finality", "needs")
    for each in found:
        table.add_row(*(str(each[k]) for k in ("engine", "fault_model", "finality", "needs")))
    console().print(table, soft_wrap=False)


def _show_one(facts: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    screen = console()
    screen.print(f"[bold]{facts['engine']}[/bold]: {facts['summary']}")
    for key in ("fault_model", "synchrony", "finality", "permissioned", "needs"):
        screen.print(f"  {key}: {facts[key]}")
    if facts["confirmed"]:
        screen.print(f"  confirmed means: {facts['confirmed']}")
    table = Table("parameter", "default", "devnet")
    parameters = facts["parameters"]
    assert isinstance(parameters, dict)
    for parameter, values in parameters.items():
        table.add_row(parameter, str(values["default"]), str(values["devnet"]))
    screen.print(table, soft_wrap=False)
