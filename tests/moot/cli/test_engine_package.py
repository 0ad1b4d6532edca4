"""``moot engines new``: a package of one's own, which installs, and which the laboratory grades."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import inspect
import json
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from click.testing import CliRunner

import consensus.authority
from consensus.registry import engine_names
from moot.cli.engine_package import engine_source, package_files
from moot.cli.main import main

ROOT = Path(__file__).parents[3]


def moot(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.output


def test_it_writes_a_whole_package_and_says_what_to_do_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "my engine"
    status, said = moot("engines", "new", "mine", "--directory", str(folder))
    assert status == 0 and "pip install -e" in said and "moot lab prove mine" in said
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == {
        "README.md",
        "moot_engine_mine.py",
        "pyproject.toml",
        "tests/test_laboratory.py",
        "tests/test_rules.py",
    }
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    points = project["project"]["entry-points"]["moot.engines"]
    assert points == {"mine": "moot_engine_mine:PROTOCOL"}
    assert all("@" not in (folder / path).read_text() for path in ("README.md", "pyproject.toml"))


def test_the_engine_is_the_real_one_under_another_name() -> None:
    """Not a copy that grows old: the same program, but for the name."""
    made, real = engine_source("mine"), inspect.getsource(consensus.authority)
    assert "PROTOCOL = MineProtocol()" in made and 'NAME: Final = "mine"' in made
    left = [line for line in made.splitlines() if "uthority" in line]
    assert left == ["Moot's docs/engines/authority.md."]
    back = made.replace("Mine", "Authority").replace("mine", "authority")
    again = ast.dump(ast.parse(back.partition('"""\n\n')[2]))
    assert again == ast.dump(ast.parse(real.partition('"""\n\n')[2]))


@pytest.mark.parametrize(
    "name", ["", "x", "Mine", "my engine", "../mine", "my-engine", "9lives", "é", "a" * 32]
)
def test_a_name_that_will_not_do_gets_a_sentence(name: str, tmp_path: Path) -> None:
    status, said = moot("engines", "new", name, "--directory", str(tmp_path / "out"))
    assert status == 1 and "will not do as a name" in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pbft", "is installed already"),
        ("authority", "is installed already"),
        ("new", "has a meaning already"),
        ("class", "has a meaning already"),
        ("json", "has a meaning already"),
    ],
)
def test_a_name_that_is_taken_gets_a_sentence(name: str, words: str, tmp_path: Path) -> None:
    status, said = moot("engines", "new", name, "--directory", str(tmp_path / "out"))
    assert status == 1 and words in said
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("keep me")
    for place in (tmp_path, tmp_path / "letter.txt"):
        status, said = moot("engines", "new", "mine", "--directory", str(place))
        assert status == 1 and "nothing was written" in said
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    assert (tmp_path / "letter.txt").read_text() == "keep me"


def test_a_folder_that_cannot_be_written_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, said = moot("engines", "new", "mine", "--directory", str(tmp_path / "file" / "deep"))
    assert status == 1 and "could not be written" in said


def test_engines_lists_shows_and_refuses(tmp_path: Path) -> None:
    status, said = moot("engines", "--json")
    assert status == 0
    assert [each["engine"] for each in json.loads(said)["engines"]] == list(engine_names())
    for way in (("engines", "gossip"), ("engines", "show", "gossip")):
        status, said = moot(*way, "--json")
        found = json.loads(said)
        assert status == 0 and found["engine"] == "gossip"
        assert "no promise" in found["confirmed"]
    assert "confirmed means" in moot("engines", "gossip")[1]
    assert "confirmed means" not in moot("engines", "pbft")[1]
    status, said = moot("engines", "nonsense")
    assert status == 1 and "no engine is called 'nonsense'" in said


def can_build() -> bool:
    """Whether editable packages can be built here without asking an index for tools."""
    if importlib.util.find_spec("wheel") is not None:
        return True
    version = importlib.metadata.version("setuptools").split(".")
    return (int(version[0]), int(version[1])) >= (70, 1)


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A fresh environment that sees what is installed here, and this very tree."""
    place = tmp_path / "venv"
    venv.create(place, with_pip=False)
    (site,) = (place / "lib").glob("python*/site-packages")
    seen = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    (site / "here.pth").write_text("\n".join(seen) + "\n")
    return place / "bin" / "python"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_installs_passes_its_own_tests_and_is_graded(tmp_path: Path, python: Path) -> None:
    folder = tmp_path / "engine"
    for path, text in package_files("mine", engine_names()).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(*arguments: str, cwd: Path = tmp_path) -> str:
        done = subprocess.run(
            [str(python), "-m", *arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
        return done.stdout

    if can_build():
        run("pip", "install", "-q", "--no-build-isolation", "--no-deps", "-e", str(folder))
    else:  # what an editable install comes to: its metadata, and its folder on the path
        run_there = [str(python), "-c", "import setuptools; setuptools.setup()", "-q", "egg_info"]
        subprocess.run(run_there, cwd=folder, env=environment, check=True, timeout=60)
        (site,) = python.parents[1].glob("lib/python*/site-packages")
        (site / "mine.pth").write_text(f"{folder}\n")
    assert json.loads(run("moot.cli", "engines", "mine", "--json"))["engine"] == "mine"
    run("pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=folder)
    card = json.loads(run("moot.cli", "lab", "prove", "mine", "--seeds", "3", "--json"))
    assert card["engine"] == "mine" and card["passed"] is True
    assert {part["name"] for part in card["parts"]} >= {"contract", "determinism", "restarts"}
