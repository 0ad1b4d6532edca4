"""Nodes that live in network namespaces of their own, joined by a bridge in one more.

Nothing is done to the machine's own network: nodes reach each other over the bridge only, and the
tests reach a node's loopback by threads that enter its namespace.
"""

from __future__ import annotations

import asyncio
import ctypes
import http.client
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from moot.cli.devnet.plan import open_or_make
from moot.node.config import show_config
from tests.support.broken_worlds import WrappedNode, run

CLONE_NEWNET = 0x40000000
NETWORK = "10.77.0"
POLL_S = 0.1


def _enter(name: str) -> None:
    """Puts the calling thread into a namespace (setns(2))."""
    library = ctypes.CDLL(None, use_errno=True)
    handle = os.open(f"/var/run/netns/{name}", os.O_RDONLY)
    try:
        if library.setns(handle, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(handle)


class Place:
    """One node and its namespace. ``host``: its address on the bridge."""

    def __init__(self, name: str, host: str, node: WrappedNode) -> None:
        self.name = name
        self.host = host
        self.node = node
        node.prefix = ["ip", "netns", "exec", name]
        self._threads = ThreadPoolExecutor(1, initializer=_enter, initargs=(name,))

    async def ask(self, path: str) -> Any:
        """A GET of the node's REST API; None where it does not answer."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, path)

    def _ask(self, path: str) -> Any:
        link = http.client.HTTPConnection("127.0.0.1", self.node.node.rest_port, timeout=3)
        try:
            link.request("GET", path)
            answer = link.getresponse().read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            link.close()
        return json.loads(answer) if answer[:1] in b"{[" else answer.decode()

    def refuse(self, hosts: Sequence[str], how: str = "drop") -> None:
        """Packets that come here from ``hosts`` are dropped, or answered by a reset."""
        self.heal()
        verdict = "meta l4proto tcp reject with tcp reset" if how == "reset" else "drop"
        script = f"""table inet moot {{
            chain input {{
                type filter hook input priority 0;
                ip saddr {{ {", ".join(hosts)} }} {verdict}
            }}
        }}"""
        words = ["ip", "netns", "exec", self.name, "nft", "-f", "-"]
        subprocess.run(words, input=script, text=True, check=True)

    def heal(self) -> None:
        words = ["ip", "netns", "exec", self.name, "nft", "flush", "ruleset"]
        subprocess.run(words, check=True)

    def close(self) -> None:
        self._threads.shutdown()


class SeparateNetwork:
    """PBFT nodes, one to a namespace."""

    def __init__(self, places: list[Place]) -> None:
        self.places = places

    async def start(self) -> None:
        for place in self.places:
            await place.node.start()

    async def stop(self) -> None:
        await asyncio.gather(*(place.node.stop() for place in self.places))

    async def final(self) -> list[int]:
        """Each node's final height; -1 for one that does not answer."""
        found = await asyncio.gather(*(place.ask("/moot/status") for place in self.places))
        return [-1 if status is None else status["finalized"]["height"] for status in found]

    async def wait_final(self, height: int, indexes: Sequence[int], timeout_s: float = 60) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while loop.time() < deadline:
            heights = await self.final()
            if all(heights[index] >= height for index in indexes):
                return
            await asyncio.sleep(POLL_S)
        words = "\n".join(place.node.last_words() for place in self.places)
        raise AssertionError(f"wanted {height} final, nodes have {heights}\n{words}")

    async def check_agreement(self) -> None:
        """All nodes have the same final block at the height that all have."""
        height = min(await self.final())
        ids = {await place.ask(f"/api/block-height/{height}") for place in self.places}
        assert len(ids) == 1 and None not in ids, (height, ids)

    def part(self, left: Sequence[int], right: Sequence[int], how: str = "drop") -> None:
        """Neither side hears the other."""
        for here, there in ((left, right), (right, left)):
            for index in here:
                self.places[index].refuse([self.places[i].host for i in there], how)

    def heal(self) -> None:
        for place in self.places:
            place.heal()


@contextmanager
def separate_network(directory: Path, count: int) -> Iterator[SeparateNetwork]:
    """Namespaces, bridge and folders for ``count`` nodes; all gone afterwards, whatever happens."""
    plan = open_or_make(directory, "pbft", count, {}, first_port=0)
    hosts = [f"{NETWORK}.{number}" for number in range(1, count + 1)]
    stem = f"moot{os.getpid()}"
    hub, names = f"{stem}-hub", [f"{stem}-{number}" for number in range(1, count + 1)]
    made: list[str] = []
    places: list[Place] = []
    try:
        for name in (hub, *names):
            run("ip", "netns", "add", name)
            made.append(name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", hub, "link", "add", "bridge0", "type", "bridge")
        run("ip", "-n", hub, "link", "set", "bridge0", "up")
        for index, name in enumerate(names):
            end = f"port{index}"
            run(
                *("ip", "-n", hub, "link", "add", end, "type", "veth"),
                *("peer", "name", "eth0", "netns", name),
            )
            run("ip", "-n", hub, "link", "set", end, "master", "bridge0", "up")
            run("ip", "-n", name, "addr", "add", f"{hosts[index]}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            node = WrappedNode(directory, plan, index)
            config = node.folder.load_config({})
            others = [i for i in range(count) if i != index]
            section = msgspec.structs.replace(
                config.p2p,
                host=hosts[index],
                peers=tuple(f"{hosts[i]}:{plan.nodes[i].p2p_port}" for i in others),
            )
            changed = msgspec.structs.replace(config, p2p=section)
            node.folder.config.write_text(show_config(changed))
            places.append(Place(name, hosts[index], node))
        yield SeparateNetwork(places)
    finally:
        for place in places:
            place.close()
        for name in reversed(made):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
