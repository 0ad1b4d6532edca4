"""How tables and facts look on terminals of any width, and in pipes."""

from __future__ import annotations

import os
import sys

import pytest

from moot.cli.common import Failure, print_facts, print_table, shortened

HEADERS = ("time", "amount", "with", "id")
ROWS = (("12:00", "+1.5", "a" * 60, "b" * 64), ("12:01", "-10", "itself", "c" * 64))


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_table(HEADERS, ROWS, left=("time",), long=("with", "id"))
    return capsys.readouterr().out.splitlines()


def test_piped_output_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    head, first, second = lines(capsys)
    assert first.split() == list(ROWS[0]) and second.split() == list(ROWS[1])
    assert head.index("id") == first.index("b") == second.index("c")
    assert first.index("+1.5") + 4 == second.index("-10") + 3 == head.index("amount") + 6


@pytest.mark.parametrize("columns", [60, 80, 110])
def test_a_terminal_gets_lines_that_fit_and_whole_numbers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = lines(capsys)
    assert all(len(line) <= columns for line in shown[1:]), shown
    assert "12:00    +1.5  aaaa" in shown[1] and shown[1].count("…") == 2
    assert "itself" in shown[2]


def test_the_middle_is_what_is_left_out() -> None:
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghij", 7) == "abc…hij"
    assert shortened("abcdefghij", 6) == "abc…ij"


def test_facts_stand_in_two_columns_without_the_empty_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_facts([("A", 1), ("Long name", 0), ("Empty", ""), ("Missing", None)])
    assert capsys.readouterr().out == f"A          1{os.linesep}Long name  0{os.linesep}"


def test_what_a_node_says_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    nasty = "all\x1b[2Jgone\r\nError: \x9b31m"
    print_facts([("Name", nasty)])
    print_table(("a",), [(nasty,)])
    Failure(nasty).show()
    said = capsys.readouterr()
    for line in (said.out + said.err).splitlines():
        assert line.replace("\x1b[2m", "").replace("\x1b[0m", "").isprintable(), line
    assert (said.out + said.err).count("gone") == 3
