"""What the devnet sees of its nodes, through their REST APIs as anyone would."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from moot.client.answers import NodeStatus
from moot.client.errors import ClientError
from moot.client.node import NodeClient

REQUEST_TIMEOUT_S = 2.0


class Agreement(msgspec.Struct, frozen=True):
    """Whether all nodes' final blocks lie on one chain; all nodes were compared."""

    agreement: bool
    height: int
    finalized_height: int
    state_root: str
    state_roots_equal: bool
    sentence: str


class Watcher:
    """Asks every node where it stands."""

    def __init__(self, urls: list[str]) -> None:
        self.clients = [NodeClient(url, timeout_s=REQUEST_TIMEOUT_S) for url in urls]
        self.latest: list[NodeStatus | None] = [None] * len(urls)

    async def close(self) -> None:
        for client in self.clients:
            await client.close()

    async def look(self) -> list[NodeStatus | None]:
        """Each node's status now; None for one that does not answer."""
        self.latest = list(await asyncio.gather(*(self._ask(c) for c in self.clients)))
        return self.latest

    async def _ask(self, client: NodeClient) -> NodeStatus | None:
        with contextlib.suppress(ClientError):
            return await client.status()
        return None

    async def all_up(self, timeout_s: float) -> bool:
        """Waits until every node answers and is linked to the others."""
        needed = min(1, len(self.clients) - 1)
        deadline = asyncio.get_running_loop().time() + timeout_s
        while asyncio.get_running_loop().time() < deadline:
            found = await self.look()
            if all(status is not None and status.peers >= needed for status in found):
                return True
            await asyncio.sleep(0.1)
        return False

    async def agreement(self) -> Agreement:
        """Compares the final blocks of all nodes with those of the one that is furthest."""
        found = await self.look()
        silent = [str(i + 1) for i, status in enumerate(found) if status is None]
        statuses = [status for status in found if status is not None]
        if silent or not statuses:
            return Agreement(False, 0, 0, "", False, f"no answer from node {', '.join(silent)}")
        top = max(range(len(statuses)), key=lambda i: statuses[i].finalized.height)
        lowest = min(status.finalized.height for status in statuses)
        height = max(status.head.height for status in statuses)
        for index, status in enumerate(statuses):
            there = await self.clients[top].block_id_at(status.finalized.height)
            if there != status.finalized.id:
                sentence = (
                    f"node {index + 1} and node {top + 1} differ at {status.finalized.height}"
                )
                return Agreement(False, height, lowest, "", False, sentence)
        roots = [await self._state_root(client, lowest) for client in self.clients]
        equal = len(set(roots)) == 1
        return Agreement(
            equal, height, lowest, roots[0], equal, "" if equal else "state roots differ"
        )

    async def agreement_within(self, timeout_s: float) -> Agreement:
        """``agreement`` once all nodes have what any has final now; else what stands at the end."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        now = [status.finalized.height for status in await self.look() if status is not None]
        goal = max(now, default=0)
        while True:
            try:
                found = await self.agreement()
            except ClientError as error:
                # A node reorganises, or answers again in a moment.
                found = Agreement(False, 0, 0, "", False, str(error))
            caught_up = found.finalized_height >= goal
            if (found.agreement and caught_up) or asyncio.get_running_loop().time() >= deadline:
                return found
            await asyncio.sleep(0.1)

    async def displaced(self) -> int:
        """Transactions that any node lists as displaced, each counted once."""
        found: set[str] = set()
        for client in self.clients:
            with contextlib.suppress(ClientError):
                found.update(each.txid for each in await client.displaced())
        return len(found)

    async def heads_agree(self) -> bool:
        """For chains that finalize nothing: whether all heads are one block."""
        found = await self.look()
        heads = {None if status is None else status.head.id for status in found}
        return len(heads) == 1 and None not in heads

    async def _state_root(self, client: NodeClient, height: int) -> str:
        facts = await client.block_facts(await client.block_id_at(height))
        return str(facts["state_root"])
