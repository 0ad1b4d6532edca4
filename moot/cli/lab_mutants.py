"""``moot lab mutants`` and ``moot lab prove``: testing the laboratory, and testing an engine."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import click
import msgspec
from rich.table import Table

from moot.cli.common import Failure, console, json_option, print_json
from moot.cli.lab_options import nodes_option
from moot.lab.hunt import SEEDS_MAX, Catch, hunt
from moot.lab.mutants import all_mutants, find_mutant
from moot.lab.prove import Part, card
from moot.lab.prove import prove as parts_of
from moot.lab.run import RunOptions


@click.command()
@click.option("--engine", default=None, help="Only this engine's mutants; `node`: everybody's.")
@click.option("--name", "names", multiple=True, metavar="NAME", help="Only this one; repeatable.")
@click.option(
    "--seeds",
    default=SEEDS_MAX,
    show_default=True,
    type=click.IntRange(min=1),
    help="Seeds tried before a mutant counts as not found.",
)
@click.option("--jobs", default=0, type=click.IntRange(min=0), help="Processes; 0: one a core.")
@click.option("--no-shrink", is_flag=True, help="Do not look for the shortest failing schedule.")
@json_option
def mutants(
    as_json: bool,
    engine: str | None,
    names: tuple[str, ...],
    seeds: int,
    jobs: int,
    no_shrink: bool,
) -> None:
    """Plant textbook mistakes, one at a time, and see whether the laboratory finds each.

    A mutant that is not found is a hole in the laboratory. Exits with 1 when there is one.

    Example: moot lab mutants --engine pbft
    """
    wanted = [find_mutant(name) for name in names] or list(all_mutants())
    if engine is not None:
        known = sorted({mutant.engine for mutant in all_mutants()})
        if engine not in known:
            raise click.BadParameter(f"{engine!r} has no mutants; these have: {', '.join(known)}")
        wanted = [mutant for mutant in wanted if mutant.engine == engine]
    found = []
    chosen = [mutant.name for mutant in wanted]
    for catch in catches(chosen, seeds, jobs or os.cpu_count() or 1, shrinks=not no_shrink):
        found.append(catch)
        if not as_json:
            word = f"by {catch.checker} after {catch.seeds}" if catch.found else "NOT FOUND"
            click.echo(f"{catch.name}: {word}", err=True)
    if as_json:
        print_json({"mutants": found})
    else:
        _show(found)
    if any(not catch.found for catch in found):
        sys.exit(1)


def catches(names: list[str], seeds: int, jobs: int, *, shrinks: bool = True) -> Iterator[Catch]:
    """Hunts each in a process of its own: what is planted in one is not in the next."""
    one = partial(_hunt_one, seeds=seeds, shrinks=shrinks)
    context = multiprocessing.get_context("spawn")
    with context.Pool(max(1, min(jobs, len(names))), maxtasksperchild=8) as pool:
        yield from pool.imap(one, names)


def _hunt_one(name: str, *, seeds: int, shrinks: bool) -> Catch:
    return hunt(find_mutant(name), seeds, shrinks=shrinks)


def _show(found: list[Catch]) -> None:
    table = Table("mutant", "of", "found", "seeds", "by", "events in the shortest failing case")
    for catch in found:
        table.add_row(
            catch.name,
            catch.engine,
            "[green]yes[/green]" if catch.found else "[red]no[/red]",
            str(catch.seeds),
            catch.checker,
            _schedule(catch),
        )
    screen = console()
    screen.print(table)
    missed = [catch.name for catch in found if not catch.found]
    if missed:
        screen.print(f"[red]not found:[/red] {', '.join(missed)}")


def _schedule(catch: Catch) -> str:
    """What is left of what was done: faults, payments, liars; and of the nodes."""
    if catch.shrunk_events is None:
        return ""
    short = "" if catch.minimal else " at most"
    needs = ", ".join(catch.needs) or "nothing"
    return f"{catch.shrunk_events}{short}: {needs}; {catch.shrunk_nodes} nodes"


@click.command()
@click.argument("engine")
@click.option(
    "--seeds", default=20, show_default=True, type=click.IntRange(min=1), help="Runs a part."
)
@nodes_option
@json_option
def prove(as_json: bool, engine: str, seeds: int, nodes: int) -> None:
    """Run the conformance kit on any installed engine, and print its report card.

    Contract laws, determinism, safety, liveness, restarts, hostile messages, and liars where the
    engine claims to bear them. Exits with 1 when a part failed.

    Example: moot lab prove pbft
    """
    done = []
    for part in parts_of(engine, seeds, trace_elsewhere, nodes):
        done.append(part)
        if not as_json:
            _show_part(part)
    report = card(engine, done)
    if as_json:
        print_json(report)
    else:
        verdict = "[green]passed[/green]" if report.passed else "[red]failed[/red]"
        console().print(f"{engine}: {verdict}")
    if not report.passed:
        sys.exit(1)


def _show_part(part: Part) -> None:
    mark = "[green]passed[/green]" if part.passed else "[red]failed[/red]"
    screen = console()
    screen.print(f"{mark} {part.name}: ", end="")
    screen.print(part.detail, markup=False)


TRACE = (
    "import sys, msgspec; from moot.lab.run import RunOptions, run; "
    "print(run(msgspec.json.decode(sys.stdin.buffer.read(), type=RunOptions)).trace_hash)"
)


def trace_elsewhere(options: RunOptions) -> str:
    """The trace hash of a run in another process, with another hash seed. Raises Failure."""
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    asked = subprocess.run(
        [sys.executable, "-c", TRACE],
        input=msgspec.json.encode(options),
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    if asked.returncode:
        lines = asked.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Failure(f"a run in another process failed: {lines[-1] if lines else 'no reason'}")
    return asked.stdout.decode().strip()
