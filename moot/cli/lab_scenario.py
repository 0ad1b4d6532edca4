"""``moot lab scenario``: hand-written cases, run and judged."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.markup import escape

from chain.errors import Invalid
from moot.cli.common import Failure, console, json_option, print_json
from moot.cli.lab import show_outcome
from moot.lab import diagram
from moot.lab.scenario import Scenario, Verdict, run_scenario, trace_scenario
from moot.lab.scenario_text import SIZE_MAX, parse_scenario
from moot.lab.transcript import transcript


@click.command()
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE...",
)
@click.option(
    "--html",
    "html_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page for the browser: step, scrub, follow causes. Of one scenario.",
)
@click.option(
    "--transcript",
    "transcript_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what happened as text, a line for each message. Of one scenario.",
)
@json_option
def scenario(
    as_json: bool, files: tuple[Path, ...], html_path: Path | None, transcript_path: Path | None
) -> None:
    """Run scenario files, and see whether what they expect comes true.

    A scenario names an engine, its nodes, what happens to them and when, and what is to come of
    it. Exits with 1 when an expectation does not hold.

    Example: moot lab scenario equivocating_primary.scenario --html run.html
    """
    if (html_path or transcript_path) and len(files) > 1:
        raise click.BadParameter("--html and --transcript are of one scenario")
    read = [(path, _read(path)) for path in files]
    verdicts = []
    for path, one in read:
        try:
            verdict = _run(one, html_path, transcript_path)
        except Invalid as error:
            raise Failure(f"{path}: {error.sentence}") from None
        verdicts.append(verdict)
        if not as_json:
            _show(path, verdict)
    if as_json:
        print_json({"scenarios": verdicts})
    if not all(verdict.passed for verdict in verdicts):
        sys.exit(1)


def _read(path: Path) -> Scenario:
    try:
        with path.open("rb") as opened:
            raw = opened.read(4 * SIZE_MAX + 1)  # a character takes four bytes at most
        return parse_scenario(raw.decode("utf-8"))
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Failure(f"{path} is no text in UTF-8") from None
    except Invalid as error:
        raise Failure(f"{path}: {error.sentence}") from None


def _run(one: Scenario, html_path: Path | None, transcript_path: Path | None) -> Verdict:
    if html_path is None and transcript_path is None:
        return run_scenario(one)
    verdict, trace = trace_scenario(one)
    if html_path is not None:
        html_path.write_text(diagram.page(trace), encoding="utf-8")
        click.echo(f"wrote {html_path}: {len(trace.events)} events", err=True)
    if transcript_path is not None:
        transcript_path.write_text(transcript(trace), encoding="utf-8")
        click.echo(f"wrote {transcript_path}", err=True)
    return verdict


def _show(path: Path, verdict: Verdict) -> None:
    screen = console()
    word = "[green]passed[/green]" if verdict.passed else "[red]failed[/red]"
    screen.print(f"{word} {escape(str(path))}: {escape(verdict.title)}, {verdict.events} events")
    for finding in verdict.expectations:
        mark = "[green]holds[/green]" if finding.holds else "[red]does not hold[/red]"
        screen.print(f"  {escape(finding.expectation)}: {mark}: {escape(finding.found)}")
    if not verdict.passed:
        show_outcome(verdict.outcome)
