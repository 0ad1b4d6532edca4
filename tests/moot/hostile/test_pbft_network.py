"""Three real PBFT nodes, linked by real sockets, and a fourth validator that lies to them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from chain.bech32m import show_address
from consensus.contract import Message
from consensus.pbft.certificates import primary_of
from consensus.pbft.messages import PrePrepare
from moot.node.builder import assemble
from moot.node.gate import attested_bytes
from p2p.wire import ConsensusFrame
from tests.moot.hostile.test_pow_lies import pay
from tests.support.hostile_peer import HostilePeer
from tests.support.node_under_attack import NodeUnderAttack, found, node_key
from wallet.keys import Key


def signed(message: Message, key: Key, chain_id: bytes) -> Message:
    return message.signed(
        [key.sign(attested_bytes(chain_id, "pbft", one)) for one in message.attestations()]
    )


def rival(node: NodeUnderAttack, key: Key, number: int) -> PrePrepare:
    """A proposal for the open height by ``key``; each number makes another block."""
    parent = node.ledger.finalized()
    block = node.core.builder.make(
        parent,
        claims=b"",
        bits=0,
        reward=0,
        producer=key.address,
        wall_ms=node.ledger.header(parent).time_ms + 1,
        extra_nonce=number.to_bytes(8, "big"),
    )
    block = assemble(parent, block.manifest, block.transactions, 0)
    return PrePrepare(0, block.height, block.id, key.address, block)


async def test_a_primary_that_proposes_two_blocks_is_shown_to_everybody(tmp_path: Path) -> None:
    """Its evidence stands on each node's consensus page, its rounds pass, payments become final."""
    genesis = found("pbft", 4, {"view_timeout_ms": 700})
    keys = sorted((node_key(number) for number in range(4)), key=lambda key: key.address)
    liar_key, honest_keys = keys[0], keys[1:]
    async with AsyncExitStack() as stack:
        nodes: list[NodeUnderAttack] = []
        for number, key in enumerate(honest_keys):
            places = [node.place for node in nodes]
            nodes.append(
                await stack.enter_async_context(
                    NodeUnderAttack(tmp_path / f"n{number}", genesis, key, places)
                )
            )
        first = nodes[0]
        for node in nodes:
            await node.until(lambda node=node: len(node.runtime.transport.peers()) == 2)
        assert primary_of(first.ledger.validators(first.ledger.head()), 0) == liar_key.address
        liars = []
        for node in nodes:
            peer = HostilePeer(node.runtime.transport.port, liar_key.seed, node.core.hello(0))
            liars.append(await (await stack.enter_async_context(peer)).enter())
        for order in ((1, 2, 3), (2, 1, 1)):
            for liar, number in zip(liars, order, strict=True):
                proposal = signed(rival(first, liar_key, number), liar_key, first.ledger.chain_id)
                frame: ConsensusFrame = first.core.gate.pack(proposal)
                await liar.say(frame)
                await liar.settle()
        assert first.core.submit([pay(first, nonce) for nonce in range(5)]) == [None] * 5
        first.runtime.wake()
        for node in nodes:
            await node.until(lambda node=node: len(node.core.evidence) >= 1)
            await node.until(lambda node=node: node.ledger.height(node.ledger.finalized()) >= 1, 40)
        assert len({node.ledger.id_at(1) for node in nodes}) == 1
        async with aiohttp.ClientSession() as session:
            for node in nodes:
                async with session.get(node.url + "/moot/consensus") as answer:
                    facts = await answer.json()
                assert facts["evidence"] >= 1
                assert show_address(liar_key.address, "rmoot") in {
                    member["address"] for member in facts["validators"]
                }
        for node in nodes:
            blamed = {info.key for info in node.runtime.transport.peers() if info.score}
            assert blamed <= {liar_key.public_key}, "the honest do not blame each other"
        await asyncio.gather(*(liar.settle() for liar in liars))
