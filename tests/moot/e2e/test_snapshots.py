"""Real processes: a node that comes late takes a snapshot, since the others have pruned."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.real_network import RealNetwork

SETTINGS = {
    "MOOT_SNAPSHOTS_EVERY": "20",
    "MOOT_SNAPSHOTS_GAP": "0",
    "MOOT_SNAPSHOTS_BODIES": "100",
}


async def keeping(network: RealNetwork, index: int) -> Any:
    """What the node says that it keeps."""
    url = network.plan.urls()[index] + "/moot/status"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return (await response.json())["keeping"]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("engine", "nodes"), [("pbft", 4), ("raft", 3), ("multipaxos", 3)])
async def test_a_late_node_joins_by_a_snapshot_where_the_others_have_pruned(
    tmp_path: Path, engine: str, nodes: int
) -> None:
    async with RealNetwork(tmp_path / "net", engine, nodes, settings=SETTINGS) as network:
        late, others = nodes - 1, list(range(nodes - 1))
        await network.kill(late)
        async with network.load(60) as load:
            sending = asyncio.create_task(load.run(120))
            await network.wait_final(170, others, 120)
            for _ in range(100):
                if all([(await keeping(network, index))["bodies_from"] > 10 for index in others]):
                    break
                await asyncio.sleep(0.2)
            pruned = [(await keeping(network, index))["bodies_from"] for index in others]
            assert min(pruned) > 10, pruned
            height, _ = await network.finalized(0)
            for index in others:  # a leader has the newest blocks in memory, too
                await network.kill(index)
            for index in others:
                await network.restart(index)
            await network.restart(late)
            await network.wait_final(height + 5, [*others, late], 60)
            found = await keeping(network, late)
            assert found["heads_from"] > 1 or found["bodies_from"] > 20, found
            assert found["fetching"] is None
            sending.cancel()
        # Who is at the snapshot's own block yet cannot show that block's body.
        verdict = await network.watcher.agreement_within(30)
        assert verdict.agreement, verdict.sentence
