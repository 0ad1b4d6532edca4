"""One real node that decides alone, in a thread of its own: for commands, which bring their loop.

The first development accounts are funded, the faucet works; the folder stays when it is stopped.
"""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from chain.bech32m import show_address
from chain.genesis import COIN, Allocation
from chain.validators import Validator
from consensus.registry import protocol
from moot.miner.workers import Grinder
from moot.node.config import (
    Folder,
    MiningSection,
    NodeConfig,
    P2pSection,
    RestSection,
    save_seed,
    show_config,
)
from moot.node.founding import init_folder, make_genesis
from moot.node.runtime import NodeRuntime
from wallet.development import development_key
from wallet.keystore import generate_key

COINS = 1_000
"""Coins of each development account."""
ACCOUNTS = 10
START_TIMEOUT_S = 30.0


class LiveNode:
    """A context manager; ``url`` is its REST API. May be entered again after it was left."""

    def __init__(self, path: Path, engine: str = "pbft", network: str = "dev") -> None:
        self.folder = Folder(path / "node")
        faucet, key = generate_key(), generate_key()
        found = protocol(engine)
        mines = not found.rules(found.parameters()).properties.has_validators
        # Some 65,000 hashes a block: long enough not to flood, short enough not to wait.
        parameters = {"initial_bits": 0x1F00FFFF, "fixed_difficulty": 1} if engine == "pow" else {}
        genesis = make_genesis(
            name="live",
            network=network,
            engine=engine,
            parameters=parameters,
            devnet_profile=True,
            validators=() if mines else (Validator(key.address, 1, "alone"),),
            allocations=[
                *(Allocation(development_key(i).address, COINS * COIN) for i in range(ACCOUNTS)),
                Allocation(faucet.address, COINS * COIN),
            ],
            faucet=faucet.address,
            time_ms=time.time_ns() // 1_000_000,
        )
        save_seed(path / "faucet.key", faucet.seed)
        config = NodeConfig(
            p2p=P2pSection(port=0),
            rest=RestSection(port=0, faucet_key=str(path / "faucet.key")),
            mining=MiningSection(enabled=mines, payout=show_address(key.address, genesis.prefix)),
        )
        init_folder(self.folder, genesis, key.seed, config)
        self.payout = show_address(key.address, genesis.prefix)
        self.prefix = genesis.prefix
        self.url = ""
        self._failure: BaseException | None = None

    @classmethod
    def at(cls, folder: Path) -> LiveNode:
        """The node of a folder that was made otherwise; its ports are changed to free ones."""
        node = cls.__new__(cls)
        node.folder, node.url, node._failure = Folder(folder), "", None
        config = NodeConfig(p2p=P2pSection(port=0), rest=RestSection(port=0))
        node.folder.config.write_text(show_config(config))
        return node

    def __enter__(self) -> Self:
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._up.wait(START_TIMEOUT_S) and self._failure is None, self._failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._runtime.request_stop)
        self._thread.join()
        assert self._failure is None, self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except (OSError, AssertionError, RuntimeError) as error:
            self._failure = error
        finally:
            self._up.set()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._runtime = NodeRuntime(self.folder, self.folder.load_config({}), Grinder)
        await self._runtime.run(self._started)

    def _started(self, runtime: NodeRuntime) -> None:
        assert runtime.rest is not None
        self.url = f"http://127.0.0.1:{runtime.rest.port}"
        self._up.set()
