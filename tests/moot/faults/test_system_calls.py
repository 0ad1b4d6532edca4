"""The n-th write or sync of a real node fails, or is its last: nothing that was final is lost.

strace injects EIO, ENOSPC and SIGKILL into the system calls with which LevelDB writes. Whatever
the position, the node ends loudly (status 1 and a sentence), is killed, or bears it (LevelDB's own
log of what it did is no data); and after it a node on the same folder has every final block that
was ever shown to anyone.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from moot.client.answers import NodeStatus
from moot.client.errors import ClientError
from tests.support.broken_worlds import can_trace, injecting, wrap
from tests.support.real_network import RealNetwork

pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not can_trace(), reason="needs strace, and leave to trace"),
]

SYNCS, WRITES = "fsync,fdatasync", "write,pwrite64,writev"
SPEAKS_ONLY_OF_TROUBLE = {"MOOT_LOG_LEVEL": "error", "PYTHONDONTWRITEBYTECODE": "1"}
"""So that the writes which are counted are the database's."""
LIVE_S = 12.0
"""Seconds under load in which the position has to come, or the node outlives it."""


class Truth:
    """Every final block that a node ever showed."""

    def __init__(self) -> None:
        self.known: dict[int, str] = {}

    def see(self, status: NodeStatus | None) -> None:
        if status is not None:
            final = status.finalized
            assert self.known.setdefault(final.height, final.id) == final.id, final

    async def check(self, network: RealNetwork, index: int) -> None:
        for height, block_id in self.known.items():
            assert await network.watcher.clients[index].block_id_at(height) == block_id, height


async def live_until_hit(network: RealNetwork, index: int, truth: Truth) -> int | None:
    """Under load, until the node ends; its status, None if it bore the fault."""
    process = network.nodes[index].process
    assert process is not None
    loop = asyncio.get_running_loop()
    ended = asyncio.create_task(process.wait())
    load = network.load(40)
    sending: asyncio.Task[None] | None = None
    try:
        deadline = loop.time() + LIVE_S
        while loop.time() < deadline and not ended.done():
            for status in await network.watcher.look():
                truth.see(status)
                if status is not None and sending is None:
                    # Not before: a load gives up where nobody answers at its start.
                    sending = asyncio.create_task(load.run(LIVE_S * 2))
            await asyncio.wait({ended}, timeout=0.05)
        return ended.result() if ended.done() else None
    finally:
        ended.cancel()
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        await load.close()


def check_end(network: RealNetwork, index: int, status: int | None, what: str) -> None:
    """Killed, ended by itself with one sentence, or not at all."""
    words = network.nodes[index].last_words()
    if what == "signal=KILL":
        assert status in (-9, None), words
    elif status is not None:
        assert status == 1, (status, words)
        last = words.splitlines()[-1]
        assert last.startswith("Error: "), words
        assert "bug in Moot" not in words, words


def positions(seed: int) -> list[tuple[str, str, int]]:
    """What happens to which calls and when: dense at the start (opening), sparser later."""
    rng = random.Random(seed)
    made = []
    for what in ("error=EIO", "error=ENOSPC", "signal=KILL"):
        made += [(SYNCS, what, n) for n in (1, 3, rng.randint(4, 40))]
        made += [(WRITES, what, n) for n in (1, 4, rng.randint(7, 20), rng.randint(21, 80))]
    return made


async def test_one_node_alone_keeps_what_was_final_at_every_position(tmp_path: Path) -> None:
    network = RealNetwork(tmp_path / "net", "pbft", 1)
    node = wrap(network.nodes, network.directory, network.plan, 0)
    node.change(SPEAKS_ONLY_OF_TROUBLE)
    truth, ends = Truth(), []
    try:
        for calls, what, when in positions(1):
            node.prefix = injecting(calls, what, str(when))
            await node.start()
            status = await live_until_hit(network, 0, truth)
            check_end(network, 0, status, what)
            ends.append(status)
            await node.stop()
            node.prefix = []
            await node.start()
            assert await network.watcher.all_up(60), (calls, what, when, network.last_words())
            await truth.check(network, 0)
            await network.wait_final(max(truth.known, default=0) + 1, [0], 30)
            truth.see(await network.status(0))
            await node.kill()
    finally:
        await network.watcher.close()
        await node.stop()
    # The positions hit: most runs ended at theirs (LevelDB bears a failed write to its own log of
    # what it did), and both kinds of end were seen.
    assert ends.count(None) <= len(ends) // 2, ends
    assert 1 in ends and -9 in ends
    assert max(truth.known) > len(ends)


async def test_one_of_four_agrees_with_the_others_again_and_never_contradicted_itself(
    tmp_path: Path,
) -> None:
    network = RealNetwork(tmp_path / "net", "pbft", 4)
    victim = wrap(network.nodes, network.directory, network.plan, 2)
    victim.change(SPEAKS_ONLY_OF_TROUBLE)
    truth = Truth()
    rng = random.Random(2)
    async with network:
        for what in ("error=EIO", "error=ENOSPC", "signal=KILL"):
            for calls in (SYNCS, WRITES):
                when = rng.randint(4, 60)
                await victim.stop()
                victim.prefix = injecting(calls, what, str(when))
                await victim.start()
                status = await live_until_hit(network, 2, truth)
                check_end(network, 2, status, what)
                await victim.stop()
                victim.prefix = []
                await victim.start()
                assert await network.watcher.all_up(60), network.last_words()
                height, _ = await network.finalized(0)
                await network.wait_final(height + 1, [0, 1, 2, 3], 60)
                for index in range(4):
                    await truth.check(network, index)
        verdict = await network.agreement()
        assert verdict.agreement, verdict.sentence
        for client in network.watcher.clients:
            try:
                assert (await client.consensus()).evidence == 0
            except ClientError as error:
                raise AssertionError(str(error)) from error
