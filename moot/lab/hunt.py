"""Hunting a mutant: seed after seed until a checker speaks, then the shortest schedule."""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from moot.lab.mutants import Mutant
from moot.lab.run import RunOptions, command_of, run
from moot.lab.scenario import scenario_of
from moot.lab.scenario_text import format_scenario
from moot.lab.shrink_run import shrink_run
from moot.lab.steps import Script

SEEDS_MAX: Final = 200
TRIALS_MAX: Final = 120
"""Runs that shrinking one schedule may cost; few of them are whole ones."""


class Catch(msgspec.Struct, frozen=True):
    """What came of one hunt. ``seeds``: how many were tried. ``replay`` repeats the failing run.

    ``shrunk_events``: faults, payments and liars in the shortest schedule that still fails (0: the
    mistake shows by itself); None: not shrunk. ``minimal``: none of them can be left out.
    ``needs``: what they are, and whether the healing is needed. ``shrunk_nodes``: how many nodes.
    ``scenario``: that schedule as the text of a file for `moot lab scenario`.
    """

    name: str
    engine: str
    found: bool
    seeds: int
    checker: str = ""
    shrunk_events: int | None = None
    shrunk_nodes: int | None = None
    minimal: bool = False
    trials: int = 0
    needs: tuple[str, ...] = ()
    scenario: str = ""
    message: str = ""
    replay: str = ""


def options_of(mutant: Mutant, seed: int) -> RunOptions:
    """The run in which the mutant is hunted."""
    return RunOptions(
        engine=mutant.under,
        nodes=mutant.nodes,
        seed=seed,
        minutes=mutant.minutes,
        faults=mutant.faults,
        parameters=dict(mutant.parameters),
        liars=len(mutant.liars),
        liar_kinds=mutant.liars or None,
        load_tps=mutant.load_tps,
        delay_ms=mutant.delay_ms,
        flush_depth=mutant.flush_depth,
        snapshots=mutant.snapshots,
        mutant=mutant.name,
    )


def hunt(mutant: Mutant, seeds: int = SEEDS_MAX, *, first: int = 1, shrinks: bool = True) -> Catch:
    """Runs up to ``seeds`` seeds. Raises MutantGone."""
    for tried, seed in enumerate(range(first, first + seeds), start=1):
        options = options_of(mutant, seed)
        outcome = run(options)
        if not outcome.violations:
            continue
        violation = outcome.violations[0]
        catch = Catch(
            mutant.name,
            mutant.engine,
            True,
            tried,
            violation.checker,
            message=violation.message,
            replay=command_of(options),
        )
        return _shrunk(catch, options) if shrinks else catch
    return Catch(mutant.name, mutant.engine, False, seeds)


def _shrunk(catch: Catch, options: RunOptions) -> Catch:
    shrunk = shrink_run(options, catch.checker, TRIALS_MAX)
    return msgspec.structs.replace(
        catch,
        shrunk_events=shrunk.events,
        shrunk_nodes=shrunk.case.options.nodes,
        minimal=shrunk.minimal,
        trials=shrunk.trials,
        needs=needs_of(shrunk.case.script),
        scenario=format_scenario(scenario_of(shrunk.case, catch.name, catch.checker)),
    )


def needs_of(script: Script) -> tuple[str, ...]:
    """What is done to a run, by kind, in the order in which each comes first."""
    kinds = Counter(each.step.text.split()[0] for each in script.steps)
    words = [f"{name} {kind}" for name, kind in script.liars]
    words += [f"{count} {kind}" if count > 1 else kind for kind, count in kinds.items()]
    if script.healing != "none":
        words.append("the healing")
    return tuple(words)
