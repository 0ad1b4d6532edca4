"""The checkers of Raft's reactions and majorities, and of Paxos' promises, name each broken rule.

Each case is a planted mistake and the sentence that it is told by; the run ends with it. Without
the mistake the same run passes.
"""

from __future__ import annotations

import re

import msgspec
import pytest

from moot.lab.hunt import options_of
from moot.lab.mutants import find_mutant
from moot.lab.report import Violation
from moot.lab.run import Laboratory, RunOptions, run

SEEDS = 12


def _until_violated(laboratory: Laboratory) -> None:
    laboratory.stop = lambda: bool(laboratory.findings.violations)


def _first(options: RunOptions) -> Violation | None:
    return next(iter(run(options, (_until_violated,)).violations), None)


@pytest.mark.parametrize(
    ("mutant", "checker", "words"),
    [
        ("raft-stands-unasked", "elections", "think it could win"),
        ("raft-half-is-a-majority", "elections", r"leads in term \d+ by \d votes"),
        ("raft-leads-alone", "elections", "leads on in term"),
        ("raft-stays-in-its-term", "elections", "and was answered from term"),
        pytest.param(
            *("raft-believes-old-answers", "elections", "believes an answer of term"),
            marks=pytest.mark.slow,
        ),
        ("raft-takes-its-vote-back", "elections", r"takes its vote in term \d+ back"),
        ("raft-puts-off-for-anybody", "elections", "puts its election off for RequestVote"),
        ("raft-waits-seconds", "elections", r"means to wait \d+ ms for a leader"),
        ("raft-cuts-off-behind-a-commit", "elections", "cuts its log off at height"),
        ("raft-leaves-joint-early", "elections", "of which nothing is committed"),
        ("counts-a-promise-twice", "promises", r"goes by \d promises of round"),
    ],
)
def test_the_broken_rule_is_named(mutant: str, checker: str, words: str) -> None:
    planted = find_mutant(mutant)
    for seed in range(1, SEEDS + 1):
        found = _first(options_of(planted, seed))
        if found is not None and found.checker == checker and re.search(words, found.message):
            break
    else:
        raise AssertionError(f"none of {SEEDS} seeds showed {words!r}")
    honest = msgspec.structs.replace(
        options_of(planted, seed), mutant=None, minutes=found.at_ms / 60_000
    )
    assert _first(honest) is None
