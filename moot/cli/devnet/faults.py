"""Breaking a running devnet on purpose: killed, paused, cut off; and mended again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from chain.bech32m import show_address
from moot.cli.devnet.processes import NodeProcess
from moot.client.answers import ConsensusAnswer
from moot.client.errors import ClientError
from moot.client.node import NodeClient
from moot.node.rest.control import Fault, FaultOutcome, NodeState
from wallet.keys import Key

START_TIMEOUT_S = 30.0
"""Seconds for a node that was started again to answer."""
LOOK_S = 0.1
REQUEST_TIMEOUT_S = 3.0
LEADER = "leader"

Note = Callable[[str, dict[str, Any]], None]


class Impossible(Exception):
    """The fault cannot be done as things are; the sentence says why."""


class LinksAnswer(msgspec.Struct):
    blocked: list[str]
    peers: int


class Faults:
    """Does one fault after the other to ``nodes``; ``note`` hears of each.

    What is cut is told to both ends, so that the cut outlasts the restart of one of them.
    """

    def __init__(
        self, nodes: Sequence[NodeProcess], urls: Sequence[str], token: str, note: Note
    ) -> None:
        self.nodes = nodes
        self.any_yet = False
        self._urls = urls
        self._note = note
        self._clients = [NodeClient(url, timeout_s=REQUEST_TIMEOUT_S, token=token) for url in urls]
        self._addresses: list[str] = []
        self._cut: set[tuple[int, int]] = set()  # pairs of indexes, the lower first
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        for client in self._clients:
            await client.close()

    # ------------------------------------------------------------------------------ asking

    def states(self) -> tuple[NodeState, ...]:
        return tuple(
            NodeState(node.node.name, self._urls[index], self._state(node), self._cut_from(index))
            for index, node in enumerate(self.nodes)
        )

    @staticmethod
    def _state(node: NodeProcess) -> str:
        if not node.alive:
            return "killed"
        return "paused" if node.paused else "running"

    def _cut_from(self, index: int) -> tuple[str, ...]:
        others = sorted({a + b - index for a, b in self._cut if index in (a, b)})
        return tuple(self._name(other) for other in others)

    def _name(self, index: int) -> str:
        return self.nodes[index].node.name

    def _running(self) -> list[int]:
        return [i for i, node in enumerate(self.nodes) if node.alive and not node.paused]

    async def _resolve(self, word: str) -> int:
        """A node by name, number from 1, or the word ``leader``. Raises Impossible."""
        names = [node.node.name for node in self.nodes]
        if word in names:
            return names.index(word)
        if word.isascii() and word.isdigit() and 1 <= int(word) <= len(names):
            return int(word) - 1
        if word == LEADER:
            return await self._leader()
        raise Impossible(f"there is no node {word!r}; there are {', '.join(names)}")

    async def _leader(self) -> int:
        """Whom the node that is furthest names. Raises Impossible."""
        best: ConsensusAnswer | None = None
        for index in self._running():
            try:
                found = await self._clients[index].consensus()
            except ClientError:
                continue
            if best is None or found.round > best.round:
                best = found
        if best is None:
            raise Impossible("no node answers that could say who leads")
        names = [v.name for v in best.validators if v.address == best.leader]
        for index in range(len(self.nodes)):
            if names == [self._name(index)]:
                return index
        raise Impossible(f"{best.engine} has no leader now")

    # ------------------------------------------------------------------------------- doing

    async def give(self, fault: Fault, by: str = "hand") -> FaultOutcome:
        """Does it, waits until it is done, and says so. Raises Impossible."""
        async with self._lock:
            indexes = [await self._resolve(word) for word in fault.nodes]
            indexes = list(dict.fromkeys(indexes))
            if not indexes and fault.action != "heal":
                raise Impossible(f"say which node to {fault.action}")
            self.any_yet = True
            if fault.action == "cut":
                sentence = await self._do_cut(indexes, by)
            elif fault.action == "heal":
                sentence = await self._do_heal(indexes, by)
            else:
                done = [await self._do_to(fault.action, index, by) for index in indexes]
                sentence = "; ".join(done)
            return FaultOutcome(sentence, self.states())

    async def mend(self) -> None:
        """Undoes whatever is broken: links healed, paused ones resumed, killed ones started."""
        async with self._lock:
            for index, node in enumerate(self.nodes):
                if node.alive and node.paused:
                    await self._do_to("resume", index, "end")
                elif not node.alive:
                    await self._do_to("restart", index, "end")
            if self._cut:
                await self._do_heal([], "end")

    async def _do_to(self, action: str, index: int, by: str) -> str:
        node, name = self.nodes[index], self._name(index)
        if action in ("kill", "pause", "resume") and not node.alive:
            raise Impossible(f"{name} does not run; `restart` starts it")
        if action == "pause" and node.paused:
            raise Impossible(f"{name} is paused already")
        if action == "resume" and not node.paused:
            raise Impossible(f"{name} is not paused")
        self._tell(action, by, node=name)
        if action == "kill":
            await node.kill()
            return f"killed {name}"
        if action == "pause":
            node.pause()
            return f"paused {name}"
        if action == "resume":
            node.resume()
            await self._apply([index])
            return f"resumed {name}"
        await node.stop()
        node.restarts += 1
        await node.start()
        await self._up(index)
        await self._apply([index])
        return f"started {name} again"

    async def _up(self, index: int) -> None:
        """Until a started node answers. Raises Impossible."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_TIMEOUT_S
        while loop.time() < deadline and self.nodes[index].alive:
            try:
                await self._clients[index].status()
                return
            except ClientError:
                await asyncio.sleep(LOOK_S)
        raise Impossible(f"{self._name(index)} does not come up; see its node.log")

    async def _do_cut(self, indexes: list[int], by: str) -> str:
        first, others = indexes[0], indexes[1:]
        if not others:
            others = [index for index in range(len(self.nodes)) if index != first]
        if not others:
            raise Impossible("there is no other node to cut it from")
        self._cut |= {(min(first, other), max(first, other)) for other in others}
        names = [self._name(other) for other in others]
        self._tell("cut", by, node=self._name(first), others=names)
        await self._apply([first, *others])
        return f"cut {self._name(first)} from {', '.join(names)}"

    async def _do_heal(self, indexes: list[int], by: str) -> str:
        healed = {pair for pair in self._cut if not indexes or set(pair) & set(indexes)}
        self._cut -= healed
        names = [self._name(index) for index in indexes]
        self._tell("heal", by, others=names or [self._name(i) for i in _ends(healed)])
        await self._apply(_ends(healed))
        if not healed:
            return "nothing was cut"
        return f"healed {len(healed)} link{'s' if len(healed) > 1 else ''}"

    async def _apply(self, indexes: Iterable[int]) -> None:
        """Tells nodes whom to keep away from. Who cannot hear now is told when it is back."""
        if not self._addresses:
            self._addresses = [_address(node) for node in self.nodes]
        running = self._running()
        await asyncio.gather(*(self._tell_links(i) for i in indexes if i in running))

    async def _tell_links(self, index: int) -> None:
        blocked = [
            self._addresses[other]
            for other in range(len(self.nodes))
            if (min(index, other), max(index, other)) in self._cut
        ]
        try:
            await self._clients[index].post("/moot/admin/links", {"blocked": blocked}, LinksAnswer)
        except ClientError as error:
            raise Impossible(f"{self._name(index)} did not take it: {error}") from None

    def _tell(self, event: str, by: str, **fields: Any) -> None:
        self._note(event, {**fields, "by": by})


def _ends(pairs: Iterable[tuple[int, int]]) -> list[int]:
    return sorted({index for pair in pairs for index in pair})


def _address(node: NodeProcess) -> str:
    prefix = node.folder.load_genesis().prefix
    return show_address(Key.from_seed(node.folder.load_key()).address, prefix)
