"""Lying miners: they cannot forge work, but they can hold blocks back and announce bad ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from chain.block import Block
from chain.hashing import BlockId
from consensus.contract import Effect, Import
from moot.lab import liars_blocks
from moot.lab.liars import Liar, liar_kind
from moot.lab.liars_blocks import Forge
from moot.lab.node import SimulatedNode
from p2p.wire import AnnounceBlock, BlockBody, GetBlocks, Heads, PeerMessage, Status

if TYPE_CHECKING:
    from moot.lab.run import Laboratory

WORK = "honest-work-majority"


@liar_kind("selfish-miner", WORK)
class SelfishMiner(Liar):
    """Keeps what it finds for a while, then shows all at once (Eyal and Sirer 2014)."""

    def __init__(self, laboratory: Laboratory, node: SimulatedNode) -> None:
        super().__init__(laboratory, node)
        self._hides = True
        self._turn()

    def _turn(self) -> None:
        self._hides = not self._hides
        self.world.after(self.rng.randint(1_000, 8_000), self._turn)

    def outgoing(self, key: bytes, message: PeerMessage) -> None:
        if self._hides and isinstance(message, (AnnounceBlock, Status, Heads, BlockBody)):
            return
        super().outgoing(key, message)


class BadBlockMaker(Liar):
    """Announces a bad block beside each one that it finds, and serves it to those who ask."""

    forges: tuple[Forge, ...] = ()
    thrown_away = 0.7
    """How often it keeps the good block to itself."""

    def __init__(self, laboratory: Laboratory, node: SimulatedNode) -> None:
        super().__init__(laboratory, node)
        self._bad: dict[BlockId, Block] = {}

    def rewrite(self, effect: Effect) -> Iterable[Effect]:
        if isinstance(effect, Import) and effect.origin == "own":
            bad = self.rng.choice(self.forges)(self.node.running, effect.block, self.rng)
            if bad is not None:
                self._announce(bad)
                if self.rng.random() < self.thrown_away:
                    return ()  # and the good one it throws away
        return (effect,)

    def _announce(self, block: Block) -> None:
        if len(self._bad) >= 64:
            del self._bad[next(iter(self._bad))]
        self._bad[block.id] = block
        for key in self.laboratory.network.nodes:
            if key != self.node.key:
                super().outgoing(key, AnnounceBlock(block.head, False))

    def incoming(self, sender: bytes, message: PeerMessage) -> None:
        if isinstance(message, GetBlocks):
            bad = [self._bad[block] for block in message.ids if block in self._bad]
            for block in bad:
                super().outgoing(sender, BlockBody(block, None))
            if bad:
                return
        super().incoming(sender, message)


@liar_kind("invalid-block-maker", WORK)
class InvalidBlockMaker(BadBlockMaker):
    """Blocks with one thing wrong: root, signature, reward, work, target, or a payment twice."""

    forges = (
        liars_blocks.wrong_state,
        liars_blocks.bad_signature,
        liars_blocks.replayed,
        liars_blocks.double_reward,
        liars_blocks.without_work,
        liars_blocks.easy_target,
    )


@liar_kind("timestamp-liar", WORK)
class TimestampLiar(BadBlockMaker):
    """Dates its blocks hours ahead (Culubas 2011; Verge 2018)."""

    forges = (liars_blocks.from_the_future,)


@liar_kind("header-roller", WORK)
class HeaderRoller(BadBlockMaker):
    """Dates headers ahead as far as is allowed, and back again (BIP113; the time warp)."""

    forges = (liars_blocks.rolled,)
    thrown_away = 1.0
