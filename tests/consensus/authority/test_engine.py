"""The engine's conversation: which effects follow which events."""

from __future__ import annotations

import random
from typing import TypeVar

import pytest

from chain import codec
from chain.block import Block
from chain.errors import DamagedStore
from chain.hashing import BlockId
from chain.proof import Evidence
from consensus.authority import (
    PROTOCOL,
    SEEN_MAX,
    SLOTS_AFTER_LOSS,
    AuthorityEngine,
    AuthorityRecord,
    Claims,
)
from consensus.contract import (
    Answer,
    BlockImported,
    BlockRejected,
    Build,
    CommandGiven,
    Effect,
    EngineConfig,
    Event,
    EvidenceSeen,
    Message,
    MessageReceived,
    Now,
    Persist,
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
)
from tests.consensus.authority.trees import GENESIS_SLOT, PARAMETERS, SLOT_MS, Tree, signer

E = TypeVar("E", bound=Effect)
FRESH = PROTOCOL.first_record(bytes(32))


def the(kind: type[E], effects: list[Effect]) -> list[E]:
    return [effect for effect in effects if isinstance(effect, kind)]


class Bench:
    """One signer's engine, its tree and its clock; ``me``: its place in the rota."""

    def __init__(
        self,
        me: int = 0,
        count: int = 3,
        *,
        record: bytes | None = FRESH,
        syncing: bool = False,
        tree: Tree | None = None,
    ) -> None:
        self.tree = tree or Tree(count)
        self.me = me
        # The slot before the next one of which it is this signer's turn.
        self.slot = next(
            s for s in range(GENESIS_SLOT + 1, GENESIS_SLOT + 99) if s % count == me % count
        )
        self.now_ms = self.slot * SLOT_MS - 300
        self.engine: AuthorityEngine = self.restart(record)
        self.timer: SetTimer | None = None
        self.started = self.tell(Started(syncing))

    def restart(self, record: bytes | None) -> AuthorityEngine:
        config = EngineConfig(bytes(32), PARAMETERS)
        return PROTOCOL.engine(signer(self.me), config, random.Random(1), record)

    def tell(self, event: Event) -> list[Effect]:
        effects = self.engine.handle(event, self.tree, Now(self.now_ms, self.now_ms))
        for effect in effects:
            match effect:
                case SetHead(block=block):
                    self.tree.current = block
                case SetTimer():
                    self.timer = effect
        return effects

    def imported(self, block: Block) -> list[Effect]:
        self.tree.add(block)
        return self.tell(BlockImported(block.head, "gossip"))

    def ring(self) -> list[Effect]:
        """Lets the timer run out."""
        assert self.timer is not None
        self.now_ms += self.timer.delay_ms
        return self.tell(TimerFired(self.timer.key))

    def status_why(self) -> tuple[str, ...]:
        return self.engine.status(self.tree, Now(self.now_ms, self.now_ms)).why

    def until_built(self, rings: int = 9) -> list[Effect]:
        for _ in range(rings):
            effects = self.ring()
            if the(Build, effects):
                return effects
        raise AssertionError("it never signs")


# ---------------------------------------------------------------------------------------- own turns


def test_in_turn_it_signs_at_the_start_of_the_slot() -> None:
    bench = Bench()
    (timer,) = the(SetTimer, bench.started)
    assert timer.delay_ms == 300
    effects = bench.ring()
    assert bench.now_ms == bench.slot * SLOT_MS
    (build,) = the(Build, effects)
    assert build.parent == bench.tree.genesis and build.time_ms == bench.now_ms
    assert build.claims == codec.encode(Claims(bench.slot, True)) and build.may_be_empty


def test_the_record_goes_before_the_block() -> None:
    effects = Bench().ring()
    assert isinstance(effects[0], Persist) and isinstance(effects[1], Build)
    slot = codec.decode(effects[1].claims, Claims).slot
    assert codec.decode(effects[0].record, AuthorityRecord).last_slot == slot


def test_out_of_turn_it_waits_for_the_one_whose_turn_it_is() -> None:
    bench = Bench(me=1)
    bench.now_ms = bench.slot * SLOT_MS - SLOT_MS  # the slot before: signer 0's
    bench.tell(SyncChanged(False))
    assert bench.timer is not None
    assert 400 <= bench.timer.delay_ms < 600  # step_in_ms, and up to half as much of jitter
    (build,) = the(Build, bench.ring())
    assert codec.decode(build.claims, Claims) == Claims(bench.slot - 1, False)


def test_a_block_in_turn_makes_the_others_wait_for_their_own() -> None:
    bench = Bench(me=1)
    bench.now_ms = (bench.slot - 1) * SLOT_MS
    bench.tell(SyncChanged(False))
    after = bench.slot - 1 - GENESIS_SLOT
    effects = bench.imported(bench.tree.make(bench.tree.genesis, 0, after=after))
    assert the(SetHead, effects)
    (timer,) = the(SetTimer, effects)
    assert bench.now_ms + timer.delay_ms == bench.slot * SLOT_MS


def test_jitter_differs_by_seed_and_repeats_with_it() -> None:
    delays = set()
    for seed in range(8):
        bench = Bench(me=1)
        config = EngineConfig(bytes(32), PARAMETERS)
        bench.engine = PROTOCOL.engine(signer(1), config, random.Random(seed), FRESH)
        bench.now_ms = (bench.slot - 1) * SLOT_MS
        (timer,) = the(SetTimer, bench.tell(Started(False)))
        again = PROTOCOL.engine(signer(1), config, random.Random(seed), FRESH)
        same = again.handle(Started(False), bench.tree, Now(bench.now_ms, bench.now_ms))
        assert the(SetTimer, same) == [timer]
        delays.add(timer.delay_ms)
    assert len(delays) > 3


def test_who_has_signed_recently_waits_for_the_others() -> None:
    bench = Bench()
    after = bench.slot - GENESIS_SLOT
    effects = bench.imported(bench.tree.make(bench.tree.genesis, 0, after=after))
    assert the(SetHead, effects) and not the(SetTimer, effects)
    effects = bench.imported(bench.tree.make(bench.tree.current, 1))
    assert the(SetTimer, effects)


def test_a_lone_signer_goes_on_by_itself() -> None:
    bench = Bench(count=1)
    for _ in range(3):
        (build,) = the(Build, bench.until_built())
        block = bench.tree.make(
            bench.tree.current,
            0,
            slot=None,
            after=codec.decode(build.claims, Claims).slot
            - bench.tree.heads[bench.tree.current].time_ms // SLOT_MS,
        )
        bench.tree.rules.check_header(block.head, bench.tree)
        bench.imported(block)
    assert bench.tree.height(bench.tree.current) == 3


def test_an_observer_and_a_learner_never_sign() -> None:
    assert not the(SetTimer, Bench(me=7).started)
    tree = Tree(3, learners=1)
    assert not the(SetTimer, Bench(me=3, tree=tree, count=4).started)


# ---------------------------------------------------------------------------------- slots, clocks


def test_a_slot_is_signed_once_though_the_clock_steps_back() -> None:
    bench = Bench(count=1)
    (first,) = the(Build, bench.until_built())
    signed = codec.decode(first.claims, Claims).slot
    bench.now_ms -= 5 * SLOT_MS
    (again,) = the(Build, bench.until_built(20))
    assert codec.decode(again.claims, Claims).slot > signed


def test_nor_after_a_restart() -> None:
    bench = Bench(count=1)
    effects = bench.until_built()
    signed = codec.decode(the(Build, effects)[0].claims, Claims).slot
    bench.engine = bench.restart(the(Persist, effects)[0].record)
    bench.tell(Started(False))
    (again,) = the(Build, bench.until_built(20))
    assert codec.decode(again.claims, Claims).slot > signed


def test_a_timer_that_comes_early_or_late_signs_nothing_wrong() -> None:
    bench = Bench()
    assert bench.timer is not None
    early = bench.tell(TimerFired(bench.timer.key))
    assert not the(Build, early) and the(SetTimer, early)
    bench.now_ms += 300 + SLOT_MS  # its slot is over
    late = bench.tell(TimerFired(bench.timer.key))
    assert not the(Build, late) and the(SetTimer, late)


def test_a_timer_for_something_else_is_stale() -> None:
    assert Bench().tell(TimerFired(("turn", 1, ""))) == []


def test_the_timer_looks_at_the_clock_at_least_once_a_slot() -> None:
    bench = Bench()
    bench.now_ms -= 3_600_000  # set back by an hour: the steady timer would sleep through it
    (timer,) = the(SetTimer, bench.tell(SyncChanged(False)))
    assert timer.delay_ms <= SLOT_MS


def test_a_lost_record_means_silence_until_no_slot_can_be_signed_twice() -> None:
    bench = Bench(count=1, record=None)
    here = bench.now_ms // SLOT_MS
    assert any("signs nothing before" in why for why in bench.status_why())
    (build,) = the(Build, bench.until_built(40))
    assert codec.decode(build.claims, Claims).slot == here + SLOTS_AFTER_LOSS + 1


def test_a_damaged_record_is_not_taken_for_a_new_one() -> None:
    with pytest.raises(DamagedStore):
        Bench().restart(b"\xff")


# ------------------------------------------------------------------------------------- fork choice


def test_the_heavier_branch_wins_though_it_is_shorter() -> None:
    bench = Bench(me=7)
    genesis = bench.tree.genesis
    first = bench.tree.make(genesis, (GENESIS_SLOT + 2) % 3, after=1)  # out of turn: weight 1
    bench.imported(first)
    heavy = bench.tree.make(genesis, (GENESIS_SLOT + 2) % 3, after=2)  # in turn: weight 2
    assert SetHead(heavy.id) in bench.imported(heavy)


def test_of_equal_branches_everybody_chooses_the_smaller_id() -> None:
    tree = Tree(3)
    by = (GENESIS_SLOT + 2) % 3
    pair = sorted(
        (tree.make(tree.genesis, by, extra=1), tree.make(tree.genesis, by, extra=2)),
        key=lambda block: block.id,
    )
    for order in (pair, pair[::-1]):
        bench = Bench(me=7)
        for block in order:
            bench.imported(block)
        assert bench.tree.current == pair[0].id
        assert not the(SetHead, bench.imported(pair[0]))  # known: moves nothing


def test_a_reorganisation_is_traced() -> None:
    bench = Bench(me=7)
    genesis = bench.tree.genesis
    bench.imported(bench.tree.make(genesis, (GENESIS_SLOT + 2) % 3))
    other = bench.tree.make(genesis, (GENESIS_SLOT + 1) % 3)
    (trace,) = the(Trace, bench.imported(other))
    assert trace.name == "reorganisation"


def test_a_restart_finds_the_tip_that_a_crash_left_behind() -> None:
    bench = Bench()
    tip = bench.tree.rota(bench.tree.genesis, 2)
    bench.engine = bench.restart(FRESH)
    assert SetHead(tip) in bench.tell(Started(False))


# ---------------------------------------------------------------------------------- contradictions


def rivals(tree: Tree) -> tuple[Block, Block]:
    return tree.make(tree.genesis, 1, extra=1), tree.make(tree.genesis, 1, extra=2)


def test_two_blocks_for_one_slot_are_reported() -> None:
    bench = Bench(me=7)
    one, two = rivals(bench.tree)
    assert not the(Report, bench.imported(one))
    (report,) = the(Report, bench.imported(two))
    assert isinstance(report.evidence, Evidence)
    assert bench.tree.rules.check_evidence(report.evidence, bench.tree.set) == signer(1)
    assert not the(Report, bench.imported(one))  # once a block


def test_the_same_evidence_whoever_saw_what_first() -> None:
    found = set()
    for order in (0, 1):
        bench = Bench(me=7)
        pair = rivals(bench.tree)
        bench.imported(pair[order])
        found.add(the(Report, bench.imported(pair[1 - order]))[0].evidence)
    assert len(found) == 1


def test_who_contradicted_himself_is_shown() -> None:
    bench = Bench(me=7)
    one, two = rivals(bench.tree)
    bench.imported(one)
    (report,) = the(Report, bench.imported(two))
    assert report.evidence is not None
    bench.tell(EvidenceSeen(report.evidence))
    assert any("s1 signed two blocks" in why for why in bench.status_why())


def test_what_is_remembered_is_bounded() -> None:
    bench = Bench(me=7)
    parent: BlockId = bench.tree.genesis
    for number in range(SEEN_MAX + 5):
        block = bench.tree.make(parent, number % 3)
        bench.engine._notice(block.head, bench.tree)
        if number % 64 == 0:
            bench.tree.add(block)
            parent = block.id
    assert len(bench.engine._seen) <= SEEN_MAX


# ------------------------------------------------------------------------------------ and the rest


def test_while_it_syncs_it_signs_nothing() -> None:
    bench = Bench(syncing=True)
    assert not the(SetTimer, bench.started)
    assert the(SetTimer, bench.tell(SyncChanged(False)))
    bench.tell(SyncChanged(True))
    assert bench.timer is not None
    assert bench.tell(TimerFired(bench.timer.key)) == []


def test_it_stops_when_asked() -> None:
    bench = Bench()
    assert bench.tell(StopRequested(0))[-1] == Stop()
    assert bench.timer is not None
    assert bench.tell(TimerFired(bench.timer.key)) == []


def test_reads_and_commands_are_refused_with_a_reason() -> None:
    bench = Bench()
    (read,) = bench.tell(ReadRequested(1))
    (command,) = bench.tell(CommandGiven(2, "dance", ()))
    assert isinstance(read, Answer) and "no block is final" in read.outcome
    assert isinstance(command, Answer) and "dance" in command.outcome


def test_messages_are_unexpected() -> None:
    assert Bench().tell(MessageReceived(signer(2), Message())) == [
        Report(peer=signer(2), reason="unexpected-message")
    ]


def test_an_own_block_that_was_refused_is_traced() -> None:
    (trace,) = Bench().tell(BlockRejected(bytes(32), "own", "its parent is gone"))
    assert isinstance(trace, Trace) and trace.name == "own-block-rejected"


def test_status_says_whose_turn_it_is_and_who_is_missing() -> None:
    bench = Bench(me=0)
    status = bench.engine.status(bench.tree, Now(bench.now_ms, bench.now_ms))
    assert status.leader == signer((bench.slot - 1) % 3) and status.facts["role"] == "signer"
    assert [row["signer"] for row in status.tables["signers"]] == ["s0", "s1", "s2"]
    bench.imported(bench.tree.make(bench.tree.genesis, 1))
    bench.now_ms += 60 * SLOT_MS
    status = bench.engine.status(bench.tree, Now(bench.now_ms, bench.now_ms))
    assert any("silent of late: s0, s2" in why for why in status.why)
    assert status.missing == (signer(0), signer(2))
