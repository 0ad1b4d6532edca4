"""Runs a guide's console blocks literally, terminal by terminal.

The conventions are the guide's own (docs/guides/network.md): a block that begins with
``# terminal N`` runs in the background and stays; ``# terminal N, after Ctrl-C`` sends SIGINT to
what ran there before, and waits for its end. All other blocks run one after the other in one shell,
whose environment lasts. One substitution is made: the guide's ports 9600 to 9603 and 9700 to 9703
become free ones, everywhere in the text.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from moot.cli.devnet.plan import free_ports

ROOT = Path(__file__).parents[2]
PORT = re.compile(r"\b9[67]0[0-3]\b")
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)
_TERMINAL = re.compile(r"# terminal (\d+)(, after Ctrl-C)?")
STOP_TIMEOUT_S = 20.0
STEP_TIMEOUT_S = 120.0


class Block(NamedTuple):
    """``terminal`` None: the reader's own. ``text``: what is pasted."""

    terminal: int | None
    stop_first: bool
    text: str


def blocks_of(guide: Path) -> list[Block]:
    """The guide's console blocks in order, as they stand there."""
    found = []
    for text in _BLOCK.findall(guide.read_text(encoding="utf-8")):
        first, _, rest = text.partition("\n")
        match = _TERMINAL.fullmatch(first)
        if match is None:
            found.append(Block(None, False, text))
        else:
            found.append(Block(int(match[1]), match[2] is not None, rest))
    return found


class Terminals:
    """The reader of a guide, with a folder of their own. Leaves no process behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._busy: dict[int, subprocess.Popen[bytes]] = {}
        ports = free_ports(8)
        self._ports = {str(9600 + i): str(port) for i, port in enumerate(ports[:4])}
        self._ports |= {str(9700 + i): str(port) for i, port in enumerate(ports[4:])}
        command = folder / "bin" / "moot"
        command.parent.mkdir(parents=True)
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m moot.cli "$@"\n')
        command.chmod(0o755)
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("MOOT_")},
            "PATH": f"{command.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._busy.values():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def url(self, number: int) -> str:
        """The REST API that the guide has at port 9600 + number."""
        return f"http://127.0.0.1:{self._ports[str(9600 + number)]}"

    @property
    def busy(self) -> list[int]:
        """Numbers of the terminals in which something runs."""
        return sorted(self._busy)

    def paste(self, block: Block) -> str:
        """Runs a block; the output of one that ends. Fails where it ends with an error."""
        text = PORT.sub(lambda match: self._ports[match[0]], block.text)
        if block.terminal is None:
            return self._own(text)
        if block.stop_first:
            self._interrupt(block.terminal)
        if text.strip():
            self._start(block.terminal, text)
        return ""

    def log(self, terminal: int) -> str:
        """What a busy terminal has shown so far."""
        return (self.folder / f"terminal{terminal}.log").read_text(errors="replace")

    def _own(self, text: str) -> str:
        script = f"set -e\n[ ! -f .env ] || . ./.env\n{text}\nexport -p > .env\n"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=STEP_TIMEOUT_S,
        )
        logs = "\n".join(self.log(terminal)[-1500:] for terminal in self.busy)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}\n{logs}"
        return done.stdout

    def _start(self, terminal: int, text: str) -> None:
        assert terminal not in self._busy, f"terminal {terminal} is busy"
        script = text.strip()
        with (self.folder / f"terminal{terminal}.log").open("ab") as log:
            self._busy[terminal] = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _interrupt(self, terminal: int) -> None:
        process = self._busy.pop(terminal)
        os.killpg(process.pid, signal.SIGINT)
        try:
            status = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"Ctrl-C is not heard:\n{self.log(terminal)}") from None
        assert status == 0, f"terminal {terminal} ended with {status}:\n{self.log(terminal)}"
