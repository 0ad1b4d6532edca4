"""Real processes: killed primaries, killed networks; nothing final is ever lost."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from moot.client.node import NodeClient
from tests.support.real_network import RealNetwork

ROUNDS = {"pbft": (4, 20), "multipaxos": (3, 6), "paxos": (3, 6), "raft": (3, 6)}
"""Nodes, and how often all of them are killed."""


async def primary_of(network: RealNetwork, ask: int) -> int:
    """Index of the node that the engine of node ``ask`` names as leader."""
    answer = await network.watcher.clients[ask].consensus()
    names = [v.name for v in answer.validators if v.address == answer.leader]
    return [node.node.name for node in network.nodes].index(names[0])


async def test_blocks_go_on_after_the_primary_is_killed_and_it_catches_up(tmp_path: Path) -> None:
    async with RealNetwork(tmp_path / "net", "pbft", 4) as network, network.load(40) as load:
        sending = asyncio.create_task(load.run(15))
        await network.wait_final(5, [0, 1, 2, 3], 30)
        victim = await primary_of(network, 0)
        others = [index for index in range(4) if index != victim]
        height, _ = await network.finalized(others[0])
        await network.kill(victim)
        await network.wait_final(height + 5, others, 20)
        await network.restart(victim)
        await sending
        assert await load.drain(30)
        height, _ = await network.finalized(others[0])
        await network.wait_final(height, [0, 1, 2, 3], 30)
        verdict = await network.agreement()
        assert verdict.agreement, verdict.sentence
        report = load.report()
        assert report["pending"] == 0
        assert report["submitted"] == report["finalized"] + report["failed"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", list(ROUNDS))
async def test_the_whole_network_is_killed_again_and_again_and_nothing_final_is_lost(
    engine: str, tmp_path: Path
) -> None:
    """kill -9 of all at random moments under load; each time the chain goes on by itself."""
    rng = random.Random(20261123)
    nodes, rounds = ROUNDS[engine]
    everybody = list(range(nodes))
    async with RealNetwork(tmp_path / "net", engine, nodes) as network:
        known: dict[int, str] = {}
        for round_number in range(rounds):
            async with network.load(60) as load:
                sending = asyncio.create_task(load.run(60))
                await asyncio.sleep(rng.uniform(0.5, 3.0))
                for index in everybody:
                    status = await network.status(index)
                    if status is not None:
                        known[status.finalized.height] = status.finalized.id
                order = rng.sample(everybody, nodes)
                await asyncio.gather(*(network.kill(index) for index in order))
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            for index in rng.sample(everybody, nodes):
                await network.restart(index)
            assert await network.watcher.all_up(60), network.last_words()
            top = max(known)
            # The chain goes on (a heartbeat block comes when nothing else does), everywhere.
            await network.wait_final(top + 1, everybody, 60)
            for index in everybody:
                for height, block_id in known.items():
                    client: NodeClient = network.watcher.clients[index]
                    assert await client.block_id_at(height) == block_id, (round_number, height)
        verdict = await network.agreement()
        assert verdict.agreement, verdict.sentence
