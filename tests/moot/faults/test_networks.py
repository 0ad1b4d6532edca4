"""Four PBFT replicas in four network namespaces, parted by nft: no quorum, no block; then again.

PBFT (Castro and Liskov 1999, section 1) is safe whatever the network does, and live once messages
come through again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.broken_worlds import can_make_namespaces
from tests.support.namespaces import SeparateNetwork, separate_network

pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root, ip and nft"),
]

ALL = [0, 1, 2, 3]
IN_FLIGHT_S = 2.0
"""Seconds in which what was on its way when the network was parted may still count."""
STILL_S = 6.0
"""Seconds for which nothing may become final: several heartbeats and view changes."""


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[SeparateNetwork]:
    with separate_network(tmp_path / "net", 4) as four:
        try:
            await four.start()
            await four.wait_final(2, ALL)
            yield four
        finally:
            await four.stop()


@pytest.mark.parametrize("how", ["drop", "reset"])
async def test_two_against_two_make_no_block_until_they_meet_again(
    network: SeparateNetwork, how: str
) -> None:
    network.part([0, 1], [2, 3], how)
    await asyncio.sleep(IN_FLIGHT_S)
    before = await network.final()
    await asyncio.sleep(STILL_S)
    assert await network.final() == before
    assert -1 not in before
    network.heal()
    await network.wait_final(max(before) + 2, ALL)
    await network.check_agreement()


async def test_three_go_on_and_the_fourth_follows_when_it_hears_them_again(
    network: SeparateNetwork,
) -> None:
    network.part([0], [1, 2, 3])
    height = max(await network.final())
    await network.wait_final(height + 3, [1, 2, 3])
    network.heal()
    await network.wait_final(max(await network.final()), ALL)
    await network.check_agreement()


async def test_one_way_loss_stops_nobody_for_good(network: SeparateNetwork) -> None:
    """The first hears nobody, though all could hear it; TCP makes of it that no link lasts."""
    network.places[0].refuse([place.host for place in network.places[1:]])
    height = max(await network.final())
    await network.wait_final(height + 3, [1, 2, 3])
    network.heal()
    await network.wait_final(max(await network.final()) + 1, ALL)
    await network.check_agreement()
