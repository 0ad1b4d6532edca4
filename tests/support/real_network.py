"""A network of real node processes on loopback, for end-to-end tests."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from types import TracebackType
from typing import Self

from moot.cli.devnet.control import make_token, token_path
from moot.cli.devnet.faults import Faults
from moot.cli.devnet.plan import Plan, open_or_make, properties_of
from moot.cli.devnet.processes import NodeProcess
from moot.cli.devnet.watch import Agreement, Watcher
from moot.client.answers import NodeStatus
from moot.client.load import Goal, LoadGenerator
from wallet.development import development_key

POLL_S = 0.1


class RealNetwork:
    """Nodes as processes; whatever happens in the test, none outlives it."""

    def __init__(
        self,
        directory: Path,
        engine: str,
        nodes: int,
        parameters: dict[str, int | str] | None = None,
        settings: dict[str, str] | None = None,
    ) -> None:
        """``settings``: environment variables of every node."""
        self.directory = directory
        self.plan: Plan = open_or_make(directory, engine, nodes, parameters or {}, first_port=0)
        token = make_token(directory)
        environment = {
            "MOOT_REST_ADMIN_TOKEN_FILE": str(token_path(directory)),
            **(settings or {}),
        }
        self.nodes = [NodeProcess(directory, node, environment) for node in self.plan.nodes]
        self.watcher = Watcher(self.plan.urls())
        self.faults = Faults(self.nodes, self.plan.urls(), token, lambda event, fields: None)
        self.finalizes = properties_of(self.plan, directory).finalizes

    async def __aenter__(self) -> Self:
        for node in self.nodes:
            await node.start()
        assert await self.watcher.all_up(60), self.last_words()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.faults.close()
        await self.watcher.close()
        await asyncio.gather(*(node.stop() for node in self.nodes))

    def load(self, rate: float) -> LoadGenerator:
        keys = [development_key(index) for index in range(2, 10)]
        goal: Goal = "final" if self.finalizes else "committed"
        return LoadGenerator(self.plan.urls(), keys, rate, goal=goal)

    async def kill(self, index: int) -> None:
        """kill -9, and gone."""
        node = self.nodes[index]
        assert node.process is not None
        node.signal(signal.SIGKILL)
        await node.process.wait()

    async def restart(self, index: int) -> None:
        await self.nodes[index].start()

    async def status(self, index: int) -> NodeStatus | None:
        return (await self.watcher.look())[index]

    async def wait_final(self, height: int, indexes: list[int], timeout_s: float) -> None:
        """Until the named nodes all have ``height`` final; fails with what they said last."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while asyncio.get_running_loop().time() < deadline:
            found = await self.watcher.look()
            heights = [
                -1 if status is None else status.finalized.height
                for status in (found[index] for index in indexes)
            ]
            if min(heights) >= height:
                return
            await asyncio.sleep(POLL_S)
        raise AssertionError(f"wanted {height} final, nodes have {heights}\n{self.last_words()}")

    async def agreement(self) -> Agreement:
        return await self.watcher.agreement()

    async def finalized(self, index: int) -> tuple[int, str]:
        status = await self.status(index)
        assert status is not None, self.nodes[index].last_words()
        return status.finalized.height, status.finalized.id

    def last_words(self) -> str:
        return "\n".join(f"--- {node.node.name}\n{node.last_words()}" for node in self.nodes)
