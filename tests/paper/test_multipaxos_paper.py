"""Multi-Paxos by its papers: one test for each claim, naming the section.

PMS is "Paxos Made Simple" (Lamport 2001), PML "Paxos Made Live" (Chandra, Griesemer, Redstone,
PODC 2007). What both engines share (phases, acceptors, learners) is in test_paxos_paper.
"""

from __future__ import annotations

import pytest

from consensus import contract
from consensus.contract import Broadcast, Persist, ReadRequested, ServeRead
from consensus.multipaxos import PROTOCOL, MultiPaxosParameters
from consensus.multipaxos.messages import Canvass, Grant, Renewal, Support
from consensus.paxos.ballot import Ballot
from consensus.paxos.messages import (
    Accept,
    Accepted,
    Ask,
    Decided,
    Message,
    Prepare,
    Promise,
    Refusal,
    Vote,
)
from consensus.paxos.record import parse_record
from tests.support.engine_cluster import Cluster, Node, make_address
from tests.support.paxos_bench import Bench

PARAMETERS = MultiPaxosParameters(
    lease_ms=400, renew_ms=80, election_ms=100, election_ms_max=800, drift_permille=50
)


def bench(me: int = 0, n: int = 3) -> Bench:
    return Bench(PROTOCOL, PARAMETERS, me, n)


def of(round_: int, number: int) -> Ballot:
    return Ballot(round_, make_address(number))


def preparing(one: Bench) -> Ballot:
    """Lets the node canvass, find support, and begin its ballot."""
    before = len(one.said(Prepare))
    one.run_for(PARAMETERS.election_ms)
    while len(one.said(Prepare)) == before:
        canvass = one.said(Canvass)[-1]
        for number in range(1, 1 + len(one.cluster.nodes) // 2):
            one.hear(number, Support(canvass.ballot))
    return one.said(Prepare)[-1].ballot


def leading(one: Bench) -> Ballot:
    """Node 0 leads by the promises of the least majority, with nothing accepted before."""
    ballot = preparing(one)
    for number in range(1, 1 + len(one.cluster.nodes) // 2):
        one.promise(number, ballot)
    assert one.engine._leading
    return ballot


def grant_all(one: Bench, ballot: Ballot) -> None:
    """The others grant the last renewal, at once."""
    renewal = one.said(Renewal)[-1]
    for number in range(1, len(one.cluster.nodes)):
        one.hear(number, Grant(ballot, renewal.sent_ms, renewal.height))


# ------------------------------------------------------------- PMS 3: one leader, phase 1 once


def test_pms_3_phase_1_is_executed_once_for_all_instances() -> None:
    """PMS 3: a new leader executes phase 1 for infinitely many instances with one number."""
    cluster = Cluster(PROTOCOL, 3, parameters=PARAMETERS)
    said: list[type[Message]] = []

    def listen(node: Node, what: object) -> None:
        if isinstance(what, Broadcast):
            said.append(type(what.message))

    cluster.observer = listen
    cluster.start()
    cluster.run_for(1_000)
    for _ in range(10):
        cluster.submit()
        cluster.run_for(100)
    assert min(cluster.heights()) >= 10
    assert said.count(Prepare) == 1
    assert said.count(Accept) == 10


def test_pms_3_a_decision_costs_one_round_trip_of_phase_2() -> None:
    """PMS 3: the cost is that of phase 2 alone: accept, accepted; then the learners are told."""
    one = bench()
    ballot = leading(one)
    one.submit()
    (accept,) = one.said(Accept)
    block = accept.block
    assert block is not None and accept.ballot == ballot
    said = one.accepted(1, ballot, block)
    assert one.height == 1
    assert [type(message) for message in said] == [Decided]


def test_pms_3_an_acceptor_answers_for_all_instances_in_one_short_message() -> None:
    """PMS 3: it answers with more than a simple OK only where it has accepted something."""
    one = bench(1)
    (promise,) = one.prepare(0, 1)
    assert promise == Promise(of(1, 0), 1, None)
    block = one.block(0)
    one.accept(0, 1, block)
    (promise,) = one.prepare(0, 2)
    assert promise == Promise(of(2, 0), 1, Vote(of(1, 0), block.id))


def test_pms_3_a_promise_holds_at_every_later_instance() -> None:
    """PMS 3: one prepare is for all instances: after a decision the lower ballot stays refused."""
    one = bench(1)
    block = one.block(2)
    one.prepare(2, 5)
    one.accept(2, 5, block)
    one.hear(2, Decided(one.certificate(block, of(5, 2))))
    assert one.height == 1
    refused = one.accept(0, 4, one.block(0, parent=block.head))
    assert [type(message) for message in refused] == [Refusal]


def test_pms_3_a_new_leader_learns_what_was_decided_and_finishes_the_open_height_first() -> None:
    """PMS 3: instances 1-134, 138 and 139 are known; it runs phase 1 for 135-137 and above.

    What it is bound to is proposed again, under its own ballot, before anything of its own.
    """
    one = bench()
    one.submit()
    ballot = preparing(one)
    first, second = one.block(1), one.block(1, parent=one.block(1).head)
    for block in (first, second):
        one.node.offer(block, "sync")
    one.node.run()
    vote = Vote(of(0, 1), second.id)
    one.hear(1, Promise(ballot, 2, vote, one.certificate(first, of(0, 1))))
    assert one.height == 1, "decided ones are part of the answer"
    (accept,) = one.said(Accept)
    assert (accept.height, accept.block_id) == (2, second.id)
    one.accepted(2, ballot, second)
    assert one.height == 2
    assert one.said(Accept)[-1].height == 3, "only now something of its own"


def test_pms_3_a_leader_that_is_behind_proposes_nothing_at_a_decided_height() -> None:
    """PMS 3, and Paxi's gap: an acceptor that is further says so, with the decision's proof."""
    one = bench()
    one.submit()
    ballot = preparing(one)
    block = one.block(1)
    one.hear(1, Promise(ballot, 2, None, one.certificate(block, of(0, 1))))
    assert one.engine._leading
    assert one.said(Accept) == [], "height 1 is decided, and its block is not here yet"
    one.node.offer(block, "sync")
    one.node.run()
    one.run_for(300)
    assert one.height == 1
    assert {message.height for message in one.said(Accept)} == {2}


def test_pms_3_an_acceptor_shows_what_was_decided_to_one_that_is_behind() -> None:
    one = bench(1)
    block = one.block(2)
    one.accept(2, 3, block)
    certificate = one.certificate(block, of(3, 2))
    one.hear(2, Decided(certificate))
    assert one.height == 1
    promises = [m for m in one.prepare(0, 4, height=1) if isinstance(m, Promise)]
    assert promises == [Promise(of(4, 0), 2, None, certificate)]


@pytest.mark.parametrize("seed", range(10))
def test_pms_3_no_gap_can_arise(seed: int) -> None:
    """PMS 3 fills gaps with no-ops. Here the next height opens when the one below is decided.

    The cluster's own check walks every finalized block down to its parent.
    """
    cluster = Cluster(PROTOCOL, 3, seed=seed, parameters=PARAMETERS, loss=0.1)
    proposed: list[tuple[int, int]] = []

    def listen(node: Node, what: object) -> None:
        if isinstance(what, Broadcast) and isinstance(what.message, Accept):
            proposed.append((what.message.height, node.finalized_height))

    cluster.observer = listen
    cluster.start()
    for _ in range(8):
        cluster.submit()
        cluster.run_for(400)
        cluster.restart(cluster.rng.randrange(3))
    assert proposed
    assert all(height == final + 1 for height, final in proposed)
    assert sorted(cluster.final) == list(range(max(cluster.final) + 1))


def test_pms_3_two_leaders_harm_only_progress() -> None:
    """PMS 3: safety is preserved however many believe that they lead."""
    cluster = Cluster(PROTOCOL, 3, seed=6, parameters=PARAMETERS)
    cluster.start()
    cluster.run_for(1_500)
    (old,) = [node for node in cluster.nodes if node.engine._leading]
    others = [node.number for node in cluster.nodes if node is not old]
    cluster.partition([old.number], others)
    cluster.submit()

    def two() -> bool:
        return sum(node.engine._leading for node in cluster.nodes) == 2

    cluster.run_until(two, 3_000)
    assert old.engine._proposer.proposed is not None, "it goes on asking, and nobody hears it"
    cluster.heal()
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()) >= 2, 5_000)
    assert sum(node.engine._leading for node in cluster.nodes) == 1


# ------------------------------------------------------------------------------ PML: practice


def test_pml_4_2_the_coordinator_stays_while_it_lives() -> None:
    """PML 4.2: a coordinator keeps its role for long; phase 1 is omitted meanwhile."""
    cluster = Cluster(PROTOCOL, 5, seed=2, parameters=PARAMETERS, latency_ms=(1, 20))
    cluster.start()
    cluster.run_for(1_000)
    rounds = {node.engine._acceptor.promised for node in cluster.nodes}
    cluster.run_for(30_000)
    assert {node.engine._acceptor.promised for node in cluster.nodes} == rounds
    assert len(rounds) == 1


def test_pml_5_1_a_replica_with_a_lost_disk_listens_only() -> None:
    """PML 5.1: it neither promises nor accepts before it saw an instance that began later."""
    cluster = Cluster(PROTOCOL, 3, seed=5, parameters=PARAMETERS)
    cluster.start()
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()) >= 1, 5_000)
    (leader,) = [node for node in cluster.nodes if node.engine._leading]
    wiped = cluster.nodes[(leader.number + 1) % 3]
    promised = wiped.engine._acceptor.promised
    said: list[Message] = []

    def listen(node: Node, what: object) -> None:
        is_speech = isinstance(what, (contract.Send, Broadcast))
        if node is wiped and is_speech and not isinstance(what.message, Ask):
            said.append(what.message)

    wiped.crash()
    disk, genesis = wiped.disk, cluster.genesis
    disk.record, disk.bodies, disk.proofs = None, {genesis.id: genesis}, {}
    disk.finalized = disk.finalized_unsynced = genesis.id
    cluster.observer = listen
    cluster.restart(wiped.number)
    cluster.run_for(3_000)
    votes = (Promise, Accepted, Support, Grant, Prepare, Canvass)
    assert not any(isinstance(message, votes) for message in said)
    for _ in range(4):
        cluster.submit()
        cluster.run_for(1_500)
    assert any(isinstance(message, Accepted) for message in said)
    assert wiped.engine._acceptor.promised >= promised, "the highest ballot of all others"


def test_pml_5_2_a_lease_counts_from_sending_at_the_leader_and_is_shortened() -> None:
    """PML 5.2: the master's lease is shorter than the replicas', which also bounds drift."""
    one = bench()
    ballot = leading(one)
    sent = one.said(Renewal)[-1]
    one.run_for(60)  # the answer was slow
    one.hear(1, Grant(ballot, sent.sent_ms, 1))
    ends_ms = sent.sent_ms + 400 * 950 // 1050 - 1
    assert PARAMETERS.leader_lease_ms == 400 * 950 // 1050 - 1 < PARAMETERS.lease_ms
    one.cluster.now_ms = ends_ms - 1
    assert one.post(ReadRequested(1))[-1] == ServeRead(1, 0)
    one.cluster.now_ms = ends_ms
    assert ServeRead(2, 0) not in one.post(ReadRequested(2)), "not from receipt, and not longer"


def test_pml_5_2_replicas_refuse_others_while_a_lease_holds() -> None:
    """PML 5.2: replicas implicitly grant a lease and process no other leader's messages."""
    one = bench(1)
    one.hear(0, Renewal(of(1, 0), 5, 1))
    assert [type(m) for m in one.hear(2, Canvass(of(2, 2), 1))] == [Refusal]
    assert [type(m) for m in one.prepare(2, 2)] == [Refusal]
    assert one.engine._acceptor.promised == of(1, 0)
    one.cluster.now_ms = PARAMETERS.lease_ms + 1
    assert [type(m) for m in one.hear(2, Canvass(of(2, 2), 1))] == [Support]
    assert [type(m) for m in one.prepare(2, 2)] == [Promise]


def test_pml_5_2_a_lease_outlives_the_crash_of_an_acceptor() -> None:
    """PML 5.2: the leader leans on it; whom it was granted to the acceptor has forgotten."""
    one = bench(1)
    one.hear(0, Renewal(of(1, 0), 5, 1))
    one.restart()
    assert [type(m) for m in one.prepare(2, 2)] == [Refusal]
    assert [type(m) for m in one.hear(0, Renewal(of(1, 0), 90, 1))] == [Grant]
    one.cluster.now_ms = 2 * PARAMETERS.lease_ms
    assert [type(m) for m in one.prepare(2, 2)] == [Promise]


def test_pml_5_2_what_is_granted_was_promised_durably() -> None:
    """Who has promised nothing granted nothing: so a new node need not wait when it starts."""
    one = bench(1)
    one.hear(0, Renewal(of(4, 0), 5, 1))
    (written,) = one.effects_of(Persist)
    assert parse_record(written.record).promised == of(4, 0)
    fresh = bench(2)
    assert [type(m) for m in fresh.prepare(0, 1)] == [Promise]


def test_pml_5_2_the_holder_renews_before_its_lease_ends() -> None:
    """PML 5.2: the lease is extended by every renewal that is granted."""
    one = bench()
    ballot = leading(one)
    for number in range(20):
        grant_all(one, ballot)
        assert one.post(ReadRequested(number))[-1] == ServeRead(number, 0)
        one.run_for(PARAMETERS.renew_ms)
    assert len(one.said(Renewal)) >= 20


def test_pml_5_2_without_a_lease_a_read_asks_a_majority() -> None:
    """PML 5.2: without a lease a read must run through Paxos; here a quorum is asked."""
    one = bench()
    leading(one)
    effects = one.post(ReadRequested(1))
    assert not any(isinstance(effect, ServeRead) for effect in effects)
    assert any(isinstance(message, Ask) for message in one.said(Ask))


def test_pml_5_2_a_read_under_a_lease_waits_for_what_binds_the_leader() -> None:
    """It may have been decided, and told to a client, by the leader before."""
    one = bench()
    ballot = preparing(one)
    block = one.block(1)
    one.node.offer(block, "sync")
    one.node.run()
    one.promise(1, ballot, Vote(of(0, 1), block.id))
    grant_all(one, ballot)
    assert ServeRead(1, 1) in one.post(ReadRequested(1))


def test_pml_5_4_both_phases_of_a_height_need_majorities_of_one_set() -> None:
    """PML 5.4: members change by decision; a leader prepares anew where its promises are not
    of a majority of the new members."""
    one = bench(0, 5)
    small, large = one.cluster.validators.members[:3], one.cluster.validators
    early, late = type(large)(small), large
    one.cluster.validator_sets = lambda height: early if height < 2 else late
    one.restart()
    ballot = preparing(one)
    one.promise(1, ballot)
    one.submit()
    block = one.said(Accept)[-1].block
    assert block is not None
    one.accepted(1, ballot, block)
    assert one.height == 1
    one.submit()
    assert one.said(Prepare)[-1].ballot > ballot
    assert {message.height for message in one.said(Accept)} == {1}
    again = one.said(Prepare)[-1].ballot
    for number in (3, 4):
        one.promise(number, again, height=2)
    assert one.said(Accept)[-1].height == 2
