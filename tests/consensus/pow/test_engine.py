"""The engine's conversation: which effects follow which events."""

from __future__ import annotations

import random

from chain.block import Block
from chain.view import ChainView
from consensus.contract import (
    BlockBuilt,
    BlockImported,
    Build,
    Effect,
    EngineConfig,
    Event,
    Grind,
    Import,
    Now,
    SetHead,
    SetTimer,
    Started,
    WorkFound,
)
from consensus.pow import PROTOCOL, PowEngine
from consensus.registry import protocol
from tests.consensus.pow.trees import ALICE, EASY, GENESIS_MS, Tree


def make_engine(*, mining: bool = True) -> PowEngine:
    config = EngineConfig(b"\1" * 32, EASY, mining=mining, payout=ALICE)
    return PROTOCOL.engine(ALICE, config, random.Random(1), b"")


class Bench:
    """An engine, its tree, and a clock."""

    def __init__(self, *, mining: bool = True, syncing: bool = False) -> None:
        self.tree = Tree(PROTOCOL.rules(EASY))
        self.engine = make_engine(mining=mining)
        self.now_ms = GENESIS_MS + 60_000
        self.started = self.tell(Started(syncing))

    def tell(self, event: Event) -> list[Effect]:
        view: ChainView = self.tree
        effects = self.engine.handle(event, view, Now(self.now_ms, self.now_ms))
        for effect in effects:
            if isinstance(effect, SetHead):
                self.tree.current = effect.block
        return effects

    def imported(self, block: Block, origin: str = "gossip") -> list[Effect]:
        if not self.tree.knows(block.id):
            self.tree.add(block)
        return self.tell(BlockImported(block.head, origin))  # type: ignore[arg-type]


def the(kind: type, effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, kind)]


def test_registered() -> None:
    assert protocol("pow") is PROTOCOL


def test_mining_from_template_to_new_head() -> None:
    bench = Bench()
    (build,) = the(Build, bench.started)
    assert isinstance(build, Build)
    assert build.parent == bench.tree.genesis and build.may_be_empty and build.deadline_ms == 0
    assert build.reward == EASY.subsidy and build.bits == 0x207F_FFFF
    assert len(the(SetTimer, bench.started)) == 1

    block = bench.tree.child(bench.tree.genesis)
    assert bench.tell(BlockBuilt(build.request, block)) == [
        Grind(build.request, block, PROTOCOL.rules(EASY).target(block.header.bits))
    ]
    assert bench.tell(WorkFound(build.request, block)) == [Import(block, "own")]
    effects = bench.imported(block, "own")
    assert effects[0] == SetHead(block.id)
    assert effects[1] == Grind(build.request, None, 0)
    assert isinstance(effects[2], Build) and effects[2].parent == block.id
