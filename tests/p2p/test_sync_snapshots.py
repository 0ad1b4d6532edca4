"""Taking a snapshot from peers: liars lose, who stalls is passed over, a crash loses nothing."""

from __future__ import annotations

import itertools
import random

import msgspec
import pytest

from chain.errors import InvalidProof
from chain.snapshot import Snapshot
from chain.state.chunks import Coverage, StateChunk, check_cut, chunks_of
from chain.state.tree import EMPTY, StateTree
from p2p.actions import Action, Misbehaved, SendTo, SnapshotReady, SyncingChanged
from p2p.sync import Sync
from p2p.sync.peers import DEMOTED_MS, FAILURES_MAX, SyncPeer
from p2p.sync.snapshots import (
    BLOCKED_MS,
    BLOCKED_MS_MAX,
    FEATURE,
    RECORDS_MAX,
    REFUSALS_MAX,
    SETTLE_MS,
    STARVED_MS,
    STUCK_MS,
    TIMEOUT_MS,
    SnapshotSync,
)
from p2p.wire import (
    PROTOCOL_VERSION,
    ChunkBody,
    GetChunk,
    GetSnapshot,
    Hello,
    Holdings,
    NoSnapshot,
    SnapshotBody,
    SnapshotOffer,
    decode_frame,
    encode_frame,
)
from tests.chain.ledger.test_snapshots import SMALL, snapshot_at
from tests.p2p.simnet import GENESIS, FakeChain, branch

A, B, C = (bytes([number]) * 32 for number in (1, 2, 3))
SNAPSHOT, CHUNKS, _ = snapshot_at(20, 30)
EVERYTHING = Holdings(0, 0, ())
OFFER = Holdings(21, 5, (SnapshotOffer(SNAPSHOT.height, SNAPSHOT.block),))


class Here:
    """A chain at genesis, and a desk that judges chunks as a node does."""

    def __init__(self, *, finalizes: bool = True) -> None:
        self.finalizes = finalizes
        self.peers: dict[bytes, SyncPeer] = {}
        self.gap_max = 5
        self.staged: Snapshot | None = None
        self.is_clean = True
        self.coverage = Coverage()
        self.state = EMPTY
        self.chunk_bytes = SMALL
        self.refusal: str | None = None
        self.final = 0

    def finalized(self) -> bytes:
        return bytes(32)

    def head(self) -> bytes:
        return bytes(32)

    def height(self, block: bytes) -> int:
        return self.final

    def holdings(self) -> Holdings:
        return Holdings(0, 0, ())

    def snapshot(self, block: bytes) -> Snapshot | None:
        return SNAPSHOT if block == SNAPSHOT.block else None

    def chunk(self, block: bytes, path: bytes) -> StateChunk | None:
        return serve(path) if block == SNAPSHOT.block else None

    def begin(self, snapshot: Snapshot) -> None:
        if self.refusal is not None:
            raise InvalidProof(self.refusal, "no")
        self.staged = snapshot

    def add(self, chunk: StateChunk) -> bool:
        assert self.staged is not None
        chunk.check(self.staged.root)
        check_cut(chunk, self.state, self.coverage, self.chunk_bytes)
        self.state = self.state.update(dict(chunk.items))
        return self.coverage.add(chunk.first, chunk.end)

    def gaps(self) -> list[tuple[int, int]]:
        return list(self.coverage.gaps())

    def drop(self) -> None:
        self.staged, self.coverage, self.state = None, Coverage(), EMPTY


def serve(path: bytes) -> StateChunk:
    at = int.from_bytes(path, "big")
    return next(chunk for chunk in CHUNKS if chunk.first <= at < chunk.end)


class Cut:
    """A state, cut where a subtree weighs so much."""

    def __init__(self, state: StateTree, bytes_max: int) -> None:
        self.chunks = list(chunks_of(state, bytes_max))

    def covering(self, path: bytes) -> StateChunk:
        at = int.from_bytes(path, "big")
        return next(chunk for chunk in self.chunks if chunk.first <= at < chunk.end)


def syncing(here: Here, *peers: bytes, now_ms: int = 0) -> tuple[SnapshotSync, list[Action]]:
    sync = SnapshotSync(here, here.peers, here, random.Random(1))  # type: ignore[arg-type]
    actions: list[Action] = []
    for peer in peers:
        claim(here, peer, OFFER)
        sync.joined(peer, (FEATURE,))
    for peer in peers:
        actions += sync.on_holdings(peer, OFFER, now_ms)
    return sync, actions


def claim(here: Here, key: bytes, holdings: Holdings, height: int = 25) -> SyncPeer:
    """What the peer said of itself, as the whole of sync keeps it."""
    peer = here.peers[key] = SyncPeer(key, height, height)
    peer.bodies_from, peer.heads_from = holdings.bodies_from, holdings.heads_from
    return peer


def begins(actions: list[Action]) -> list[bytes]:
    """Who is asked for the description of a snapshot."""
    return [
        each.peer
        for each in actions
        if isinstance(each, SendTo) and isinstance(each.message, GetSnapshot)
    ]


def forged(chunk: StateChunk) -> StateChunk:
    key, value = chunk.items[0]
    return msgspec.structs.replace(chunk, items=((key, value + b"x"), *chunk.items[1:]))


def run(
    sync: SnapshotSync, actions: list[Action], liars: tuple[bytes, ...] = (), now_ms: int = 0
) -> list[Action]:
    """Peers answer until nobody is asked any more; what else was asked of the node."""
    others: list[Action] = []
    queue = list(actions)
    while queue:
        action = queue.pop(0)
        if not isinstance(action, SendTo):
            others.append(action)
            continue
        message = decode_frame(encode_frame(action.message))
        if isinstance(message, GetSnapshot):
            queue += sync.on_snapshot(action.peer, SnapshotBody(SNAPSHOT), now_ms)
        elif isinstance(message, GetChunk):
            chunk = serve(message.path)
            if action.peer in liars and chunk.items:
                chunk = forged(chunk)
            body = ChunkBody(message.block, message.path, chunk)
            queue += sync.on_chunk(action.peer, body, now_ms)
    return others


def test_chunks_come_from_all_peers_until_it_is_complete() -> None:
    here = Here()
    sync, actions = syncing(here, A, B)
    assert sync.active and isinstance(actions[0], SendTo)
    assert run(sync, actions) == [SnapshotReady(SNAPSHOT.block)]
    assert here.coverage.complete


def test_a_liars_chunk_costs_it_and_another_is_asked() -> None:
    here = Here()
    sync, actions = syncing(here, A, B, C)
    others = run(sync, actions, liars=(A, B))
    assert here.coverage.complete and others[-1] == SnapshotReady(SNAPSHOT.block)
    blamed = [each.peer for each in others if isinstance(each, Misbehaved)]
    assert set(blamed) <= {A, B} and blamed
    assert all(
        each.reason in ("invalid-chunk", "unsolicited")
        for each in others
        if isinstance(each, Misbehaved)
    )


def test_one_liar_alone_gets_nowhere_and_an_honest_peer_later_finishes_it() -> None:
    here = Here()
    sync, actions = syncing(here, A)
    others = run(sync, actions, liars=(A,))
    assert others == [Misbehaved(A, "invalid-chunk")]
    assert not here.coverage.complete and here.staged is not None
    sync.joined(B, (FEATURE,))
    assert run(sync, sync.on_holdings(B, OFFER, 10)) == [SnapshotReady(SNAPSHOT.block)]


def test_a_restart_goes_on_with_what_is_missing() -> None:
    here = Here()
    here.staged = SNAPSHOT
    for chunk in CHUNKS[::2]:
        here.add(chunk)
    sync, actions = syncing(here, A)
    asked: list[bytes] = []
    queue = actions
    while queue:
        action = queue.pop(0)
        if isinstance(action, SendTo) and isinstance(action.message, GetChunk):
            asked.append(action.message.path)
            body = ChunkBody(SNAPSHOT.block, action.message.path, serve(action.message.path))
            queue += sync.on_chunk(A, body, 0)
    assert here.coverage.complete
    kept = {chunk.start for chunk in CHUNKS[::2]}
    assert not kept & set(asked), "what was there is not asked for again"


@pytest.mark.parametrize(
    ("code", "blamed"), [("snapshot-unproven", False), ("bad-signature", True)]
)
def test_a_refused_description_is_an_offence_where_it_must_be_one(code: str, blamed: bool) -> None:
    here = Here()
    here.refusal = code
    sync, actions = syncing(here, A)
    found = run(sync, actions)
    assert found == ([Misbehaved(A, "invalid-snapshot")] if blamed else [])
    assert not sync.active and sync.tick(2_000)[1:] == [], "it is not asked for again"


def test_another_description_than_the_one_asked_for_is_refused() -> None:
    sync, _ = syncing(Here(), A)
    for height in (0, 19, 10**9):
        sync, _ = syncing(Here(), A)
        lie = msgspec.structs.replace(SNAPSHOT, height=height)
        assert sync.on_snapshot(A, SnapshotBody(lie), 0) == [Misbehaved(A, "invalid-snapshot")]


def large(items: int, chunk_bytes: int) -> tuple[Here, Snapshot, Cut, Cut]:
    """A newcomer, the description of a state of so many small items, its chunks and its leaves."""
    state = StateTree.build((b"key %d" % n, b"value %d" % n) for n in range(items))
    head = SNAPSHOT.head
    manifest = msgspec.structs.replace(head.manifest, state_root=state.root)
    heads = (msgspec.structs.replace(head, manifest=manifest),)
    here = Here()
    here.chunk_bytes = chunk_bytes
    snapshot = msgspec.structs.replace(SNAPSHOT, heads=heads)
    return here, snapshot, Cut(state, chunk_bytes), Cut(state, 1)


def test_a_sole_source_that_sends_the_state_leaf_by_leaf_is_found_out() -> None:
    """Each chunk was true and news, so that it could go on for as many round trips as leaves."""
    here, snapshot, chunks, leaves = large(1_000, 6_000)
    sync, _ = syncing(here, A)
    queue = sync.on_snapshot(A, SnapshotBody(snapshot), 0)
    sent = 0
    while queue and isinstance(action := queue.pop(0), SendTo):
        assert isinstance(action.message, GetChunk)
        sent += 1
        path = action.message.path
        queue += sync.on_chunk(A, ChunkBody(snapshot.block, path, leaves.covering(path)), 0)
    assert action == Misbehaved(A, "invalid-chunk") and not queue
    assert sent <= max(len(chunk.siblings) for chunk in leaves.chunks)
    sync.joined(B, (FEATURE,))
    queue = sync.on_holdings(B, OFFER, 10)
    while queue and isinstance(action := queue.pop(0), SendTo):
        assert isinstance(action.message, GetChunk)
        path = action.message.path
        queue += sync.on_chunk(B, ChunkBody(snapshot.block, path, chunks.covering(path)), 10)
    assert action == SnapshotReady(snapshot.block)


def test_a_source_of_leaves_that_fills_no_subtree_holds_up_blocks_ever_less() -> None:
    """A never sends the leaf that would show the others to be too small, and takes its time. Each
    of them counted as if the snapshot came: it kept blocks waiting, and made up for a stall."""
    here, snapshot, _, leaves = large(1_000, 6_000)
    sync, actions = syncing(here, A)
    claim(here, B, EVERYTHING)
    waited_ms, end_ms, sent = 0, 2 * BLOCKED_MS_MAX, 0
    owed: list[tuple[int, bytes]] = []
    for now_ms in range(0, end_ms, 500):
        actions += sync.tick(now_ms) + sync.on_holdings(A, OFFER, now_ms)
        due = [path for due_ms, path in owed if due_ms <= now_ms]
        owed = [each for each in owed if each[0] > now_ms]
        for path in due:
            chunk = leaves.covering(path)
            span = chunk.end - chunk.first
            if not here.coverage.covers(chunk.first ^ span, (chunk.first ^ span) + span):
                sent += 1
                actions += sync.on_chunk(A, ChunkBody(snapshot.block, path, chunk), now_ms)
        for action in actions:
            if not isinstance(action, SendTo):
                assert action == Misbehaved(A, "stalling")
            elif isinstance(action.message, GetChunk):
                owed.append((now_ms + TIMEOUT_MS - 500, action.message.path))
        asked = begins(actions)
        actions = sync.on_snapshot(A, SnapshotBody(snapshot), now_ms) if asked else []
        waited_ms += 500 * sync.active
    assert sent and waited_ms <= end_ms / 5


def test_a_liars_leaves_do_not_tell_where_to_ask_others() -> None:
    """After each of them others were asked for what lies right beside it: for one chunk at once."""
    here, snapshot, chunks, leaves = large(1_000, 1_500)
    sync, actions = syncing(here, A, B, C)
    queue, others, served = list(actions), list[Action](), 0
    while queue:
        action = queue.pop(0)
        if not isinstance(action, SendTo):
            others.append(action)
        elif isinstance(action.message, GetSnapshot):
            queue += sync.on_snapshot(action.peer, SnapshotBody(snapshot), 0)
        elif isinstance(action.message, GetChunk):
            path = action.message.path
            served += action.peer != A
            chunk = (leaves if action.peer == A else chunks).covering(path)
            queue += sync.on_chunk(action.peer, ChunkBody(snapshot.block, path, chunk), 0)
    assert others[-1] == SnapshotReady(snapshot.block)
    assert len(chunks.chunks) <= served <= len(chunks.chunks) + 4, "hardly any comes twice"


def test_what_nobody_asked_for_is_an_offence() -> None:
    sync, _ = syncing(Here(), A)
    chunk = CHUNKS[0]
    unasked = ChunkBody(SNAPSHOT.block, chunk.start, chunk)
    assert sync.on_chunk(A, unasked, 0) == [Misbehaved(A, "unsolicited")]
    assert sync.on_chunk(B, unasked, 0) == [Misbehaved(B, "unsolicited")]
    assert sync.on_snapshot(B, SnapshotBody(SNAPSHOT), 0) == [Misbehaved(B, "unsolicited")]
    assert sync.on_holdings(B, OFFER, 0) == [Misbehaved(B, "unexpected-message")]


def test_a_chunk_of_another_place_is_no_answer() -> None:
    here = Here()
    sync, _actions = syncing(here, A)
    (asked,) = sync.on_snapshot(A, SnapshotBody(SNAPSHOT), 0)
    assert isinstance(asked, SendTo) and isinstance(asked.message, GetChunk)
    body = ChunkBody(SNAPSHOT.block, asked.message.path, CHUNKS[-1])
    assert Misbehaved(A, "invalid-chunk") in sync.on_chunk(A, body, 0)


def test_who_stalls_is_passed_over_and_its_late_answer_forgiven() -> None:
    here = Here()
    sync, _ = syncing(here, A)
    (asked,) = sync.on_snapshot(A, SnapshotBody(SNAPSHOT), 0)
    assert isinstance(asked, SendTo) and isinstance(asked.message, GetChunk)
    actions = sync.tick(TIMEOUT_MS)
    assert Misbehaved(A, "stalling") in actions
    body = ChunkBody(SNAPSHOT.block, asked.message.path, serve(asked.message.path))
    assert sync.on_chunk(A, body, TIMEOUT_MS) == []
    sync.joined(B, (FEATURE,))
    more = sync.on_holdings(B, OFFER, TIMEOUT_MS + 1)
    assert run(sync, more, now_ms=TIMEOUT_MS + 1)[-1] == SnapshotReady(SNAPSHOT.block)


def test_a_snapshot_that_nobody_offers_any_more_is_given_up_for_blocks() -> None:
    here = Here()
    here.staged = SNAPSHOT
    sync = SnapshotSync(here, here.peers, here, random.Random(1))  # type: ignore[arg-type]
    claim(here, A, EVERYTHING)
    sync.joined(A, (FEATURE,))
    sync.on_holdings(A, EVERYTHING, 0)
    sync.tick(1)
    assert here.staged is not None
    sync.tick(STARVED_MS + 2)
    assert here.staged is None and not sync.active


def test_near_peers_that_have_the_blocks_are_not_asked_for_a_snapshot() -> None:
    here = Here()
    here.gap_max = 100
    sync, actions = syncing(here, A)
    assert actions == [] and not sync.active
    # A has pruned what comes next here: after a moment for others to come, it is asked.
    assert begins(sync.tick(SETTLE_MS - 1)) == [] and begins(sync.tick(SETTLE_MS)) == [A]
    here = Here()
    here.gap_max = 100
    sync, _ = syncing(here, A)
    claim(here, B, EVERYTHING)  # an old node, that keeps everything
    for now_ms in range(0, 10 * STUCK_MS, 1_000):
        if now_ms % (STUCK_MS - 2_000) == 0:
            here.final += 1  # its blocks come, if slowly
        assert begins(sync.tick(now_ms)) == []


def test_blocks_that_are_claimed_and_never_come_are_not_waited_for_for_ever() -> None:
    """B alone claims what all others have pruned, and is never caught at a lie."""
    here = Here()
    here.gap_max = 0
    sync, _ = syncing(here, A)
    claim(here, B, EVERYTHING)
    assert begins(sync.tick(1)) == []
    liar = claim(here, B, EVERYTHING)  # linked anew: its record is clean, its time goes on
    liar.height = liar.finalized_height = 10_000
    assert begins(sync.tick(STUCK_MS)) == []
    assert begins(sync.tick(STUCK_MS + 1)) == [A]


def test_a_false_offer_beside_a_false_claim_keeps_from_nothing_for_long() -> None:
    """B claims the blocks, C offers a snapshot above all others; neither sends any."""
    here = Here()
    here.gap_max = 0
    sync, _ = syncing(here, A, C)
    claim(here, B, EVERYTHING)
    sync.on_holdings(C, Holdings(21, 5, (SnapshotOffer(10_000, C),)), 0)
    asked = {
        now_ms: who for now_ms in range(1, 2 * STUCK_MS, 500) for who in begins(sync.tick(now_ms))
    }
    assert list(asked.values())[:2] == [C, A]
    assert max(list(asked)[:2]) <= STUCK_MS + TIMEOUT_MS + 1_000


def test_a_liars_claim_to_have_the_blocks_does_not_count_while_it_is_demoted() -> None:
    here = Here()
    here.gap_max = 0
    sync, _ = syncing(here, A)
    liar = claim(here, B, EVERYTHING)
    assert begins(sync.tick(SETTLE_MS)) == []
    for _ in range(FAILURES_MAX - 1):
        liar.fail(SETTLE_MS + 1)
    assert begins(sync.tick(SETTLE_MS + 1)) == [], "a stall or two happens to the honest"
    assert liar.fail(SETTLE_MS + 2)
    assert begins(sync.tick(SETTLE_MS + 2)) == [A]
    # Given up for want of an answer, later: its word counts again, for as long as anybody's.
    sync.on_no_snapshot(A, NoSnapshot(SNAPSHOT.block), SETTLE_MS + 3)
    since_ms = SETTLE_MS + 2 + DEMOTED_MS
    sync.tick(since_ms)
    assert begins(sync.on_holdings(A, OFFER, since_ms)) == []
    assert begins(sync.tick(since_ms + STUCK_MS - 1)) == []
    assert begins(sync.tick(since_ms + STUCK_MS)) == [A]


def test_who_claims_nothing_any_more_is_not_waited_for() -> None:
    """A claim that was taken back, or lost for want of proof, is none."""
    here = Here()
    here.gap_max = 0
    sync, _ = syncing(here, A)
    boaster = claim(here, B, EVERYTHING, height=10_000)
    assert begins(sync.tick(SETTLE_MS)) == []
    boaster.break_claim(here, SETTLE_MS + 1)  # type: ignore[arg-type]
    assert begins(sync.tick(SETTLE_MS + 1)) == [A]


def test_blocks_that_waited_for_a_snapshot_get_their_time_once_it_is_given_up() -> None:
    here = Here()
    here.gap_max = 0
    sync, _ = syncing(here, A)
    claim(here, B, EVERYTHING)
    assert begins(sync.tick(1)) == [] and begins(sync.tick(1 + STUCK_MS)) == [A]
    sync.on_snapshot(A, SnapshotBody(SNAPSHOT), 1 + STUCK_MS)
    sync.on_holdings(A, EVERYTHING, 2 + STUCK_MS)
    gone_ms = 2 + STUCK_MS + STARVED_MS
    sync.tick(gone_ms)
    assert here.staged is None
    sync.tick(gone_ms + TIMEOUT_MS)
    assert begins(sync.on_holdings(A, OFFER, gone_ms + TIMEOUT_MS)) == []
    assert begins(sync.tick(gone_ms + TIMEOUT_MS + SETTLE_MS)) == []
    assert begins(sync.tick(gone_ms + TIMEOUT_MS + STUCK_MS)) == [A]


def test_links_that_were_down_do_not_speak_against_blocks() -> None:
    here = Here()
    here.gap_max = 0
    sync, _ = syncing(here, A)
    claim(here, B, EVERYTHING)
    assert begins(sync.tick(1)) == []
    del here.peers[B], here.peers[A]
    sync.left(A, 2)
    sync.left(B, 2)
    for now_ms in range(0, 2 * STUCK_MS, 1_000):
        sync.tick(now_ms)
    back_ms = 2 * STUCK_MS
    claim(here, B, EVERYTHING)
    sync.joined(A, (FEATURE,))
    assert begins(sync.on_holdings(A, OFFER, back_ms)) == []
    assert begins(sync.tick(back_ms + STUCK_MS - 1)) == []
    assert begins(sync.tick(back_ms + STUCK_MS)) == [A]


def lure(number: int) -> Snapshot:
    """A description that is sound in form, of a block that nothing shows to be final."""
    head = branch(None, 2, nonce=number)[-1].head
    return msgspec.structs.replace(SNAPSHOT, height=head.height, heads=(head,))


def offer_of(snapshot: Snapshot, height: int = 10_000) -> Holdings:
    return Holdings(height, height, (SnapshotOffer(height, snapshot.heads[-1].id),))


def test_endless_useless_offers_are_passed_over() -> None:
    """Unproven, gone when asked for, the link gone: none is an offence, and all held blocks up."""
    here = Here()
    here.refusal = "snapshot-unproven"
    sync, _ = syncing(here)
    sync.joined(A, (FEATURE,))
    asked_ms: list[int] = []
    number, end_ms = 0, 2 * BLOCKED_MS_MAX
    for now_ms in range(0, end_ms, 500):
        number += 1
        lie = lure(number)
        actions = [*sync.on_holdings(A, offer_of(lie), now_ms), *sync.tick(now_ms)]
        if not begins(actions):
            assert not sync.active
            continue
        asked_ms.append(now_ms)
        if number % 3 == 0:
            assert sync.on_snapshot(A, SnapshotBody(lie), now_ms) == []
        elif number % 3 == 1:
            assert sync.on_no_snapshot(A, NoSnapshot(lie.heads[-1].id), now_ms) == []
        else:
            sync.left(A, now_ms)
            sync.joined(A, (FEATURE,))
        assert not sync.active
    assert asked_ms[:REFUSALS_MAX] == [500 * n for n in range(REFUSALS_MAX)]
    assert asked_ms[REFUSALS_MAX] >= asked_ms[REFUSALS_MAX - 1] + BLOCKED_MS
    assert len(asked_ms) <= 9 * REFUSALS_MAX, "each pause is twice as long as the one before"
    assert not sync.progress_ms


def test_who_offers_what_is_never_shown_makes_nobody_call_itself_syncing() -> None:
    """Each question was progress, and each time anew that it waited for an answer."""
    here = Here()
    here.refusal = "snapshot-unproven"
    sync = Sync(FakeChain(finalizes=True), random.Random(1), here)
    hello = Hello(PROTOCOL_VERSION, GENESIS.id, "fake", A, "test", 0, 0, 0, (FEATURE,))
    actions = sync.joined(A, hello, 0)
    for number in range(1, 60):
        lie, now_ms = lure(number), 1_000 * number
        asked = sync.on_snapshot_message(A, offer_of(lie), now_ms)
        actions += asked
        if begins(asked):
            actions += sync.tick(now_ms + 100)
            actions += sync.on_snapshot_message(A, SnapshotBody(lie), now_ms + 200)
        actions += sync.tick(now_ms + 500)
    assert begins(actions)
    assert not any(isinstance(each, SyncingChanged) for each in actions)


@pytest.mark.parametrize("trick", ["silent", "links anew", "takes it back", "one chunk"])
def test_a_sound_snapshot_of_which_nothing_comes_holds_up_blocks_ever_less(trick: str) -> None:
    """A offers the genuine one as often as it likes, and sends no chunk of it, or but the first."""
    here = Here()
    sync, actions = syncing(here, A)
    claim(here, B, EVERYTHING)
    waited_ms, given_up_ms, end_ms = 0, [], 3 * BLOCKED_MS_MAX
    for now_ms in range(0, end_ms, 500):
        was_staged = here.staged is not None
        actions += sync.tick(now_ms)
        if was_staged and here.staged is None:
            given_up_ms.append(now_ms)
        if trick == "links anew" and now_ms % 9_000 == 0:
            sync.left(A, now_ms)
            sync.joined(A, (FEATURE,))
        if here.staged is None:
            actions += sync.on_holdings(A, OFFER, now_ms)
        elif trick == "links anew":
            sync.on_holdings(A, OFFER, now_ms)
        for _ in begins(actions):
            if trick == "takes it back":
                sync.on_holdings(A, EVERYTHING, now_ms)
            asked = sync.on_snapshot(A, SnapshotBody(SNAPSHOT), now_ms)
            if trick == "one chunk":
                assert isinstance(asked[0], SendTo) and isinstance(asked[0].message, GetChunk)
                path = asked[0].message.path
                sync.on_holdings(A, EVERYTHING, now_ms)
                sync.on_chunk(A, ChunkBody(SNAPSHOT.block, path, serve(path)), now_ms)
        actions = []
        waited_ms += 500 * sync.active
    assert given_up_ms[0] <= STARVED_MS + 1_000
    between = [later - earlier for earlier, later in itertools.pairwise(given_up_ms)]
    assert between[-1] >= BLOCKED_MS_MAX / 2 and between[-1] == max(between)
    assert waited_ms <= end_ms / 5


def test_a_source_that_stalls_again_and_again_is_passed_over_for_longer_each_time() -> None:
    here = Here()
    sync, _ = syncing(here, A)
    sync.on_snapshot(A, SnapshotBody(SNAPSHOT), 0)
    stalls_ms: list[int] = []
    for now_ms in range(500, 2_000_000, 500):
        if Misbehaved(A, "stalling") in sync.tick(now_ms):
            stalls_ms.append(now_ms)
    pauses = [later - earlier for earlier, later in itertools.pairwise(stalls_ms)]
    assert pauses[:4] == [TIMEOUT_MS + (BLOCKED_MS << n) for n in range(4)]
    assert pauses[-1] == TIMEOUT_MS + BLOCKED_MS_MAX
    assert here.staged is not None, "there is no other way on"
    # A chunk makes up for one of them.
    now_ms = stalls_ms[-1] + BLOCKED_MS_MAX
    (asked,) = sync.tick(now_ms)
    assert isinstance(asked, SendTo) and isinstance(asked.message, GetChunk)
    chunk = serve(asked.message.path)
    sync.on_chunk(A, ChunkBody(SNAPSHOT.block, asked.message.path, chunk), now_ms)
    again_ms = now_ms + TIMEOUT_MS
    assert Misbehaved(A, "stalling") in sync.tick(again_ms)
    assert sync.tick(again_ms + BLOCKED_MS_MAX // 2 - 1) == []
    assert sync.tick(again_ms + BLOCKED_MS_MAX // 2) != []


def test_records_of_peers_that_came_and_went_are_bounded() -> None:
    sync, _ = syncing(Here())
    for number in range(3 * RECORDS_MAX):
        peer = number.to_bytes(32, "big")
        sync.joined(peer, (FEATURE,))
        sync.left(peer, number)
    assert sync.counts()["records"] == RECORDS_MAX


def test_blocks_go_on_where_no_chunk_comes_and_wait_again_once_one_does() -> None:
    """A alone holds a proof of finality, sends no chunk, and nobody else has another way on."""
    here = Here()
    sync, _ = syncing(here, A)
    (asked,) = sync.on_snapshot(A, SnapshotBody(SNAPSHOT), 0)
    assert isinstance(asked, SendTo) and isinstance(asked.message, GetChunk)
    for now_ms in range(0, STARVED_MS, 500):
        sync.tick(now_ms)
        assert sync.active
    sync.tick(STARVED_MS)
    assert not sync.active and here.staged is not None
    sync.joined(B, (FEATURE,))
    (asked,) = sync.on_holdings(B, OFFER, STARVED_MS + 1)
    assert isinstance(asked, SendTo) and isinstance(asked.message, GetChunk)
    chunk = serve(asked.message.path)
    sync.on_chunk(B, ChunkBody(SNAPSHOT.block, asked.message.path, chunk), STARVED_MS + 2)
    assert sync.active


def test_what_is_here_of_a_snapshot_outlives_links_that_were_down() -> None:
    here = Here()
    sync, _ = syncing(here, A)
    claim(here, B, EVERYTHING)
    (asked,) = sync.on_snapshot(A, SnapshotBody(SNAPSHOT), 0)
    assert isinstance(asked, SendTo) and isinstance(asked.message, GetChunk)
    chunk = serve(asked.message.path)
    sync.on_chunk(A, ChunkBody(SNAPSHOT.block, asked.message.path, chunk), 0)
    del here.peers[B], here.peers[A]
    sync.left(A, 1)
    for now_ms in range(500, 4 * STARVED_MS, 500):
        sync.tick(now_ms)
    back_ms = 4 * STARVED_MS
    claim(here, B, EVERYTHING)
    sync.joined(A, (FEATURE,))
    actions = sync.on_holdings(A, OFFER, back_ms)
    assert run(sync, actions, now_ms=back_ms)[-1] == SnapshotReady(SNAPSHOT.block)


def test_where_nothing_is_final_no_snapshot_is_asked_for() -> None:
    """Authority, 4 nodes, seed 686 at half a minute: peers that had pruned offered a new one every
    few seconds, each was asked for and refused, and the node called itself syncing for ever."""
    sync, actions = syncing(Here(finalizes=False), A, B)
    for now_ms in range(500, 20_000, 500):
        actions += sync.tick(now_ms)
    assert not any(isinstance(a, SendTo) and isinstance(a.message, GetSnapshot) for a in actions)
    assert not sync.active and not sync.progress_ms


def test_what_is_not_here_is_answered_so() -> None:
    sync, _ = syncing(Here(), A)
    assert sync.on_get_snapshot(A, GetSnapshot(C)) == [SendTo(A, NoSnapshot(C))]
    assert sync.on_get_chunk(A, GetChunk(C, C)) == [SendTo(A, NoSnapshot(C))]
    (found,) = sync.on_get_chunk(A, GetChunk(SNAPSHOT.block, C))
    assert isinstance(found, SendTo) and isinstance(found.message, ChunkBody)
