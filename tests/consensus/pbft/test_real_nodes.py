"""PBFT in the real node core: ledger, mempool, gate, importer, sync; virtual time and links."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from chain.storage.memory import MemoryStore
from chain.verifiers import default_verifier
from consensus.contract import Now
from consensus.pbft import PROTOCOL, PbftParameters
from consensus.registry import parameter_list
from moot.node.core import CoreSettings, NodeCore
from moot.node.ports import Level, Shell
from p2p.wire import Hello, PeerMessage, decode_frame, encode_frame
from tests.support.chains import START_MS, address, make_genesis, open_ledger, private_key, transfer

PARAMETERS = PbftParameters(view_timeout_ms=500)
GENESIS = make_genesis(validators=4, engine="pbft", parameters=parameter_list(PARAMETERS))


class Link(NamedTuple):
    key: bytes
    hello: Hello


class World:
    """Virtual time, and links of 10 ms between the nodes that are up."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.count = 0
        self.nodes: dict[int, RealNode] = {}
        self.blamed: list[str] = []

    def at(self, at_ms: int, call: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.queue, (at_ms, self.count, call))

    def run_until(self, done: Callable[[], bool], limit_ms: int) -> None:
        end_ms = self.now_ms + limit_ms
        while not done():
            assert self.queue and self.queue[0][0] <= end_ms, "nothing within the limit"
            at_ms, _, call = heapq.heappop(self.queue)
            self.now_ms = max(self.now_ms, at_ms)
            call()

    def start(self, number: int, store: MemoryStore | None = None) -> RealNode:
        node = RealNode(self, number, store)
        self.nodes[number] = node
        node.core.start()
        for other in self.nodes.values():
            if other is not node:
                node.core.peer_joined(Link(other.key, other.core.hello(1)))
                other.core.peer_joined(Link(node.key, node.core.hello(1)))
        node.core.pump()
        return node

    def stop(self, number: int) -> RealNode:
        node = self.nodes.pop(number)
        for other in self.nodes.values():
            other.core.peer_left(node.key, "gone")
            other.core.pump()
        return node


class RealNode:
    """A NodeCore in a shell of virtual time: it is its own Network and Timers."""

    def __init__(self, world: World, number: int, store: MemoryStore | None) -> None:
        self.world, self.number, self.key = world, number, address(number)[1:]
        self.store = MemoryStore() if store is None else store
        self.timers: dict[tuple[str | int, ...], int] = {}
        ledger = open_ledger(GENESIS, self.store, verifier=default_verifier())
        if ledger.record() is None:
            ledger.persist(PROTOCOL.first_record(ledger.chain_id), ())
        shell = Shell(self, self, self.clock, self.wake, self.log, lambda: None)  # type: ignore[arg-type]
        self.core = NodeCore(
            ledger,
            address(number),
            private_key(number).sign,
            default_verifier(),
            shell,
            random.Random(number),
            CoreSettings(),
        )

    @property
    def height(self) -> int:
        return self.core.ledger.height(self.core.ledger.finalized())

    def clock(self) -> Now:
        return Now(START_MS + 1_000 + self.world.now_ms, self.world.now_ms)

    def wake(self) -> None:
        self.world.at(self.world.now_ms, self._pump)

    def _pump(self) -> None:
        if self.world.nodes.get(self.number) is self:
            self.core.pump()

    def log(self, level: Level, name: str, fields: Mapping[str, object]) -> None:
        assert level != "error", (name, fields)

    def send(self, key: bytes, message: PeerMessage) -> None:
        frame = encode_frame(message)
        self.world.at(self.world.now_ms + 10, lambda: self._arrive(key, frame))

    def _arrive(self, key: bytes, frame: bytes) -> None:
        for node in self.world.nodes.values():
            if node.key == key and self.world.nodes.get(self.number) is self:
                node.core.peer_message(self.key, decode_frame(frame))
                node.core.pump()

    def disconnect(self, key: bytes, reason: str, sentence: str) -> None:
        self.world.blamed.append(reason)

    def misbehaved(self, key: bytes, reason: str) -> None:
        self.world.blamed.append(reason)

    def set(self, key: tuple[str | int, ...], delay_ms: int) -> None:
        at_ms = self.world.now_ms + delay_ms
        self.timers[key] = at_ms
        self.world.at(at_ms, lambda: self._fire(key, at_ms))

    def cancel(self, key: tuple[str | int, ...]) -> None:
        self.timers.pop(key, None)

    def _fire(self, key: tuple[str | int, ...], at_ms: int) -> None:
        if self.world.nodes.get(self.number) is self and self.timers.get(key) == at_ms:
            del self.timers[key]
            self.core.timer_fired(key)
            self.core.pump()

    def pay(self, nonce: int) -> None:
        payment = transfer(self.core.ledger.chain_id, 0, 1, 500, nonce)
        assert self.core.submit([payment]) == [None]
        self.core.pump()


def test_payments_survive_a_dead_primary_and_a_restart() -> None:
    """Real blocks and signatures: pay, lose the primary, pay, restart it, pay: one chain."""
    world = World()
    for number in range(4):
        world.start(number)

    def all_at(height: int) -> Callable[[], bool]:
        return lambda: min(node.height for node in world.nodes.values()) >= height

    world.nodes[2].pay(0)
    world.run_until(all_at(1), 3_000)
    primary = world.nodes[1].core.engine_status().leader
    number = next(n for n in range(4) if address(n) == primary)
    dead = world.stop(number)
    other = (number + 1) % 4
    world.nodes[other].pay(1)
    world.run_until(all_at(2), 10_000)
    world.start(number, dead.store)
    world.run_until(all_at(2), 10_000)
    world.nodes[number].pay(2)
    world.run_until(all_at(3), 10_000)
    ids = {node.core.ledger.id_at(3) for node in world.nodes.values()}
    roots = {node.core.ledger.state().root for node in world.nodes.values()}
    assert len(ids) == len(roots) == 1
    assert world.blamed == []
    for node in world.nodes.values():
        ledger = node.core.ledger
        assert ledger.account(address(0)).nonce == 3
        proofs: list[Any] = [ledger.proof(ledger.id_at(height) or b"") for height in (1, 2, 3)]
        assert all(proof is not None and proof.engine == "pbft" for proof in proofs)
