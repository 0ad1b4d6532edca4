"""Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (ATC 2014), and
Ongaro's thesis: one test for each claim. Where a scene of the textbook mistakes is the claim, it
is played here under the section's name."""

from __future__ import annotations

import itertools

import pytest

from chain.validators import faults_crash, majority
from consensus import contract
from consensus.contract import Answer, Build, Persist, ServeRead
from consensus.raft import PROTOCOL, RaftParameters
from consensus.raft.messages import (
    AppendEntries,
    AppendReply,
    Committed,
    RequestVote,
    TimeoutNow,
    VoteReply,
)
from consensus.raft.record import RaftRecord, parse_record
from consensus.raft.rules import parse_claims
from moot.lab.cluster import Cluster as Network
from tests.consensus.raft import mistakes, mistakes_log, mistakes_members
from tests.support.engine_cluster import Cluster, Node
from tests.support.raft_bench import Bench, members, place


def cluster_of(n: int, seed: int = 1) -> Cluster:
    cluster = Cluster(PROTOCOL, n, seed=seed, background_sync_ms=None)
    cluster.start()
    return cluster


def leaders(cluster: Cluster) -> list[Node]:
    return [node for node in cluster.nodes if node.up and node.engine._role == "leader"]


def with_leader(n: int, seed: int = 1) -> tuple[Cluster, Node]:
    cluster = cluster_of(n, seed)
    cluster.run_until(lambda: len(leaders(cluster)) == 1, 5_000)
    return cluster, leaders(cluster)[0]


# ---------------------------------------------------------------------------- 5.1 and figure 2


def test_section_5_1_five_servers_bear_two_failures() -> None:
    """5.1: a cluster of five tolerates two failures."""
    assert faults_crash(5) == 2 and 5 - faults_crash(5) >= majority(5)
    cluster, leader = with_leader(5)
    leader.crash()
    next(node for node in cluster.nodes if node.up).crash()
    cluster.submit()
    up = [node for node in cluster.nodes if node.up]
    cluster.run_until(lambda: min(node.finalized_height for node in up) >= 2, 5_000)


def test_section_5_1_terms_only_grow_and_travel_with_every_message() -> None:
    """5.1: a server with a smaller term takes the larger one."""
    bench = Bench()
    for term in (3, 7):
        bench.append(1, term, bench.genesis)
        assert bench.term == term
    bench.append(1, 5, bench.genesis)
    assert bench.term == 7 and not bench.said(AppendReply)[-1].success


def test_section_5_1_a_leader_of_a_stale_term_steps_down() -> None:
    mistakes_log.a_leader_that_hears_of_a_later_term_leads_no_more()


def test_section_5_1_a_request_with_a_stale_term_is_refused() -> None:
    mistakes_log.a_leader_of_an_older_term_is_refused()


def test_figure_2_term_vote_and_log_are_persistent() -> None:
    """Figure 2, persistent state on all servers, updated before responding."""
    assert set(RaftRecord.__struct_fields__) == {"format", "term", "voted_for", "tip", "height"}
    mistakes.what_is_said_was_written_before()


def test_figure_2_a_restarted_server_is_a_follower_with_its_log() -> None:
    bench = Bench()
    block = bench.block(bench.genesis, 3)
    bench.append(1, 3, bench.genesis, block)
    bench.restart()
    assert (bench.role, bench.term, bench.tip) == ("follower", 3, block.id)


# ---------------------------------------------------------------------------- 5.2 elections


@pytest.mark.parametrize("seed", range(6))
def test_section_5_2_at_most_one_leader_in_a_term(seed: int) -> None:
    """Figure 3, election safety, over partitions that heal."""
    cluster = cluster_of(5, seed)
    led: dict[int, set[int]] = {}

    def watch(node: Node, what: object) -> None:
        if isinstance(what, contract.Trace) and what.name == "leads":
            led.setdefault(int(what.fields["term"]), set()).add(node.number)

    cluster.observer = watch
    for _ in range(6):
        order = cluster.rng.sample(range(5), 5)
        cluster.partition(order[:2], order[2:])
        cluster.run_for(800)
    assert led and all(len(numbers) == 1 for numbers in led.values())


def test_section_5_2_a_follower_that_hears_nothing_stands() -> None:
    bench = Bench(quiet=False)
    bench.pass_(RaftParameters().election_ms_max)
    assert bench.said(RequestVote)


def test_section_5_2_a_heartbeat_keeps_followers_quiet() -> None:
    bench = Bench(quiet=False)
    for _ in range(20):
        bench.append(1, 1, bench.genesis)
        bench.pass_(100)
    assert bench.said(RequestVote) == []


def test_section_5_2_a_candidate_enters_a_term_votes_for_itself_and_asks_all() -> None:
    bench = Bench(n=5)
    bench.engine._deadline_ms = 0
    bench.post(contract.TimerFired(("election",)))
    for voter in (1, 2):
        bench.hear(voter, VoteReply(1, True, True))
    assert (bench.role, bench.term) == ("candidate", 1)
    record = parse_record(bench.node.disk.record or b"")
    assert record.voted_for == bench.node.address
    real = [one for one in bench.said(RequestVote) if not one.pre]
    assert len(real) == 4


def test_section_5_2_votes_are_given_first_come_first_served() -> None:
    mistakes.a_vote_is_given_again_to_the_same_candidate()


def test_section_5_2_a_majority_elects() -> None:
    mistakes.half_of_the_votes_elects_nobody()


def test_section_5_2_a_candidate_that_hears_a_leader_of_its_term_follows() -> None:
    bench = Bench()
    mistakes._stand(bench, 1)
    bench.append(2, bench.term, bench.genesis)
    assert bench.role == "follower"


def test_section_5_2_a_candidate_ignores_a_leader_of_a_lower_term() -> None:
    bench = Bench()
    mistakes._stand(bench, 1)
    bench.append(2, bench.term - 1, bench.genesis)
    assert bench.role == "candidate"


def test_section_5_2_timeouts_are_random() -> None:
    mistakes.each_try_draws_another_timeout()


# ---------------------------------------------------------------------------- 5.3 the log


def test_section_5_3_log_matching_two_equal_entries_have_equal_pasts() -> None:
    """Figure 3, log matching: it rests on the ids here."""
    bench = Bench()
    first, other = bench.block(bench.genesis, 1), bench.block(bench.genesis, 1, extra=1)
    one, two = bench.block(first, 1), bench.block(other, 1)
    assert (one.height, one.manifest) == (two.height, two.manifest) and one.id != two.id


def test_section_5_3_the_consistency_check_names_index_and_term_of_the_entry_before() -> None:
    bench = Bench()
    bench.lead(1)
    bench.submit()
    first = next(one for one in bench.said(AppendEntries, 1) if one.blocks)
    assert first.previous == place(bench.genesis)
    assert parse_claims(first.blocks[0].manifest.claims).term == bench.term


def test_section_5_3_a_follower_without_the_entry_before_refuses() -> None:
    mistakes_log.a_heartbeat_that_does_not_fit_is_refused()


def test_section_5_3_conflicting_entries_are_overwritten() -> None:
    mistakes_log.a_conflicting_entry_and_all_behind_it_are_deleted()


def test_section_5_3_an_entry_is_committed_once_a_majority_holds_it() -> None:
    bench = Bench(n=5)
    bench.lead(1, 2)
    bench.reply(1, 1)
    assert bench.height == 0
    bench.reply(2, 1)
    assert bench.height == 1


def test_section_5_3_followers_learn_what_is_committed() -> None:
    """Also in later appends and heartbeats, for those that missed it."""
    bench = Bench()
    bench.lead(1)
    bench.reply(1, 1)
    assert bench.said(Committed, 2)[-1].statements[-1].height == 1
    bench.pass_(60)
    heartbeat = bench.said(AppendEntries, 2)[-1]
    assert heartbeat.committed is not None and heartbeat.committed.height == 1


@pytest.mark.parametrize("terms", [3, 5])
def test_section_5_3_a_refusal_leads_back_by_terms_not_by_entries(terms: int) -> None:
    """5.3, last paragraphs: one round trip a term at most; here the hints name them all."""
    bench = Bench()
    log = [bench.genesis]
    for term in range(1, terms + 1):
        for _ in range(6):
            log.append(bench.block(log[-1], term))
    bench.append(1, terms, bench.genesis, *log[1:])
    stranger = bench.block(bench.block(log[-1], terms), terms)
    bench.append(1, terms, stranger)
    reply = bench.said(AppendReply)[-1]
    assert not reply.success
    heights = [hint.height for hint in reply.hints]
    assert heights == [6 * term for term in range(terms, -1, -1)]


def test_section_5_3_a_leader_goes_back_to_the_last_entry_in_common() -> None:
    """Figure 7: whatever a follower's log looks like, it becomes the leader's."""
    bench = Bench()
    first = bench.block(bench.genesis, 1)
    second = bench.block(first, 1)
    bench.append(1, 1, bench.genesis, first, second)
    bench.lead(2)
    bench.hear(1, AppendReply(bench.term, False, 0, 0, (place(first), place(bench.genesis))))
    sent = bench.said(AppendEntries, 1)[-1]
    assert sent.previous == place(first)
    assert [block.id for block in sent.blocks] == [second.id, bench.tip]


def test_section_5_3_a_leader_never_deletes_its_own_entries() -> None:
    """Figure 3, leader append-only."""
    bench = Bench()
    bench.lead(1)
    for _ in range(3):
        before = bench.node.tree.header(bench.tip)
        bench.submit()
        bench.reply(1, bench.own_block().height)
        assert bench.node.tree.descends(bench.tip, before.id)


# ---------------------------------------------------------------------------- 5.4 safety


def test_section_5_4_1_only_an_up_to_date_log_wins_votes() -> None:
    mistakes.the_later_term_wins_then_the_longer_log()


def test_section_5_4_2_figure_8_earlier_terms_are_not_committed_by_counting() -> None:
    mistakes_log.an_entry_of_an_earlier_term_is_committed_by_what_stands_on_it()


@pytest.mark.parametrize("seed", range(4))
def test_section_5_4_3_a_committed_entry_is_in_every_later_leaders_log(seed: int) -> None:
    """Leader completeness and state machine safety: the cluster asserts them all the time."""
    cluster = cluster_of(5, seed)
    for _ in range(5):
        cluster.submit()
        cluster.run_for(600)
        for leader in leaders(cluster):
            leader.crash()
        cluster.run_for(900)
        for node in cluster.nodes:
            if not node.up:
                cluster.restart(node.number)
    cluster.run_until(lambda: min(cluster.heights()) >= 5, 10_000)


def test_section_5_5_a_repeated_append_is_harmless() -> None:
    """5.5: Raft's messages are idempotent."""
    bench = Bench()
    block = bench.block(bench.genesis, 1)
    for _ in range(3):
        bench.append(1, 1, bench.genesis, block)
    assert bench.tip == block.id and len(bench.done(Persist)) == 1
    assert [one.height for one in bench.said(AppendReply)] == [1, 1, 1]


def test_section_5_6_the_defaults_keep_the_timing_requirement() -> None:
    """5.6: broadcast time << election timeout; 9.3: 150 to 300 ms."""
    parameters = RaftParameters()
    assert 3 * parameters.heartbeat_ms <= parameters.election_ms_min == 150
    assert parameters.election_ms_max == 300
    with pytest.raises(ValueError, match="two heartbeats"):
        RaftParameters(election_ms_min=90)
    with pytest.raises(ValueError, match="drawn"):
        RaftParameters(election_ms_min=300, election_ms_max=300)


# ---------------------------------------------------------------------------- 6 membership


def test_section_6_a_configuration_counts_from_its_append_on() -> None:
    mistakes_log.a_configuration_counts_from_its_append_on()


def test_section_6_a_joint_configuration_needs_both_majorities() -> None:
    mistakes_log.a_joint_configuration_needs_both_majorities()


def test_section_6_the_new_configuration_follows_once_the_joint_one_is_committed() -> None:
    mistakes_log.a_joint_configuration_is_left_once_a_block_of_it_is_final()


def test_section_6_what_the_old_configuration_decided_is_proven_by_its_voters() -> None:
    """Ours: who leads a joint configuration may have had no vote on what it inherits."""
    mistakes_members.who_has_no_vote_on_an_entry_asks_one_who_has()


def test_section_6_a_leader_that_is_left_out_counts_itself_not() -> None:
    mistakes_log.a_leaving_leader_counts_for_the_old_half_only()


def test_section_6_a_leader_that_is_left_out_steps_down_in_the_end() -> None:
    mistakes_log.a_removed_leader_hands_over_once_the_joint_blocks_are_final()


def test_thesis_4_2_2_a_server_that_is_left_out_stands_until_that_is_committed() -> None:
    mistakes_members.who_is_left_out_stands_while_its_log_may_be_needed()
    mistakes_members.who_is_left_out_counts_no_vote_of_its_own()
    mistakes_members.who_was_elected_without_a_vote_hands_its_log_on()


@pytest.mark.parametrize("old", range(1, 6))
@pytest.mark.parametrize("new", range(1, 6))
def test_section_6_majorities_of_neighbouring_configurations_meet(old: int, new: int) -> None:
    """No two of C_old, C_old,new decide apart, nor of C_old,new and C_new; whoever is in both."""
    shared = min(old, new) // 2
    old_set, new_set = set(range(old)), set(range(old - shared, old - shared + new))
    joint = members(*sorted(new_set), old=tuple(sorted(old_set)))
    everybody = sorted(old_set | new_set)
    addresses = {number: Cluster(PROTOCOL, 12).nodes[number].address for number in everybody}

    def decided(some: tuple[int, ...], which: set[int]) -> bool:
        return sum(one in which for one in some) >= majority(len(which))

    for size in range(len(everybody) + 1):
        for some in itertools.combinations(everybody, size):
            if not joint.decided_by([addresses[one] for one in some], majority):
                continue
            rest = tuple(one for one in everybody if one not in some)
            assert not decided(rest, old_set) and not decided(rest, new_set)


def test_section_6_removed_servers_cannot_disrupt_the_cluster() -> None:
    """6, last paragraphs; thesis 4.2.3."""
    mistakes.votes_are_refused_while_a_leader_is_heard()


# ---------------------------------------------------------------------------- 7 and 8


def test_section_7_what_stands_on_a_snapshot_is_kept() -> None:
    mistakes_log.what_stands_on_a_final_block_is_kept()


def test_section_7_a_snapshot_never_takes_the_log_back() -> None:
    mistakes_log.an_old_commit_takes_nothing_back()


def test_section_8_a_leader_opens_its_term_with_an_entry() -> None:
    mistakes_log.a_leader_opens_its_term_with_an_entry()


def test_section_8_a_read_needs_a_majority_and_a_committed_entry_of_the_term() -> None:
    mistakes_log.a_read_waits_for_a_majority_that_answers_after_it_came()
    mistakes_log.a_read_waits_for_the_leaders_first_entry()


def test_section_8_a_follower_names_the_leader_to_clients() -> None:
    bench = Bench()
    bench.append(2, 1, bench.genesis)
    producers = [one.node for one in bench.done(contract.SetProducer)]  # type: ignore[attr-defined]
    assert producers == [bench.cluster.nodes[2].address]


# ---------------------------------------------------------------------------- the thesis


def test_thesis_3_10_leadership_is_handed_to_one_that_holds_the_whole_log() -> None:
    bench = Bench()
    bench.lead(1)
    bench.post(contract.CommandGiven(9, "transfer", ("node 2",)))
    assert bench.said(TimeoutNow) == [], "it lacks the opening block"
    bench.submit()
    assert bench.own_block().height == 1, "nothing is appended meanwhile"
    bench.reply(2, 1)
    assert bench.said(TimeoutNow, 2) == [TimeoutNow(bench.term)]


def test_thesis_3_10_the_target_stands_at_once_and_is_heard_by_all() -> None:
    bench = Bench()
    bench.append(1, 1, bench.genesis)
    bench.hear(1, TimeoutNow(1))
    (asked,) = bench.said(RequestVote, 2)
    assert asked.term == 2 and asked.transfer and not asked.pre
    other = Bench(me=2)
    other.append(1, 1, other.genesis)
    assert other.ask(0, 2, other.genesis, transfer=True) == VoteReply(2, True)


def test_thesis_3_10_a_transfer_that_takes_too_long_is_given_up() -> None:
    bench = Bench()
    bench.lead(1)
    bench.post(contract.CommandGiven(9, "transfer", ("node 2",)))
    for _ in range(7):
        bench.pass_(45)
        bench.echo(1, height=1)
    (answer,) = [one for one in bench.done(Answer) if isinstance(one, Answer)]
    assert answer.request == 9 and "did not take over" in answer.outcome
    bench.submit()
    assert bench.own_block().height == 2, "and it goes on appending"


def test_thesis_4_2_1_a_learner_counts_for_nothing() -> None:
    mistakes_log.a_learner_receives_everything_and_counts_for_nothing()


def test_thesis_4_2_1_a_learner_never_stands() -> None:
    bench = Bench(
        me=3, observers=1, quiet=False, sets=lambda height: members(0, 1, 2, learners=(3,))
    )
    bench.pass_(2_000)
    assert bench.said(RequestVote) == []


def test_thesis_6_2_a_leader_without_a_majority_steps_down() -> None:
    mistakes.a_leader_that_nobody_answers_steps_down()


def test_thesis_6_3_a_repeated_command_takes_effect_once() -> None:
    """A client that heard no answer asks every server again: nonces stand for its session."""
    network = Network("raft", 3, 1)
    network.start()
    network.run(1_000)
    network.transfer(network.world.rng("client"), network.nodes[0])
    (command,) = network.submitted
    for node in network.nodes[1:]:
        node.submit([command])
    network.run(1_000)
    again = [node.submit([command])[0] for node in network.nodes]
    assert {refusal.code for refusal in again if refusal} == {"wrong-nonce-low"} and all(again)
    network.run(1_000)
    for node in network.nodes:
        ledger = node.running.ledger
        found = ledger.transaction(command.id)
        assert found is not None and ledger.account(command.sender).nonce == 1


def test_thesis_6_4_reads_share_a_round_of_heartbeats() -> None:
    bench = Bench()
    bench.lead(1)
    bench.echo(1, height=1)
    before = bench.engine._round
    for request in range(1, 9):
        bench.post(contract.ReadRequested(request))
    assert bench.engine._round == before + 1, "the first one began it"
    bench.echo(1, height=1)
    assert len(bench.done(ServeRead)) == 1
    assert bench.engine._round == before + 2, "all that came meanwhile share the next one"
    bench.echo(1, height=1)
    assert len(bench.done(ServeRead)) == 8


def test_thesis_6_4_1_a_lease_saves_the_round_and_ends() -> None:
    mistakes_log.a_leader_past_its_lease_serves_nothing()
    mistakes_log.the_lease_counts_from_the_rounds_beginning()
    mistakes_log.who_handed_over_has_no_lease()


def test_thesis_6_4_1_the_lease_is_shorter_than_a_voters_patience_by_the_drift() -> None:
    parameters = RaftParameters(lease_reads=1, clock_drift_percent=20)
    assert parameters.lease_ms == 120


def test_thesis_9_6_a_pre_vote_changes_nothing() -> None:
    bench = Bench()
    written = len(bench.done(Persist))
    assert bench.ask(1, 9, bench.genesis, pre=True) == VoteReply(9, True, True)
    assert bench.ask(2, 9, bench.genesis, pre=True) == VoteReply(9, True, True)
    assert bench.term == 0 and len(bench.done(Persist)) == written


def test_thesis_9_6_who_was_cut_off_keeps_its_term() -> None:
    mistakes.a_server_alone_keeps_its_term()


def test_thesis_10_2_1_appends_are_pipelined_within_a_window() -> None:
    mistakes_log.what_is_in_flight_is_bounded()


def test_thesis_10_2_2_what_queues_up_goes_into_one_block() -> None:
    """Batching: with one block in flight, all that comes meanwhile shares the next one."""
    bench = Bench(parameters=RaftParameters(blocks_in_flight=1))
    bench.lead(1)
    bench.reply(1, 1)
    for _ in range(5):
        bench.submit()
    assert bench.own_block().height == 2 and len(bench.own_block().transactions) == 1
    bench.reply(1, 2)
    assert bench.own_block().height == 3 and len(bench.own_block().transactions) == 4
    assert len({one.parent for one in bench.done(Build)}) == 3  # type: ignore[attr-defined]
