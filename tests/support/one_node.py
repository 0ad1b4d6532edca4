"""One whole node in the test's own event loop: LevelDB, engine, REST server, no other process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from aiohttp import web

from chain.address import Address
from chain.bech32m import show_address
from chain.block import Block
from chain.genesis import Allocation
from chain.hashing import BlockId, parse_id, sha256d
from chain.transaction import ATOMIC, Action, Transaction
from chain.validators import Validator
from consensus.contract import WorkRules
from consensus.registry import protocol
from moot.client.node import NodeClient
from moot.node.clock import system_clock
from moot.node.config import Folder, MiningSection, NodeConfig, P2pSection, RestSection, save_seed
from moot.node.core import NodeCore
from moot.node.founding import init_folder, make_genesis
from moot.node.ports import Grinder
from moot.node.runtime import NodeRuntime
from wallet.build import build, sign_transaction
from wallet.development import development_key
from wallet.keys import Key

KEYS = [development_key(index) for index in range(4)]
FAUCET = development_key(9)
COINS = 10**12
FEE = 1_000
PARAMETERS: dict[str, dict[str, int | str]] = {
    "pow": {"initial_bits": 0x1F00FFFF, "fixed_difficulty": 1, "maturity": 3},
    "pbft": {"heartbeat_ms": 0},  # blocks at need only
    "gossip": {"turn_ms_min": 10, "turn_ms_max": 20},
}


class OneNode:
    """A node that decides alone; its genesis funds the development accounts ``KEYS``."""

    def __init__(
        self,
        directory: Path,
        engine: str = "pbft",
        *,
        network: str = "dev",
        mining: bool = False,
        faucet: bool = False,
        rest: RestSection | None = None,
        p2p: P2pSection | None = None,
        joins: OneNode | None = None,
        make_grinder: Callable[[int], Grinder] | None = None,
        rest_extensions: tuple[Callable[[web.Application], None], ...] = (),
    ) -> None:
        """``joins``: an observer of that node's chain, with a key of its own."""
        folder, self.key = Folder(directory / "node"), development_key(20 if joins is None else 21)
        found = protocol(engine)
        has_validators = found.rules(found.parameters()).properties.has_validators
        genesis = make_genesis(
            name="one node",
            network=network,
            engine=engine,
            parameters=PARAMETERS.get(engine, {}),
            devnet_profile=True,
            validators=(Validator(self.key.address, 1, "alone"),) if has_validators else (),
            allocations=[Allocation(key.address, COINS) for key in [*KEYS, FAUCET]],
            faucet=FAUCET.address if faucet else None,
            time_ms=time.time_ns() // 1_000_000 - 60_000,
        )
        faucet_file = directory / "faucet.key"
        if faucet:
            save_seed(faucet_file, FAUCET.seed)
        section = rest or RestSection(port=0, faucet_key=str(faucet_file) if faucet else "")
        config = NodeConfig(
            p2p=p2p or P2pSection(port=0),
            rest=section,
            mining=MiningSection(enabled=mining),
        )
        if joins is not None:
            genesis = joins.core.ledger.genesis
        init_folder(folder, genesis, self.key.seed, config)
        self.runtime = NodeRuntime(folder, config, make_grinder, rest_extensions)
        self.prefix = genesis.prefix

    async def __aenter__(self) -> Self:
        started = asyncio.Event()
        self._running = asyncio.create_task(self.runtime.run(lambda _: started.set()))
        waiting = asyncio.create_task(started.wait())
        done, _ = await asyncio.wait([self._running, waiting], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        assert self.runtime.rest is not None
        self.url = f"http://127.0.0.1:{self.runtime.rest.port}"
        self.client = NodeClient(self.url)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.client.close()
        self.runtime.request_stop()
        await self._running

    @property
    def core(self) -> NodeCore:
        return self.runtime.core

    def show(self, address: Address) -> str:
        return show_address(address, self.prefix)

    def sign(
        self,
        key: Key,
        actions: Sequence[Action],
        *,
        nonce: int | None = None,
        fee: int = FEE,
        mode: int = ATOMIC,
    ) -> Transaction:
        """A signed transaction with the sender's next nonce."""
        if nonce is None:
            nonce = self.core.mempool.next_nonce(key.address, self.core.ledger)
        made = build(key.address, tuple(actions), nonce, fee=fee, fee_per_kilobyte=0, mode=mode)
        return sign_transaction(made, key, self.core.ledger.chain_id)

    async def final(self, *transactions: Transaction) -> None:
        """Submits and waits until all are in a block that is final (or confirmed)."""
        results = await self.client.submit([each.raw for each in transactions])
        assert [result.code for result in results] == [""] * len(transactions), results
        ids = [parse_id(result.txid) for result in results]
        ledger = self.core.ledger
        await self.until(
            lambda: all(
                located is not None and located.height <= ledger.height(ledger.confirmed())
                for located in map(ledger.transaction, ids)
            )
        )

    async def mine(self, parent: BlockId | None = None) -> BlockId:
        """Finds a block on ``parent`` (default: the head) by hand, and waits for its import."""
        core, ledger = self.core, self.core.ledger
        above = ledger.head() if parent is None else parent
        rules = core.rules
        assert isinstance(rules, WorkRules)
        time_s = max(system_clock().wall_ms // 1000, rules.earliest_time_s(ledger, above))
        bits = rules.next_bits(ledger, above, time_s)
        draft = core.builder.make(
            above,
            claims=b"",
            bits=bits,
            reward=rules.reward(ledger.height(above) + 1),
            producer=self.key.address,
            wall_ms=system_clock().wall_ms,
        )
        start, target, nonce = draft.header.raw[:-4], rules.target(bits), 0
        while int.from_bytes(sha256d(start + nonce.to_bytes(4, "little")), "little") > target:
            nonce += 1
        header = msgspec.structs.replace(draft.header, nonce=nonce)
        found = Block(header, draft.manifest, draft.transactions)
        assert core.offer_mined(found).outcome == "imported"
        core.pump()
        return found.id

    async def until(self, holds: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Waits for the node's own news until ``holds`` says so."""
        heard = asyncio.Event()
        unsubscribe = self.core.feed.subscribe(lambda _: heard.set())
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    heard.clear()
                    await heard.wait()
        finally:
            unsubscribe()
