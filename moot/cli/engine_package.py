"""``moot engines new``: a package of the reader's own, made from the source of ``authority``.

There is no second copy of the engine to go stale: what is written is consensus/authority.py as it
is installed, under another name.
"""

from __future__ import annotations

import inspect
import keyword
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import consensus.authority
from moot import __version__
from moot.cli.common import Failure

MODEL: Final = "authority"
NAME_PATTERN: Final = re.compile(r"[a-z][a-z0-9]{1,30}")
"""It becomes part of a module's, a class's and a distribution's name, and of command lines."""
RESERVED: Final = frozenset({"new", "show", "none", "node", "all"})
"""Words that stand for something else where an engine's name may stand."""


def check_name(name: str, taken: Collection[str]) -> None:
    """Raises Failure, with the rule that is broken."""
    if not NAME_PATTERN.fullmatch(name):
        raise Failure(
            f"{name!r} will not do as a name: 2 to 31 small letters and digits, a letter first"
        )
    if name in RESERVED or keyword.iskeyword(name) or name in sys.stdlib_module_names:
        raise Failure(f"{name!r} has a meaning already, in Python or in Moot; take another name")
    if name in taken:
        raise Failure(f"an engine called {name!r} is installed already; take another name")


def package_files(name: str, taken: Collection[str]) -> dict[str, str]:
    """Each file's text by its path in the package. Raises Failure for a bad name.

    ``taken``: the names of the engines that are installed.
    """
    check_name(name, taken)
    words = {"NAME": name, "CLASS": name.capitalize(), "VERSION": __version__}
    made = {path: _filled(text, words) for path, text in TEMPLATES.items()}
    return {f"moot_engine_{name}.py": engine_source(name), **made}


def engine_source(name: str) -> str:
    """The source of ``authority``, renamed from beginning to end."""
    source = inspect.getsource(consensus.authority)
    for word, other in (
        (MODEL, name),
        (MODEL.capitalize(), name.capitalize()),
    ):
        # Also at the start of a class's name, not within another word.
        source = re.sub(rf"(?<![A-Za-z]){word}(?![a-z])", other, source)
    return source.replace(f"docs/engines/{name}.md", f"Moot's docs/engines/{MODEL}.md")


def write_package(directory: Path, files: Mapping[str, str]) -> None:
    """Writes it into a directory that is new or empty. Raises Failure otherwise."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise Failure(f"{directory} exists and is not an empty folder; nothing was written")
    try:
        for path, text in files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"{directory} could not be written: {error.strerror}") from None


def _filled(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


PYPROJECT: Final = """\
[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"

[project]
name = "moot-engine-@NAME@"
version = "0.1.0"
description = "A consensus engine for Moot."
requires-python = ">=3.11"
dependencies = ["moot>=@VERSION@"]

[project.entry-points."moot.engines"]
@NAME@ = "moot_engine_@NAME@:PROTOCOL"

[tool.setuptools]
py-modules = ["moot_engine_@NAME@"]
"""

README: Final = """\
# @NAME@: a consensus engine for Moot

Made from Moot's engine `authority` by `moot engines new @NAME@`. All of it is in
[moot_engine_@NAME@.py](moot_engine_@NAME@.py): parameters, claims, rules, the durable record, the
engine. Moot's `consensus/contract.py` says what each part is asked, and the guide "Write an engine
in an afternoon" (docs/guides/write-an-engine.md) goes through it.

```console
$ pip install -e .
$ moot engines @NAME@                           # it is installed, and what it claims
$ pytest tests                                  # its rules, and some minutes in the laboratory
$ moot lab prove @NAME@                         # the report card
$ moot lab campaign --engine @NAME@ --nodes 3-5 --seeds 50
$ moot devnet --engine @NAME@ --nodes 3 --load 20    # a real network of it
```

What the laboratory finds comes with a line that repeats it: change the engine, run the line again.
"""

TEST_RULES: Final = '''\
"""The engine's rules, by themselves."""

from consensus.contract import ConfirmationRules, SealRules
from consensus.registry import protocol
from moot_engine_@NAME@ import PROTOCOL, @CLASS@Parameters, is_in_turn


def test_it_is_installed():
    assert protocol("@NAME@") is PROTOCOL


def test_its_blocks_are_sealed_and_confirmed_by_rules_of_its_own():
    rules = PROTOCOL.rules(@CLASS@Parameters())
    assert isinstance(rules, SealRules) and isinstance(rules, ConfirmationRules)
    assert rules.properties.faults(3) == 1


def test_every_signer_has_its_turn():
    signers = [b"a", b"b", b"c"]
    for slot in range(6):
        assert [is_in_turn(signers, slot, one) for one in signers].count(True) == 1
'''

TEST_LABORATORY: Final = '''\
"""Whole simulated networks of it, with and without faults; the same seed is the same run."""

import pytest

from moot.lab.run import RunOptions, run


@pytest.mark.parametrize("nodes", [1, 3, 5])
def test_payments_are_confirmed(nodes):
    outcome = run(RunOptions(engine="@NAME@", nodes=nodes, seed=1, minutes=0.2, faults=()))
    assert not outcome.violations
    assert outcome.operations > 0


@pytest.mark.parametrize("seed", range(1, 6))
def test_it_survives_what_the_laboratory_does_to_it(seed):
    outcome = run(RunOptions(engine="@NAME@", nodes=4, seed=seed, minutes=0.3))
    assert not outcome.violations, outcome.violations[0]
'''

TEMPLATES: Final = {
    "pyproject.toml": PYPROJECT,
    "README.md": README,
    "tests/test_rules.py": TEST_RULES,
    "tests/test_laboratory.py": TEST_LABORATORY,
}
