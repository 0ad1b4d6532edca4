"""Lamport, "Paxos Made Simple" (2001): one test for each claim of section 2."""

from __future__ import annotations

import pytest

from consensus import contract
from consensus.contract import Broadcast, Effect, Persist, Send
from consensus.paxos import PROTOCOL, PaxosParameters
from consensus.paxos.ballot import Ballot
from consensus.paxos.messages import Accept, Accepted, Prepare, Promise, Refusal, Vote
from consensus.paxos.record import parse_record
from tests.support.engine_cluster import Cluster, Node, make_address
from tests.support.paxos_bench import Bench

PARAMETERS = PaxosParameters(spread_ms=10, retry_ms=200)


def bench(me: int = 0, n: int = 3) -> Bench:
    return Bench(PROTOCOL, PARAMETERS, me, n)


def of(round_: int, number: int) -> Ballot:
    return Ballot(round_, make_address(number))


def proposing(one: Bench) -> Ballot:
    """Lets the node begin its first ballot for a transaction of its own."""
    one.submit()
    one.run_for(PARAMETERS.spread_ms)
    (prepare,) = one.said(Prepare)
    return prepare.ballot


# --------------------------------------------------------------------------- 2.1: the problem


def test_section_2_1_only_a_proposed_value_is_chosen_and_only_a_single_one() -> None:
    """2.1: only a value that has been proposed, a single value, and learned only if chosen."""
    cluster = Cluster(PROTOCOL, 5, parameters=PARAMETERS)
    proposed: dict[bytes, None] = {}

    def listen(node: Node, what: contract.Event | Effect) -> None:
        if isinstance(what, Broadcast) and isinstance(what.message, Accept):
            proposed[what.message.block_id] = None

    cluster.observer = listen
    cluster.start()
    for _ in range(10):
        cluster.submit()
        cluster.run_for(700)
    assert max(cluster.final) >= 5  # the cluster itself asserts one block a height
    genesis = cluster.final.pop(0)
    assert genesis not in proposed
    assert all(block in proposed for block in cluster.final.values())


@pytest.mark.parametrize("n", [2, 3, 4, 5, 7])
def test_section_2_1_a_majority_is_enough_and_less_is_not(n: int) -> None:
    """2.1 and 2.2: any majority decides, so the rest may be down; two majorities meet."""
    majority = n // 2 + 1
    cluster = Cluster(PROTOCOL, n, parameters=PARAMETERS)
    cluster.start(range(majority))
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()[:majority]) >= 1, 5_000)
    if majority > 1:
        cluster.nodes[0].crash()
        before = cluster.heights()
        cluster.submit()
        cluster.run_for(5_000)
        assert cluster.heights()[1:] == before[1:]


# ---------------------------------------------------------------------- 2.2: choosing a value


def test_section_2_2_p1_an_acceptor_accepts_the_first_proposal_that_it_receives() -> None:
    """P1: with no promise against it; no prepare need have come before."""
    one = bench(1)
    block = one.block(0)
    (said,) = [m for m in one.accept(0, 1, block) if isinstance(m, Accepted)]
    assert (said.ballot, said.block_id) == (of(1, 0), block.id)


def test_section_2_2_p1a_an_acceptor_accepts_n_iff_it_promised_nothing_greater() -> None:
    """P1a: accepts the very ballot that it promised, too; refuses everything below."""
    one = bench(1)
    one.prepare(2, 5)
    assert [type(m) for m in one.accept(0, 5, one.block(0))] == [Refusal]
    (said,) = [m for m in one.accept(2, 5, one.block(2)) if isinstance(m, Accepted)]
    assert said.ballot == of(5, 2)


def test_section_2_2_phase_1b_a_promise_shows_the_highest_accepted_proposal() -> None:
    """Phase 1b: with the proposal of the highest number less than n that it has accepted."""
    one = bench(1)
    first, second = one.block(0), one.block(2)
    one.accept(0, 1, first)
    one.accept(2, 3, second)
    (promise,) = one.prepare(0, 7)
    assert promise == Promise(of(7, 0), 1, Vote(of(3, 2), second.id))


def test_section_2_2_phase_1b_a_lower_prepare_is_not_answered_by_a_promise() -> None:
    """Phase 1b: promises only if n is greater than that of any prepare it responded to.

    Of the same number it repeats its answer, since the first one may be lost.
    """
    one = bench(1)
    one.prepare(2, 5)
    assert one.prepare(0, 4) == [Refusal(of(4, 0), 1, of(5, 2))]
    assert [type(m) for m in one.prepare(2, 5)] == [Promise]


def test_section_2_2_p2c_the_value_of_the_highest_numbered_proposal_is_bound() -> None:
    """P2c: v is the value of the highest-numbered proposal among a majority's answers.

    Not the own value, not the most frequent one, not the first one shown.
    """
    one = bench(0, 7)
    one.prepare(6, 4)
    one.submit()
    one.run_for(2 * PARAMETERS.retry_ms)
    ballot = one.said(Prepare)[-1].ballot
    low, high = one.block(1), one.block(2)
    for block in (low, high):
        one.node.offer(block, "sync")
    one.node.run()
    one.promise(1, ballot, Vote(of(1, 1), low.id))
    one.promise(2, ballot, Vote(of(2, 2), high.id))
    assert one.said(Accept) == []
    one.promise(3, ballot, Vote(of(1, 1), low.id))  # the fourth, with the own: a majority
    (accept,) = one.said(Accept)
    assert (accept.ballot, accept.block_id) == (ballot, high.id)


def test_section_2_2_p2c_with_no_accepted_proposal_the_choice_is_free() -> None:
    one = bench(0)
    ballot = proposing(one)
    one.promise(1, ballot)
    (accept,) = one.said(Accept)
    assert accept.block is not None and accept.block.manifest.producer == one.address(0)


def test_section_2_2_phase_2a_needs_a_majority_of_distinct_acceptors() -> None:
    """Phase 2a: a majority has answered; one acceptor's answer counts once."""
    one = bench(0, 5)
    ballot = proposing(one)
    for _ in range(3):
        one.promise(1, ballot)
    one.promise(2, of(ballot.round + 1, 0))  # of no ballot that it has under way
    assert one.said(Accept) == []
    one.promise(2, ballot)
    assert len(one.said(Accept)) == 1


def test_section_2_2_one_number_goes_with_one_value() -> None:
    """2.2: a proposer never makes two proposals with the same number, also over a restart."""
    one = bench(0)
    ballot = proposing(one)
    one.promise(1, ballot)
    one.restart()
    one.submit()
    one.run_for(3 * PARAMETERS.retry_ms)
    ballots = [message.ballot for message in one.said(Prepare)]
    assert len(set(ballots)) == len(ballots) >= 2
    assert ballots == sorted(ballots)
    accepts = {message.ballot: message.block_id for message in one.said(Accept)}
    assert len(accepts) == len({(m.ballot, m.block_id) for m in one.said(Accept)})


# ---------------------------------------------------------------- 2.3: learning a chosen value


def test_section_2_3_a_learner_needs_a_majority_for_one_proposal() -> None:
    """2.3: accepted by a majority: distinct acceptors, and of one number."""
    one = bench(0, 5)
    block = one.block(1)
    one.node.offer(block, "sync")
    one.node.run()
    for number, round_ in ((1, 1), (1, 1), (2, 1), (3, 2), (4, 2)):
        one.accepted(number, of(round_, 1), block)
    assert one.height == 0, "two times two of five"
    one.accepted(3, of(1, 1), block)  # late: acceptor 3 went on to ballot 2
    assert one.height == 0
    one.accepted(2, of(2, 1), block)
    assert one.height == 1


def test_section_2_3_acceptors_tell_every_learner() -> None:
    """2.3: each acceptor, whenever it accepts, answers all learners: one message delay."""
    one = bench(1)
    one.accept(0, 1, one.block(0))
    broadcast = [e.message for e in one.effects_of(Broadcast)]
    assert [type(message) for message in broadcast] == [Accepted]


def test_section_2_3_a_learner_that_missed_it_can_have_it_proposed_again() -> None:
    """2.3: messages are lost; a learner that wants to know has a proposer issue a proposal.

    Whoever is beyond the height answers with the decision; else the vote binds the choice.
    """
    cluster = Cluster(PROTOCOL, 3, seed=4, parameters=PARAMETERS, background_sync_ms=None)
    cluster.drop = lambda source, target, message: (
        isinstance(message, Accepted) and source is not target and cluster.now_ms < 600
    )
    cluster.start()
    cluster.submit(1, [0])
    cluster.run_for(500)
    assert cluster.heights() == [0, 0, 0]
    accepted = {node.engine._acceptor.accepted.block_id for node in cluster.nodes}
    cluster.run_until(lambda: min(cluster.heights()) >= 1, 10_000)
    assert accepted == {cluster.final[1]}


# ------------------------------------------------------------------------------ 2.4: progress


def test_section_2_4_two_proposers_can_keep_each_other_from_ever_deciding() -> None:
    """2.4: p prepares n1, q n2 > n1, p's accepts are refused, p prepares n3 > n2, and so on."""
    one = bench(2)
    for round_ in range(1, 20, 2):
        one.prepare(0, round_)
        one.prepare(1, round_ + 1)
        assert [type(m) for m in one.accept(0, round_, one.block(0, extra=round_))] == [Refusal]
    assert one.height == 0


@pytest.mark.parametrize("seed", range(12))
def test_section_2_4_random_pauses_end_every_duel(seed: int) -> None:
    """2.4: one proposer must be left alone for long enough; here chance sees to that."""
    cluster = Cluster(PROTOCOL, 5, seed=seed, parameters=PARAMETERS, latency_ms=(20, 60))
    cluster.start()
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()) >= 1, 10_000)


def test_section_2_4_a_proposer_that_hears_of_a_higher_number_abandons_its_own() -> None:
    """2.2, end, and 2.4: it is told of the higher number, gives way, and tries higher later."""
    one = bench(0)
    ballot = proposing(one)
    one.hear(1, Refusal(ballot, 1, of(ballot.round + 6, 1)))
    assert one.promise(1, ballot) == [], "the abandoned ballot is not taken up again"
    one.run_for(10 * PARAMETERS.retry_ms)
    assert one.said(Prepare)[1].ballot > of(ballot.round + 6, 1)


def test_section_2_4_safety_holds_whatever_the_timing() -> None:
    """2.4: progress needs time, safety does not: minutes of duels and no second value."""
    cluster = Cluster(
        PROTOCOL, 3, seed=9, parameters=PaxosParameters(spread_ms=1, retry_ms=1, retry_ms_max=2)
    )
    cluster.start()
    cluster.submit(3)
    cluster.run_for(3_000)
    traces = [trace.name for node in cluster.nodes for trace in node.traces]
    assert traces.count("gave-way") > 20  # the cluster itself asserts one block a height


# ------------------------------------------------------------------- 2.5: the implementation


def test_section_2_5_every_node_plays_every_role() -> None:
    """2.5: each process is proposer, acceptor and learner; here also told apart to people."""
    one = bench(0)
    proposing(one)
    status = one.engine.status(one.node.tree, one.node.now())
    assert set(status.tables) == {"proposer", "acceptor", "learner"}
    assert status.facts["phase"] == "phase 1: preparing"
    assert "promises" in status.why[0]


def test_section_2_5_an_acceptor_writes_before_it_answers() -> None:
    """2.5: an acceptor records its intended response in stable storage before sending it."""
    one = bench(1)
    one.prepare(0, 1)
    one.accept(0, 1, one.block(0))
    order = [e for e in one.effects if isinstance(e, (Persist, Send, Broadcast))]
    assert [type(effect) for effect in order] == [Persist, Send, Persist, Broadcast]
    promised, accepted = (parse_record(e.record) for e in one.effects_of(Persist))
    assert (promised.promised, promised.accepted) == (of(1, 0), None)
    assert accepted.accepted is not None and accepted.accepted.ballot == of(1, 0)


def test_section_2_5_a_restarted_acceptor_keeps_its_word() -> None:
    """2.5: stable storage survives failures; what was promised and accepted is remembered."""
    one = bench(1)
    block = one.block(2)
    one.accept(2, 3, block)
    one.prepare(2, 5)
    one.restart()
    assert one.prepare(0, 4) == [Refusal(of(4, 0), 1, of(5, 2))]
    (promise,) = one.prepare(2, 6)
    assert promise == Promise(of(6, 2), 1, Vote(of(3, 2), block.id))


def test_section_2_5_proposers_take_their_numbers_from_disjoint_sets() -> None:
    """2.5: no two proposals have one number; a proposer remembers the highest it tried."""
    said: dict[tuple[int, Ballot], bytes] = {}
    cluster = Cluster(PROTOCOL, 5, seed=3, parameters=PARAMETERS, loss=0.2)

    def listen(node: Node, what: contract.Event | Effect) -> None:
        if isinstance(what, Broadcast) and isinstance(what.message, Accept):
            at = (what.message.height, what.message.ballot)
            assert said.setdefault(at, what.message.block_id) == what.message.block_id
            assert what.message.ballot.node == node.address

    cluster.observer = listen
    cluster.start()
    for _ in range(15):
        cluster.submit()
        cluster.run_for(400)
        cluster.restart(cluster.rng.randrange(5))
    assert len(said) > 10


def test_section_2_5_a_ballot_is_durable_before_it_is_said() -> None:
    """2.5: each proposer remembers, in stable storage, the highest number it has tried."""
    one = bench(0)
    ballot = proposing(one)
    order = [e for e in one.effects if isinstance(e, (Persist, Broadcast))]
    assert isinstance(order[0], Persist) and isinstance(order[1], Broadcast)
    assert parse_record(order[0].record).promised == ballot
