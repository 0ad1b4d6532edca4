"""``moot lab``: the laboratory's commands."""

from __future__ import annotations

import sys
from typing import Any

import click

from moot.cli.common import console, json_option, print_json
from moot.cli.lab_campaign import campaign, commit, print_counts
from moot.cli.lab_mutants import mutants, prove
from moot.cli.lab_options import one_run, options_from
from moot.lab.run import Outcome, command_of, run


@click.group()
def lab() -> None:
    """Try to break an engine, in virtual time and by a seed.

    The laboratory runs the production node over a simulated clock, network and disk. The same
    options give the same run, event for event, on any machine.

    Example: moot lab simulate --engine pbft --seed 7
    """


@lab.command()
@one_run
@json_option
def simulate(as_json: bool, nodes: int, seed: int, engine: str, **chosen: Any) -> None:
    """One run: faults first, then a healing that must bring progress.

    Exits with 1 when anything was violated, and prints the line that repeats the run.

    Example: moot lab simulate --engine pbft --nodes 4 --seed 7
    """
    options = options_from(engine, nodes, seed, **chosen)
    outcome = run(options)
    if as_json:
        print_json(outcome)
    else:
        show_outcome(outcome)
    if outcome.violations:
        click.echo(f"repeat it with: {command_of(options, commit())}", err=True)
        sys.exit(1)


def show_outcome(outcome: Outcome) -> None:
    """For people."""
    screen = console()
    screen.print(
        f"[bold]{outcome.engine}[/bold], {outcome.nodes} nodes, seed {outcome.seed}: "
        f"{outcome.virtual_seconds:.1f} virtual seconds, {outcome.events} events, height "
        f"{outcome.height} (final {outcome.finalized_height}), {outcome.operations} payments"
    )
    screen.print(f"trace {outcome.trace_hash}")
    print_counts(screen, "faults", outcome.faults)
    print_counts(screen, "exercised", outcome.exercised)
    if not outcome.valid:
        screen.print("[yellow]Too little happened for this run to mean anything.[/yellow]")
    for violation in outcome.violations:
        screen.print(
            f"[red]{violation.checker}[/red] at {violation.at_ms / 1000:.3f} s: "
            f"{violation.message}",
            markup=True,
        )
    if not outcome.violations:
        screen.print("[green]Nothing was violated.[/green]")


lab.add_command(campaign)
lab.add_command(mutants)
lab.add_command(prove)
