"""A linked peer that sends what no honest program sends: scored, banned, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chain.proof import Evidence, Proof
from consensus.contract import MessageReceived
from p2p.limits import BAN_THRESHOLD, POINTS
from p2p.wire import (
    BlockBody,
    Challenge,
    ConsensusFrame,
    EvidenceFound,
    FinalityProof,
    Heads,
    NoBlocks,
    PeerAddress,
    PeerMessage,
    Peers,
    Piece,
    Ping,
    Pong,
    Status,
    Transactions,
    encode_frame,
)
from tests.support.node_under_attack import NodeUnderAttack, found, node_key

MEMBER = 1
"""The attacker's key: under PBFT a validator's, since strangers are not listened to at all."""


@pytest.fixture(params=["pow", "pbft"])
async def node(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[NodeUnderAttack]:
    engine: str = request.param
    genesis = found(engine, 0 if engine == "pow" else 4, {})
    async with NodeUnderAttack(tmp_path / "n", genesis, node_key(0)) as node:
        yield node


FAULTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty-frame"),
    "unknown-type": (b"\xf0\x90", "unknown-message"),
    "garbage": (b"\x31" + bytes(range(200, 256)), "malformed"),
    "not-canonical": (b"\x04\x91\xcc\x05", "not-canonical"),
    "map-for-array": (b"\x04\x81\xa5nonce\x05", "malformed"),
    "one-field-more": (b"\x04\x92\x05\x05", "malformed"),
    "trailing": (encode_frame(Ping(1)) + b"\xc0", "malformed"),
    "truncated": (encode_frame(Status(bytes(32), 1, 0, b""))[:-3], "malformed"),
    "deep": (b"\x33" + b"\x91" * 100_000, "malformed"),
    "claims-4-gigabytes": (b"\x10\x93\xa4pbft\x01\xc6\xff\xff\xff\xff", "malformed"),
    "claims-4-billion-elements": (b"\x20\x91\xdd\xff\xff\xff\xff", "malformed"),
    "negative": (b"\x04\x91\xff", "malformed"),
    "past-63-bits": (b"\x04\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "malformed"),
    "float": (b"\x04\x91\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", "malformed"),
    "bad-utf8": (b"\x10\x93\xa1\xff\x01\xc4\x00", "malformed"),
    "too-large-for-its-type": (b"\x04" + bytes(100), "too-large"),
    "challenge": (encode_frame(Challenge(bytes(32))), "unexpected-message"),
    "unasked-pong": (encode_frame(Pong(9)), "unsolicited"),
    "piece-of-consensus": (encode_frame(Piece(True, b"\x10abc")), "malformed"),
    "piece-of-a-piece": (encode_frame(Piece(False, b"\x06abc")), "malformed"),
    "unasked-peers": (encode_frame(Peers((PeerAddress(bytes(32), "9.9.9.9", 1),))), "unsolicited"),
    "other-engine": (encode_frame(ConsensusFrame("nope", 1, b"")), "invalid-consensus-message"),
    "unknown-tag": (
        encode_frame(ConsensusFrame("pbft", 2**63 - 1, b"")),
        "invalid-consensus-message",
    ),
    "consensus-garbage": (
        encode_frame(ConsensusFrame("pbft", 1, bytes(200))),
        "invalid-consensus-message",
    ),
    "foreign-evidence": (
        encode_frame(EvidenceFound(Evidence("nope", b"\x90", b"\x90"))),
        "invalid-evidence",
    ),
    "garbled-evidence": (
        encode_frame(EvidenceFound(Evidence("pbft", b"\x90" * 9, b""))),
        "invalid-evidence",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_faulty_frame_costs_its_sender_and_nothing_else(
    node: NodeUnderAttack, name: str
) -> None:
    frame, reason = FAULTS[name]
    async with node.attacker(MEMBER) as peer:
        await peer.enter()
        await peer.say_bytes(frame)
        await peer.settle()
        if POINTS[reason] >= BAN_THRESHOLD:
            assert node.is_banned(peer)
        else:
            assert node.score(peer) == POINTS[reason]
            while not peer.closed.is_set():  # some types also meet their rate limit
                await peer.say_bytes(frame)
                await asyncio.sleep(0)
        assert await peer.farewell() == "banned"
        assert node.is_banned(peer)
    async with node.attacker(MEMBER) as again:
        await again.say(await again.answer())
        assert await again.farewell() == "banned", "a ban outlives the link"


async def test_text_and_control_frames_are_faults(node: NodeUnderAttack) -> None:
    async with node.attacker(MEMBER) as peer:
        await peer.enter()
        await peer.socket.send_str("hello")
        await peer.socket.ping(b"x")
        await peer.settle()
        assert node.score(peer) == POINTS["text-frame"] + POINTS["unexpected-frame"]


UNASKED: list[PeerMessage] = [
    Heads(()),
    NoBlocks((bytes(32),)),
    Transactions((b"\x90", b"", b"\xff" * 100)),
    FinalityProof(bytes(32), Proof("pbft", b"")),
    FinalityProof(bytes(32), Proof("nope", b"x" * 100)),
    Status(bytes(32), 2**63 - 1, 2**63 - 1, b"\xff" * 32),
    Status(bytes(32), 0, 2**63 - 1, b""),
]


async def test_unasked_answers_and_absurd_claims_change_nothing(node: NodeUnderAttack) -> None:
    head, root = node.ledger.head(), node.ledger.state().root
    block = node.ledger.genesis_block
    async with node.attacker(MEMBER) as peer:
        await peer.enter()
        for message in (*UNASKED, BlockBody(block, None), BlockBody(block, Proof("pbft", b"\x90"))):
            await peer.say(message)
        await peer.settle()
    assert (node.ledger.head(), node.ledger.state().root) == (head, root)


async def test_strangers_are_not_listened_to_on_a_members_only_chain(tmp_path: Path) -> None:
    """Their frames of consensus cost them nothing and us no signature check."""
    async with NodeUnderAttack(tmp_path / "n", found("pbft", 4, {}), node_key(0)) as node:
        asked: list[object] = []
        node.core.driver.observers.append(asked.append)
        async with node.attacker(5) as stranger:
            await stranger.enter()
            for _ in range(200):
                await stranger.say(ConsensusFrame("pbft", 1, bytes(200)))
            await stranger.settle()
            assert node.score(stranger) == 0
        assert not [thing for thing in asked if isinstance(thing, MessageReceived)]
