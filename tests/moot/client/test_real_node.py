"""The client and the load against real nodes: engines, LevelDB and the REST server as they are."""

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
from chain.header import parse_header
from chain.validators import Validator
from moot.client import NodeClient, NodeRefused
from moot.client.load import Goal, LoadGenerator
from moot.miner.workers import Grinder
from moot.node.config import Folder, MiningSection, NodeConfig, P2pSection, RestSection
from moot.node.founding import init_folder, make_genesis
from moot.node.runtime import NodeRuntime
from wallet.build import sign_transaction, transfer
from wallet.development import development_key
from wallet.keystore import generate_key

KEYS = [development_key(index) for index in range(4)]
COINS = 10**12


@pytest.fixture(params=["pow", "pbft"])
async def url(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A node that decides alone; its genesis funds the development accounts."""
    engine: str = request.param
    folder, key = Folder(tmp_path / "node"), generate_key()
    genesis = make_genesis(
        name="client test",
        network="dev",
        engine=engine,
        # Some 65,000 hashes a block: long enough not to flood, short enough not to wait.
        parameters={"initial_bits": 0x1F00FFFF, "fixed_difficulty": 1} if engine == "pow" else {},
        devnet_profile=True,
        validators=() if engine == "pow" else (Validator(key.address, 1, "alone"),),
        allocations=[Allocation(account.address, COINS) for account in KEYS],
        faucet=None,
        time_ms=time.time_ns() // 1_000_000,
    )
    config = NodeConfig(
        p2p=P2pSection(port=0),
        rest=RestSection(port=0),
        mining=MiningSection(enabled=engine == "pow", payout=show_address(key.address, "rmoot")),
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
        final = status.engine == "pbft"
        assert status.finality == ("final" if final else "confirmed")
        genesis = await node.genesis()
        assert genesis_from_json(json.dumps(genesis)).name == "client test"
        alice = show_address(KEYS[0].address, "rmoot")
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

        goal: Goal = "final" if final else "committed"
        async with LoadGenerator([url], KEYS, rate=100, goal=goal) as load:
            await load.run(0.5)
            assert await load.drain(30)
            report = load.report()
        assert report["submitted"] == report["committed"] == 50
        assert report["finalized"] == (50 if final else 0)
        assert report["failed"] == report["pending"] == 0
        assert (await node.account(alice)).nonce >= 13

        (where,) = await node.transaction_statuses([taken.txid])
        assert where.state in ("committed", "final")
        assert where.height is not None
        block_id = await node.block_id_at(where.height)
        facts = await node.block_facts(block_id)
        assert (facts["id"], facts["height"]) == (block_id, where.height)
        assert facts["transactions"] > 0

        # Proofs come as documents of their kind, once there is something to prove.
        if not final:
            with pytest.raises(NodeRefused) as early:
                await node.block_proof(await node.block_id_at((await node.status()).head.height))
            assert (early.value.status, early.value.code) == (409, "not-final")
            return
        proof = await node.block_proof(block_id)
        assert proof["engine"] == "pbft"
        assert (await node.transaction_proof(taken.txid))["transaction"] == payment.raw.hex()
        assert (await node.account_proof(alice))["address"] == alice


async def test_what_a_node_says_of_itself(url: str) -> None:
    async with NodeClient(url) as node:
        status = await node.status()
        consensus = await node.consensus()
        assert consensus.engine == status.engine
        assert len(consensus.validators) == (1 if status.engine == "pbft" else 0)
        assert consensus.properties["finalizes"] == (status.finality == "final")
        assert await node.peers() == []
        why = await node.why()
        assert why.sentences
        with pytest.raises(NodeRefused) as dry:
            await node.faucet(show_address(KEYS[0].address, "rmoot"))
        assert (dry.value.status, dry.value.code) == (404, "no-faucet")
        payout = show_address(KEYS[1].address, "rmoot")
        if status.engine == "pbft":
            with pytest.raises(NodeRefused) as idle:
                await node.mining_template(payout)
            assert idle.value.code == "no-work"
            return
        work = await node.mining_template(payout)
        assert work.height > 0
        header = parse_header(bytes.fromhex(work.header))
        verdict = await node.mining_submit("no such job", header.raw)
        assert not verdict.accepted
        assert verdict.sentence
        following = await node.mining_template(payout, longpoll=work.job)
        assert following.job != work.job
        stale = await node.mining_submit(work.job, header.raw)
        assert not stale.accepted
