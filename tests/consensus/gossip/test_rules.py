"""What little a block must keep, and what a digest may say."""

from __future__ import annotations

import msgspec
import pytest

from chain import codec
from chain.block import Block, BlockHead
from chain.errors import InvalidBlock, InvalidEncoding, InvalidProof
from chain.proof import Evidence, Proof
from chain.validators import ValidatorSet
from consensus.gossip import PROTOCOL, GossipParameters
from consensus.gossip.messages import RANGES_MAX, TIPS_MAX, Digest, Point
from consensus.registry import protocol
from tests.support.fake_chain import (
    START_MS,
    FakeTree,
    make_address,
    make_block,
    make_genesis_block,
)

NOBODY = ValidatorSet()
GENESIS = make_genesis_block(NOBODY)
TREE = FakeTree(GENESIS, NOBODY, "gossip")
RULES = PROTOCOL.rules(GossipParameters())


def block(claims: bytes = b"") -> Block:
    return make_block(GENESIS.head, make_address(1), NOBODY, START_MS, claims=claims)


def test_registered() -> None:
    assert protocol("gossip") is PROTOCOL


def test_anybody_may_extend_anything() -> None:
    for number in range(3):
        head = make_block(GENESIS.head, make_address(number), NOBODY, START_MS + number).head
        RULES.check_header(head, TREE)
        assert RULES.weight(head) == 1 and RULES.earliest_ms(head) == 0


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (block(claims=b"1").head, "unexpected-claims"),
        (msgspec.structs.replace(block().head, seal=b"1"), "unexpected-seal"),
        (
            BlockHead(block().header, msgspec.structs.replace(block().manifest, reward=1)),
            "reward-not-zero",
        ),
    ],
)
def test_nothing_is_claimed_sealed_or_minted(head: BlockHead, code: str) -> None:
    with pytest.raises(InvalidBlock) as error:
        RULES.check_header(head, TREE)
    assert error.value.code == code


def test_nothing_is_proven_and_nobody_is_guilty() -> None:
    with pytest.raises(InvalidProof, match="no block is ever final"):
        RULES.check_proof(bytes(32), GENESIS.head, Proof("gossip", b""), NOBODY)
    with pytest.raises(InvalidProof, match="nobody signs"):
        RULES.check_evidence(Evidence("gossip", b"", b""), NOBODY)


def point(height: int, number: int = 0) -> Point:
    return Point(height, bytes([height, number]) * 16)


@pytest.mark.parametrize(
    ("tips", "ranges", "fault"),
    [
        ((point(5),), (point(4), point(3), point(1), point(0)), ""),
        ((point(5), point(5, 1), point(2, 1)), (), ""),
        ((point(0),), (), ""),
        ((point(5), point(5)), (), "twice"),
        ((point(5), point(6)), (), "above the head"),
        ((point(5),), (point(5),), "down from the head"),
        ((point(5),), (point(3), point(3)), "down from the head"),
        ((point(5),), (point(1), point(3)), "down from the head"),
    ],
)
def test_a_digest_leads_down_from_the_head(
    tips: tuple[Point, ...], ranges: tuple[Point, ...], fault: str
) -> None:
    found = Digest(tips, ranges, False).fault
    assert fault in found and bool(fault) == bool(found)


@pytest.mark.parametrize(
    ("tips", "ranges"),
    [
        ((), ()),
        (tuple(point(9, number) for number in range(TIPS_MAX + 1)), ()),
        ((point(255),), tuple(point(200 - number) for number in range(RANGES_MAX + 1))),
        ((Point(-1, bytes(32)),), ()),
        ((Point(1, bytes(31)),), ()),
    ],
)
def test_a_digest_is_bounded_when_it_is_read(
    tips: tuple[Point, ...], ranges: tuple[Point, ...]
) -> None:
    raw = codec.encode(Digest(tips, ranges, False))
    with pytest.raises(InvalidEncoding):
        codec.decode(raw, Digest)


def test_a_turn_needs_a_span_to_be_drawn_from() -> None:
    with pytest.raises(ValueError, match="more than turn_ms_min"):
        GossipParameters(turn_ms_min=500, turn_ms_max=500)
