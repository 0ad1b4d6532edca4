"""Real processes under engines that never finalize: cut, killed, healed, spent twice.

They converge, and whoever lost a payment is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from chain.hashing import show_id
from chain.transaction import Transaction
from moot.client.errors import ClientError
from moot.client.node import NodeClient
from moot.node.rest.control import Fault
from tests.support.real_network import RealNetwork
from wallet.build import sign_transaction, transfer
from wallet.development import development_key

PATIENCE_S = 60.0


async def send(client: NodeClient, number: int, to: int, amount: int, nonce: int = 0) -> str:
    """A payment between development accounts, handed to one node; its id."""
    chain_id = bytes.fromhex((await client.status()).chain_id)[::-1]
    key, recipient = development_key(number), development_key(to).address
    payment = transfer(key.address, recipient, amount, nonce, fee_per_kilobyte=1_000)
    signed: Transaction = sign_transaction(payment, key, chain_id)
    (result,) = await client.submit([signed.raw])
    assert result.code == "", result
    return show_id(signed.id)


async def until(network: RealNetwork, holds: Callable[[], Awaitable[bool]]) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while asyncio.get_running_loop().time() < deadline:
        try:
            if await holds():
                return
        except ClientError:
            pass  # a node that was killed, or is just reorganising
        await asyncio.sleep(0.1)
    raise AssertionError(network.last_words())


async def states(client: NodeClient, *txids: str) -> list[str]:
    return [each.state for each in await client.transaction_statuses(list(txids))]


async def included(clients: list[NodeClient], *txids: str) -> bool:
    found = [state for client in clients for state in await states(client, *txids)]
    return set(found) <= {"committed", "final"}


@pytest.mark.slow
async def test_both_sides_write_under_gossip_and_all_list_what_was_displaced(
    tmp_path: Path,
) -> None:
    """The side that is cut off goes on; one of its nodes is killed with all it has just written."""
    async with RealNetwork(tmp_path / "net", "gossip", 3) as network:
        clients = network.watcher.clients
        alone, others = clients[2], clients[:2]
        await network.faults.give(Fault("cut", ("node3",)))
        twice_there = await send(alone, 0, 5, 111)
        twice_here = await send(others[0], 0, 6, 222)
        only_there, only_here = await send(alone, 1, 5, 333), await send(others[0], 3, 6, 444)
        await until(network, lambda: included([alone], twice_there, only_there))
        await until(network, lambda: included(others, twice_here, only_here))
        await network.faults.give(Fault("kill", ("node3",)))
        await network.faults.give(Fault("restart", ("node3",)))
        await network.faults.give(Fault("heal", ()))
        await until(network, lambda: included(clients, only_there, only_here))

        async def told() -> bool:
            lists = [await client.displaced() for client in clients]
            return all(len(each) == 1 for each in lists)

        await until(network, told)
        verdict = await network.watcher.agreement_within(PATIENCE_S)
        assert verdict.agreement, verdict.sentence
        for client in clients:
            (lost,) = await client.displaced()
            assert {lost.txid, lost.rival} == {twice_there, twice_here}
            assert "double spend" in lost.sentence
            assert await states(client, lost.txid, lost.rival) in (
                ["displaced", "committed"],
                ["displaced", "final"],
            )


@pytest.mark.slow
async def test_a_signer_cut_off_under_authority_halts_and_comes_back(tmp_path: Path) -> None:
    async with RealNetwork(tmp_path / "net", "authority", 3) as network:
        clients = network.watcher.clients
        await network.faults.give(Fault("cut", ("node3",)))
        before = await clients[2].tip_height()
        twice_there = await send(clients[2], 0, 5, 111)
        twice_here = await send(clients[0], 0, 6, 222)
        only_there = await send(clients[2], 1, 5, 333)

        async def went_on() -> bool:
            return await clients[0].tip_height() >= before + 6

        await until(network, went_on)
        assert await clients[2].tip_height() <= before + 2  # one on its way, one of its own
        why = await clients[2].consensus()
        assert any("must be up and connected" in sentence for sentence in why.why)
        await network.faults.give(Fault("heal", ()))
        await until(network, lambda: included(clients, twice_here, only_there))
        verdict = await network.watcher.agreement_within(PATIENCE_S)
        assert verdict.agreement, verdict.sentence
        assert (await states(clients[2], twice_there))[0] in ("displaced", "unknown")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", ["authority", "gossip"])
async def test_killed_under_load_all_is_accounted_for(engine: str, tmp_path: Path) -> None:
    """kill -9 of one node after the other, then of all; nothing ends up doubled or forgotten."""
    async with RealNetwork(tmp_path / "net", engine, 3) as network, network.load(40) as load:
        sending = asyncio.create_task(load.run(12))
        for victim in (0, 1, 2):
            await asyncio.sleep(1.5)
            await network.kill(victim)
            await asyncio.sleep(0.5)
            await network.restart(victim)
        await asyncio.sleep(1.0)
        for victim in (2, 0, 1):
            await network.kill(victim)
        for victim in (1, 2, 0):
            await network.restart(victim)
        await sending
        assert await load.drain(PATIENCE_S), network.last_words()
        verdict = await network.watcher.agreement_within(PATIENCE_S)
        assert verdict.agreement, verdict.sentence
        assert await load.drain(PATIENCE_S)
        report = load.report()
        ended = report["finalized"] if load.goal == "final" else report["committed"]
        assert report["pending"] == 0
        assert report["submitted"] == ended + report["failed"]
        assert ended > 0.8 * report["submitted"], report
