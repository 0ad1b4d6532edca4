"""Two proof-of-work nodes mine apart for longer than the confirmation depth, then meet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from chain.bech32m import show_address
from chain.transaction import Transaction
from moot.cli.devnet.plan import Plan, folder_of
from moot.client.node import NodeClient
from moot.node.config import show_config
from tests.support.proxy import Cable
from tests.support.real_network import RealNetwork
from wallet.build import sign_transaction, transfer
from wallet.development import development_key

DEPTH = 6


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def isolate(network: RealNetwork, dial: int) -> None:
    """The first node dials only ``dial``; the second dials nobody."""
    plan: Plan = network.plan
    for number, node in enumerate(plan.nodes):
        folder = folder_of(network.directory, node)
        config = folder.load_config({})
        peers = (f"127.0.0.1:{dial}",) if number == 0 else ()
        section = msgspec.structs.replace(config.p2p, peers=peers)
        folder.config.write_text(show_config(msgspec.structs.replace(config, p2p=section)))


@asynccontextmanager
async def two_apart(directory: Path) -> AsyncIterator[tuple[RealNetwork, Cable]]:
    network = RealNetwork(directory, "pow", 2)
    dial = free_port()
    isolate(network, dial)
    cable = Cable(network.plan.nodes[1].p2p_port, dial)
    try:
        for node in network.nodes:
            await node.start()
        yield network, cable
    finally:
        await cable.cut()
        await network.watcher.close()
        await asyncio.gather(*(node.stop() for node in network.nodes))


async def wait_height(network: RealNetwork, height: int) -> None:
    for _ in range(1_200):
        statuses = await network.watcher.look()
        if all(status is not None and status.head.height >= height for status in statuses):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"no height {height}: {statuses}\n{network.last_words()}")


async def send(client: NodeClient, number: int, to: int, amount: int, nonce: int) -> Transaction:
    chain_id = bytes.fromhex((await client.status()).chain_id)[::-1]
    key, recipient = development_key(number), development_key(to).address
    payment = transfer(key.address, recipient, amount, nonce, fee_per_kilobyte=1_000)
    signed = sign_transaction(payment, key, chain_id)
    results = await client.submit([signed.raw])
    assert results[0].code == "", results
    return signed


@pytest.mark.slow
async def test_the_heavier_branch_wins_and_the_other_sides_payments_return(tmp_path: Path) -> None:
    """Account 0 pays twice with one nonce, once on each side; accounts 1 and 2 pay on one side
    each. When the sides meet, one of account 0's payments stands and everybody else's does too."""
    async with two_apart(tmp_path / "net") as (network, cable):
        left, right = network.watcher.clients
        await wait_height(network, 1)
        double_left = await send(left, 0, 5, 111, 0)
        double_right = await send(right, 0, 6, 222, 0)
        only_left = await send(left, 1, 7, 333, 0)
        only_right = await send(right, 2, 8, 444, 0)
        await wait_height(network, 3 + DEPTH)
        # Confirmed on both sides while they are apart, however soon each was mined.
        await wait_confirmed(left, double_left, only_left)
        await wait_confirmed(right, double_right, only_right)
        await cable.plug_in()
        for _ in range(600):
            if await agree(network):
                break
            await asyncio.sleep(0.1)
        assert await agree(network), network.last_words()
        # The payments of the lighter side came back and are mined again (one double spend dies).
        for client in (left, right):
            for _ in range(600):
                states = await client.transaction_statuses(
                    [tx.id[::-1].hex() for tx in (only_left, only_right)]
                )
                if all(state.state in ("committed", "final") for state in states):
                    break
                await asyncio.sleep(0.1)
            assert all(state.state in ("committed", "final") for state in states), states
        await check_balances(left, right)


async def wait_confirmed(client: NodeClient, *transactions: Transaction) -> None:
    ids = [transaction.id[::-1].hex() for transaction in transactions]
    for _ in range(1_200):
        states = await client.transaction_statuses(ids)
        if all(state.state == "final" for state in states):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"not confirmed: {states}")


async def agree(network: RealNetwork) -> bool:
    """Whether both nodes have the other's block at the lower of both heads."""
    found = await network.watcher.look()
    first, second = found
    if first is None or second is None or not first.peers:
        return False
    height = min(first.head.height, second.head.height)
    ids = [await client.block_id_at(height) for client in network.watcher.clients]
    return ids[0] == ids[1]


async def check_balances(left: NodeClient, right: NodeClient) -> None:
    genesis_coins = 1_000_000 * 100_000_000
    gained = {}
    for number in (5, 6, 7, 8):
        address = show_address(development_key(number).address, "rmoot")
        on_both = [(await client.account(address)).balance for client in (left, right)]
        assert on_both[0] == on_both[1]
        gained[number] = on_both[0] - genesis_coins
    assert gained[7] == 333
    assert gained[8] == 444
    assert (gained[5], gained[6]) in ((111, 0), (0, 222)), "one of the two double spends stands"
