"""Rounds of real faults under load: killed, paused past any lease, cut off; and mended.

Nothing that a client was told is lost or done twice, whichever engine decides.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from chain.bech32m import show_address
from moot.cli.devnet.faults import Impossible
from moot.client.load import LoadGenerator
from moot.node.rest.control import Action, Fault
from tests.support.real_network import RealNetwork
from wallet.development import development_key

RATE = 40
BROKEN_S = (0.6, 2.0)
"""How long a round's fault lasts: some end before anyone notices, others past every time-out."""
GOES_ON_S = 45
ENGINES = {
    "authority": (3, 20),
    "gossip": (3, 20),
    "multipaxos": (3, 20),
    "paxos": (3, 20),
    "pbft": (4, 8),
    "raft": (3, 20),
}
"""Nodes, and rounds."""


async def strike(network: RealNetwork, rng: random.Random) -> tuple[str, str]:
    """One fault to one node; who leads is struck as often as everybody else together."""
    action: Action = rng.choice(("kill", "pause", "cut"))
    word = "leader" if rng.random() < 0.5 else str(rng.randrange(len(network.nodes)) + 1)
    try:
        await network.faults.give(Fault(action, (word,)))
    except Impossible:
        # Nobody leads just now.
        word = str(rng.randrange(len(network.nodes)) + 1)
        await network.faults.give(Fault(action, (word,)))
    return action, word


async def head_height(network: RealNetwork) -> int:
    found = [status for status in await network.watcher.look() if status is not None]
    return max(
        status.finalized.height if network.finalizes else status.head.height for status in found
    )


async def goes_on(network: RealNetwork, height: int, what: str) -> None:
    """Waits until every node is beyond ``height``."""
    heights: list[int] = []
    loop = asyncio.get_running_loop()
    deadline = loop.time() + GOES_ON_S
    while loop.time() < deadline:
        found = await network.watcher.look()
        heights = [
            -1
            if status is None
            else (status.finalized if network.finalizes else status.head).height
            for status in found
        ]
        if min(heights) > height:
            return
        await asyncio.sleep(0.05)
    said = [await client.why() for client in network.watcher.clients]
    raise AssertionError(f"after {what} at {height}: {heights}\n{said}\n{network.last_words()}")


async def check_accounts(network: RealNetwork, load: LoadGenerator) -> None:
    """What clients were told has happened, and has happened once: by everybody's account."""
    report = load.report()
    assert report["pending"] == 0, report
    done = report["finalized"] if network.finalizes else report["committed"]
    assert report["submitted"] == done + report["failed"]
    assert done > 2 * RATE
    sent = []
    for client in network.watcher.clients:
        prefix = (await client.status()).prefix
        accounts = [
            await client.account(show_address(development_key(index).address, prefix))
            for index in range(2, 10)
        ]
        sent.append([account.nonce for account in accounts])
    assert all(nonces == sent[0] for nonces in sent), sent
    # Each transfer has a nonce of its own: a lost one would leave fewer, a doubled one more. What
    # filled a refused one's nonce is no transfer of the schedule.
    assert sum(sent[0]) >= done
    assert sum(sent[0]) - done <= report["failed"] + 8


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", list(ENGINES))
async def test_rounds_of_faults(engine: str, tmp_path: Path) -> None:
    nodes, rounds = ENGINES[engine]
    rng = random.Random(f"rounds of {engine}")
    async with RealNetwork(tmp_path / "net", engine, nodes) as network, network.load(RATE) as load:
        sending = asyncio.create_task(load.run(3_600))
        await goes_on(network, 1, "the start")
        struck = []
        for number in range(rounds):
            action, word = await strike(network, rng)
            struck.append(action)
            await asyncio.sleep(rng.uniform(*BROKEN_S))
            height = await head_height(network)
            await network.faults.mend()
            await goes_on(network, height, f"round {number}: {action} {word}")
        assert set(struck) == {"kill", "pause", "cut"}
        load.stop()
        assert await load.drain(60), load.report()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        verdict = await network.watcher.agreement_within(30)
        assert verdict.agreement, verdict.sentence
        await check_accounts(network, load)
