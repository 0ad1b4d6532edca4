"""The devnet's node processes: started, watched, stopped; none outlives the devnet."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from moot.cli.devnet.plan import Plan, PlannedNode, folder_of

STOP_TIMEOUT_S = 8.0
"""How long a node may take to stop by itself before it is killed."""
LOG_TAIL_LINES = 12


class NodeProcess:
    """One node as a process of its own, in a session of its own: Ctrl-C reaches only the devnet,
    which then stops its nodes in order."""

    def __init__(
        self,
        directory: Path,
        node: PlannedNode,
        environment: Mapping[str, str] | None = None,
        died: asyncio.Queue[NodeProcess] | None = None,
    ) -> None:
        """``environment``: changes to ours; ``died``: told when the process ends by itself."""
        self.node = node
        self.folder = folder_of(directory, node)
        self.log = self.folder.path / "node.log"
        self.process: asyncio.subprocess.Process | None = None
        self.restarts = 0
        self.down = True
        """It is not meant to run: not started, stopped, or killed on purpose."""
        self.paused = False
        self._environment = dict(environment or {})
        self._died = died
        self._watching: asyncio.Task[None] | None = None

    def command(self) -> list[str]:
        """What is run; tests put a tool of theirs before it."""
        python = [sys.executable, "-m", "moot.cli"]
        return [*python, "node", "run", "--dir", str(self.folder.path), "--die-with-parent"]

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command(),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self._environment},
            )
        self.down = self.paused = False
        if self._died is not None:
            self._watching = asyncio.create_task(self._watch(self.process, self._died))

    async def _watch(
        self, process: asyncio.subprocess.Process, died: asyncio.Queue[NodeProcess]
    ) -> None:
        await process.wait()
        if not self.down and process is self.process:
            died.put_nowait(self)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def signal(self, number: int) -> None:
        if self.alive and self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    async def kill(self) -> None:
        """SIGKILL, on purpose: that the process ends is no surprise."""
        self.down, self.paused = True, False
        self.signal(signal.SIGKILL)
        if self.process is not None:
            await self.process.wait()

    def pause(self) -> None:
        """SIGSTOP: it keeps its links and says nothing."""
        self.paused = True
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.paused = False
        self.signal(signal.SIGCONT)

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL for one that does not listen."""
        self.down = True
        if self.process is None:
            return
        self.resume()
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            await self.kill()

    def last_words(self) -> str:
        """The end of the log, for people."""
        if not self.log.exists():
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])


class Fleet:
    """All nodes of a devnet. ``environment``: of each node, beside ours."""

    def __init__(self, directory: Path, plan: Plan, environment: Mapping[str, str]) -> None:
        self._died: asyncio.Queue[NodeProcess] = asyncio.Queue()
        self.nodes = [NodeProcess(directory, node, environment, self._died) for node in plan.nodes]

    async def start(self) -> None:
        for node in self.nodes:
            await node.start()

    async def stop(self) -> None:
        """Stops all, together."""
        await asyncio.gather(*(node.stop() for node in self.nodes))

    async def one_died(self) -> NodeProcess:
        """Returns the next node whose process ended although nobody meant it to."""
        return await self._died.get()
