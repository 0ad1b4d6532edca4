"""The options that the laboratory's commands share, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from consensus.registry import protocol
from moot.cli.common import engine_option, parameters_of
from moot.lab.campaign import Range
from moot.lab.fault_kinds import KINDS, check_kinds
from moot.lab.keeping import DRAWN, settings_of
from moot.lab.run import RunOptions

Function = TypeVar("Function", bound=Callable[..., Any])


def nodes_option(function: Function) -> Function:
    """``--nodes N``: the size of one network."""
    return click.option(
        "--nodes",
        default=4,
        show_default=True,
        type=click.IntRange(1, 100),
        help="Simulated nodes.",
    )(function)


def one_run(function: Function) -> Function:
    """What names one run: the options of all runs, a size and a seed."""
    seed = click.option(
        "--seed",
        default=1,
        show_default=True,
        type=click.IntRange(min=0),
        help="What decides all chance.",
    )
    return run_options(nodes_option(seed(function)))


def run_options(function: Function) -> Function:
    """What every run is told, whatever command asks for it."""
    for option in reversed(
        (
            engine_option,
            click.option(
                "--minutes",
                default=1.0,
                show_default=True,
                type=click.FloatRange(min=0.05),
                help="Virtual minutes with faults.",
            ),
            click.option(
                "--faults",
                default="swarm",
                show_default=True,
                help="swarm: the seed draws them; none; all; or names with commas.",
            ),
            click.option(
                "--tps",
                default=2.0,
                show_default=True,
                type=click.FloatRange(min=0),
                help="Payments a second.",
            ),
            click.option(
                "--set", "parameters", multiple=True, metavar="KEY=VALUE", help="Engine parameter."
            ),
            click.option(
                "--real-signer", is_flag=True, help="Ed25519 instead of cheap signatures."
            ),
            click.option("--liars", default=0, type=click.IntRange(min=0), help="Nodes that lie."),
            click.option(
                "--liar-kinds",
                default="",
                help="How they lie, names with commas; default: the seed draws that.",
            ),
            click.option(
                "--delay",
                default="",
                metavar="LOW-HIGH",
                help="Milliseconds that a healthy link takes; default: the seed draws them.",
            ),
            click.option(
                "--flush-depth",
                default=None,
                type=click.IntRange(min=1),
                help="Blocks kept in memory where nothing is final; default: the seed draws that.",
            ),
            click.option("--mutant", default=None, help="A planted mistake, by its name."),
            click.option(
                "--snapshots",
                default="drawn",
                show_default=True,
                metavar="drawn|none|EVERY,KEEP,GAP,BODIES",
                help="What nodes keep: snapshots every so many blocks, how many of them; the gap"
                " that a snapshot closes; newest blocks kept whole (0: all).",
            ),
        )
    ):
        function = option(function)
    return function


def options_from(
    engine: str,
    nodes: int,
    seed: int,
    minutes: float,
    faults: str,
    tps: float,
    parameters: tuple[str, ...],
    real_signer: bool,
    liars: int,
    liar_kinds: str,
    delay: str,
    flush_depth: int | None,
    mutant: str | None,
    snapshots: str,
) -> RunOptions:
    """Checked options. Raises UnknownEngine, UnknownFault, BadParameter, InvalidKeeping."""
    protocol(engine)
    if snapshots != DRAWN:
        settings_of(snapshots)
    return RunOptions(
        engine=engine,
        nodes=nodes,
        seed=seed,
        minutes=minutes,
        faults=fault_names(faults),
        parameters=parameters_of(parameters),
        real_signer=real_signer,
        liars=liars,
        liar_kinds=tuple(name for name in liar_kinds.split(",") if name) or None,
        mutant=mutant,
        load_tps=tps,
        delay_ms=delay_from(delay),
        flush_depth=flush_depth,
        snapshots=snapshots,
    )


def delay_from(text: str) -> tuple[int, int] | None:
    """What ``--delay`` names, in milliseconds. Raises BadParameter."""
    if not text:
        return None
    found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text)
    if found is None:
        raise click.BadParameter(f"--delay {text!r} is neither a number nor a range such as 50-200")
    low, high = int(found[1]), int(found[2] or found[1])
    if low > high:
        raise click.BadParameter(f"--delay {text!r}: the least is more than the greatest")
    return (low, high)


def fault_names(text: str) -> tuple[str, ...] | None:
    """What ``--faults`` names; None: the seed chooses. Raises UnknownFault."""
    named: dict[str, tuple[str, ...] | None] = {"swarm": None, "none": (), "all": KINDS}
    if text in named:
        return named[text]
    return check_kinds([name for name in text.split(",") if name])


class NodeRange(click.ParamType[Range]):
    """``4`` or ``4-7``."""

    name = "N or N-M"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Range:
        if isinstance(value, Range):
            return value
        found = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", str(value))
        if found is None:
            self.fail(f"{value!r} is neither a number nor a range such as 4-7", param, ctx)
        low = int(found[1])
        high = int(found[2] or low)
        if not 1 <= low <= high <= 100:
            self.fail(f"{value!r} is no range from 1 to 100 nodes", param, ctx)
        return Range(low, high)
