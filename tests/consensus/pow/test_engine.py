"""The engine's conversation: which effects follow which events."""

from __future__ import annotations

import random
from typing import TypeVar

import msgspec
import pytest

from chain.block import Block
from chain.transaction import ATOMIC, Transaction, Transfer
from chain.view import ChainView
from consensus.contract import (
    Answer,
    BlockBuilt,
    BlockImported,
    BlockRejected,
    Build,
    CancelTimer,
    CommandGiven,
    Effect,
    EngineConfig,
    Event,
    Grind,
    Import,
    Message,
    MessageReceived,
    Now,
    ReadRequested,
    Report,
    SetHead,
    SetTimer,
    Started,
    Stop,
    StopRequested,
    SyncChanged,
    TimerFired,
    Trace,
    TransactionsWaiting,
    WorkFound,
)
from consensus.pow import PROTOCOL, PowEngine
from consensus.pow.engine import PATIENCE_MS_MAX, RESTART_DEPTH
from consensus.registry import protocol
from tests.consensus.pow.trees import ALICE, BOB, EASY, GENESIS_MS, Tree


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

    def grind(self) -> tuple[int, Block]:
        """A template on the head, being searched; its request and the block that was found."""
        (build,) = the(Build, self.started)
        block = self.tree.child(build.parent)
        self.tell(BlockBuilt(build.request, block))
        return build.request, block


E = TypeVar("E", bound=Effect)


def the(kind: type[E], effects: list[Effect]) -> list[E]:
    return [effect for effect in effects if isinstance(effect, kind)]


def test_registered() -> None:
    assert protocol("pow") is PROTOCOL


def test_mining_from_template_to_new_head() -> None:
    bench = Bench()
    (build,) = the(Build, bench.started)
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


def test_the_branch_with_more_work_wins_and_a_tie_keeps_the_first() -> None:
    bench = Bench(mining=False)
    first = bench.tree.child(bench.tree.genesis, extra=1)
    rival = bench.tree.child(bench.tree.genesis, extra=2)
    assert bench.imported(first) == [SetHead(first.id)]
    assert bench.imported(rival) == []
    assert bench.imported(first) == []  # known already: answered again, moves nothing
    child = bench.tree.child(rival.id)
    effects = bench.imported(child)
    assert effects[-1] == SetHead(child.id)
    assert the(Trace, effects)[0].fields["depth"] == 1
    facts = bench.engine.status(bench.tree, Now(0, 0)).facts
    assert (facts["reorganisations"], facts["deepest reorganisation"]) == (1, 1)


def test_a_harder_short_branch_beats_an_easier_long_one() -> None:
    """Length is not work."""
    bench = Bench(mining=False)
    for _ in range(5):
        bench.imported(bench.tree.child(bench.tree.current))
    hard = bench.tree.child(bench.tree.genesis, bits=0x201F_FFFF)  # four times the work of one
    assert bench.imported(hard) == []
    harder = bench.tree.child(hard.id, bits=0x201F_FFFF)
    assert bench.imported(harder)[-1] == SetHead(harder.id)


def test_a_deep_reorganisation_is_one_move() -> None:
    bench = Bench(mining=False)
    for _ in range(300):
        bench.imported(bench.tree.child(bench.tree.current, bits=EASY.initial_bits))
    parent, moves = bench.tree.genesis, []
    for _ in range(301):
        block = bench.tree.child(parent, extra=9, bits=EASY.initial_bits)
        moves += the(SetHead, bench.imported(block))
        parent = block.id
    assert moves == [SetHead(parent)]


def test_a_new_head_cancels_the_search_before_anything_else_is_asked() -> None:
    bench = Bench()
    request, _ = bench.grind()
    block = bench.tree.child(bench.tree.genesis, producer=BOB)
    head, cancel, build = bench.imported(block)[:3]
    assert head == SetHead(block.id)
    assert cancel == Grind(request, None, 0)
    assert isinstance(build, Build) and build.parent == block.id and build.request != request


def test_a_late_template_is_not_searched() -> None:
    bench = Bench()
    (old,) = the(Build, bench.started)
    template = bench.tree.child(bench.tree.genesis)
    bench.imported(bench.tree.child(bench.tree.genesis, producer=BOB))
    assert bench.tell(BlockBuilt(old.request, template)) == []


def test_an_older_template_of_the_same_head_gives_way_to_the_one_asked_for_since() -> None:
    bench = Bench()
    (old,) = the(Build, bench.started)
    (timer,) = the(SetTimer, bench.started)
    (new,) = the(Build, bench.tell(TimerFired(timer.key)))
    assert bench.tell(BlockBuilt(old.request, bench.tree.child(bench.tree.genesis))) == []
    fresh = bench.tree.child(bench.tree.genesis, extra=1)
    assert the(Grind, bench.tell(BlockBuilt(new.request, fresh)))[0].block == fresh


def test_a_template_that_could_not_be_built_waits_for_the_timer() -> None:
    bench = Bench()
    (build,) = the(Build, bench.started)
    assert bench.tell(BlockBuilt(build.request, None)) == []
    (timer,) = the(SetTimer, bench.started)
    assert the(Build, bench.tell(TimerFired(timer.key)))[0].parent == bench.tree.genesis


def test_work_found_too_late_is_dropped() -> None:
    bench = Bench()
    request, block = bench.grind()
    bench.imported(bench.tree.child(bench.tree.genesis, producer=BOB))
    (trace,) = bench.tell(WorkFound(request, block))
    assert isinstance(trace, Trace) and trace.name == "stale-work"


def test_work_found_on_a_refreshed_template_still_counts() -> None:
    bench = Bench()
    request, block = bench.grind()
    (timer,) = the(SetTimer, bench.started)
    (build,) = the(Build, bench.tell(TimerFired(timer.key)))
    fresh = bench.tree.child(bench.tree.genesis, extra=5)
    cancel, grind = bench.tell(BlockBuilt(build.request, fresh))
    assert cancel == Grind(request, None, 0)
    assert isinstance(grind, Grind) and grind.request == build.request
    assert bench.tell(WorkFound(request, block)) == [Import(block, "own")]


def test_waiting_transactions_refresh_an_empty_template_only() -> None:
    bench = Bench()
    assert bench.tell(TransactionsWaiting(3)) == []  # a build is under way already
    bench.grind()
    assert bench.tell(TransactionsWaiting(0)) == []
    (build,) = the(Build, bench.tell(TransactionsWaiting(3)))
    transaction = Transaction(ALICE, 0, 1, 0, ATOMIC, (Transfer(BOB, 1),))
    full = msgspec.structs.replace(
        bench.tree.child(bench.tree.genesis), transactions=(transaction,)
    )
    assert len(the(Grind, bench.tell(BlockBuilt(build.request, full)))) == 2
    assert bench.tell(TransactionsWaiting(4)) == []


def test_only_the_latest_timer_counts() -> None:
    bench = Bench()
    (old,) = the(SetTimer, bench.started)
    effects = bench.imported(bench.tree.child(bench.tree.genesis))
    assert CancelTimer(old.key) in effects
    assert bench.tell(TimerFired(old.key)) == []


def test_a_syncing_node_follows_but_does_not_mine() -> None:
    bench = Bench(syncing=True)
    assert bench.started == []
    block = bench.tree.child(bench.tree.genesis)
    assert bench.imported(block, "sync") == [SetHead(block.id)]
    assert "catching up" in bench.engine.status(bench.tree, Now(0, 0)).why[0]
    (build,) = the(Build, bench.tell(SyncChanged(False)))
    assert build.parent == block.id
    bench.tell(BlockBuilt(build.request, bench.tree.child(block.id)))
    stopped = bench.tell(SyncChanged(True))
    assert stopped[0] == Grind(build.request, None, 0)
    assert isinstance(stopped[1], CancelTimer) and len(stopped) == 2


def test_a_node_that_does_not_mine_asks_for_nothing() -> None:
    bench = Bench(mining=False)
    assert bench.started == []
    block = bench.tree.child(bench.tree.genesis)
    assert bench.imported(block) == [SetHead(block.id)]
    assert bench.tell(TransactionsWaiting(1)) == []


def test_mining_is_switched_by_command() -> None:
    bench = Bench(mining=False)
    *effects, answer = bench.tell(CommandGiven(5, "start-mining", ()))
    assert answer == Answer(5, "ok: mining")
    assert len(the(Build, effects)) == 1
    assert bench.tell(CommandGiven(6, "start-mining", ())) == [Answer(6, "ok: mining")]
    effects = bench.tell(CommandGiven(7, "stop-mining", ()))
    assert effects[-1] == Answer(7, "ok: not mining") and the(CancelTimer, effects)
    (refused,) = bench.tell(CommandGiven(8, "resign", ()))
    assert isinstance(refused, Answer) and refused.outcome.startswith("refused")


def test_a_template_waits_for_the_clock_but_not_for_long() -> None:
    """More than six blocks a second push the median time past the clock."""
    bench = Bench()
    parent = bench.tree.genesis
    for _ in range(7):
        second = bench.now_ms // 1_000 + 30  # a liar rolls its headers half a minute ahead
        parent = bench.tree.add(bench.tree.child(parent, time_s=second)).id
    effects = bench.imported(
        Block(bench.tree.heads[parent].header, bench.tree.heads[parent].manifest)
    )
    assert the(Build, effects) == []
    (timer,) = the(SetTimer, effects)
    assert timer.delay_ms == PATIENCE_MS_MAX
    assert "ahead of this node's clock" in bench.engine.status(bench.tree, Now(0, 0)).why[-1]
    (build,) = the(Build, bench.tell(TimerFired(timer.key)))
    assert build.parent == parent


def test_an_own_block_refused_does_not_become_a_loop() -> None:
    bench = Bench()
    request, block = bench.grind()
    bench.tell(WorkFound(request, block))
    (trace,) = bench.tell(BlockRejected(block.id, "own", "bad-state-root"))
    assert isinstance(trace, Trace) and trace.fields["why"] == "bad-state-root"
    assert bench.tell(BlockRejected(block.id, "gossip", "bad-reward")) == []


def test_reads_and_messages_are_refused() -> None:
    bench = Bench()
    (answer,) = bench.tell(ReadRequested(4))
    assert isinstance(answer, Answer) and answer.request == 4
    assert answer.outcome.startswith("refused")
    assert bench.tell(MessageReceived(BOB, Message())) == [
        Report(peer=BOB, reason="unexpected-message")
    ]


def test_stop_ends_the_search() -> None:
    bench = Bench()
    request, _ = bench.grind()
    effects = bench.tell(StopRequested(0))
    assert effects[0] == Grind(request, None, 0) and effects[-1] == Stop()


def test_a_restart_finds_the_tip_that_was_stored_but_not_yet_head() -> None:
    bench = Bench(mining=False)
    trunk = bench.tree.grow(bench.tree.genesis, RESTART_DEPTH + 20)
    bench.tree.current = trunk
    bench.tree.grow(bench.tree.heads[trunk].previous, 1, extra=3)  # a tie: the head stays
    bench.engine = make_engine(mining=False)
    assert bench.tell(Started(False)) == []
    tip = bench.tree.grow(trunk, 2)
    bench.engine = make_engine(mining=False)
    assert bench.tell(Started(False)) == [SetHead(tip)]


def test_same_events_same_effects() -> None:
    def run() -> list[str]:
        bench = Bench()
        effects = list(bench.started)
        for extra in range(5):
            (build,) = the(Build, effects[-2:])
            block = bench.tree.child(build.parent, extra=extra)
            effects += bench.tell(BlockBuilt(build.request, block))
            effects += bench.tell(WorkFound(build.request, block))
            effects += bench.imported(block, "own")
            effects = [effect for effect in effects if not isinstance(effect, CancelTimer)]
        return [repr(effect) for effect in effects]

    first = run()
    assert len(first) > 20 and first == run()


@pytest.mark.parametrize(("silence_s", "asks"), [(5, False), (40, True)])
def test_status_explains_silence(silence_s: int, asks: bool) -> None:
    bench = Bench(mining=False)
    for _ in range(20):
        bench.imported(bench.tree.child(bench.tree.current))
    now_ms = bench.tree.heads[bench.tree.current].time_ms + silence_s * 1_000
    status = bench.engine.status(bench.tree, Now(now_ms, 0))
    assert bool(status.why) == asks
    if asks:
        assert status.why[0].startswith("No block for 40 s, though one is expected every 1 s")
    facts = status.facts
    assert facts["height"] == 20 and facts["next bits"] == "207fffff"
    assert facts["network hash rate (1/s)"] == 20 * 2 * 1_000 // ((20 + silence_s) * 1_000)
