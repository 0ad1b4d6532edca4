"""PBFT over the contract: rounds without and with single faults, seen from outside."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from chain.address import Address
from chain.errors import DamagedStore
from chain.hashing import sha256
from chain.validators import Validator, ValidatorSet, validator_set
from consensus import contract
from consensus.contract import Broadcast, Effect, Event
from consensus.pbft import PROTOCOL, PbftParameters
from consensus.pbft.messages import (
    Commit,
    Decided,
    NewView,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    SignedBy,
    ViewChange,
)
from tests.support.engine_cluster import (
    CHAIN_ID,
    START_MS,
    Cluster,
    Node,
    make_address,
    make_block,
    make_transaction,
    sign,
)


def started(n: int, **options: object) -> Cluster:
    cluster = Cluster(PROTOCOL, n, **options)  # type: ignore[arg-type]
    cluster.start()
    return cluster


def all_at(cluster: Cluster, height: int) -> bool:
    return min(cluster.heights()) >= height


def spoken(cluster: Cluster) -> list[tuple[int, contract.Message]]:
    """Every broadcast from now on, with its speaker's number."""
    said: list[tuple[int, contract.Message]] = []

    def listen(node: Node, what: Event | Effect) -> None:
        if isinstance(what, Broadcast):
            said.append((node.number, what.message))

    cluster.observer = listen
    return said


@pytest.mark.parametrize("n", range(1, 8))
def test_every_size_finalizes_a_waiting_transaction(n: int) -> None:
    """One to seven validators: a submitted transaction is final everywhere, in view 0."""
    cluster = started(n, seed=n)
    cluster.submit()
    cluster.run_until(lambda: all_at(cluster, 1), limit_ms=1_000)
    assert not any(node.reports for node in cluster.nodes)
    assert not any(node.pool for node in cluster.nodes)
    assert {node.engine.status(node.tree, node.now()).round for node in cluster.nodes} == {0}


def test_idle_chain_makes_no_blocks_and_says_nothing() -> None:
    """Without a heartbeat an idle minute shows no block, no message and no running timer."""
    cluster = started(4)
    said = spoken(cluster)
    cluster.run_for(60_000)
    assert cluster.heights() == [0, 0, 0, 0]
    assert said == []
    assert not any(node.timers for node in cluster.nodes)


def test_idle_again_after_a_block() -> None:
    """The timers stop when nothing waits any more: no view change follows a quiet block."""
    cluster = started(4)
    cluster.submit()
    cluster.run_until(lambda: all_at(cluster, 1), limit_ms=1_000)
    cluster.run_for(500)
    said = spoken(cluster)
    cluster.run_for(60_000)
    assert said == []
    assert not any(node.timers for node in cluster.nodes)


def test_heartbeat_makes_empty_blocks_and_a_transaction_cuts_the_wait() -> None:
    """heartbeat_ms: an empty block each pause; a transaction does not wait for it."""
    parameters = PbftParameters(view_timeout_ms=1_000, heartbeat_ms=5_000)
    cluster = started(4, parameters=parameters)
    cluster.run_for(16_000)
    assert cluster.heights() == [3, 3, 3, 3]
    cluster.submit()
    cluster.run_until(lambda: all_at(cluster, 4), limit_ms=500)
    assert {node.engine.status(node.tree, node.now()).round for node in cluster.nodes} == {0}


def test_silent_primary_under_heartbeat_is_replaced() -> None:
    """Backups expect the heartbeat: a dead primary is left though no transaction waits."""
    parameters = PbftParameters(view_timeout_ms=500, heartbeat_ms=2_000)
    cluster = Cluster(PROTOCOL, 4, parameters=parameters)
    cluster.start((1, 2, 3))
    cluster.run_until(lambda: min(cluster.heights()[1:]) >= 2, limit_ms=10_000)


def test_dead_primary_is_replaced_and_the_transaction_survives() -> None:
    """Section 4.4: the primary is down, the others change the view and finalize."""
    cluster = Cluster(PROTOCOL, 4)
    cluster.start((1, 2, 3))
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()[1:]) >= 1, limit_ms=6_000)
    status = cluster.nodes[1].engine.status(cluster.nodes[1].tree, cluster.nodes[1].now())
    assert (status.round, status.leader) == (1, make_address(1))


def test_view_persists_over_heights() -> None:
    """The primary is stable: after a view change it stays for the next heights too."""
    cluster = Cluster(PROTOCOL, 4)
    cluster.start((1, 2, 3))
    for height in (1, 2, 3):
        cluster.submit()
        cluster.run_until(lambda at=height: min(cluster.heights()[1:]) >= at, limit_ms=6_000)
    producers = {
        cluster.nodes[1].tree.header(cluster.final[height]).manifest.producer
        for height in (1, 2, 3)
    }
    assert producers == {make_address(1)}


def test_timeout_doubles_to_its_ceiling_and_resets_on_progress() -> None:
    """Besu's rounds doubled without end; ours stop at the ceiling and start anew (4.5.2)."""
    parameters = PbftParameters(view_timeout_ms=100, view_timeout_ms_max=1_000)
    assert [parameters.timeout_ms(failed) for failed in (0, 1, 2, 3, 4, 64, 10**6)] == [
        100, 200, 400, 800, 1_000, 1_000, 1_000,
    ]  # fmt: skip
    cluster = started(4, parameters=parameters)
    cluster.drop = lambda source, target, message: isinstance(message, PrePrepare | NewView)
    cluster.submit()
    cluster.run_for(30_000)
    node = cluster.nodes[0]
    facts = node.engine.status(node.tree, node.now()).facts
    assert facts["view timeout (ms)"] == 1_000
    assert 25 <= int(facts["view"]) <= 60, "views go on at the ceiling's pace, neither stop"
    cluster.heal()
    cluster.run_until(lambda: all_at(cluster, 1), limit_ms=10_000)
    facts = node.engine.status(node.tree, node.now()).facts
    assert facts["failed views in a row"] == 0


def test_invalid_block_is_not_voted_for_and_its_primary_is_left() -> None:
    """Execution fails at the backups: report, view change, and no prepare for the block."""
    cluster = started(4)
    cluster.submit()
    poison = next(iter(cluster.nodes[0].pool))
    cluster.poisoned.add(poison)
    for node in cluster.nodes[1:]:
        node.pool.pop(poison)
    said = spoken(cluster)
    cluster.run_for(200)
    assert not any(isinstance(message, Prepare) for _, message in said)
    assert any(isinstance(message, ViewChange) for _, message in said)
    reported = [report for node in cluster.nodes[1:] for report in node.reports]
    assert {report.peer for report in reported} == {make_address(0)}
    assert {report.reason for report in reported} == {"invalid-block"}
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()[1:]) >= 1)


def test_block_ahead_of_the_clock_waits_for_its_time() -> None:
    """A primary whose clock runs 800 ms ahead: the prepares come when the time has come."""
    parameters = PbftParameters(view_timeout_ms=5_000, clock_tolerance_ms=300)
    cluster = started(4, parameters=parameters)
    cluster.nodes[0].clock_offset_ms = 800
    said = spoken(cluster)
    cluster.submit()
    cluster.run_for(400)
    assert not any(isinstance(message, Prepare) for _, message in said)
    cluster.run_until(lambda: all_at(cluster, 1), limit_ms=600)


def test_block_far_ahead_of_the_clock_is_never_voted_for() -> None:
    """A primary that lives in tomorrow is replaced; the chain's time stays near the clocks."""
    cluster = started(4, parameters=PbftParameters(view_timeout_ms=500))
    cluster.nodes[0].clock_offset_ms = 86_400_000
    cluster.submit()
    cluster.run_until(lambda: all_at(cluster, 1), limit_ms=10_000)
    head = cluster.nodes[1].tree.header(cluster.final[1])
    assert head.time_ms < START_MS + cluster.now_ms + 1_000


def test_observer_follows_and_never_speaks() -> None:
    """A node whose key is no validator imports, finalizes, and says nothing."""
    cluster = Cluster(PROTOCOL, 4, observers=1)
    said = spoken(cluster)
    cluster.start()
    cluster.submit(3)
    cluster.run_until(lambda: all_at(cluster, 1), limit_ms=3_000)
    assert {number for number, _ in said} == {0, 1, 2, 3}
    node = cluster.nodes[4]
    status = node.engine.status(node.tree, node.now())
    assert status.facts["role"] == "observer"
    assert status.why == ()


def test_message_of_a_stranger_changes_nothing() -> None:
    """An observer's key signs votes: they are reported and nothing else happens (law 4)."""
    cluster = Cluster(PROTOCOL, 4, observers=1)
    cluster.start()
    node, stranger = cluster.nodes[1], cluster.nodes[4]
    before = vars(node.engine).copy()
    messages = (
        PrePrepare(0, 1, sha256(b"x"), stranger.address),
        Prepare(0, 1, sha256(b"x"), stranger.address),
        Commit(0, 1, sha256(b"x"), stranger.address),
        ViewChange(3, 1, cluster.genesis.id, None, stranger.address),
        NewView(4, 1, stranger.address, ()),
    )
    for message in messages:
        event = contract.MessageReceived(stranger.address, cluster.sign(stranger, message))
        effects = node.engine.handle(event, node.tree, node.now())
        assert effects == [contract.Report(peer=stranger.address, reason="not-a-member")]
    after = vars(node.engine)
    ignored = {"_effects", "_now", "_view"}
    assert {k: v for k, v in after.items() if k not in ignored} == {
        k: v for k, v in before.items() if k not in ignored
    }


@pytest.mark.parametrize(
    ("sender", "kind", "code"),
    [(1, PrePrepare, "wrong-role"), (0, Prepare, "wrong-role")],
)
def test_wrong_role_is_a_peers_fault(sender: int, kind: type, code: str) -> None:
    """A backup proposes, the primary prepares: both cost the peer and count nothing (4.2)."""
    cluster = started(4)
    node, liar = cluster.nodes[2], cluster.nodes[sender]
    message = cluster.sign(liar, kind(0, 1, sha256(b"x"), liar.address))
    effects = node.engine.handle(
        contract.MessageReceived(liar.address, message), node.tree, node.now()
    )
    assert effects == [contract.Report(peer=liar.address, reason=code)]


def test_body_that_is_not_the_proposed_block_is_refused() -> None:
    """The primary's statement with another body: a fault; from a relay the body is dropped."""
    cluster = started(4)
    node, primary = cluster.nodes[2], cluster.nodes[0]
    block = make_block(cluster.genesis.head, primary.address, cluster.validators, START_MS)
    other = make_block(cluster.genesis.head, primary.address, cluster.validators, START_MS + 5)
    message = cluster.sign(primary, PrePrepare(0, 1, block.id, primary.address, other))
    event = contract.MessageReceived(primary.address, message)
    effects = node.engine.handle(event, node.tree, node.now())
    assert effects == [contract.Report(peer=primary.address, reason="another-block")]
    relay = cluster.nodes[1].address
    effects = node.engine.handle(contract.MessageReceived(relay, message), node.tree, node.now())
    assert contract.Fetch((block.id,), primary.address) in effects
    assert not any(isinstance(effect, contract.Import) for effect in effects)


def test_a_bad_body_from_elsewhere_does_not_speak_against_the_primary() -> None:
    """The primary's block came garbled from a peer's sync: no report, no view change."""
    cluster = started(4)
    node, primary = cluster.nodes[2], cluster.nodes[0]
    block = make_block(cluster.genesis.head, primary.address, cluster.validators, START_MS)
    message = cluster.sign(primary, PrePrepare(0, 1, block.id, primary.address))
    node.post(contract.MessageReceived(primary.address, message))
    node.post(contract.BlockRejected(block.id, "sync", "garbled"))
    node.run()
    assert node.engine._record.active
    assert not node.reports
    node.post(contract.BlockRejected(block.id, "proposal", "garbled"))
    node.run()
    assert not node.engine._record.active
    assert [report.peer for report in node.reports] == [primary.address]


def test_proposal_of_another_producer_is_refused() -> None:
    """A primary may not pass another's fresh block off as its turn's work."""
    cluster = started(4)
    node, primary = cluster.nodes[2], cluster.nodes[0]
    block = make_block(cluster.genesis.head, make_address(3), cluster.validators, START_MS)
    message = PrePrepare(0, 1, block.id, primary.address, block)
    node.post(contract.MessageReceived(primary.address, cluster.sign(primary, message)))
    node.run()
    assert [report.reason for report in node.reports] == ["foreign-producer"]


def test_commands_and_stop_are_answered() -> None:
    """Unknown commands are refused in a sentence; a stop has nothing to hand over."""
    cluster = started(4)
    node = cluster.nodes[0]
    node.post(contract.CommandGiven(7, "transfer", ()))
    node.post(contract.StopRequested(10))
    node.run()
    assert [answer.request for answer in node.answers] == [7]
    assert all(answer.outcome.startswith("refused: ") for answer in node.answers)
    assert node.stopped


def test_syncing_node_listens_and_speaks_when_it_has_caught_up() -> None:
    """SyncChanged: no word while behind, the vote as soon as it is not."""
    cluster = Cluster(PROTOCOL, 4)
    said = spoken(cluster)
    cluster.start((0, 1))
    cluster.nodes[2].start(syncing=True)
    cluster.nodes[2].run()
    cluster.submit()
    cluster.run_for(300)
    assert not [message for number, message in said if number == 2]
    assert max(cluster.heights()) == 0
    cluster.nodes[2].post(contract.SyncChanged(False))
    cluster.run_until(lambda: min(cluster.heights()[:3]) >= 1, limit_ms=1_500)


def test_lost_record_listens_until_three_more_heights_are_final() -> None:
    """A lost record: silent until a height beyond the one in flight is final, then it votes."""
    cluster = started(4)
    cluster.submit()
    cluster.run_until(lambda: all_at(cluster, 1), limit_ms=1_000)
    cluster.nodes[3].crash()
    cluster.nodes[3].disk.record = None
    said = spoken(cluster)
    cluster.restart(3)
    known = cluster.nodes[3].finalized_height
    node = cluster.nodes[3]
    assert "lost" in node.engine.status(node.tree, node.now()).why[0]
    for step in (1, 2, 3):
        assert not [message for number, message in said if number == 3]
        cluster.submit()
        cluster.run_until(lambda at=1 + step: all_at(cluster, at), limit_ms=3_000)
    assert node.finalized_height >= known + 3
    cluster.submit()
    cluster.run_until(lambda: all_at(cluster, 5), limit_ms=3_000)
    assert [message for number, message in said if number == 3]


def test_lost_record_is_silent_until_enough_others_have_said_how_far_they_are() -> None:
    """One member could be the one that lags or lies, and the own chain says nothing at all."""
    cluster = started(4)
    cluster.submit()
    cluster.run_until(lambda: all_at(cluster, 1), limit_ms=1_000)
    node = cluster.nodes[3]
    node.crash()
    node.disk.record = None
    said = spoken(cluster)
    cluster.drop = lambda source, target, message: target is node and source is not cluster.nodes[0]
    cluster.restart(3)
    for height in range(2, 7):
        cluster.submit()
        cluster.run_until(lambda at=height: all_at(cluster, at), limit_ms=5_000)
    assert not [message for number, message in said if number == 3]
    assert (
        "heard enough of the other validators" in node.engine.status(node.tree, node.now()).why[0]
    )


def test_damaged_record_is_refused() -> None:
    """A record that cannot be read must not turn into a new node that votes afresh."""
    config = contract.EngineConfig(CHAIN_ID, PbftParameters())
    cluster = started(1)
    for damaged in (b"", b"\x00", PROTOCOL.first_record(CHAIN_ID) + b"\x00"):
        with pytest.raises(DamagedStore):
            PROTOCOL.engine(make_address(0), config, cluster.rng, damaged)


def test_missed_commit_is_told_without_any_sync() -> None:
    """A replica that lost all commits restates, and a peer answers with the certificate."""
    cluster = started(4, background_sync_ms=None)
    lost = cluster.nodes[3]
    cluster.drop = lambda source, target, message: target is lost and isinstance(message, Commit)
    cluster.submit()
    cluster.run_until(lambda: all_at(cluster, 1), limit_ms=2_000)
    status = lost.engine.status(lost.tree, lost.now())
    assert status.round == 0, "it was helped before it asked for another view"


def test_replica_without_the_block_fetches_it() -> None:
    """The proposal never comes; certificate and fetch bring the block."""
    cluster = started(4, background_sync_ms=None)
    lost = cluster.nodes[2]
    cluster.drop = lambda source, target, message: (
        target is lost and isinstance(message, PrePrepare)
    )
    cluster.submit()
    cluster.run_until(lambda: all_at(cluster, 1), limit_ms=2_000)


def test_far_behind_replica_jumps_by_one_certificate() -> None:
    """Ten heights missed: one certificate of the tip, one fetch, all final."""
    cluster = started(4, background_sync_ms=None)
    cluster.partition((0, 1, 2), (3,))
    for height in range(1, 11):
        cluster.submit(to=(0, 1, 2))
        cluster.run_until(lambda at=height: min(cluster.heights()[:3]) >= at, limit_ms=2_000)
    cluster.heal()
    cluster.submit()
    cluster.run_until(lambda: all_at(cluster, 11), limit_ms=5_000)


def test_old_certificate_and_old_votes_are_passed_over() -> None:
    """What is final stays so: late votes and certificates of it change nothing."""
    cluster = started(4)
    seen: list[contract.Message] = []
    cluster.drop = lambda source, target, message: bool(seen.append(message))
    cluster.submit()
    cluster.run_until(lambda: all_at(cluster, 1), limit_ms=1_000)
    cluster.run_for(100)
    node = cluster.nodes[3]
    certificate = node.engine._record.decided
    assert certificate is not None
    before = node.engine._record
    for message in [*seen, Decided(certificate)]:
        node.post(contract.MessageReceived(make_address(1), message))
    node.run()
    assert node.engine._record == before
    assert not node.reports


def test_whole_cluster_in_different_views_finds_together() -> None:
    """Restarts in views 0, 3, 5 and 9, as if each had gone on alone: they meet again."""
    cluster = started(4)
    cluster.submit()
    cluster.run_until(lambda: all_at(cluster, 1), limit_ms=1_000)
    cluster.run_for(200)
    for node, view in zip(cluster.nodes, (0, 3, 5, 9), strict=True):
        record = replace(node.engine._record, view=view, active=view == 0)
        node.crash()
        node.disk.record = record.raw
        node.disk.finalized = node.disk.finalized_unsynced = cluster.final[1]
    cluster.start()
    cluster.submit()
    cluster.run_until(lambda: all_at(cluster, 2), limit_ms=60_000)


def test_validators_change_with_the_height() -> None:
    """From height 3 on another set decides: the old ones fall silent, the new ones vote."""
    cluster = Cluster(PROTOCOL, 4, observers=2)
    members = [Validator(make_address(number), 1) for number in range(6)]
    late = validator_set(members[2:])

    def sets(height: int) -> ValidatorSet:
        return cluster.validators if height < 3 else late

    cluster.validator_sets = sets
    cluster.start()
    said = spoken(cluster)
    for height in range(1, 6):
        cluster.submit()
        cluster.run_until(lambda at=height: all_at(cluster, at), limit_ms=8_000)
    for number, message in said:
        if isinstance(message, Prepare | Commit | PrePrepare):
            assert message.sender == cluster.nodes[number].address
            assert message.sender in sets(message.height)
    assert not any(report.evidence for node in cluster.nodes for report in node.reports)


def test_conflicting_finality_silences_the_node_and_says_so() -> None:
    """More than f liars certified two blocks: this node stops voting and tells its operator."""
    cluster = started(4)
    cluster.submit()
    cluster.run_until(lambda: all_at(cluster, 1), limit_ms=1_000)
    node = cluster.nodes[3]
    parent = make_block(cluster.genesis.head, make_address(1), cluster.validators, START_MS + 77)
    child = make_block(parent.head, make_address(1), cluster.validators, START_MS + 99)
    for block in (parent, child):
        node.offer(block, "gossip")
    liars: list[Address] = [make_address(number) for number in (0, 1, 2)]
    for liar in liars:
        vote = Commit(5, 2, child.id, liar)
        attested = vote.attestations()[0]
        signature = sign(liar, attested.slot, attested.content)
        node.post(contract.MessageReceived(liar, replace(vote, signature=signature)))
    node.run()
    assert node.finalized_height == 1
    assert "more than f" in node.engine.status(node.tree, node.now()).why[0]


def test_status_says_what_is_missing() -> None:
    """Two of four are down: the sentence names the count, the threshold and the missing."""
    cluster = Cluster(PROTOCOL, 4, parameters=PbftParameters(view_timeout_ms=1_000))
    cluster.start((0, 2))
    cluster.submit()
    cluster.run_for(300)
    node = cluster.nodes[2]
    status = node.engine.status(node.tree, node.now())
    expected = "Height 1, view 0: 1 of 2 needed prepares; missing: node 1, node 3."
    assert status.why == (expected,)
    rows = status.tables["votes"]
    assert [row["prepare"] for row in rows] == ["-", "-", "yes", "-"]
    assert [row["pre-prepare"] for row in rows] == ["yes", "-", "-", "-"]
    cluster.run_for(4_000)
    status = node.engine.status(node.tree, node.now())
    assert "needed view changes; missing: node 1, node 3." in status.why[0]
    assert "Check that they run" in status.why[1]
    assert status.missing == (make_address(1), make_address(3))
    assert status.facts["phase"] == "view-change"


def test_status_of_a_replica_that_asked_alone() -> None:
    """A waiting transaction that only it knew is gone: it says why its votes are missing."""
    cluster = started(4, parameters=PbftParameters(view_timeout_ms=400))
    cluster.drop = lambda source, target, message: isinstance(message, PrePrepare)
    cluster.nodes[3].submit(make_transaction(5))
    cluster.run_for(600)
    node = cluster.nodes[3]
    node.post(contract.TransactionsWaiting(0))
    node.run()
    why = node.engine.status(node.tree, node.now()).why
    assert why[0].startswith("Height 1, view 1: 1 of 3 needed view changes; missing: node 0")
    assert "alone" in why[1]
    quiet = cluster.nodes[1]
    assert quiet.engine.status(quiet.tree, quiet.now()).why == ()


def test_same_events_give_the_same_effects() -> None:
    """Law 5: two clusters of one seed tell the same story, byte for byte."""
    stories = []
    for _ in range(2):
        story: list[str] = []
        cluster = Cluster(PROTOCOL, 4, seed=11, loss=0.1)
        cluster.observer = lambda node, what, into=story: into.append(f"{node.number} {what!r}")
        cluster.start()
        for _ in range(3):
            cluster.submit()
            cluster.run_for(3_000)
        stories.append(story)
    assert stories[0] == stories[1]
    assert len(stories[0]) > 100


def test_body_in_a_relayed_new_view_is_dropped() -> None:
    """A peer passes the new view on with a garbled body: the block is fetched instead."""
    cluster = started(4)
    genesis, validators = cluster.genesis, cluster.validators
    block = make_block(genesis.head, make_address(0), validators, START_MS)
    garbled = replace(block, transactions=(make_transaction(1),))
    assert garbled.id == block.id

    def signed(number: int, message: contract.Message) -> contract.Message:
        return cluster.sign(cluster.nodes[number], message)

    first = signed(0, PrePrepare(0, 1, block.id, make_address(0)))
    votes = [signed(number, Prepare(0, 1, block.id, make_address(number))) for number in (1, 2)]
    prepared = PreparedCertificate(
        0,
        1,
        block.id,
        make_address(0),
        first.attestations()[0].signature,
        tuple(SignedBy(vote.sender, vote.signature) for vote in votes),  # type: ignore[attr-defined]
    )
    changes = tuple(
        signed(number, ViewChange(1, 1, genesis.id, prepared, make_address(number)))
        for number in (0, 1, 3)
    )
    opened = signed(
        1,
        NewView(1, 1, make_address(1), changes, None, block.id, garbled),  # type: ignore[arg-type]
    )
    for peer, expected in ((3, contract.Fetch), (1, contract.Import)):
        node = Cluster(PROTOCOL, 4).nodes[2]
        node.start()
        node.run()
        event = contract.MessageReceived(make_address(peer), opened)
        effects = node.engine.handle(event, node.tree, node.now())
        kinds = [type(effect) for effect in effects]
        assert expected in kinds
        other = contract.Import if expected is contract.Fetch else contract.Fetch
        assert other not in kinds
        assert node.engine._record.view == 1
