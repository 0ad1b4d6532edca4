"""The command as a function, and nodes for it to speak to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from moot.cli.main import main
from tests.support.live_node import LiveNode

Moot = Callable[..., Result]


@pytest.fixture
def moot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Moot:
    """Runs the command in this process, with wallets and a password of the test's own."""
    (tmp_path / "password").write_text("a password\n")
    environment = {
        "MOOT_HOME": str(tmp_path / "home"),
        "MOOT_PASSWORD_FILE": str(tmp_path / "password"),
    }
    monkeypatch.chdir(tmp_path)

    def run(
        *arguments: str | Path, status: int | None = 0, env: Any = None, stdin: str = ""
    ) -> Any:
        words = [str(argument) for argument in arguments]
        merged = {**environment, **(env or {})}
        result = CliRunner(env=merged).invoke(main, words, input=stdin, catch_exceptions=False)
        said = f"{' '.join(words)}\n{result.stdout}\n{result.stderr}"
        assert status is None or result.exit_code == status, said
        return result

    return run


def document(result: Result) -> Any:
    """The one JSON document on standard output."""
    return json.loads(result.stdout)


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """A PBFT node that decides alone."""
    with LiveNode(tmp_path_factory.mktemp("pbft")) as node:
        yield node


@pytest.fixture(scope="session")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """A proof-of-work node that mines alone."""
    with LiveNode(tmp_path_factory.mktemp("pow"), "pow") as node:
        yield node
