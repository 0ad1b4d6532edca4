"""The engine's conversation: which effects follow which events."""

from __future__ import annotations

import random
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.block import Block
from chain.hashing import BlockId
from chain.validators import ValidatorSet
from consensus.contract import (
    Answer,
    BlockBuilt,
    BlockImported,
    BlockRejected,
    Broadcast,
    Build,
    CancelTimer,
    CommandGiven,
    Effect,
    EngineConfig,
    Event,
    Fetch,
    Message,
    MessageReceived,
    Now,
    ReadRequested,
    Report,
    Send,
    SetHead,
    SetTimer,
    Started,
    Stop,
    StopRequested,
    SyncChanged,
    TimerFired,
    Trace,
    TransactionsWaiting,
)
from consensus.gossip import PROTOCOL, GossipEngine, GossipParameters
from consensus.gossip.engine import BROADCAST_EVERY, FETCH_AGAIN_MS, FETCHED_MAX, ROUND, TURN
from consensus.gossip.messages import RANGES_MAX, TIPS_MAX, Digest, Point
from consensus.gossip.peers import PEERS_MAX, SILENT_ROUNDS
from tests.support.fake_chain import (
    CHAIN_ID,
    START_MS,
    FakeTree,
    make_address,
    make_block,
    make_genesis_block,
    make_transaction,
)

NOBODY = ValidatorSet()
GENESIS = make_genesis_block(NOBODY)
PARAMETERS = GossipParameters(turn_ms_min=100, turn_ms_max=200, confirmation_depth=2)
ME, ANN, BEN = make_address(0), make_address(1), make_address(2)

E = TypeVar("E", bound=Effect)


def the(kind: type[E], effects: list[Effect]) -> list[E]:
    return [effect for effect in effects if isinstance(effect, kind)]


class Bench:
    """One node's engine, its tree and its clock."""

    def __init__(self, *, writes: bool = True, syncing: bool = False, seed: int = 1) -> None:
        self.tree = FakeTree(GENESIS, NOBODY, "gossip")
        config = EngineConfig(CHAIN_ID, PARAMETERS, mining=writes)
        self.engine: GossipEngine = PROTOCOL.engine(ME, config, random.Random(seed), None)
        self.now_ms = 1_000
        self.started = self.tell(Started(syncing))

    def tell(self, event: Event) -> list[Effect]:
        effects = self.engine.handle(event, self.tree, Now(START_MS + self.now_ms, self.now_ms))
        for effect in effects:
            if isinstance(effect, SetHead):
                self.tree.set_head(effect.block)
        return effects

    def imported(self, *blocks: Block) -> list[Effect]:
        effects: list[Effect] = []
        for block in blocks:
            self.tree.insert(block.head)
            effects += self.tell(BlockImported(block.head, "gossip"))
        return effects

    def hear(self, digest: Digest, sender: bytes = ANN) -> list[Effect]:
        return self.tell(MessageReceived(sender, digest))

    def digest(self) -> Digest:
        """What it tells the others."""
        self.now_ms += 1_000
        for effect in self.tell(TimerFired(ROUND)):
            if isinstance(effect, (Send, Broadcast)):
                assert isinstance(effect.message, Digest)
                return effect.message
        raise AssertionError("a round without a digest")

    def facts(self) -> dict[str, int | str]:
        return dict(self.status().facts)

    def status(self):  # type: ignore[no-untyped-def]
        return self.engine.status(self.tree, Now(START_MS + self.now_ms, self.now_ms))


def child(parent: Block, by: int = 1, extra: int = 0, *, paid: int = 0) -> Block:
    transactions = [make_transaction(number) for number in range(paid)]
    return make_block(parent.head, make_address(by), NOBODY, START_MS, transactions, b"", extra)


def chain(length: int, by: int = 1, parent: Block = GENESIS) -> list[Block]:
    blocks: list[Block] = []
    for _ in range(length):
        parent = child(parent, by)
        blocks.append(parent)
    return blocks


# ---------------------------------------------------------------------------------------- own turns


def test_it_writes_when_something_waits_after_a_pause_drawn_by_chance() -> None:
    bench = Bench()
    assert not [timer for timer in the(SetTimer, bench.started) if timer.key == TURN]
    (timer,) = the(SetTimer, bench.tell(TransactionsWaiting(3)))
    assert timer.key == TURN and 100 <= timer.delay_ms <= 200
    (build,) = the(Build, bench.tell(TimerFired(TURN)))
    assert build.parent == GENESIS.id and not build.may_be_empty and build.claims == b""
    pauses = {
        the(SetTimer, Bench(seed=s).tell(TransactionsWaiting(1)))[0].delay_ms for s in range(9)
    }
    assert len(pauses) > 3


def test_it_asks_nobody_and_waits_for_nobody() -> None:
    """Alone, without a single peer, it goes on writing."""
    bench = Bench()
    parent = GENESIS
    for _ in range(5):
        bench.tell(TransactionsWaiting(1))
        (build,) = the(Build, bench.tell(TimerFired(TURN)))
        assert build.parent == parent.id
        parent = child(parent, 0, paid=1)
        assert SetHead(parent.id) in bench.imported(parent)
        assert bench.tell(BlockBuilt(build.request, parent)) == []


def test_a_new_head_means_a_new_turn() -> None:
    bench = Bench()
    bench.tell(TransactionsWaiting(1))
    (timer,) = the(SetTimer, bench.imported(child(GENESIS, paid=1)))
    assert timer.key == TURN


def test_empty_blocks_follow_until_the_last_payment_is_confirmed_and_no_longer() -> None:
    bench = Bench()
    paid = child(GENESIS, paid=1)
    assert the(SetTimer, bench.imported(paid))
    (build,) = the(Build, bench.tell(TimerFired(TURN)))
    assert build.may_be_empty
    first, second = chain(2, 0, paid)
    assert the(SetTimer, bench.imported(first))
    assert not the(SetTimer, bench.imported(second))  # two on top: confirmation_depth
    assert bench.tell(TimerFired(TURN)) == []


def test_who_only_listens_or_syncs_writes_nothing() -> None:
    assert not the(SetTimer, Bench(writes=False).tell(TransactionsWaiting(1)))
    bench = Bench(syncing=True)
    assert not the(SetTimer, bench.tell(TransactionsWaiting(1)))
    assert the(SetTimer, bench.tell(SyncChanged(False)))
    assert bench.tell(SyncChanged(True)) == [CancelTimer(TURN)]
    assert bench.tell(TimerFired(TURN)) == []


def test_when_nothing_could_be_included_the_turn_comes_again_while_something_waits() -> None:
    bench = Bench()
    bench.tell(TransactionsWaiting(1))
    (build,) = the(Build, bench.tell(TimerFired(TURN)))
    assert the(SetTimer, bench.tell(BlockBuilt(build.request, None)))
    bench.tell(TransactionsWaiting(0))
    assert bench.tell(BlockBuilt(build.request, None)) == []


def test_an_operator_may_stop_and_start_the_writing() -> None:
    bench = Bench()
    bench.tell(TransactionsWaiting(1))
    stopped = bench.tell(CommandGiven(1, "stop-mining", ()))
    assert stopped == [CancelTimer(TURN), Answer(1, "ok: only listening")]
    assert the(SetTimer, bench.tell(CommandGiven(2, "start-mining", ())))
    (answer,) = bench.tell(CommandGiven(3, "dance", ()))
    assert isinstance(answer, Answer) and "dance" in answer.outcome


# ------------------------------------------------------------------------------------- fork choice


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_same_blocks_give_the_same_head_in_whatever_order(data: st.DataObject) -> None:
    """Strong eventual consistency: the head is a function of the set of blocks alone."""
    blocks = [GENESIS]
    for number in range(data.draw(st.integers(1, 9))):
        parent = blocks[data.draw(st.integers(0, len(blocks) - 1))]
        blocks.append(child(parent, number % 5 + 1, number))
    heads = set()
    for _ in range(3):
        bench = Bench()
        waiting = blocks[1:]
        while waiting:
            ready = [one for one in waiting if bench.tree.knows(one.previous)]
            chosen = data.draw(st.sampled_from(ready))
            waiting.remove(chosen)
            bench.imported(chosen)
        heads.add(bench.tree.head())
    highest = max(block.height for block in blocks)
    assert heads == {min(block.id for block in blocks if block.height == highest)}


def test_a_higher_branch_takes_the_head_and_says_how_deep_it_cut() -> None:
    bench = Bench()
    bench.imported(*chain(3, 1))
    effects = bench.imported(*chain(4, 2))
    (trace,) = [one for one in the(Trace, effects) if one.name == "reorganisation"]
    assert trace.fields["depth"] == 3
    assert bench.facts()["deepest reorganisation"] == 3


def test_a_restart_finds_the_best_of_what_lies_on_disk() -> None:
    bench = Bench()
    for block in chain(2, 1) + chain(3, 2):
        bench.tree.insert(block.head)
    config = EngineConfig(CHAIN_ID, PARAMETERS)
    engine = PROTOCOL.engine(ME, config, random.Random(1), b"")
    effects = engine.handle(Started(False), bench.tree, Now(0, 0))
    assert the(SetHead, effects) == [SetHead(chain(3, 2)[-1].id)]
    (hello,) = the(Broadcast, effects)
    assert isinstance(hello.message, Digest) and len(hello.message.tips) == 2


# ------------------------------------------------------------------------------------ anti-entropy


def test_a_digest_names_every_tip_and_doubling_ranges() -> None:
    bench = Bench()
    bench.imported(*chain(20, 1), *chain(2, 2))
    digest = bench.digest()
    assert not digest.fault
    assert [tip.height for tip in digest.tips] == [20, 2]
    assert [point.height for point in digest.ranges] == [19, 18, 16, 12, 4, 0]


def test_a_digest_of_a_million_blocks_stays_small() -> None:
    assert 2 + (2**40).bit_length() < RANGES_MAX


def test_what_it_lacks_it_fetches_from_whoever_told_it() -> None:
    bench = Bench()
    theirs = chain(3, 2)
    tips = (Point(3, theirs[2].id), Point(1, child(GENESIS, 3).id))
    (fetch,) = the(Fetch, bench.hear(Digest(tips, (Point(0, GENESIS.id),), False)))
    assert fetch.blocks == tuple(tip.block_id for tip in tips) and fetch.hint == ANN


def test_also_a_branch_that_has_lost() -> None:
    """So that all come to hold the same blocks, and see what was displaced."""
    bench = Bench()
    bench.imported(*chain(5, 1))
    loser = chain(2, 2)[-1]
    (fetch,) = the(Fetch, bench.hear(Digest((Point(2, loser.id),), (), False)))
    assert fetch.blocks == (loser.id,)


def test_it_answers_with_its_own_when_asked_to_and_only_then() -> None:
    bench = Bench()
    bench.imported(*chain(2, 1))
    (answer,) = the(Send, bench.hear(Digest((Point(0, GENESIS.id),), (), True)))
    assert answer.to == ANN and isinstance(answer.message, Digest)
    assert answer.message.head.height == 2 and not answer.message.answer
    assert not the(Send, bench.hear(Digest((Point(0, GENESIS.id),), (), False)))


def test_the_same_block_is_not_asked_for_in_every_round() -> None:
    bench = Bench()
    digest = Digest((Point(9, bytes(32)),), (), False)
    assert the(Fetch, bench.hear(digest)) and not the(Fetch, bench.hear(digest))
    bench.now_ms += FETCH_AGAIN_MS
    assert the(Fetch, bench.hear(digest))


def test_what_hostile_digests_make_it_remember_is_bounded() -> None:
    bench = Bench()
    for number in range(FETCHED_MAX + 50):
        name = number.to_bytes(32, "big")
        bench.hear(Digest((Point(9, name),), (), False), b"\0" + name)
    assert len(bench.engine._fetched) <= FETCHED_MAX
    assert len(bench.engine._peers) <= PEERS_MAX


def test_a_bad_digest_costs_its_sender_and_changes_nothing() -> None:
    bench = Bench()
    bad = Digest((Point(1, bytes(32)), Point(2, b"\1" * 32)), (), True)
    assert bench.hear(bad) == [Report(peer=ANN, reason="bad-digest")]
    assert bench.facts()["peers heard"] == 0
    (report,) = bench.tell(MessageReceived(ANN, Message()))
    assert report == Report(peer=ANN, reason="unexpected-message")


def test_its_own_broadcast_comes_back_and_means_nothing() -> None:
    bench = Bench()
    assert bench.hear(bench.digest(), ME) == []


def test_it_tells_some_peers_by_chance_and_now_and_then_all() -> None:
    bench = Bench()
    genesis = Digest((Point(0, GENESIS.id),), (), False)
    assert the(Broadcast, bench.tell(TimerFired(ROUND)))  # it knows nobody yet
    for number in range(1, 7):
        bench.hear(genesis, make_address(number))
    told, broadcasts = set(), 0
    for _ in range(3 * BROADCAST_EVERY):
        effects = bench.tell(TimerFired(ROUND))
        broadcasts += len(the(Broadcast, effects))
        sends = the(Send, effects)
        assert len(sends) in (0, PARAMETERS.fan_out)
        told |= {send.to for send in sends}
    assert broadcasts == 3 and len(told) == 6


def test_the_next_round_always_comes() -> None:
    bench = Bench()
    for _ in range(5):
        (timer,) = [one for one in the(SetTimer, bench.tell(TimerFired(ROUND))) if one.key == ROUND]
        assert 750 <= timer.delay_ms <= 1_000


def test_tips_told_are_bounded_and_the_lowest_forgotten_first() -> None:
    bench = Bench()
    bench.imported(*chain(3, 1))
    bench.imported(*(child(GENESIS, 2, extra) for extra in range(TIPS_MAX + 5)))
    tips = bench.digest().tips
    assert len(tips) == TIPS_MAX and tips[0].height == 3


# -------------------------------------------------------------------------------------- measuring


def test_convergence_is_timed_from_the_first_sign_of_another_branch() -> None:
    bench = Bench()
    mine, theirs = chain(2, 1), chain(3, 2)
    bench.imported(*mine)
    bench.hear(Digest((Point(3, theirs[-1].id),), (), False))
    assert bench.facts()["converged"] == "no"
    assert any("another branch" in why for why in bench.status().why)
    assert bench.status().missing == (ANN,)
    bench.now_ms += 700
    effects = bench.imported(*theirs)
    (trace,) = [one for one in the(Trace, effects) if one.name == "converged"]
    assert trace.fields["after_ms"] == 700
    assert bench.facts()["converged"] == "yes" and bench.status().why == ()
    assert bench.facts()["last convergence (ms)"] == 700


def test_who_is_merely_behind_or_ahead_on_the_same_branch_agrees() -> None:
    bench = Bench()
    blocks = chain(4, 1)
    bench.imported(*blocks)
    bench.hear(Digest((Point(2, blocks[1].id),), (), False))
    assert bench.facts()["converged"] == "yes"


def test_who_has_fallen_silent_is_not_waited_for() -> None:
    bench = Bench()
    bench.hear(Digest((Point(3, bytes(32)),), (), False))
    assert bench.facts()["converged"] == "no"
    bench.now_ms += SILENT_ROUNDS * PARAMETERS.digest_ms
    assert bench.facts()["converged"] == "yes"


def test_redundancy_is_counted() -> None:
    bench = Bench()
    bench.hear(Digest((Point(0, GENESIS.id),), (), False))
    bench.hear(Digest((Point(3, bytes(32)),), (), False), BEN)
    facts = bench.facts()
    assert (facts["digests that brought news"], facts["digests that brought none"]) == (1, 1)


def test_the_peers_table_tells_how_much_is_shared() -> None:
    bench = Bench()
    mine = chain(4, 1)
    bench.imported(*mine)
    ranges = (Point(4, child(mine[3], 2).id), Point(3, mine[2].id), Point(0, GENESIS.id))
    bench.hear(Digest((Point(5, bytes(32)),), ranges, False))
    (row,) = bench.status().tables["peers"]
    assert row["height"] == 5 and row["shared up to"] == 3 and row["branch"] == "another"


# ------------------------------------------------------------------------------------ and the rest


@pytest.mark.parametrize("event", [ReadRequested(1)])
def test_reads_are_refused_with_a_reason(event: Event) -> None:
    (answer,) = Bench().tell(event)
    assert isinstance(answer, Answer) and "nobody agrees" in answer.outcome


def test_it_stops_when_asked_and_traces_an_own_block_that_was_refused() -> None:
    bench = Bench()
    bench.tell(TransactionsWaiting(1))
    assert bench.tell(StopRequested(0)) == [CancelTimer(TURN), CancelTimer(ROUND), Stop()]
    (trace,) = bench.tell(BlockRejected(BlockId(bytes(32)), "own", "no parent"))
    assert isinstance(trace, Trace) and trace.name == "own-block-rejected"
