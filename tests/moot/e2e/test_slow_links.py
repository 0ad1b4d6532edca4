"""Real nodes whose every link takes 50 to 200 ms one way: a network over continents."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from moot.cli.devnet.plan import folder_of
from moot.node.config import show_config
from tests.support.proxy import Cable
from tests.support.real_network import RealNetwork

DELAY_MS = (50, 200)
NODES = 4


def dial_only(network: RealNetwork, ports: dict[int, list[int]]) -> None:
    """Each node dials what it is told, and nobody else."""
    for number, node in enumerate(network.plan.nodes):
        folder = folder_of(network.directory, node)
        config = folder.load_config({})
        peers = tuple(f"127.0.0.1:{port}" for port in ports[number])
        section = msgspec.structs.replace(config.p2p, peers=peers)
        folder.config.write_text(show_config(msgspec.structs.replace(config, p2p=section)))


@asynccontextmanager
async def far_apart(directory: Path, engine: str) -> AsyncIterator[tuple[RealNetwork, list[int]]]:
    """Every pair is joined by one cable, which the lower number dials; and the cables' ports."""
    network = RealNetwork(directory, engine, NODES)
    cables: dict[tuple[int, int], Cable] = {}
    for one in range(NODES):
        for other in range(one + 1, NODES):
            target = network.plan.nodes[other].p2p_port
            cables[one, other] = Cable(target, 0, DELAY_MS, seed=NODES * one + other)
    try:
        for cable in cables.values():
            await cable.plug_in()
        dial_only(
            network,
            {
                one: [cable.port for (dialer, _), cable in cables.items() if dialer == one]
                for one in range(NODES)
            },
        )
        async with network:
            yield network, [cable.port for cable in cables.values()]
    finally:
        for cable in cables.values():
            await cable.cut()


@pytest.mark.slow
async def test_pbft_finalizes_over_links_of_50_to_200_ms(tmp_path: Path) -> None:
    async with far_apart(tmp_path / "net", "pbft") as (network, ports):
        async with network.load(2.0) as load:
            await load.run(8.0)
            assert await load.drain(60.0)
            report = load.report()
        await network.wait_final(4, list(range(NODES)), 60.0)
        agreement = await network.agreement()
        assert agreement.agreement, agreement.sentence
        # Nothing went round the cables: whoever dialled, dialled one of them.
        dialled = []
        for client in network.watcher.clients:
            links = await client.peers()
            assert len(links) == NODES - 1
            dialled += [link.port for link in links if link.outbound]
        assert sorted(dialled) == sorted(ports)
        assert report["finalized"] > 0, report
