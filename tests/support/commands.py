"""Runs the real ``moot`` command as a process, as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HOME = tempfile.TemporaryDirectory(prefix="moot-home-")
"""What the commands keep for their user; gone when the tests end."""
ROOT = Path(__file__).parents[2]


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without Moot's variables, the checkout first on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MOOT_")}
    ours = {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "MOOT_HOME": HOME.name}
    return {**kept, **ours, **changes}


def moot(
    *arguments: str, timeout_s: float = 120, **changes: str
) -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "moot.cli", *arguments],
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def moot_json(*arguments: str, timeout_s: float = 120, **changes: str) -> Any:
    """The JSON document of a command that must succeed."""
    outcome = moot(*arguments, timeout_s=timeout_s, **changes)
    assert outcome.returncode == 0, outcome.stderr + outcome.stdout
    return json.loads(outcome.stdout)


class Background:
    """A command that runs until it is told to stop."""

    def __init__(self, arguments: Sequence[str], output: Path, **changes: str) -> None:
        self.output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moot.cli", *arguments],
                env=environment(**changes),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def text(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, words: str, timeout_s: float = 60) -> str:
        """Until the output holds ``words``; fails with what it holds instead."""
        deadline = time.monotonic() + timeout_s
        while words not in self.text():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.1)
        return self.text()

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 30) -> int:
        """Sends a signal and waits; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def __enter__(self) -> Background:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)


def processes_with(words: str) -> list[int]:
    """Processes whose command line holds ``words``."""
    found = []
    for entry in Path("/proc").iterdir() if Path("/proc").exists() else ():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if words.encode() in line and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def wait_gone(words: str, timeout_s: float = 20) -> None:
    """Until no process has ``words`` in its command line."""
    deadline = time.monotonic() + timeout_s
    while left := processes_with(words):
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.1)
