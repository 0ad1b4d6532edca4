"""A whole node in the test's event loop, with everything real: sockets, TLS, LevelDB, REST."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from chain.bech32m import show_address
from chain.block import Block
from chain.genesis import Allocation, Genesis
from chain.hashing import BlockId, sha256
from chain.validators import Validator
from consensus.contract import WorkRules
from moot.node.config import Folder, LogSection, NodeConfig, P2pSection, RestSection
from moot.node.founding import init_folder, make_genesis
from moot.node.runtime import NodeRuntime
from tests.support.hostile_peer import WAIT_S, HostilePeer
from wallet.development import development_key
from wallet.keys import Key

EASY_BITS = 0x207F_FFFF
"""Two hashes a block."""
EASY_POW: dict[str, int | str] = {
    "initial_bits": EASY_BITS,
    "pow_limit_bits": EASY_BITS,
    "fixed_difficulty": 1,
    "maturity": 2,
}
USERS = [development_key(index) for index in range(4)]
COINS = 10**12


def node_key(number: int) -> Key:
    """The same key for the same number, always."""
    return Key.from_seed(sha256(b"node under attack %d" % number))


def found(engine: str, validators: int, parameters: dict[str, int | str]) -> Genesis:
    """A network whose first validators are ``node_key(0)``, ``node_key(1)``, ..."""
    return make_genesis(
        name="under attack",
        network="dev",
        engine=engine,
        parameters={**(EASY_POW if engine == "pow" else {}), **parameters},
        devnet_profile=True,
        validators=[Validator(node_key(n).address, 1, f"v{n}") for n in range(validators)],
        allocations=[Allocation(user.address, COINS) for user in USERS],
        faucet=None,
        time_ms=time.time_ns() // 1_000_000 - 3_600_000,
    )


class NodeUnderAttack:
    """One node. Leaving the context asserts that it was alive until then."""

    def __init__(self, directory: Path, genesis: Genesis, key: Key, peers: Sequence[str] = ()):
        self.folder = Folder(directory)
        self.genesis = genesis
        config = NodeConfig(
            p2p=P2pSection(port=0, peers=tuple(peers)),
            rest=RestSection(port=0),
            log=LogSection(level="error"),
        )
        init_folder(self.folder, genesis, key.seed, config)
        self.runtime = NodeRuntime(self.folder, config)

    async def __aenter__(self) -> Self:
        started = asyncio.Event()
        self._running = asyncio.create_task(self.runtime.run(lambda _: started.set()))
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait([self._running, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        self.check_alive()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        died = self._running.done()
        self.runtime.request_stop()
        await self._running  # raises what it died of
        assert not died, "the node stopped by itself"

    def check_alive(self) -> None:
        """Raises what the node died of."""
        if self._running.done():
            self._running.result()
            raise AssertionError("the node stopped by itself")

    @property
    def core(self):  # type: ignore[no-untyped-def]
        return self.runtime.core

    @property
    def ledger(self):  # type: ignore[no-untyped-def]
        return self.runtime.core.ledger

    @property
    def url(self) -> str:
        assert self.runtime.rest is not None
        return f"http://127.0.0.1:{self.runtime.rest.port}"

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.runtime.transport.port}"

    def attacker(self, number: int = 666) -> HostilePeer:
        """A peer with a key of its own (``node_key(number)``), not connected yet."""
        transport = self.runtime.transport
        return HostilePeer(transport.port, node_key(number).seed, self.core.hello(0))

    def score(self, peer: HostilePeer) -> int:
        """The attacker's points; a banned one has none left."""
        return self.runtime.transport._scores.score(peer.key, time.monotonic_ns() // 1_000_000)

    def is_banned(self, peer: HostilePeer) -> bool:
        book = self.runtime.transport.book
        return book.is_banned(peer.key, "127.0.0.1", time.time_ns() // 1_000_000)

    async def until(self, condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        """Waits for the node to come to a state; fails if it dies or does not."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self.check_alive()
                await asyncio.sleep(0.01)

    def show(self, key: Key) -> str:
        return show_address(key.address, self.genesis.prefix)

    # ------------------------------------------------------------------------------- mining

    def template(self, parent: BlockId, *, extra: int = 0, wall_ms: int | None = None) -> Block:
        """A valid block without its work."""
        rules = self.core.eras.rules_after(self.ledger, parent)
        assert isinstance(rules, WorkRules)
        return self.core.builder.make(
            parent,
            claims=b"",
            bits=rules.next_bits(self.ledger, parent, 0),
            reward=rules.reward(self.ledger.height(parent) + 1),
            producer=node_key(99).address,
            wall_ms=wall_ms or self.ledger.header(parent).time_ms + 1_000,
            extra_nonce=extra.to_bytes(8, "big"),
        )
