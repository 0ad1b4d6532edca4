"""A campaign: many runs of one engine, over many seeds and sizes, and what they went through."""

from __future__ import annotations

from collections import Counter

import msgspec

from moot.lab.fault_kinds import DRAWN, KINDS
from moot.lab.run import Outcome, RunOptions, command_of


class Range(msgspec.Struct, frozen=True):
    """Sizes of a campaign's networks: ``low`` to ``high``, both included."""

    low: int
    high: int

    @property
    def text(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


class FailedRun(msgspec.Struct, frozen=True):
    """A run in which something was violated, and the line that repeats it."""

    seed: int
    nodes: int
    checker: str
    message: str
    replay: str


class Summary(msgspec.Struct, frozen=True):
    """A campaign's JSON document."""

    engine: str
    nodes: str
    seeds: int
    violations: list[FailedRun]
    invalid_runs: int
    faults: dict[str, int]
    faults_never_injected: list[str]
    exercised: dict[str, int]
    seconds: float
    events: int
    virtual_seconds: float
    operations: int


def plan(base: RunOptions, sizes: Range, first_seed: int, seeds: int) -> list[RunOptions]:
    """The runs: each seed once, the sizes in turn."""
    width = sizes.high - sizes.low + 1
    return [
        msgspec.structs.replace(base, seed=seed, nodes=sizes.low + seed % width)
        for seed in range(first_seed, first_seed + seeds)
    ]


class Tally:
    """Adds outcomes up."""

    def __init__(self, engine: str, sizes: Range, commit: str) -> None:
        self._engine = engine
        self._sizes = sizes
        self._commit = commit
        self.failed: list[FailedRun] = []
        self.runs = self.invalid = 0
        self._events = self._operations = 0
        self._virtual_seconds = 0.0
        self._faults: Counter[str] = Counter()
        self._wanted: set[str] = set()
        self._exercised: Counter[str] = Counter()

    def add(self, options: RunOptions, outcome: Outcome) -> None:
        """Counters are summed; those named ``..._max`` keep the largest."""
        self.runs += 1
        self.invalid += not outcome.valid
        self._events += outcome.events
        self._operations += outcome.operations
        self._virtual_seconds += outcome.virtual_seconds
        self._faults.update(outcome.faults)
        self._wanted.update(DRAWN if options.faults is None else options.faults)
        for name, count in outcome.exercised.items():
            if name.endswith("_max"):
                self._exercised[name] = max(self._exercised[name], count)
            else:
                self._exercised[name] += count
        replay = command_of(options, self._commit)
        for violation in outcome.violations[:1]:
            self.failed.append(
                FailedRun(options.seed, options.nodes, violation.checker, violation.message, replay)
            )

    def summary(self, seconds: float) -> Summary:
        """``seconds``: of real time that the runs took."""
        return Summary(
            engine=self._engine,
            nodes=self._sizes.text,
            seeds=self.runs,
            violations=sorted(self.failed, key=lambda run: run.seed),
            invalid_runs=self.invalid,
            faults={kind: self._faults[kind] for kind in KINDS if self._faults[kind]},
            faults_never_injected=[
                kind for kind in KINDS if kind in self._wanted and not self._faults[kind]
            ],
            exercised={name: self._exercised[name] for name in sorted(self._exercised)},
            seconds=round(seconds, 3),
            events=self._events,
            virtual_seconds=round(self._virtual_seconds, 3),
            operations=self._operations,
        )
