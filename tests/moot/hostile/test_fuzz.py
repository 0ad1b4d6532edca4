"""Mutated frames into the production core, in virtual time: nothing escapes, nothing changes.

The frames are real ones, recorded from a network at work. A mutant either does not decode
(InvalidEncoding), or is handed to the core of a running node as a peer's message.
"""

from __future__ import annotations

import random

import pytest

from chain.errors import InvalidEncoding
from chain.proof import Evidence
from moot.lab.cluster import Cluster
from moot.lab.network import Link
from moot.lab.signer import CheapKey
from p2p.wire import (
    MESSAGE_TYPES,
    AnnounceBlock,
    AnnounceTransactions,
    BlockBody,
    ConsensusFrame,
    EvidenceFound,
    FinalityProof,
    GetBlocks,
    GetHeads,
    GetTransactions,
    Heads,
    NoBlocks,
    PeerMessage,
    PushTransactions,
    Status,
    Transactions,
    decode_frame,
    encode_frame,
)

TELLING_BYTES = (0, 1, 0x7F, 0x80, 0x90, 0xC0, 0xC4, 0xC6, 0xCF, 0xDD, 0xFF)

CORE_MESSAGES: tuple[type[PeerMessage], ...] = (
    ConsensusFrame,
    AnnounceTransactions,
    GetTransactions,
    Transactions,
    PushTransactions,
    AnnounceBlock,
    Status,
    GetHeads,
    Heads,
    GetBlocks,
    BlockBody,
    NoBlocks,
    FinalityProof,
    EvidenceFound,
)


class Recorder:
    """A network at work, and one frame in some of each type that was sent over it."""

    def __init__(self, engine: str, seed: int) -> None:
        self.cluster = Cluster(engine, 4, seed, observers=1)
        self.frames: dict[type[PeerMessage], list[bytes]] = {kind: [] for kind in CORE_MESSAGES}
        self._send = self.cluster.network.send
        self.cluster.network.send = self._recording  # type: ignore[method-assign]
        self._work()
        self.cluster.network.send = self._send  # type: ignore[method-assign]
        for kind in (NoBlocks, EvidenceFound, PushTransactions):
            self.frames[kind].append(encode_frame(self._rare(kind)))

    def _recording(self, sender: bytes, receiver: bytes, message: PeerMessage) -> None:
        kept = self.frames.setdefault(type(message), [])
        if len(kept) < 300:
            kept.append(encode_frame(message))
        self._send(sender, receiver, message)

    def _work(self) -> None:
        """A load, a late observer that syncs, a node that falls and comes back."""
        cluster = self.cluster
        for node in cluster.nodes[:4]:
            node.start()
        cluster.load(200)
        cluster.run(8_000)
        cluster.nodes[4].start()
        cluster.nodes[0].crash()
        cluster.run(10_000)
        cluster.nodes[0].start()
        cluster.run(10_000)

    def _rare(self, kind: type[PeerMessage]) -> PeerMessage:
        if kind is NoBlocks:
            return NoBlocks((bytes(32), self.cluster.nodes[1].running.ledger.head()))
        if kind is PushTransactions:
            sent = decode_frame(self.frames[Transactions][0])
            assert isinstance(sent, Transactions)
            return PushTransactions(sent.bodies or (b"\x90",))
        return EvidenceFound(Evidence("pbft", self._vote(0), self._vote(1)))

    def _vote(self, which: int) -> bytes:
        votes = self.frames[ConsensusFrame]
        frame = decode_frame(votes[which % len(votes)]) if votes else None
        return frame.body if isinstance(frame, ConsensusFrame) else b"\x90"


def mutant(rng: random.Random, frame: bytes, others: list[bytes]) -> bytes:
    """Bit flips, bytes that mean something in MessagePack, cuts, insertions and splices."""
    changed = bytearray(frame)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(6):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(changed):
                changed[at] = rng.choice(
                    (0, 1, 0x7F, 0x80, 0x90, 0xC0, 0xC4, 0xC6, 0xCF, 0xDD, 0xFF)
                )
            case 2:
                del changed[at : at + rng.randrange(1, 9)]
            case 3:
                changed[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 4:
                other = rng.choice(others)
                changed[at:] = other[rng.randrange(len(other)) :]
            case _:
                # Same length, other contents: what most likely decodes again.
                length = min(32, len(changed) - at)
                changed[at : at + length] = rng.choice((rng.randbytes(length), bytes(length)))
    return bytes(changed)


def deepest(rng: random.Random, message: PeerMessage) -> PeerMessage:
    """A frame of consensus whose *body* is a mutant: it always reaches the gate."""
    assert isinstance(message, ConsensusFrame)
    body = mutant(rng, message.body, [message.body])
    return ConsensusFrame(message.engine, rng.choice((message.tag, rng.randrange(9))), body)


def fuzz(engine: str, seed: int, count: int) -> None:
    recorder = Recorder(engine, seed)
    cluster, rng = recorder.cluster, random.Random(seed)
    target = cluster.nodes[1]
    liar, member = CheapKey(666).public_key, cluster.nodes[2].key
    hello = target.running.hello(0)
    target.running.peer_joined(Link(liar, hello))
    recorded = [frame for frames in recorder.frames.values() for frame in frames]
    reached: dict[str, int] = {}
    for number in range(count):
        kinds = [kind for kind in recorder.frames if recorder.frames[kind]]
        kind = kinds[number % len(kinds)]
        frame = rng.choice(recorder.frames[kind])
        try:
            message = decode_frame(mutant(rng, frame, recorded))
        except InvalidEncoding:
            message = decode_frame(frame)
            if isinstance(message, ConsensusFrame):
                message = deepest(rng, message)
        reached[type(message).__name__] = reached.get(type(message).__name__, 0) + 1
        target.running.peer_message(member if number % 7 == 0 else liar, message)
        target.running.pump()
        if number % 50 == 0:
            cluster.run(20)
    assert {kind.__name__ for kind in CORE_MESSAGES if recorder.frames[kind]} <= set(reached)
    lives_on(cluster, liar)


def lives_on(cluster: Cluster, liar: bytes) -> None:
    """All nodes, the fuzzed one too, agree and move on; what was held is bounded."""
    target = cluster.nodes[1]
    target.running.peer_left(liar, "gone")
    ledgers = [node.running.ledger for node in cluster.nodes]
    before = max(ledger.height(ledger.confirmed()) for ledger in ledgers)
    cluster.run(40_000)
    heights = [ledger.height(ledger.confirmed()) for ledger in ledgers]
    assert min(heights) > before + 3, cluster.explain()
    assert len({ledger.id_at(min(heights)) for ledger in ledgers}) == 1
    core = target.running
    assert core.importer.orphans <= 256
    assert core.sync.counts()["asked"] <= 64


@pytest.mark.parametrize("engine", ["pow", "pbft"])
def test_no_mutant_escapes(engine: str) -> None:
    fuzz(engine, 1, 3_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
@pytest.mark.parametrize("engine", ["pow", "pbft"])
def test_no_mutant_escapes_in_long_runs(engine: str, seed: int) -> None:
    fuzz(engine, seed, 30_000)


def test_no_bytes_make_the_decoder_stumble() -> None:
    """Pure decoding, every type, many more mutants: InvalidEncoding or a message, nothing else."""
    recorder = Recorder("pbft", 3)
    rng = random.Random(3)
    recorded = [frame for frames in recorder.frames.values() for frame in frames]
    good = 0
    for number in range(40_000):
        frame = mutant(rng, rng.choice(recorded), recorded)
        if number % 5 == 0 and frame:
            frame = bytes([rng.choice(list(MESSAGE_TYPES))]) + frame[1:]
        try:
            message = decode_frame(frame)
        except InvalidEncoding:
            continue
        assert encode_frame(message) == frame
        good += 1
    assert good > 1_000
