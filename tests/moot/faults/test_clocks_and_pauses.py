"""Clocks that are wrong and processes that stand still: PBFT as docs/engines/pbft.md has it.

A block whose time is ahead of a voter's clock by more than ``clock_tolerance_ms`` gets no prepare
until the clock has come near; steady time runs the timers, so that a wrong wall clock starts none.
"""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.support.broken_worlds import faketime_library, skewed, wrap
from tests.support.real_network import RealNetwork

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

needs_faketime = pytest.mark.skipif(
    faketime_library() is None, reason="needs libfaketime (Debian's package faketime)"
)

ALL = [0, 1, 2, 3]
STOPPED_S = 5.0


async def primary_of(network: RealNetwork) -> int:
    answer = await network.watcher.clients[0].consensus()
    names = [v.name for v in answer.validators if v.address == answer.leader]
    return [node.node.name for node in network.nodes].index(names[0])


async def test_the_others_go_on_while_the_primary_stands_still_and_it_catches_up(
    tmp_path: Path,
) -> None:
    async with RealNetwork(tmp_path / "net", "pbft", 4) as network:
        await network.wait_final(2, ALL, 30)
        victim = await primary_of(network)
        others = [index for index in ALL if index != victim]
        network.nodes[victim].signal(signal.SIGSTOP)
        height, _ = await network.finalized(others[0])
        stopped_s = time.monotonic()
        await network.wait_final(height + 3, others, 60)
        await asyncio.sleep(max(0.0, STOPPED_S - (time.monotonic() - stopped_s)))
        network.nodes[victim].signal(signal.SIGCONT)
        height, _ = await network.finalized(others[0])
        await network.wait_final(height + 1, ALL, 60)
        assert (await network.agreement()).agreement
        for client in network.watcher.clients:
            assert (await client.consensus()).evidence == 0


async def with_clocks(tmp_path: Path, skews_s: dict[int, float]) -> RealNetwork:
    """Four nodes, not started, some with clocks that are off by so many seconds."""
    network = RealNetwork(tmp_path / "net", "pbft", 4)
    for index, skew_s in skews_s.items():
        wrap(network.nodes, network.directory, network.plan, index).change(skewed(skew_s))
    return network


@needs_faketime
async def test_within_the_tolerance_all_go_on(tmp_path: Path) -> None:
    async with await with_clocks(tmp_path, {0: 0.2, 1: -0.2}) as network:
        await network.wait_final(8, ALL, 60)
        assert (await network.agreement()).agreement


@needs_faketime
async def test_three_outvote_a_clock_that_is_an_hour_ahead(tmp_path: Path) -> None:
    """Its proposals get no vote; the view changes and an honest clock's primary takes over."""
    async with await with_clocks(tmp_path, {0: 3_600.0}) as network:
        await network.wait_final(6, ALL, 90)
        assert (await network.agreement()).agreement
        await check_times(network, ahead_ms_max=5_000)


@needs_faketime
async def test_three_go_on_without_the_votes_of_a_clock_that_is_an_hour_behind(
    tmp_path: Path,
) -> None:
    async with await with_clocks(tmp_path, {3: -3_600.0}) as network:
        await network.wait_final(6, [0, 1, 2], 90)
        await network.wait_final(6, ALL, 60)
        assert (await network.agreement()).agreement
        await check_times(network, ahead_ms_max=5_000)


@needs_faketime
async def test_a_clock_that_was_set_back_for_a_while_costs_nothing(tmp_path: Path) -> None:
    network = await with_clocks(tmp_path, {2: -30.0})
    async with network:
        await network.wait_final(4, [0, 1, 3], 60)
        node = network.nodes[2]
        await node.stop()
        wrap(network.nodes, network.directory, network.plan, 2)
        await network.nodes[2].start()
        height, _ = await network.finalized(0)
        await network.wait_final(height + 2, ALL, 60)
        assert (await network.agreement()).agreement


async def check_times(network: RealNetwork, ahead_ms_max: int) -> None:
    """No final block is from a future that only the wrong clock saw."""
    for index in ALL:
        status = await network.status(index)
        assert status is not None
        block = await network.watcher.clients[0].block_facts(status.finalized.id)
        assert int(str(block["time_ms"])) <= time.time_ns() // 1_000_000 + ahead_ms_max
