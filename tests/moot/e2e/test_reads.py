"""Reads at a node that is cut off: it does not vouch for what it knows, and still tells it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chain.bech32m import show_address
from moot.client.errors import NodeRefused
from moot.client.node import NodeClient
from moot.node.rest.control import Fault
from tests.support.real_network import RealNetwork
from wallet.build import sign_transaction, transfer
from wallet.development import development_key

AMOUNT = 4_321
PAYER, PAYEE = development_key(0), development_key(1)
PARAMETERS: dict[str, dict[str, int | str]] = {"pbft": {"heartbeat_ms": 0}, "raft": {}}


async def pay(client: NodeClient) -> None:
    """Returns when the payment is final at that node."""
    status = await client.status()
    account = await client.account(show_address(PAYER.address, status.prefix))
    payment = transfer(
        PAYER.address, PAYEE.address, AMOUNT, account.pending_nonce, fee_per_kilobyte=1_000
    )
    signed = sign_transaction(payment, PAYER, bytes.fromhex(status.chain_id)[::-1])
    (result,) = await client.submit([signed.raw], wait="final", wait_s=20)
    assert result.state == "final", result


@pytest.mark.slow
@pytest.mark.parametrize("engine", list(PARAMETERS))
async def test_a_node_that_is_cut_off_refuses_a_linearizable_read_only(
    engine: str, tmp_path: Path
) -> None:
    async with RealNetwork(tmp_path / "net", engine, 4, PARAMETERS[engine]) as network:
        clients = network.watcher.clients
        await pay(clients[0])
        payee = show_address(PAYEE.address, (await clients[0].status()).prefix)
        for client in clients:
            # Whoever is asked, and however far it was: not older than what client 0 was told.
            before = await client.account(payee, "linearizable")
            assert before.balance > AMOUNT
        cut_off, *others = clients[3], *clients[:3]
        await network.faults.give(Fault("cut", ("4",)))
        await pay(others[0])
        fresh = await others[1].account(payee, "linearizable")
        assert fresh.balance == before.balance + AMOUNT
        old = await cut_off.account(payee, "serializable")
        assert (old.balance, old.height) == (before.balance, before.height)
        with pytest.raises(NodeRefused) as refusal:
            await cut_off.account(payee, "linearizable")
        assert refusal.value.status == 503
        assert refusal.value.code in ("no-quorum", "read-refused", "syncing")
        assert (await cut_off.account(payee, "serializable")).balance == before.balance
        await network.faults.give(Fault("heal", ()))
        assert await healed(cut_off, payee) == fresh.balance


async def healed(client: NodeClient, payee: str) -> int:
    """The balance, once the node vouches for it again; its first such answer must be right."""
    for _ in range(100):
        try:
            return (await client.account(payee, "linearizable")).balance
        except NodeRefused:
            await asyncio.sleep(0.2)
    raise AssertionError("it does not vouch for anything after the healing")
