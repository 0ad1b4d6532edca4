"""Hunting a mutant: seed after seed until a checker speaks, then the shortest schedule."""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from moot.lab.mutants import Mutant
from moot.lab.report import Violation
from moot.lab.run import Laboratory, RunOptions, command_of, run
from moot.lab.scenario import scenario_of
from moot.lab.scenario_text import format_scenario
from moot.lab.shrink_run import shrink_run
from moot.lab.steps import Script

SEEDS_MAX: Final = 200
TRIALS_MAX: Final = 120
"""Runs that shrinking one schedule may cost; few of them are whole ones."""
EVENTS_WANTED: Final = 40
"""A shortest case with as many faults, payments and liars is worth a second look."""
SECOND_LOOKS: Final = 12
"""Seeds of which the one that fails earliest is shrunk then."""
TRIALS_OF_SECOND_LOOK: Final = 500


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
        if not shrinks:
            return catch
        found = _shrunk(catch, options, TRIALS_MAX)
        return found if _is_small(found) else _second_look(found, mutant, seed)
    return Catch(mutant.name, mutant.engine, False, seeds)


def _is_small(catch: Catch) -> bool:
    return catch.shrunk_events is not None and catch.shrunk_events < EVENTS_WANTED


def _second_look(catch: Catch, mutant: Mutant, seed: int) -> Catch:
    """What shows early has little before it: of some more seeds, the one in which it shows first,
    shrunk with more patience. The first catch where that is no smaller."""
    earliest: tuple[Violation, RunOptions] | None = None
    for other in range(seed, seed + SECOND_LOOKS):
        options = options_of(mutant, other)
        found = run(options, (_until_violated,)).violations
        is_the_same = bool(found) and found[0].checker == catch.checker
        if is_the_same and (earliest is None or found[0].at_ms < earliest[0].at_ms):
            earliest = (found[0], options)
    if earliest is None:
        return catch
    violation, options = earliest
    again = msgspec.structs.replace(catch, message=violation.message, replay=command_of(options))
    smaller = _shrunk(again, options, TRIALS_OF_SECOND_LOOK)
    assert smaller.shrunk_events is not None and catch.shrunk_events is not None
    return smaller if smaller.shrunk_events < catch.shrunk_events else catch


def _until_violated(laboratory: Laboratory) -> None:
    laboratory.stop = lambda: bool(laboratory.findings.violations)


def _shrunk(catch: Catch, options: RunOptions, trials_max: int) -> Catch:
    shrunk = shrink_run(options, catch.checker, trials_max)
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
