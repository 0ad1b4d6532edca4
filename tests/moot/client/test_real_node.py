"""The client and the load against a real node: proof of work, LevelDB, the real REST server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chain.bech32m import show_address
from chain.genesis import Allocation
from chain.genesis_file import genesis_from_json
from chain.hashing import parse_id, show_id
from moot.client import NodeClient, NodeRefused
from moot.client.load import LoadGenerator
from moot.miner.workers import Grinder
from moot.node.config import Folder, MiningSection, NodeConfig, P2pSection, RestSection
from moot.node.founding import init_folder, make_genesis
from moot.node.runtime import NodeRuntime
from wallet.build import sign_transaction, transfer
from wallet.development import development_key
from wallet.keystore import generate_key

KEYS = [development_key(index) for index in range(4)]
COINS = 10**12


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """A mining node whose genesis funds the development accounts."""
    folder, key = Folder(tmp_path / "node"), generate_key()
    genesis = make_genesis(
        name="client test",
        network="dev",
        engine="pow",
        parameters={},
        devnet_profile=True,
        validators=(),
        allocations=[Allocation(account.address, COINS) for account in KEYS],
        faucet=None,
        time_ms=time.time_ns() // 1_000_000,
    )
    config = NodeConfig(
        p2p=P2pSection(port=0),
        rest=RestSection(port=0),
        mining=MiningSection(enabled=True, payout=show_address(key.address, "rmoot")),
    )
    init_folder(folder, genesis, key.seed, config)
    runtime = NodeRuntime(folder, config, Grinder)
    started = asyncio.Event()
    running = asyncio.create_task(runtime.run(lambda _: started.set()))
    waiting = asyncio.create_task(started.wait())
    done, _ = await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    assert runtime.rest is not None
    yield f"http://127.0.0.1:{runtime.rest.port}"
    runtime.request_stop()
    await running


async def test_wallet_to_block_and_load(url: str) -> None:
    async with NodeClient(url) as node:
        status = await node.status()
        assert (status.engine, status.finality, status.prefix) == ("pow", "confirmed", "rmoot")
        genesis = await node.genesis()
        assert genesis_from_json(json.dumps(genesis)).name == "client test"
        alice = show_address(KEYS[0].address, status.prefix)
        assert (await node.account(alice)).balance == COINS
        with pytest.raises(NodeRefused) as caught:
            await node.account(alice[:-1])
        assert caught.value.status == 400

        payment = sign_transaction(
            transfer(
                KEYS[0].address,
                KEYS[1].address,
                7,
                0,
                fee_per_kilobyte=status.fee_per_kilobyte_min,
            ),
            KEYS[0],
            parse_id(status.chain_id),
        )
        # The least fee is enough, and one unit less is not.
        (taken,) = await node.submit([payment.raw])
        assert (taken.txid, taken.code) == (show_id(payment.id), "")
        cheap = sign_transaction(
            transfer(
                KEYS[1].address,
                KEYS[0].address,
                7,
                0,
                fee=payment.fee - 1,
                fee_per_kilobyte=status.fee_per_kilobyte_min,
            ),
            KEYS[1],
            parse_id(status.chain_id),
        )
        (refused,) = await node.submit([cheap.raw])
        assert refused.code == "fee-below-minimum"
        assert (await node.account(alice)).pending_nonce == 1

        async with LoadGenerator([url], KEYS, rate=100, goal="committed") as load:
            await load.run(0.5)
            assert await load.drain(30)
            report = load.report()
        assert report["submitted"] == report["committed"] == 50
        assert report["failed"] == report["pending"] == 0
        (state,) = await node.transaction_statuses([taken.txid])
        assert state.state in ("committed", "final")
        assert (await node.account(alice)).nonce >= 13
