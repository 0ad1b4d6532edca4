"""``moot lab cost``: messages and bytes of one block."""

from __future__ import annotations

import click

from moot.cli.common import (
    Failure,
    engine_option,
    json_option,
    parameters_of,
    print_json,
    print_table,
)
from moot.cli.numbers import Numbers
from moot.lab.cost import Cost, NoBlock, measure

NODES_MAX = 100


@click.command()
@engine_option
@click.option(
    "--nodes",
    "sizes",
    default="3,5,7",
    show_default=True,
    type=Numbers(NODES_MAX),
    help="Network sizes.",
)
@click.option(
    "--blocks",
    default=50,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="Blocks measured; figures are medians.",
)
@click.option("--set", "parameters", multiple=True, metavar="KEY=VALUE", help="Engine parameter.")
@json_option
def cost(
    as_json: bool, engine: str, sizes: tuple[int, ...], blocks: int, parameters: tuple[str, ...]
) -> None:
    """Count the messages and bytes that one block costs, on a calm simulated network.

    Example: moot lab cost --engine pbft --nodes 4,7
    """
    given = parameters_of(parameters)
    try:
        found = [measure(engine, size, blocks=blocks, parameters=given) for size in sizes]
    except NoBlock as error:
        raise Failure(str(error)) from None
    if as_json:
        print_json({"costs": found})
    else:
        _show(found)


def _show(found: list[Cost]) -> None:
    rows = []
    for one in found:
        for name in sorted(one.messages, key=lambda name: (name == "shared", name)):
            rows.append(
                [str(one.nodes), name, f"{one.messages[name]:g}", f"{one.bytes.get(name, 0):g}"]
            )
        total = (f"{one.consensus_messages:g}", f"{one.consensus_bytes:g}")
        rows.append([str(one.nodes), "all of the engine", *total])
    print_table(["Nodes", "Kind", "Messages", "Bytes"], rows, left=("Kind",))
