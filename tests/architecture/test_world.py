"""Only named files touch the world: disk, sockets, clock, randomness, processes.

Everything else can run in a simulator, twice, with the same outcome. The list below is the same
that ARCHITECTURE.md shows.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("chain", "consensus", "p2p", "wallet", "moot")

MAY_TOUCH_THE_WORLD = (
    "chain/storage/leveldb.py",
    "moot/cli/",
    "moot/client/",
    "moot/explorer/pages.py",
    "moot/miner/standalone.py",
    "moot/miner/worker.py",
    "moot/miner/workers.py",
    "moot/node/clock.py",
    "moot/node/config.py",
    "moot/node/founding.py",
    "moot/node/logs.py",
    "moot/node/rest/",
    "moot/node/runtime.py",
    "p2p/link.py",
    "p2p/listener.py",
    "p2p/tls.py",
    "p2p/transport.py",
    "wallet/folder.py",
    "wallet/keystore.py",
    "wallet/mnemonics.py",
)

WORLDLY_MODULES = {
    "aiohttp",
    "asyncio",
    "concurrent",
    "multiprocessing",
    "os",
    "pathlib",
    "plyvel",
    "secrets",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "uuid",
}
"""Importing one of these is touching the world."""

WORLDLY_CALLS = {"open", "input", "print"}
GLOBAL_RANDOMNESS = {
    "choice",
    "getrandbits",
    "randbytes",
    "randint",
    "random",
    "randrange",
    "sample",
    "seed",
    "shuffle",
    "SystemRandom",
    "uniform",
}
WALL_CLOCK = {"now", "today", "utcnow"}


def sources() -> list[Path]:
    return sorted(
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if "__pycache__" not in path.parts
    )


def touches(tree: ast.AST) -> list[str]:
    """What in a module touches the world, for the failure's message."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "").partition(".")[0]]
        else:
            names = []
        found += [f"line {node.lineno}: imports {n}" for n in names if n in WORLDLY_MODULES]
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in WORLDLY_CALLS:
                found.append(f"line {node.lineno}: calls {called.id}")
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                owner, name = called.value.id, called.attr
                if owner == "random" and name in GLOBAL_RANDOMNESS:
                    found.append(f"line {node.lineno}: calls random.{name}")
                if owner in ("datetime", "date") and name in WALL_CLOCK:
                    found.append(f"line {node.lineno}: calls {owner}.{name}")
    return found


def allowed(path: Path) -> bool:
    name = path.relative_to(ROOT).as_posix()
    return any(
        name.startswith(entry) if entry.endswith("/") else name == entry
        for entry in MAY_TOUCH_THE_WORLD
    )


def test_only_the_listed_files_touch_the_world() -> None:
    faults = [
        f"{path.relative_to(ROOT)}: {touch}"
        for path in sources()
        if not allowed(path)
        for touch in touches(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not faults, "\n".join(faults)


def test_the_list_names_only_what_exists() -> None:
    missing = [entry for entry in MAY_TOUCH_THE_WORLD if not (ROOT / entry).exists()]
    assert not missing


def test_the_detector_sees_what_it_is_for() -> None:
    source = "import time\nfrom os import path\nopen('x')\nrandom.random()\ndatetime.now()\n"
    assert len(touches(ast.parse(source))) == 5
