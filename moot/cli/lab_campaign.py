"""``moot lab campaign``: many runs, over all cores or over a cluster."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import IO, Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from moot import __version__
from moot.cli.common import Failure, console, json_option, print_json
from moot.cli.lab_cluster import ClusterLost, on_cluster
from moot.cli.lab_options import NodeRange, options_from, run_options
from moot.lab.campaign import Range, Summary, Tally, plan
from moot.lab.run import Outcome, RunOptions, run

SHOWN_MAX = 10
"""Failing runs that a campaign shows; its JSON document has them all."""


@click.command()
@run_options
@click.option(
    "--nodes",
    default="4-7",
    show_default=True,
    type=NodeRange(),
    help="Nodes: a number or a range.",
)
@click.option(
    "--seeds", default=100, show_default=True, type=click.IntRange(min=1), help="How many runs."
)
@click.option(
    "--first-seed",
    default=1,
    show_default=True,
    type=click.IntRange(min=0),
    help="The first run's seed.",
)
@click.option("--jobs", default=0, help="Processes; 0: one for each core.")
@click.option(
    "--resume",
    "journal",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep outcomes in this file, and skip what it holds already.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Let a Dask cluster do the runs, e.g. tcp://10.0.0.1:8786; needs the extra `cluster`.",
)
@json_option
def campaign(
    as_json: bool,
    nodes: Range,
    seeds: int,
    first_seed: int,
    jobs: int,
    journal: Path | None,
    scheduler: str | None,
    engine: str,
    **chosen: Any,
) -> None:
    """Many runs, over all cores: which faults came, what was exercised, what was violated.

    Exits with 1 when anything was violated, or when a cluster was lost before all was done.

    Examples:
      moot lab campaign --engine pbft --nodes 4-7 --seeds 1000
      moot lab campaign --seeds 100000 --scheduler tcp://10.0.0.1:8786 --resume seeds.jsonl
    """
    base = options_from(engine, nodes.low, first_seed, **chosen)
    runs = plan(base, nodes, first_seed, seeds)
    tally = Tally(engine, nodes, commit())
    started = time.perf_counter()
    lost = ""
    with ExitStack() as stack:
        done, keep = open_journal(journal, stack)
        todo = []
        for options in runs:
            known = done.get(msgspec.json.encode(options))
            if known is None:
                todo.append(options)
            else:
                tally.add(options, known)
        bar = stack.enter_context(_progress())
        task = bar.add_task(engine, total=len(runs), completed=len(runs) - len(todo), failed="")
        spread = (
            on_cluster(todo, scheduler)
            if scheduler is not None
            else in_processes(todo, jobs or os.cpu_count() or 1)
        )
        try:
            for options, outcome in spread:
                tally.add(options, outcome)
                if keep is not None:
                    keep.write(msgspec.json.encode((options, outcome)) + b"\n")
                    keep.flush()
                failed = f"[red]{len(tally.failed)} failed[/red]" if tally.failed else ""
                bar.update(task, advance=1, failed=failed)
        except ClusterLost as error:
            lost = str(error)
    summary = tally.summary(time.perf_counter() - started)
    if as_json:
        print_json(summary)
    else:
        show_summary(summary)
    if lost:
        raise Failure(f"{lost}; {_missing(len(runs) - tally.runs, journal)}")
    if summary.violations:
        sys.exit(1)


def _missing(count: int, journal: Path | None) -> str:
    """What to do about runs that were not done."""
    if journal is None:
        return f"{count} runs were not done (with --resume FILE, what is done is kept)"
    return f"{count} runs were not done: the same command with --resume {journal} goes on with them"


def in_processes(todo: list[RunOptions], jobs: int) -> Iterator[tuple[RunOptions, Outcome]]:
    """Runs in ``jobs`` processes; each outcome as it comes."""
    if jobs <= 1 or len(todo) <= 1:
        for options in todo:
            yield options, run(options)
        return
    # spawn: the children share nothing with this process, so a run cannot depend on it.
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(jobs, len(todo))) as pool:
        yield from pool.imap_unordered(_one, todo)


def _one(options: RunOptions) -> tuple[RunOptions, Outcome]:
    return options, run(options)


def open_journal(
    path: Path | None, stack: ExitStack
) -> tuple[dict[bytes, Outcome], IO[bytes] | None]:
    """Outcomes by their options, and where to add more. Raises BadParameter, OSError."""
    if path is None:
        return {}, None
    done: dict[bytes, Outcome] = {}
    whole = 0
    if path.exists():
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                options, outcome = msgspec.json.decode(line, type=tuple[RunOptions, Outcome])
            except msgspec.MsgspecError:
                if not line.endswith(b"\n"):
                    break  # the last line of a campaign that was cut off
                raise click.BadParameter(f"{path} is no campaign's journal") from None
            whole += len(line)
            done[msgspec.json.encode(options)] = outcome
        os.truncate(path, whole)
    opened: AbstractContextManager[IO[bytes]] = path.open("ab")
    return done, stack.enter_context(opened)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[failed]}"),
        console=Console(stderr=True),
        transient=True,
    )


def show_summary(summary: Summary) -> None:
    """For people."""
    screen = console()
    screen.print(
        f"[bold]{summary.engine}[/bold], {summary.nodes} nodes, {summary.seeds} runs: "
        f"{summary.virtual_seconds / 3600:.1f} virtual hours in {summary.seconds:.1f} s, "
        f"{summary.events} events, {summary.operations} payments"
    )
    print_counts(screen, "faults", summary.faults)
    if summary.faults_never_injected:
        screen.print(f"never injected: {', '.join(summary.faults_never_injected)}")
    print_counts(screen, "exercised", summary.exercised)
    if summary.invalid_runs:
        screen.print(f"[yellow]{summary.invalid_runs} runs meant nothing: too little traffic.[/]")
    for failed in summary.violations[:SHOWN_MAX]:
        screen.print(f"[red]{failed.checker}[/red] {failed.message}")
        screen.print(f"  repeat it with: {failed.replay}")
    if len(summary.violations) > SHOWN_MAX:
        screen.print(f"... and {len(summary.violations) - SHOWN_MAX} more")
    if not summary.violations:
        screen.print("[green]Nothing was violated.[/green]")


def commit() -> str:
    """The commit that this code is of, or the release."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return __version__
    return found.stdout.strip()


def print_counts(screen: Console, title: str, counts: dict[str, int]) -> None:
    words = ", ".join(f"{name} {count}" for name, count in counts.items())
    screen.print(f"{title}: {words or 'none'}")
