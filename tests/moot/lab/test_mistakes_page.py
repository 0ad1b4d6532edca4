"""docs/guides/mistakes.md stays true: what it names exists, and it names every mutant of these
engines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from moot.lab.mutants import all_mutants

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "guides" / "mistakes.md"
ENGINES = ("raft", "paxos", "multipaxos", "gossip", "authority")
NAME = re.compile(r"`([^`]+)`")


class Row(NamedTuple):
    mistake: str
    mutants: str
    tests: str


def _rows() -> list[Row]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line[:2] == "| "]
    return [Row(*row) for row in cells if row[0] != "Mistake"]


def _functions() -> set[str]:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    return {name for text in sources for name in re.findall(r"^(?:async )?def (\w+)\(", text, re.M)}


def test_every_mutant_of_these_engines_is_on_the_page_and_no_other_name() -> None:
    named = {name for row in _rows() for name in NAME.findall(row.mutants)}
    known = {mutant.name for mutant in all_mutants()}
    wanted = {mutant.name for mutant in all_mutants() if mutant.engine in ENGINES}
    assert named - known == set()
    assert wanted - named == set()


def test_every_test_on_the_page_exists() -> None:
    functions = _functions()
    for name in (name for row in _rows() for name in NAME.findall(row.tests)):
        assert name in functions or (ROOT / name).is_file(), name


@pytest.mark.parametrize("row", _rows(), ids=lambda row: row.mistake)
def test_a_mistake_without_a_mutant_has_a_reason(row: Row) -> None:
    reason = re.match(r"none(?: found)?: \w.{20}", row.mutants)
    assert NAME.search(row.mutants) or reason, row
    assert row.tests or "none: " in row.mutants, row
