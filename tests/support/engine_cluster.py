"""Several engines over the contract, in virtual time, in one process, from one seed.

No ledger, no sockets: a small block tree behind ChainView, a cheap signature, and a network that
delays, reorders, loses and repeats. Each node keeps its effects in one queue; a crash may fall
between any two of them, and a restart knows only what Persist and Finalize wrote.

What is checked all the time, for honest nodes:

* agreement: no two nodes finalize different blocks at a height, and no node takes one back;
* one content for each signed slot, over all restarts of a key;
* nothing is said for a slot that the durable record did not precede (the signer signs behind
  Persist in the queue, so the two checks above catch it).
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from chain import codec
from chain.address import Address
from chain.block import Block, BlockHead
from chain.errors import InvalidBlock, InvalidProof
from chain.hashing import BlockId, TxId, show_id
from chain.proof import Evidence, Proof
from chain.transaction import Transaction
from chain.validators import Validator, ValidatorSet, validator_set
from consensus import contract
from consensus.contract import (
    Effect,
    EngineConfig,
    EngineProtocol,
    Event,
    Message,
    NodeId,
    Now,
    Slot,
)
from tests.support.fake_chain import (
    CHAIN_ID,
    START_MS,
    FakeTree,
    make_address,
    make_block,
    make_genesis_block,
    make_transaction,
    sign,
    verifies,
)

__all__ = [
    "CHAIN_ID",
    "START_MS",
    "Cluster",
    "Crash",
    "Disk",
    "FakeTree",
    "Node",
    "make_address",
    "make_block",
    "make_genesis_block",
    "make_transaction",
    "sign",
    "verifies",
]

STEPS_MAX = 400_000
"""Deliveries in one run: a livelock ends the test instead of hanging it."""


@dataclass
class Disk:
    """What survives a crash. ``finalized_lost``: finality that no synced write followed yet."""

    record: bytes | None
    bodies: dict[BlockId, Block]
    finalized: BlockId
    finalized_unsynced: BlockId
    proofs: dict[BlockId, Proof] = field(default_factory=dict)


Rewrite = Callable[["Node", Effect], list[tuple[NodeId | None, Message]] | None]
"""A liar: sees each Send and Broadcast, may answer what goes to whom instead (None: to all)."""


class Crash(Exception):
    """A planted power cut."""


class Node:
    """One engine, its tree, its queue of effects, its disk."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster = cluster
        self.number = number
        self.address = make_address(number)
        genesis = cluster.genesis
        self.disk = Disk(
            cluster.protocol.first_record(CHAIN_ID), {genesis.id: genesis}, genesis.id, genesis.id
        )
        self.up = False
        self.clock_offset_ms = 0
        self.pool: dict[TxId, Transaction] = {}
        self.rewrite: Rewrite | None = None
        self.honest = True
        self.crash_at_effect: int | None = None
        self.effects_done = 0
        self.reports: list[contract.Report] = []
        self.traces: list[contract.Trace] = []
        self.answers: list[contract.Answer] = []
        self.stopped = False
        self.life = 0

    # ---- life and death

    def start(self, *, syncing: bool = False, rebased: bool = False) -> None:
        assert not self.up
        disk, cluster = self.disk, self.cluster
        self.up, self.stopped, self.life = True, False, self.life + 1
        self.tree = FakeTree(cluster.genesis, cluster.validators, cluster.protocol.name)
        self.tree.validator_sets = cluster.validator_sets
        self.bodies = dict(disk.bodies)
        for block in sorted(self.bodies.values(), key=lambda block: block.height):
            if self.tree.knows(block.previous):
                self.tree.insert(block.head)
        self.tree.set_finalized(disk.finalized)
        self.effects: deque[Effect] = deque()
        self.events: deque[Event] = deque()
        self.timers: dict[contract.TimerKey, int] = {}
        self.build: tuple[contract.Build, int | None] | None = None
        self.engine = cluster.protocol.engine(
            self.address,
            EngineConfig(CHAIN_ID, cluster.parameters),
            random.Random(self.number),
            disk.record,
        )
        self.post(contract.Started(syncing, rebased))
        if self.pool:
            self.post(contract.TransactionsWaiting(len(self.pool)))

    def crash(self) -> None:
        """Loses all that no barrier covers; unsynced finality by the toss of a coin."""
        self.up = False
        if self.cluster.rng.random() < 0.5:
            self.disk.finalized = self.disk.finalized_unsynced
        self.disk.finalized_unsynced = self.disk.finalized

    def post(self, event: Event) -> None:
        if self.up:
            self.events.append(event)

    def run(self) -> None:
        """Events and effects until both queues are empty, in an order drawn from the seed."""
        try:
            while self.up and (self.events or self.effects):
                if self.events and (not self.effects or self.cluster.rng.random() < 0.5):
                    event = self.events.popleft()
                    self.cluster.note(self, event)
                    self.effects.extend(self.engine.handle(event, self.tree, self.now()))
                else:
                    self._perform(self.effects.popleft())
        except Crash:
            self.crash()

    def now(self) -> Now:
        now_ms = self.cluster.now_ms
        return Now(START_MS + now_ms + self.clock_offset_ms, now_ms)

    @property
    def finalized_height(self) -> int:
        return self.tree.height(self.tree.finalized())

    # ---- effects

    def _perform(self, effect: Effect) -> None:
        if self.crash_at_effect is not None and self.effects_done >= self.crash_at_effect:
            self.crash_at_effect = None
            raise Crash
        self.effects_done += 1
        self.cluster.note(self, effect)
        match effect:
            case contract.Persist():
                self._persist(effect)
            case contract.Broadcast() | contract.Send():
                self._say(effect)
            case contract.Import():
                self.offer(effect.block, effect.origin)
            case contract.Build():
                at_ms = None
                if effect.deadline_ms is not None:
                    at_ms = self.cluster.now_ms + effect.deadline_ms
                    self.cluster.at(at_ms, self._answer_build)
                self.build = (effect, at_ms)
                self._answer_build()
            case contract.SetTimer():
                at_ms = self.cluster.now_ms + effect.delay_ms
                self.timers[effect.key] = at_ms
                self.cluster.at(at_ms, self._fire, effect.key, at_ms, self.life)
            case contract.CancelTimer():
                self.timers.pop(effect.key, None)
            case contract.SetHead():
                self.tree.set_head(effect.block)
                self._head_moved()
            case contract.Finalize():
                self._finalize(effect)
            case contract.Fetch():
                delay_ms = self.cluster.latency()
                self.cluster.at(self.cluster.now_ms + delay_ms, self._fetch, effect, self.life)
            case contract.Report():
                self.reports.append(effect)
            case contract.Trace():
                self.traces.append(effect)
            case contract.Answer():
                self.answers.append(effect)
            case contract.Stop():
                self.stopped = True
            case _:
                pass

    def _persist(self, effect: contract.Persist) -> None:
        disk = self.disk
        disk.record = effect.record
        disk.finalized = disk.finalized_unsynced
        for block in effect.blocks:
            while block not in disk.bodies:
                disk.bodies[block] = self.bodies[block]
                block = self.bodies[block].previous

    def _say(self, effect: contract.Broadcast | contract.Send) -> None:
        rewritten = None if self.rewrite is None else self.rewrite(self, effect)
        if rewritten is None:
            to = effect.to if isinstance(effect, contract.Send) else None
            rewritten = [(to, effect.message)]
        for target, message in rewritten:
            signed = self.cluster.sign(self, message)
            for node in self.cluster.nodes:
                if target is None or node.address == target:
                    self.cluster.deliver(self, node, signed)

    def _finalize(self, effect: contract.Finalize) -> None:
        self.tree.set_finalized(effect.block)
        if effect.proof is not None:
            self.disk.proofs[effect.block] = effect.proof
        block = effect.block
        while block not in self.disk.bodies:
            self.disk.bodies[block] = self.bodies[block]
            block = self.bodies[block].previous
        self.disk.finalized_unsynced = effect.block
        self.cluster.finalized(self, effect.block)

    def _head_moved(self) -> None:
        block = self.bodies[self.tree.head()]
        while block.height:
            for transaction in block.transactions:
                self.pool.pop(transaction.id, None)
            if not self.tree.descends(block.previous, self.tree.finalized()):
                break
            block = self.bodies[block.previous]
        self.post(contract.TransactionsWaiting(len(self.pool)))

    def submit(self, transaction: Transaction) -> None:
        fresh = not self.pool
        self.pool[transaction.id] = transaction
        if self.up:
            if fresh:
                self.post(contract.TransactionsWaiting(len(self.pool)))
            self._answer_build()
            self.run()

    def _answer_build(self) -> None:
        if not self.up or self.build is None:
            return
        build, at_ms = self.build
        due = at_ms is not None and self.cluster.now_ms >= at_ms
        if not self.pool and not due:
            return
        self.build = None
        block: Block | None = None
        if self.pool or build.may_be_empty:
            parent = self.tree.header(build.parent)
            transactions = tuple(self.pool.values())[:8]
            wall_ms = self.now().wall_ms
            block = make_block(
                parent,
                self.address,
                self.tree.validators(parent.id),
                wall_ms,
                transactions,
                build.claims,
                self.cluster.next_extra(),
            )
            if self.cluster.imports_built:
                self._insert(block)
                self.post(contract.BlockImported(block.head, "own"))
        self.post(contract.BlockBuilt(build.request, block))
        if self.cluster.now_ms and not self.effects:
            self.run()

    def _insert(self, block: Block) -> None:
        self.bodies[block.id] = block
        self.tree.insert(block.head)

    def offer(self, block: Block, origin: contract.Origin) -> None:
        """The importer: rules, a poisoned transaction, then the tree."""
        if self.tree.knows(block.id):
            self.post(contract.BlockImported(block.head, origin))
            return
        if not self.tree.knows(block.previous):
            self._fetch(contract.Fetch((block.previous,), None), self.life)
            if not self.tree.knows(block.previous):
                self.cluster.at(self.cluster.now_ms + 50, self._offer_later, block, origin)
                return
        try:
            block.check_body()
            self.cluster.rules.check_header(block.head, self.tree)
            if any(one.id in self.cluster.poisoned for one in block.transactions):
                raise InvalidBlock("poisoned", "execution fails")
        except InvalidBlock as error:
            self.post(contract.BlockRejected(block.id, origin, error.sentence))
            return
        self._insert(block)
        self.post(contract.BlockImported(block.head, origin))

    def _offer_later(self, block: Block, origin: contract.Origin) -> None:
        if self.up:
            self.offer(block, origin)
            self.run()

    def _fire(self, key: contract.TimerKey, at_ms: int, life: int) -> None:
        if self.up and self.life == life and self.timers.get(key) == at_ms:
            del self.timers[key]
            self.post(contract.TimerFired(key))
            self.run()

    def _fetch(self, effect: contract.Fetch, life: int) -> None:
        if not self.up or life != self.life:
            return
        peers = sorted(self.cluster.nodes, key=lambda node: node.address != effect.hint)
        for wanted in effect.blocks:
            for peer in peers:
                if peer is not self and self.cluster.linked(self, peer) and (wanted in peer.bodies):
                    self.copy_branch(peer, wanted)
                    break
        self.run()

    def copy_branch(self, peer: Node, block: BlockId) -> None:
        """Sync: a branch of ``peer``, lowest first, with the proofs that it holds."""
        branch: list[Block] = []
        while not self.tree.knows(block):
            branch.append(peer.bodies[block])
            block = peer.bodies[block].previous
        for body in reversed(branch):
            self.offer(body, "sync")
        for body in reversed(branch):
            proof = peer.disk.proofs.get(body.id)
            if proof is not None and self.tree.knows(body.id):
                self.see_proof(body.head, proof)

    def see_proof(self, head: BlockHead, proof: Proof) -> None:
        rules = self.cluster.rules
        try:
            attested = rules.check_proof(CHAIN_ID, head, proof, self.tree.validators(head.previous))
        except InvalidProof:
            return
        if all(verifies(one) for one in attested):
            self.post(contract.ProofSeen(head.id, proof))


class Cluster:
    """``n`` validators (and ``observers`` more nodes) under one protocol."""

    def __init__(
        self,
        protocol: EngineProtocol,
        n: int,
        *,
        seed: int = 0,
        observers: int = 0,
        parameters: Any = None,
        loss: float = 0.0,
        duplicates: float = 0.0,
        latency_ms: tuple[int, int] = (5, 30),
        background_sync_ms: int | None = 1_000,
    ) -> None:
        self.protocol = protocol
        self.parameters = protocol.parameters() if parameters is None else parameters
        self.rules = protocol.rules(self.parameters)
        self.rng = random.Random(seed)
        self.validators = validator_set(
            Validator(make_address(number), 1, f"node {number}") for number in range(n)
        )
        self.validator_sets: Callable[[int], ValidatorSet] = lambda height: self.validators
        self.genesis = make_genesis_block(self.validators)
        self.loss, self.duplicates, self.latency_ms = loss, duplicates, latency_ms
        self.now_ms = 0
        self.poisoned: set[TxId] = set()
        self.imports_built = True
        """False: a built block comes as a template, as it must where work is still to be done."""
        self.final: dict[int, BlockId] = {0: self.genesis.id}
        self.signed: dict[tuple[Address, Slot], bytes] = {}
        self.blocked: set[frozenset[int]] = set()
        self.drop: Callable[[Node, Node, Message], bool] = lambda source, target, message: False
        self.observer: Callable[[Node, Event | Effect], None] | None = None
        self.refused = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        self._extra = 0
        self._transactions = 0
        self.steps = 0
        self.nodes = [Node(self, number) for number in range(n + observers)]
        if background_sync_ms is not None:
            self.at(background_sync_ms, self._background_sync, background_sync_ms)

    # ---- time

    def at(self, at_ms: int, call: Callable[..., None], *arguments: Any) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (at_ms, self._sequence, call, arguments))

    def run_for(self, duration_ms: int) -> None:
        """Lets virtual time pass."""
        self._run(self.now_ms + duration_ms, lambda: False)

    def run_until(self, done: Callable[[], bool], limit_ms: int = 120_000) -> None:
        """Until ``done``; fails once ``limit_ms`` of virtual time have passed."""
        start_ms = self.now_ms
        assert self._run(start_ms + limit_ms, done), (
            f"nothing within {limit_ms} ms; heights {self.heights()}; "
            + " | ".join(
                " ".join(node.engine.status(node.tree, node.now()).why)
                for node in self.nodes
                if node.up
            )
        )

    def _run(self, end_ms: int, done: Callable[[], bool]) -> bool:
        for node in self.nodes:
            node.run()
        while not done():
            if not self._queue or self._queue[0][0] > end_ms:
                self.now_ms = end_ms
                return done()
            at_ms, _, call, arguments = heapq.heappop(self._queue)
            self.now_ms = max(self.now_ms, at_ms)
            self.steps += 1
            assert self.steps < STEPS_MAX, "a livelock: too many steps"
            call(*arguments)
        return True

    # ---- the world

    def start(self, numbers: Iterable[int] | None = None) -> None:
        for number in range(len(self.nodes)) if numbers is None else numbers:
            self.nodes[number].start()
        for node in self.nodes:
            node.run()

    def restart(self, number: int) -> None:
        node = self.nodes[number]
        if node.up:
            node.crash()
        node.start()
        node.run()

    def submit(self, count: int = 1, to: Iterable[int] | None = None) -> None:
        """New transactions, at once in everyone's (or some nodes') pool, down ones included."""
        for _ in range(count):
            transaction = make_transaction(self._transactions)
            self._transactions += 1
            for number in range(len(self.nodes)) if to is None else to:
                self.nodes[number].submit(transaction)

    def partition(self, *groups: Iterable[int]) -> None:
        """Links only inside the groups."""
        side = {number: index for index, group in enumerate(groups) for number in group}
        self.blocked = {
            frozenset((a.number, b.number))
            for a in self.nodes
            for b in self.nodes
            if side.get(a.number, -1 - a.number) != side.get(b.number, -1 - b.number)
        }

    def heal(self) -> None:
        self.blocked = set()
        self.loss = 0.0
        self.drop = lambda source, target, message: False

    def linked(self, a: Node, b: Node) -> bool:
        return a.up and b.up and frozenset((a.number, b.number)) not in self.blocked

    def latency(self) -> int:
        return self.rng.randint(*self.latency_ms)

    def next_extra(self) -> int:
        self._extra += 1
        return self._extra

    def sign(self, node: Node, message: Message) -> Message:
        """The signer with its guard: one content for each slot, over all lives of a key."""
        signatures = []
        for attestation in message.attestations():
            if attestation.signature:
                continue
            assert attestation.signer == node.address, "an engine signs for nobody else"
            key = (attestation.signer, attestation.slot)
            if node.honest:
                before = self.signed.setdefault(key, attestation.content)
                assert before == attestation.content, f"two contents for {attestation.slot}"
            signatures.append(sign(node.address, attestation.slot, attestation.content))
        return message.signed(signatures) if signatures else message

    def deliver(self, source: Node, target: Node, message: Message) -> None:
        """To oneself at once through the queue; to others as bytes, late, twice or never."""
        if source is target:
            source.post(contract.MessageReceived(source.address, message))
            return
        if self.drop(source, target, message) or self.rng.random() < self.loss:
            return
        raw = codec.encode(message)
        copies = 2 if self.rng.random() < self.duplicates else 1
        for _ in range(copies):
            self.at(self.now_ms + self.latency(), self._arrive, source, target, type(message), raw)

    def _arrive(self, source: Node, target: Node, kind: type[Message], raw: bytes) -> None:
        if not target.up or frozenset((source.number, target.number)) in self.blocked:
            return
        message = codec.decode(raw, kind)
        if not all(verifies(one) for one in message.attestations()):
            self.refused += 1
            return
        target.post(contract.MessageReceived(source.address, message))
        target.run()

    def finalized(self, node: Node, block: BlockId) -> None:
        """Agreement, at every finalization of an honest node."""
        if not node.honest:
            return
        while True:
            height = node.tree.height(block)
            known = self.final.setdefault(height, block)
            assert known == block, (
                f"node {node.number} finalized {show_id(block)[:8]} at {height}, "
                f"another one {show_id(known)[:8]}"
            )
            if height == 0 or self.final.get(height - 1) is not None:
                return
            block = node.tree.header(block).previous

    def heights(self) -> list[int]:
        """Finalized heights; -1 where a node is down."""
        return [node.finalized_height if node.up else -1 for node in self.nodes]

    def evidence(self) -> list[Evidence]:
        return [
            report.evidence
            for node in self.nodes
            for report in node.reports
            if report.evidence is not None
        ]

    def note(self, node: Node, what: Event | Effect) -> None:
        if self.observer is not None:
            self.observer(node, what)

    def _background_sync(self, pause_ms: int) -> None:
        """What the node's sync does without being asked: follow a peer that is ahead."""
        for node in self.nodes:
            peers = [peer for peer in self.nodes if peer is not node and self.linked(node, peer)]
            if not peers:
                continue
            peer = self.rng.choice(peers)
            if peer.finalized_height > node.finalized_height:
                block = peer.tree.finalized()
                node.copy_branch(peer, block)
                proof = peer.disk.proofs.get(block)
                if proof is not None and node.tree.knows(block):
                    node.see_proof(peer.tree.header(block), proof)
                node.run()
        self.at(self.now_ms + pause_ms, self._background_sync, pause_ms)
