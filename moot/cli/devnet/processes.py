"""The devnet's node processes: started, watched, stopped; none outlives the devnet."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from moot.cli.devnet.plan import Plan, PlannedNode, folder_of

STOP_TIMEOUT_S = 8.0
"""How long a node may take to stop by itself before it is killed."""
LOG_TAIL_LINES = 12


class NodeProcess:
    """One node as a process of its own, in a session of its own: Ctrl-C reaches only the devnet,
    which then stops its nodes in order."""

    def __init__(self, directory: Path, node: PlannedNode) -> None:
        self.node = node
        self.folder = folder_of(directory, node)
        self.log = self.folder.path / "node.log"
        self.process: asyncio.subprocess.Process | None = None
        self.restarts = 0

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "moot.cli",
                "node",
                "run",
                "--dir",
                str(self.folder.path),
                "--die-with-parent",
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def signal(self, number: int) -> None:
        if self.alive and self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL for one that does not listen."""
        if self.process is None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.process.wait()

    def last_words(self) -> str:
        """The end of the log, for people."""
        if not self.log.exists():
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])


class Fleet:
    """All nodes of a devnet."""

    def __init__(self, directory: Path, plan: Plan) -> None:
        self.nodes = [NodeProcess(directory, node) for node in plan.nodes]

    async def start(self) -> None:
        for node in self.nodes:
            await node.start()

    async def stop(self) -> None:
        """Stops all, together."""
        await asyncio.gather(*(node.stop() for node in self.nodes))

    async def one_died(self) -> NodeProcess:
        """Returns the first node whose process ended."""
        waits = {
            asyncio.create_task(node.process.wait()): node
            for node in self.nodes
            if node.process is not None
        }
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return waits[done.pop()]
        finally:
            for wait in waits:
                wait.cancel()
