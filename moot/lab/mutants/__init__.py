"""Planted faults: one textbook mistake each, to test whether the laboratory finds what it should.

Each mutant is a module below this package, named like the mutant, with one ``MUTANT``. It says
which rule it breaks, where the rule comes from, and under which circumstances it is hunted: they
are what a campaign would draw anyway, chosen so that few seeds are enough.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cache

import msgspec

from chain.errors import Invalid
from moot.lab.planting import MutantGone, Rewrite, planted

NODE = "node"
"""In the place of an engine: mistakes in what all engines share."""


class UnknownMutant(Invalid):
    """No mutant of that name."""


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """One mistake.

    ``engine``: whose rule it breaks, or NODE. ``rule``: the right rule, in a sentence. ``source``:
    who states it. ``under``: the engine that runs. The rest are fields of RunOptions.
    """

    name: str
    engine: str
    rule: str
    source: str
    rewrites: tuple[Rewrite, ...]
    under: str = "pbft"
    nodes: int = 4
    minutes: float = 0.3
    faults: tuple[str, ...] = ()
    liars: tuple[str, ...] = ()
    parameters: Mapping[str, int | str] = {}
    load_tps: float = 4.0
    delay_ms: tuple[int, int] | None = None
    flush_depth: int | None = None
    snapshots: str = "none"

    def apply(self) -> AbstractContextManager[None]:
        """While it lasts the mistake is in the production code. Raises MutantGone."""
        return planted(self.rewrites)


@cache
def all_mutants() -> tuple[Mutant, ...]:
    """Every mutant, in order of package and name."""
    return tuple(_walk())


def _walk() -> Iterator[Mutant]:
    for package in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        if not package.ispkg:
            continue
        inside = importlib.import_module(f"{__name__}.{package.name}")
        for module in sorted(pkgutil.iter_modules(inside.__path__), key=lambda one: one.name):
            found = importlib.import_module(f"{inside.__name__}.{module.name}").MUTANT
            assert isinstance(found, Mutant)
            assert found.name == module.name.replace("_", "-"), module.name
            yield found


def find_mutant(name: str) -> Mutant:
    """Raises UnknownMutant, which lists the known ones."""
    for mutant in all_mutants():
        if mutant.name == name:
            return mutant
    known = ", ".join(mutant.name for mutant in all_mutants())
    raise UnknownMutant("unknown-mutant", f"no mutant is called {name!r}; known are: {known}")


__all__ = [
    "NODE",
    "Mutant",
    "MutantGone",
    "Rewrite",
    "UnknownMutant",
    "all_mutants",
    "find_mutant",
]
