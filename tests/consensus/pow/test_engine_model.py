"""Random lives of one engine; after each event its open requests must make sense together."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from chain.block import Block
from consensus.contract import (
    BlockBuilt,
    Build,
    CancelTimer,
    CommandGiven,
    Effect,
    Grind,
    Import,
    SetHead,
    SetTimer,
    SyncChanged,
    TimerFired,
    TimerKey,
    TransactionsWaiting,
    WorkFound,
)
from tests.consensus.pow.test_engine import Bench


class Life:
    """Does what the effects ask, as slowly and out of turn as the contract lets a node do it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.bench = Bench(mining=True)
        self.mining, self.syncing = True, False
        self.builds: dict[int, Build] = {}
        self.grind: Grind | None = None
        self.timers: set[TimerKey] = set()
        self.extra = 0
        self.follow(self.bench.started)

    def follow(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Build():
                    self.builds[effect.request] = effect
                case Grind(block=None):
                    assert self.grind is not None and self.grind.request == effect.request
                    self.grind = None
                case Grind():
                    assert self.grind is None, "the old search is cancelled first"
                    self.grind = effect
                case SetTimer(key=key):
                    self.timers.add(key)
                case CancelTimer(key=key):
                    self.timers.discard(key)
                case Import(block=block):
                    self.follow(self.bench.imported(block, "own"))
                case _:
                    pass

    def child(self, parent: bytes) -> Block:
        self.extra += 1
        return self.bench.tree.child(parent, extra=self.extra, bits=0x207F_FFFF)

    def step(self) -> None:
        bench, rng = self.bench, self.rng
        kind = rng.choice(["block", "block", "built", "built", "found", "timer", "wait", "switch"])
        if kind == "block":
            known = sorted(bench.tree.heads)
            near = [bench.tree.current, rng.choice(known)]
            self.follow(bench.imported(self.child(rng.choice(near))))
        elif kind == "built" and self.builds:
            build = self.builds.pop(rng.choice(sorted(self.builds)))
            block = None if rng.random() < 0.1 else self.child(build.parent)
            self.follow(bench.tell(BlockBuilt(build.request, block)))
        elif kind == "found" and self.grind is not None and self.grind.block is not None:
            self.follow(bench.tell(WorkFound(self.grind.request, self.grind.block)))
        elif kind == "timer" and self.timers:
            key = rng.choice(sorted(self.timers, key=str))
            self.timers.discard(key)
            bench.now_ms += 1_000
            self.follow(bench.tell(TimerFired(key)))
        elif kind == "wait":
            self.follow(bench.tell(TransactionsWaiting(rng.randrange(3))))
        elif kind == "switch" and rng.random() < 0.3:
            if rng.random() < 0.5:
                self.syncing = not self.syncing
                self.follow(bench.tell(SyncChanged(self.syncing)))
            else:
                self.mining = not self.mining
                name = "start-mining" if self.mining else "stop-mining"
                self.follow(bench.tell(CommandGiven(1, name, ())))

    def check(self) -> None:
        tree = self.bench.tree
        heaviest = max(tree.weights.values())
        assert tree.weights[tree.current] == heaviest
        assert len(self.timers) <= 1
        if self.grind is not None and self.grind.block is not None:
            assert self.grind.block.previous == tree.current, "only the head is worth extending"
        if not self.mining or self.syncing:
            assert self.grind is None and not self.timers
        else:
            assert self.timers, "a miner always has something that wakes it"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_open_requests_always_fit_the_head(seed: int) -> None:
    life = Life(random.Random(seed))
    for _ in range(80):
        life.step()
        life.check()


def test_a_life_exercises_every_kind_of_effect() -> None:
    """Guards the test above against growing idle."""
    seen: set[type[Effect]] = set()
    life = Life(random.Random(1))
    follow = life.follow

    def watch(effects: list[Effect]) -> None:
        seen.update(type(effect) for effect in effects)
        follow(effects)

    life.follow = watch  # type: ignore[method-assign]
    for _ in range(400):
        life.step()
    assert {Build, Grind, Import, SetHead, SetTimer, CancelTimer} <= seen
