"""Leadership of real processes is handed over: by an operator's command, and by a leader that is
asked to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Container
from pathlib import Path

import pytest
from click.testing import CliRunner

from moot.cli.devnet.control import token_path
from moot.cli.main import main
from tests.moot.e2e.test_leader_killed import PATIENCE_S, leader_of, wait_leader
from tests.support.real_network import RealNetwork


def transfer(network: RealNetwork, url: str, *words: str) -> tuple[int, str]:
    file = str(token_path(network.directory))
    found = CliRunner().invoke(
        main, ["node", "transfer", *words, "--node", url, "--token-file", file]
    )
    return found.exit_code, found.output


async def led_by(network: RealNetwork, ask: int, wanted: Container[int]) -> None:
    """Waits until node ``ask`` takes one of those for the leader."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await leader_of(network, ask) in wanted:
                return
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "no_such"),
    [("raft", "no other voter is called"), ("multipaxos", "there is no other member")],
)
async def test_an_operator_moves_the_leadership_and_a_stopped_leader_hands_over(
    tmp_path: Path, engine: str, no_such: str
) -> None:
    async with RealNetwork(tmp_path / "net", engine, 3) as network, network.load(20) as load:
        sending = asyncio.create_task(load.run(6))
        await network.wait_final(2, [0, 1, 2], 30)
        old = await wait_leader(network, 0)
        new = (old + 1) % 3
        urls = network.plan.urls()
        name = network.nodes[new].node.name
        code, said = await asyncio.to_thread(transfer, network, urls[new], name)
        assert code == 1 and "does not lead" in said
        code, said = await asyncio.to_thread(transfer, network, urls[old], "nobody-here")
        assert code == 1 and no_such in said
        code, said = await asyncio.to_thread(transfer, network, urls[old], name)
        assert (code, said.strip()) == (0, f"{name} leads now")
        for index in range(3):
            await led_by(network, index, [new])
        network.nodes[new].signal(signal.SIGTERM)
        process = network.nodes[new].process
        assert process is not None and await process.wait() == 0
        others = [index for index in range(3) if index != new]
        await led_by(network, others[0], others)
        await network.restart(new)
        await sending
        assert await load.drain(30)
        height, _ = await network.finalized(others[0])
        await network.wait_final(height, [0, 1, 2], PATIENCE_S)
        assert (await network.agreement()).agreement
        report = load.report()
        assert report["pending"] == 0
