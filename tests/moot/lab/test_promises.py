"""The checkers of promises and leases see what they are there for, and nothing in honest nodes."""

from __future__ import annotations

import msgspec
import pytest

from moot.lab.hunt import hunt, options_of
from moot.lab.mutants import find_mutant
from moot.lab.run import run

CAUGHT = [
    ("promises-in-memory", "has not written it"),
    ("wiped-and-voting", "it lost its record"),
    ("keeps-its-own-value", "than its promises show"),
    ("promise-forgotten", "after round"),
    ("vote-forgotten", "hides what it accepted"),
    ("lease-binds-nobody", "may count on its lease"),
]


def test_a_promise_that_is_not_written_is_seen() -> None:
    catch = hunt(find_mutant("promises-in-memory"), 1, shrinks=False)
    assert (catch.found, catch.checker) == (True, "promises")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "words"), CAUGHT)
def test_each_broken_word_is_named(name: str, words: str) -> None:
    catch = hunt(find_mutant(name), 12, shrinks=False)
    assert catch.checker in ("promises", "leases")
    assert words in catch.message


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, _ in CAUGHT])
def test_the_honest_node_passes_the_same_seed(name: str) -> None:
    honest = msgspec.structs.replace(options_of(find_mutant(name), 1), mutant=None)
    assert run(honest).violations == []
