"""Castro and Liskov, "Practical Byzantine Fault Tolerance", OSDI'99: one test for each claim."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from chain.block import Block
from chain.errors import InvalidMessage
from chain.hashing import ZERO_HASH
from chain.validators import faults_byzantine, quorum_byzantine
from consensus import contract
from consensus.contract import Broadcast, Effect, Message
from consensus.pbft import PROTOCOL, PbftParameters
from consensus.pbft.certificates import primary_of
from consensus.pbft.messages import (
    Commit,
    NewView,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    ReadQuery,
    ReadReply,
    ViewChange,
)
from consensus.pbft.view_change import check_new_view, choice
from tests.support.engine_cluster import START_MS, Cluster, Node, make_address, make_block

PARAMETERS = PbftParameters(view_timeout_ms=400)


class Bench:
    """One replica on its own; the test speaks for the others and holds what it is told."""

    def __init__(self, me: int, n: int = 4) -> None:
        self.cluster = Cluster(PROTOCOL, n, parameters=PARAMETERS, background_sync_ms=None)
        self.node = self.cluster.nodes[me]
        self.node.start()
        self.said: list[Message] = []
        self.effects: list[Effect] = []
        self.cluster.observer = self._listen
        self.node.run()

    def _listen(self, node: Node, what: contract.Event | Effect) -> None:
        if isinstance(what, Effect):
            self.effects.append(what)
        if isinstance(what, Broadcast):
            self.said.append(what.message)

    def block(self, producer: int, extra: int = 0) -> Block:
        return make_block(
            self.cluster.genesis.head,
            make_address(producer),
            self.cluster.validators,
            START_MS,
            extra=extra,
        )

    def hear(self, sender: int, message: Message) -> Message:
        """Signs for ``sender``, delivers, and lets the replica act."""
        source = self.cluster.nodes[sender]
        signed = self.cluster.sign(source, message)
        self.node.post(contract.MessageReceived(source.address, signed))
        self.node.run()
        return signed

    def propose(self, block: Block, view: int = 0) -> None:
        primary = make_address(view % len(self.cluster.nodes))
        number = view % len(self.cluster.nodes)
        self.hear(number, PrePrepare(view, block.height, block.id, primary, block))

    def prepare(self, senders: Sequence[int], block: bytes, view: int = 0) -> None:
        for sender in senders:
            self.hear(sender, Prepare(view, 1, block, make_address(sender)))

    def commit(self, senders: Sequence[int], block: bytes, view: int = 0) -> None:
        for sender in senders:
            self.hear(sender, Commit(view, 1, block, make_address(sender)))

    def ask(self, senders: Sequence[int], view: int) -> list[ViewChange]:
        genesis = self.cluster.genesis.id
        heard = [
            self.hear(sender, ViewChange(view, 1, genesis, None, make_address(sender)))
            for sender in senders
        ]
        return [one for one in heard if isinstance(one, ViewChange)]

    def said_of(self, kind: type[Message]) -> list[Message]:
        return [message for message in self.said if isinstance(message, kind)]

    @property
    def height(self) -> int:
        return self.node.finalized_height


def test_section_3_resilience_is_optimal() -> None:
    """3: 3f + 1 is the least number of replicas for f faults; more of them bear no more."""
    for f in range(1, 40):
        assert faults_byzantine(3 * f + 1) == f
        assert faults_byzantine(3 * f) == f - 1
        assert quorum_byzantine(3 * f + 1) == 2 * f + 1


@pytest.mark.parametrize("n", range(1, 101))
def test_section_3_quorums_meet_in_an_honest_replica(n: int) -> None:
    """3 and 4.5.1, for every n: two quorums share f + 1 replicas, and n - f can form one."""
    f, quorum = faults_byzantine(n), quorum_byzantine(n)
    assert 2 * quorum - n >= f + 1
    assert n - f >= quorum


def test_section_4_the_primary_is_v_mod_n() -> None:
    """4: the primary of a view is replica p = v mod |R|."""
    members = Cluster(PROTOCOL, 4).validators
    assert [primary_of(members, view) for view in range(6)] == [
        make_address(number) for number in (0, 1, 2, 3, 0, 1)
    ]


def test_section_4_1_one_replica_vouches_for_no_reply() -> None:
    """4.1: one replica's word proves nothing; here a replica asks a quorum before it answers."""
    bench = Bench(0)
    bench.node.post(contract.ReadRequested(1))
    bench.node.run()
    (query,) = [message for message in bench.said if isinstance(message, ReadQuery)]
    for replica, served in ((1, False), (1, False), (2, True)):
        bench.hear(replica, ReadReply(query.number, 0))
        assert any(isinstance(effect, contract.ServeRead) for effect in bench.effects) == served
    assert PROTOCOL.rules(PARAMETERS).properties.linearizable_reads


def test_section_4_2_a_backup_accepts_one_digest_for_a_view_and_number() -> None:
    """4.2: no second pre-prepare with another digest for the same view and sequence number."""
    bench = Bench(1)
    first, second = bench.block(0), bench.block(0, extra=1)
    bench.propose(first)
    bench.cluster.nodes[0].honest = False
    bench.propose(second)
    prepares = bench.said_of(Prepare)
    assert [message.block_id for message in prepares if isinstance(message, Prepare)] == [first.id]
    assert len(bench.cluster.evidence()) == 1


def test_section_4_2_a_backup_ignores_other_views() -> None:
    """4.2: a backup accepts a pre-prepare only if it is in that view."""
    bench = Bench(2)
    bench.propose(bench.block(1), view=1)
    assert bench.said == []


def test_section_4_2_prepared_needs_the_pre_prepare_and_2f_backups() -> None:
    """4.2: prepared = pre-prepare + 2f prepares from *different backups* that match it."""
    bench = Bench(1)
    block = bench.block(0)
    bench.prepare((2, 2, 2), block.id)
    assert not bench.said_of(Commit), "2f prepares, but one replica's, and no pre-prepare"
    bench.propose(block)
    assert bench.said_of(Prepare)
    assert bench.said_of(Commit), "its own prepare and replica 2's are 2f"


def test_section_4_2_prepares_of_other_digests_and_views_do_not_count() -> None:
    """4.2: the prepares match the pre-prepare's view, number and digest."""
    bench = Bench(1)
    block = bench.block(0)
    bench.propose(block)
    bench.prepare((2,), ZERO_HASH)
    bench.prepare((3,), block.id, view=4)
    assert not bench.said_of(Commit)
    bench.prepare((3,), block.id)
    assert bench.said_of(Commit)


def test_section_4_2_the_primary_counts_once() -> None:
    """4.2: the primary's word is its pre-prepare; its prepare is a fault and counts nothing."""
    bench = Bench(1)
    block = bench.block(0)
    bench.propose(block)
    bench.prepare((0,), block.id)
    assert not bench.said_of(Commit)
    assert [report.reason for report in bench.node.reports] == ["wrong-role"]


def test_section_4_2_committed_local_needs_2f_plus_1_commits_its_own_among_them() -> None:
    """4.2: prepared, and 2f + 1 commits, possibly including its own."""
    bench = Bench(1)
    block = bench.block(0)
    bench.propose(block)
    bench.commit((2, 2), block.id)
    bench.prepare((2,), block.id)
    assert bench.said_of(Commit)
    assert bench.height == 0, "two commits, its own and replica 2's"
    bench.commit((3,), block.id)
    assert bench.height == 1


def test_section_4_2_messages_may_come_in_any_order() -> None:
    """4.2: commits and prepares before the pre-prepare are kept inside the window."""
    bench = Bench(1)
    block = bench.block(0)
    bench.commit((0, 2), block.id)
    bench.prepare((2, 3), block.id)
    assert bench.height == 0
    bench.propose(block)
    assert bench.height == 1


def test_section_4_2_execution_follows_the_order_of_numbers() -> None:
    """4.2: a request is executed after all with lower numbers: commits of height 2 wait."""
    bench = Bench(1)
    first = bench.block(0)
    second = make_block(first.head, make_address(0), bench.cluster.validators, START_MS + 5)
    bench.hear(0, PrePrepare(0, 2, second.id, make_address(0), second))
    for sender in (0, 2, 3):
        bench.hear(sender, Prepare(0, 2, second.id, make_address(sender))) if sender else None
        bench.hear(sender, Commit(0, 2, second.id, make_address(sender)))
    assert bench.height == 0
    bench.propose(first)
    bench.prepare((2,), first.id)
    bench.commit((0, 2), first.id)
    assert bench.height == 2


def test_section_4_3_the_log_is_discarded_below_what_is_stable() -> None:
    """4.3: with a proof of a checkpoint all earlier messages are dropped."""
    cluster = Cluster(PROTOCOL, 4)
    cluster.start()
    for height in range(1, 6):
        cluster.submit()
        cluster.run_until(lambda at=height: min(cluster.heights()) >= at)
    for node in cluster.nodes:
        assert all(height >= 6 for height in node.engine._book._heights)


def test_section_4_3_numbers_beyond_the_high_watermark_are_not_kept() -> None:
    """4.3: a faulty primary cannot exhaust the space of numbers: far heights are dropped."""
    bench = Bench(1)
    for height in range(2, 1_000):
        bench.hear(2, Commit(0, height, ZERO_HASH, make_address(2)))
        bench.hear(2, Commit(height, 1, ZERO_HASH, make_address(2)))
    kept = bench.node.engine._book._heights
    assert sum(len(votes) for places in kept.values() for votes in places.values()) <= 3 * 17


def test_section_4_4_the_timer_runs_only_while_a_request_waits() -> None:
    """4.4: a backup starts a timer on a request and stops it when it no longer waits."""
    bench = Bench(1)
    assert not bench.node.timers
    bench.cluster.submit(to=(1,))
    assert ("view", 1, 0, "active") in bench.node.timers
    bench.node.post(contract.TransactionsWaiting(0))
    bench.node.run()
    assert not bench.node.timers


def test_section_4_4_nothing_of_the_old_view_is_accepted_after_a_view_change() -> None:
    """4.4: it stops accepting messages other than view-change and new-view (and certificates)."""
    bench = Bench(1)
    block = bench.block(0)
    bench.cluster.submit(to=(1,))
    bench.cluster.run_for(450)
    assert bench.said_of(ViewChange)
    bench.propose(block)
    bench.prepare((2, 3), block.id)
    assert not bench.said_of(Prepare)
    assert not bench.said_of(Commit)


def test_section_4_4_a_view_change_carries_what_was_prepared() -> None:
    """4.4: P holds a pre-prepare and 2f matching prepares for what was prepared here."""
    bench = Bench(1)
    block = bench.block(0)
    bench.propose(block)
    bench.prepare((3,), block.id)
    bench.cluster.run_for(450)
    change = bench.said_of(ViewChange)[0]
    assert isinstance(change, ViewChange)
    assert change.prepared is not None
    assert (change.view, change.prepared.block_id) == (1, block.id)
    assert [one.signer for one in change.prepared.prepares] == [make_address(1), make_address(3)]


def test_section_4_4_the_new_primary_waits_for_2f_others() -> None:
    """4.4: new-view only with a quorum of view changes, its own among them."""
    bench = Bench(1)
    bench.ask((2,), 1)
    assert not bench.said, "one of four asks: not yet f + 1"
    bench.ask((3,), 1)
    assert [type(message) for message in bench.said] == [ViewChange, NewView]
    new_view = bench.said[1]
    assert isinstance(new_view, NewView)
    assert new_view.is_free, "nothing prepared: the paper's null request"


def test_section_4_4_the_choice_is_the_prepared_request_of_the_highest_view() -> None:
    """4.4: O takes the request of the prepared certificate with the highest view."""
    older, newer = Bench(1), Bench(2)
    changes = []
    for bench, view in ((older, 0), (newer, 1)):
        block = bench.block(view)
        signed = bench.cluster.sign(
            bench.cluster.nodes[view], PrePrepare(view, 1, block.id, make_address(view))
        )
        assert isinstance(signed, PrePrepare)
        certificate = PreparedCertificate(
            view, 1, block.id, make_address(view), signed.signature, ()
        )
        changes.append(ViewChange(3, 1, ZERO_HASH, certificate, make_address(view)))
    assert choice(changes, 1) == newer.block(1).id
    assert choice(reversed(changes), 1) == newer.block(1).id
    assert choice(changes, 2) == ZERO_HASH


def test_section_4_4_backups_recompute_the_choice() -> None:
    """4.4: a backup accepts a new-view only if O is what it computes itself."""
    bench = Bench(2)
    changes = tuple(bench.ask((0, 1, 3), 1))
    members, genesis = bench.cluster.validators, bench.cluster.genesis.id
    honest = NewView(1, 1, make_address(1), changes)
    check_new_view(honest, members, genesis)
    invented = NewView(1, 1, make_address(1), changes, block_id=bench.block(1).id)
    with pytest.raises(InvalidMessage) as caught:
        check_new_view(invented, members, genesis)
    assert caught.value.code == "wrong-choice"
    bench.hear(1, invented)
    assert bench.node.reports[-1].reason == "wrong-choice"
    assert bench.node.engine.status(bench.node.tree, bench.node.now()).facts["phase"] == (
        "view-change"
    )


def test_section_4_5_1_a_committed_request_survives_every_view_change() -> None:
    """4.5.1: one replica committed, all commits to others were lost: later views keep it."""
    cluster = Cluster(PROTOCOL, 4, parameters=PARAMETERS, background_sync_ms=None)
    witness = cluster.nodes[3]

    def drop(source: Node, target: Node, message: Message) -> bool:
        return source is witness or (isinstance(message, Commit) and target is not witness)

    cluster.start()
    cluster.drop = lambda source, target, message: (
        isinstance(message, Commit) and target is not witness
    )
    cluster.submit()
    cluster.run_until(lambda: witness.finalized_height == 1, limit_ms=300)
    committed = witness.tree.finalized()
    cluster.drop = drop
    cluster.run_for(3_000)
    views = {node.engine.status(node.tree, node.now()).round for node in cluster.nodes[:3]}
    assert min(views) >= 2, "several views have passed"
    cluster.drop = lambda source, target, message: source is witness
    cluster.run_until(lambda: min(cluster.heights()) >= 1, limit_ms=30_000)
    assert cluster.final[1] == committed


def test_section_4_5_2_the_timer_of_the_next_view_waits_for_2f_plus_1() -> None:
    """4.5.2: a lone replica does not run ahead: after one view change it waits for others."""
    bench = Bench(1)
    bench.cluster.submit(to=(1,))
    bench.cluster.run_for(60_000)
    changes = {
        message.view for message in bench.said_of(ViewChange) if isinstance(message, ViewChange)
    }
    assert changes == {1}


def test_section_4_5_2_f_plus_1_view_changes_pull_a_replica_along() -> None:
    """4.5.2: it joins the smallest view that f + 1 others ask for, its timer not expired."""
    bench = Bench(1)
    bench.ask((2,), 7)
    assert not bench.said
    bench.ask((3,), 4)
    change = bench.said[0]
    assert isinstance(change, ViewChange)
    assert change.view == 4


def test_section_4_5_2_f_faulty_replicas_cannot_force_a_view_change() -> None:
    """4.5.2: f replicas that ask for new views all the time change nothing."""
    bench = Bench(2)
    for view in range(1, 50):
        bench.ask((3,), view)
    assert not bench.said
    assert not bench.node.timers


def test_section_4_5_2_the_wait_doubles() -> None:
    """4.5.2: 2T for the view after the one that waited T, so that views come to overlap."""
    parameters = PbftParameters(view_timeout_ms=300, view_timeout_ms_max=60_000)
    assert [parameters.timeout_ms(failed) for failed in range(5)] == [300, 600, 1200, 2400, 4800]


def test_section_5_signatures_mean_the_same_to_all() -> None:
    """5.2 uses MAC vectors, valid for some only (bug B3); here one signature is for everyone.

    What a replica accepted it can show to any other: the new-view that it got from its primary
    convinces a replica to which the primary never spoke.
    """
    cluster = Cluster(PROTOCOL, 4, parameters=PARAMETERS, background_sync_ms=None)
    cluster.start((1, 2, 3))
    cluster.drop = lambda source, target, message: (
        source.number == 1 and target.number == 3 and isinstance(message, NewView)
    )
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()[1:]) >= 1, limit_ms=10_000)
    third = cluster.nodes[3]
    cluster.run_until(
        lambda: third.engine.status(third.tree, third.now()).facts["phase"] != "view-change",
        limit_ms=10_000,
    )
