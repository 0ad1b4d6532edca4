"""Leaders of real processes are killed under load: another one commits, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from consensus.registry import engine_names
from tests.support.real_network import RealNetwork

PATIENCE_S = 20
"""For a machine that is busy with other tests; a new leader needs well under two seconds."""


async def leader_of(network: RealNetwork, ask: int) -> int | None:
    """Index of the node that node ``ask`` takes for the leader; None: it knows of none."""
    answer = await network.watcher.clients[ask].consensus()
    names = [v.name for v in answer.validators if v.address == answer.leader]
    return [node.node.name for node in network.nodes].index(names[0]) if names else None


async def wait_leader(network: RealNetwork, ask: int) -> int:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            leader = await leader_of(network, ask)
            if leader is not None:
                return leader
            await asyncio.sleep(0.05)
    raise AssertionError("unreachable")


@pytest.mark.parametrize("engine", sorted({"multipaxos", "raft"} & set(engine_names())))
async def test_a_new_leader_commits_and_the_old_one_follows(tmp_path: Path, engine: str) -> None:
    """kill -9 of the leader; the load is answered, every payment is accounted for."""
    async with RealNetwork(tmp_path / "net", engine, 3) as network, network.load(40) as load:
        sending = asyncio.create_task(load.run(4))
        await network.wait_final(5, [0, 1, 2], 30)
        victim = await wait_leader(network, 0)
        others = [index for index in range(3) if index != victim]
        await network.kill(victim)
        height, _ = await network.finalized(others[0])
        since = time.monotonic()
        # One block may have been on its way to the survivors: the second is a new leader's.
        await network.wait_final(height + 2, others, PATIENCE_S)
        print(f"{engine}: the new leader committed after {time.monotonic() - since:.1f} s")
        assert await wait_leader(network, others[0]) in others
        await network.restart(victim)
        await network.wait_final(height + 2, [0, 1, 2], PATIENCE_S)
        await sending
        assert await load.drain(30)
        height, _ = await network.finalized(0)
        await network.wait_final(height, [0, 1, 2], PATIENCE_S)
        verdict = await network.agreement()
        assert verdict.agreement, verdict.sentence
        report = load.report()
        assert report["pending"] == 0
        assert report["submitted"] == report["finalized"] + report["failed"]


@pytest.mark.slow
async def test_under_paxos_anybody_may_be_killed(tmp_path: Path) -> None:
    """There is no leader: kill -9 of one node after the other, and the rest goes on."""
    async with RealNetwork(tmp_path / "net", "paxos", 3) as network, network.load(40) as load:
        sending = asyncio.create_task(load.run(10))
        await network.wait_final(3, [0, 1, 2], 30)
        for victim in (0, 1, 2):
            others = [index for index in range(3) if index != victim]
            await network.kill(victim)
            height, _ = await network.finalized(others[0])
            await network.wait_final(height + 2, others, PATIENCE_S)
            await network.restart(victim)
            await network.wait_final(height + 2, [0, 1, 2], PATIENCE_S)
        await sending
        assert await load.drain(30)
        verdict = await network.agreement()
        assert verdict.agreement, verdict.sentence
        report = load.report()
        assert report["submitted"] == report["finalized"] + report["failed"]
