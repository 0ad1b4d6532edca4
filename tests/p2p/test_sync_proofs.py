"""Asking for the proof of a change of members that became final without it."""

from __future__ import annotations

import random

import pytest

from chain.block import Block
from p2p.actions import Action, Misbehaved, PeerKey, ProofReceived, SendTo
from p2p.sync import Sync
from p2p.sync.proofs import REPEAT_MS, WANTED_MAX
from p2p.wire import (
    PROTOCOL_VERSION,
    BlockBody,
    GetBlocks,
    Hello,
    NoBlocks,
)
from tests.p2p.simnet import GENESIS, FakeChain, branch, proof_of

A, B = (bytes([number]) * 32 for number in (1, 2))


def lacking(
    *heights: int, peers: tuple[bytes, ...] = (A, B)
) -> tuple[Sync, FakeChain, list[Block]]:
    """Ten blocks are final, and of those at ``heights`` the proof is wanted."""
    chain = FakeChain(finalizes=True)
    blocks = branch(GENESIS, 10)
    chain.grow(blocks, proven=True)
    chain.lacks_proofs = [(height, blocks[height - 1].id) for height in heights]
    sync = Sync(chain, random.Random(1))
    for peer in peers:
        sync.joined(peer, Hello(PROTOCOL_VERSION, GENESIS.id, "fake", peer, "t", 10, 10, 0, ()), 0)
    return sync, chain, blocks


def asked(actions: list[Action]) -> list[tuple[PeerKey, bytes]]:
    return [
        (each.peer, block)
        for each in actions
        if isinstance(each, SendTo) and isinstance(each.message, GetBlocks)
        for block in each.message.ids
    ]


def test_peers_are_asked_in_turn_until_one_has_the_proof() -> None:
    sync, chain, blocks = lacking(4)
    wanted = blocks[3]
    assert asked(sync.tick(0)) == asked(sync.tick(REPEAT_MS - 1)) == [], "it may be on its way"
    ((first, block),) = asked(sync.tick(REPEAT_MS))
    assert block == wanted.id
    assert sync.on_block(first, BlockBody(wanted, None), REPEAT_MS) == [], "no offence"
    ((second, block),) = asked(sync.tick(2 * REPEAT_MS))
    assert (block, {first, second}) == (wanted.id, {A, B})
    found = sync.on_block(second, BlockBody(wanted, proof_of(wanted)), 2 * REPEAT_MS)
    assert found == [ProofReceived(second, wanted.id, proof_of(wanted))]
    chain.lacks_proofs = []
    assert asked(sync.tick(3 * REPEAT_MS)) == []


def test_who_owes_an_answer_is_not_asked_again_and_may_take_its_time() -> None:
    sync, _, blocks = lacking(4, peers=(A,))
    sync.tick(0)
    assert asked(sync.tick(REPEAT_MS)) == [(A, blocks[3].id)]
    for number in range(2, 20):
        actions = sync.tick(number * REPEAT_MS)
        assert asked(actions) == [] and not any(isinstance(each, Misbehaved) for each in actions)
    body = BlockBody(blocks[3], proof_of(blocks[3]))
    assert sync.on_block(A, body, 20 * REPEAT_MS) == [
        ProofReceived(A, blocks[3].id, proof_of(blocks[3]))
    ]
    assert Misbehaved(A, "unsolicited-block") in sync.on_block(A, body, 20 * REPEAT_MS)


@pytest.mark.parametrize("how", ["says that it has gone", "links anew"])
def test_who_could_not_answer_is_asked_again(how: str) -> None:
    sync, _, blocks = lacking(4, peers=(A,))
    sync.tick(0)
    assert asked(sync.tick(REPEAT_MS)) == [(A, blocks[3].id)]
    if how == "links anew":
        sync.joined(A, Hello(PROTOCOL_VERSION, GENESIS.id, "fake", A, "t", 10, 10, 0, ()), 9)
    else:
        sync.on_no_blocks(A, NoBlocks((blocks[3].id,)), 9)
    assert asked(sync.tick(2 * REPEAT_MS)) == [(A, blocks[3].id)]


def test_only_who_can_have_it_is_asked_and_the_lowest_first() -> None:
    sync, _, blocks = lacking(*range(2, 9), peers=(A,))
    sync._peers[A].bodies_from = 4
    sync.tick(0)
    assert asked(sync.tick(REPEAT_MS)) == [(A, blocks[n - 1].id) for n in (4, 5)]
    assert WANTED_MAX == 4
    sync._peers[A].bodies_from = 0
    sync._peers[A].finalized_height = 2
    assert asked(sync.tick(2 * REPEAT_MS)) == [(A, blocks[1].id)]
