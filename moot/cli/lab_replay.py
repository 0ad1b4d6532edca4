"""``moot lab replay``: a run again, to be looked at."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click
from rich.text import Text

from moot.cli.common import console, json_option, print_json
from moot.cli.lab import show_outcome
from moot.cli.lab_campaign import commit
from moot.cli.lab_options import one_run, options_from
from moot.lab import diagram
from moot.lab.recording import Case, play
from moot.lab.replay import SHOWN_MS, span_of_interest
from moot.lab.replay import replay as replay_run
from moot.lab.run import Outcome, RunOptions, command_of, run
from moot.lab.scenario import scenario_of
from moot.lab.scenario_text import format_scenario
from moot.lab.shrink_run import shrink_run
from moot.lab.trace import Kind, TraceFile, read_lines, window, without, write_lines

QUIET_KINDS: Final[tuple[Kind, ...]] = ("timer", "persist", "import", "trace")
"""What the terminal shows only if asked; the page has it all."""
QUIET_MESSAGES: Final = (
    "Status",
    "AnnounceTransactions",
    "GetTransactions",
    "Transactions",
    "PushTransactions",
    "AnnounceBlock",
)
LINES_MAX: Final = 2_000
"""Lines in the terminal; more is for the page."""
COLOURS: Final[dict[diagram.Style, str]] = {
    "plain": "",
    "message": "cyan",
    "final": "green",
    "head": "yellow",
    "fault": "bold magenta",
    "violation": "bold red",
    "quiet": "dim",
}
MILLISECONDS: Final = 1_000


@click.command()
@one_run
@click.option(
    "--from",
    "from_s",
    type=click.FloatRange(min=0),
    help="Virtual second at which the picture begins; by default shortly before the first "
    "violation, else at the start.",
)
@click.option("--to", "to_s", type=click.FloatRange(min=0), help="Virtual second at which it ends.")
@click.option(
    "--html",
    "html_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page for the browser: step, scrub, follow causes.",
)
@click.option(
    "--trace",
    "trace_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the events, one JSON object a line.",
)
@click.option(
    "--read",
    "read_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Draw a trace that was written before; nothing runs.",
)
@click.option("--terminal", "in_terminal", is_flag=True, help="Draw in the terminal.")
@click.option("--all", "everything", is_flag=True, help="In the terminal, quiet events too.")
@click.option(
    "--shrink",
    "runs_max",
    default=0,
    metavar="RUNS",
    type=click.IntRange(min=0),
    help="First look for fewer nodes, faults, payments and seconds that violate the same, in at "
    "most so many runs.",
)
@click.option(
    "--output",
    "output_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --shrink: write the small case as a scenario file, which `moot lab scenario` runs.",
)
@json_option
def replay(
    as_json: bool,
    nodes: int,
    seed: int,
    engine: str,
    from_s: float | None,
    to_s: float | None,
    html_path: Path | None,
    trace_path: Path | None,
    read_path: Path | None,
    in_terminal: bool,
    everything: bool,
    runs_max: int,
    output_path: Path | None,
    **chosen: Any,
) -> None:
    """Run a seed again and draw it: nodes are columns, messages are arrows.

    Without --html or --trace it draws in the terminal. Exits with 1 when anything was violated.

    Examples:
      moot lab replay --engine pbft --nodes 4 --seed 7
      moot lab replay --engine pbft --nodes 4 --seed 7 --from 3 --to 9 --html run.html
      moot lab replay --engine pbft --nodes 4 --seed 7 --shrink 200 --output case.scenario
    """
    if output_path is not None and not runs_max:
        raise click.BadParameter("--output needs --shrink")
    outcome: Outcome | None = None
    if read_path is None:
        options = options_from(engine, nodes, seed, **chosen)
        case = _shrunk(options, runs_max, output_path) if runs_max else None
        outcome, trace = _run(options, case, from_s, to_s)
    else:
        with read_path.open(encoding="utf-8", errors="replace") as lines:
            trace = read_lines(lines)
        if from_s is not None or to_s is not None:
            last_ms = trace.events[-1].at_ms if trace.events else 0
            to_ms = last_ms if to_s is None else round(to_s * MILLISECONDS)
            trace = window(trace, round((from_s or 0) * MILLISECONDS), to_ms)
    if html_path is not None:
        html_path.write_text(diagram.page(trace), encoding="utf-8")
        click.echo(f"wrote {html_path}: {len(trace.events)} events", err=True)
    if trace_path is not None:
        trace_path.write_text("".join(write_lines(trace)), encoding="utf-8")
        click.echo(f"wrote {trace_path}: {len(trace.events)} events", err=True)
    if in_terminal or not (html_path or trace_path or as_json):
        draw(trace, everything)
    if outcome is not None:
        if as_json:
            print_json(outcome)
        else:
            show_outcome(outcome)
        if outcome.violations:
            sys.exit(1)


def _shrunk(options: RunOptions, runs_max: int, output_path: Path | None) -> Case | None:
    """A smaller case that violates the same, also written; None where nothing is violated."""
    violations = run(options).violations
    if not violations:
        return None
    shrunk = shrink_run(options, violations[0].checker, runs_max)
    script = shrunk.case.script
    short = "" if shrunk.minimal else ", the budget was spent"
    click.echo(
        f"after {shrunk.trials} runs: {shrunk.case.options.nodes} nodes, {script.events} events "
        f"in {script.lasts_ms / MILLISECONDS:g} s{short}",
        err=True,
    )
    if output_path is not None:
        checker = shrunk.violation.checker
        title = f"{checker}, shrunk from seed {options.seed} of {options.nodes} nodes"
        written = format_scenario(scenario_of(shrunk.case, title, checker))
        head = f"# {command_of(options, commit())}\n# {shrunk.violation.message}\n"
        output_path.write_text(head + written, encoding="utf-8")
        click.echo(f"wrote {output_path}", err=True)
    return shrunk.case


def _run(
    options: RunOptions, case: Case | None, from_s: float | None, to_s: float | None
) -> tuple[Outcome, TraceFile]:
    """The run and the trace of a span; where none is given, a first run finds where to look."""
    if from_s is None and to_s is None:
        from_ms, to_ms = span_of_interest(run(options) if case is None else play(case))
    else:
        from_ms = round((from_s or 0) * MILLISECONDS)
        to_ms = from_ms + SHOWN_MS if to_s is None else round(to_s * MILLISECONDS)
        if to_ms < from_ms:
            raise click.BadParameter("--to is before --from")
    return replay_run(options if case is None else case, from_ms, to_ms)


def draw(trace: TraceFile, everything: bool) -> None:
    """The diagram, in colours where the terminal has them."""
    screen = console()
    chosen = trace if everything else without(trace, QUIET_KINDS, QUIET_MESSAGES)
    lines = diagram.terminal(chosen, screen.width)
    for line in lines[:LINES_MAX]:
        screen.print(Text(line.text, style=COLOURS[line.style]))
    if len(lines) > LINES_MAX:
        screen.print(f"... {len(lines) - LINES_MAX} more lines: use --from and --to, or --html")
