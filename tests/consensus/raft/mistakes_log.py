"""The scenes about the log: replication, commitment, membership, reads. See ``mistakes``."""

from __future__ import annotations

from chain.block import Block
from chain.errors import InvalidBlock
from chain.validators import ValidatorSet
from consensus import contract
from consensus.contract import Build, Finalize, ServeRead
from consensus.raft import RaftParameters
from consensus.raft.messages import (
    AppendEntries,
    AppendReply,
    Committed,
    RequestVote,
    TimeoutNow,
    VoteReply,
)
from consensus.raft.progress import APPENDS_IN_FLIGHT_MAX
from consensus.raft.rules import parse_claims
from tests.consensus.raft.mistakes import reveals
from tests.support.raft_bench import Bench, members

# ------------------------------------------------------------------------------ the follower


@reveals(
    "a follower truncates after each append",
    "figure 2, AppendEntries, receiver's rule 3",
    (
        "follower:Follower._extend",
        "if view.descends(self._record.tip, last.block_id):",
        "if False:",
    ),
)
def an_append_that_comes_late_erases_nothing() -> None:
    bench = Bench()
    first = bench.block(bench.genesis, 1)
    second = bench.block(first, 1)
    bench.append(1, 1, bench.genesis, first, second)
    bench.append(1, 1, bench.genesis, first)
    assert bench.tip == second.id


@reveals(
    "a conflicting entry stays",
    "figure 2, AppendEntries, receiver's rule 3",
    (
        "follower:Follower._extend",
        "if view.descends(self._record.tip, last.block_id):",
        "if self._record.height >= last.height:",
    ),
)
def a_conflicting_entry_and_all_behind_it_are_deleted() -> None:
    bench = Bench()
    first = bench.block(bench.genesis, 1)
    second = bench.block(first, 1)
    third = bench.block(second, 1)
    bench.append(1, 1, bench.genesis, first, second, third)
    other = bench.block(first, 2, producer=2)
    bench.append(2, 2, first, other)
    assert bench.tip == other.id
    assert bench.said(AppendReply)[-1] == AppendReply(2, True, 2, 0)


@reveals(
    "a follower commits what stands at that height in its own log",
    "figure 2, AppendEntries, receiver's rule 5: min(leaderCommit, last new entry)",
    (
        "follower:Follower._try_finalize",
        "if self._view.knows(one.block_id)",
        "if self._record.height >= one.height",
    ),
    (
        "follower:Follower._finalize",
        "view, block = self._view, statement.block_id",
        "view = self._view\n    block = view.ancestor(self._record.tip, statement.height)",
    ),
)
def only_what_this_append_covers_is_committed() -> None:
    bench = Bench()
    first = bench.block(bench.genesis, 1)
    stale = bench.block(first, 1)
    bench.append(1, 1, bench.genesis, first, stale)
    other = bench.block(first, 2, producer=2)
    bench.append(2, 2, first, committed=bench.statement(2, 2, other))
    assert bench.height == 0, "the second entry here is another one than the leader's"
    bench.append(2, 2, first, other)
    assert bench.node.tree.finalized() == other.id


@reveals(
    "a heartbeat is answered without a look at the log",
    "section 5.3: the consistency check is made for heartbeats too",
    (
        "follower:Follower._take_entries",
        "AppendReply(self._term, False, 0, message.round, found)",
        "AppendReply(self._term, not message.blocks, message.last.height, message.round, found)",
    ),
)
def a_heartbeat_that_does_not_fit_is_refused() -> None:
    bench = Bench()
    missing = bench.block(bench.genesis, 1)
    bench.append(1, 1, missing)
    (reply,) = bench.said(AppendReply)
    assert not reply.success
    assert [hint.block_id for hint in reply.hints] == [bench.genesis.id]


@reveals(
    "the follower answers before its log is on disk",
    "section 5.3",
    (
        "follower:Follower._try_append",
        "if not self._unanswered or self._importing or self._leader is None:",
        "if not self._unanswered or self._leader is None:",
    ),
    (
        "follower:Follower._try_append",
        "if self._view.knows(one.last.block_id)",
        "if self._is_here(one.last.block_id)",
    ),
    ("follower:Follower._extend", "view = self._view", "return"),
)
def an_append_is_answered_once_its_entries_are_imported() -> None:
    bench = Bench()
    poisoned = _poisoned(bench)
    bench.append(1, 1, bench.genesis, poisoned)
    assert not any(reply.height for reply in bench.said(AppendReply))


def _poisoned(bench: Bench) -> Block:
    block = bench.block(bench.genesis, 1)
    bench.cluster.rules.check_header = _refuse  # type: ignore[method-assign]
    return block


def _refuse(block: object, view: object) -> None:
    raise InvalidBlock("poisoned", "it cannot be executed")


@reveals(
    "an old leader is still obeyed",
    "section 5.1: a message with a stale term is refused",
    (
        "follower:Follower._on_append",
        "if message.term < self._term:  # rule 1",
        "if False:",
    ),
    ("elections:Elections._follow", "assert term >= self._term", "pass"),
)
def a_leader_of_an_older_term_is_refused() -> None:
    bench = Bench()
    assert bench.ask(2, 5, bench.genesis) is not None
    bench.append(1, 4, bench.genesis, bench.block(bench.genesis, 4))
    assert bench.tip == bench.genesis.id
    assert bench.said(AppendReply) == [AppendReply(5, False, 0, 0)]


# ------------------------------------------------------------------------------ the leader


@reveals(
    "entries of earlier terms are committed by counting",
    "section 5.4.2, figure 8",
    (
        "leader:Leader._try_commit",
        "while head.height > floor and term_of(head) == self._term:",
        "while head.height > floor:",
    ),
)
def an_entry_of_an_earlier_term_is_committed_by_what_stands_on_it() -> None:
    bench = Bench()
    inherited = bench.block(bench.genesis, 1)
    bench.append(1, 1, bench.genesis, inherited)
    bench.lead(2)
    bench.reply(2, 1)
    assert bench.height == 0, "a majority holds it, and it may still be overwritten"
    bench.reply(2, 2)
    assert bench.height == 2
    statements = [one for message in bench.said(Committed, 2) for one in message.statements]
    assert [one.height for one in statements] == [1, 2], "both can be proved from now on"


@reveals(
    "what was sent is taken for what matches",
    "figure 2: matchIndex = prevLogIndex + length of *that* request",
    (
        "leader:Leader._on_append_reply",
        "progress.accepted(message.height)",
        "progress.accepted(progress.next.height)",
    ),
)
def an_answer_matches_what_its_append_held() -> None:
    bench = Bench()
    bench.lead(1)
    bench.reply(1, 0)
    assert bench.engine._progress[bench.cluster.nodes[1].address].next.height == 1
    bench.reply(1, 0)
    assert bench.height == 0, "the opening block is on its way, and nobody holds it"
    bench.reply(1, 1)
    assert bench.height == 1


@reveals(
    "an answer that comes late takes back what matched",
    "figure 2: matchIndex increases monotonically",
    ("progress:Progress.accepted", "max(self.matched, height)", "height"),
)
def what_matched_once_matches_for_good() -> None:
    bench = Bench(n=5)
    bench.lead(1, 2)
    bench.reply(1, 1)
    bench.reply(1, 0)
    bench.reply(2, 1)
    assert bench.height == 1


@reveals(
    "an answer of an older term counts",
    "figure 2; section 5.1",
    (
        "leader:Leader._on_append_reply",
        'if self._role != "leader" or message.term < self._term:',
        'if self._role != "leader":',
    ),
)
def an_answer_of_an_older_term_is_dropped() -> None:
    bench = Bench()
    bench.append(1, 1, bench.genesis, bench.block(bench.genesis, 1))
    term = bench.lead(2)
    bench.reply(1, 2, term=term - 1)
    assert bench.height == 0


@reveals(
    "a leader ignores a later term",
    "section 5.1: a leader that sees a higher term steps down",
    (
        "leader:Leader._on_append_reply",
        "self._catch_up_with(message.term)",
        "pass",
    ),
)
def a_leader_that_hears_of_a_later_term_leads_no_more() -> None:
    bench = Bench()
    term = bench.lead(1)
    bench.reply(2, 0, term=term + 3)
    assert bench.role != "leader" and bench.term == term + 3


@reveals(
    "a leader counts itself before its own log is on disk",
    "law 3; thesis 10.2.1",
    (
        "leader:Leader._is_replicated",
        "if self._stored >= head.height:",
        "if True:",
    ),
)
def a_leader_counts_itself_once_it_has_written() -> None:
    bench = Bench()
    bench.lead(1)
    bench.engine._stored = 0
    bench.reply(1, 1)
    assert bench.height == 0
    bench.reply(2, 1)
    assert bench.height == 1, "two others are a majority without it"


@reveals(
    "a new leader appends nothing until somebody asks",
    "section 8: each leader commits a no-op entry at the start of its term",
    (
        "leader:Leader._wanted",
        "if not self._has_opened:\n        return Wanted(tip.id, Claims(self._term), 0)",
        "if not self._has_opened:\n        return Wanted(tip.id, Claims(self._term), None)",
    ),
)
def a_leader_opens_its_term_with_an_entry() -> None:
    bench = Bench()
    term = bench.lead(1)
    assert bench.own_block().height == 1
    assert parse_claims(bench.own_block().manifest.claims).term == term
    assert bench.own_block().transactions == ()


@reveals(
    "a leader sends without end to one that does not answer",
    "thesis 10.2.1: the window is bounded",
    (
        "progress:Progress.may_send",
        "return len(self._in_flight) < APPENDS_IN_FLIGHT_MAX and self._bytes < BYTES_IN_FLIGHT_MAX",
        "return True",
    ),
)
def what_is_in_flight_is_bounded() -> None:
    bench = Bench(n=5, parameters=RaftParameters(blocks_in_flight=64))
    bench.lead(1, 2)
    bench.reply(4, 1)  # node 4 answers once and never again
    for _ in range(40):
        bench.submit()
        bench.reply(1, bench.own_block().height)
        bench.reply(2, bench.own_block().height)
    with_entries = [one for one in bench.said(AppendEntries, 4) if one.blocks]
    assert bench.height > 30
    assert APPENDS_IN_FLIGHT_MAX <= len(with_entries) <= APPENDS_IN_FLIGHT_MAX + 2


# ------------------------------------------------------------------------------ reads


@reveals(
    "a leader answers reads from memory",
    "section 8; thesis 6.4",
    ("reads:Reads._try_read", "if self._has_lease():", "if True:"),
)
def a_read_waits_for_a_majority_that_answers_after_it_came() -> None:
    bench = Bench()
    bench.lead(1)
    bench.echo(1, height=1)
    earlier = bench.engine._round
    bench.post(contract.ReadRequested(7))
    bench.reply(1, 1, round_=earlier)
    assert bench.done(ServeRead) == [], "that answer is to a round from before the read"
    bench.echo(2, height=0)
    assert bench.done(ServeRead) == [ServeRead(7, 1)]


@reveals(
    "a new leader answers reads before it knows what is committed",
    "section 8: a no-op of its own term comes first",
    (
        "reads:Reads._try_read",
        'if self._role != "leader" or not self._unopened or not self._is_open:',
        'if self._role != "leader" or not self._unopened:',
    ),
)
def a_read_waits_for_the_leaders_first_entry() -> None:
    bench = Bench()
    bench.lead(1)
    bench.post(contract.ReadRequested(7))
    bench.echo(1, 2)
    assert bench.done(ServeRead) == []
    bench.echo(1, height=1)
    bench.echo(1, height=1)
    assert bench.done(ServeRead) == [ServeRead(7, 1)]


LEASE = RaftParameters(lease_reads=1)


def _leased() -> Bench:
    bench = Bench(parameters=LEASE)
    bench.lead(1)
    bench.echo(1, height=1)
    return bench


@reveals(
    "the lease is looked at when it is taken, not when it is used",
    "thesis 6.4.1; a pause past the lease",
    (
        "reads:Reads._has_lease",
        "return self._now.steady_ms < self._lease_ends_ms()",
        "return bool(self._lease_ends_ms())",
    ),
)
def a_leader_past_its_lease_serves_nothing() -> None:
    bench = _leased()
    bench.post(contract.ReadRequested(1))
    assert bench.done(ServeRead) == [ServeRead(1, 1)], "within it at once"
    bench.pass_(LEASE.lease_ms + 1)
    bench.post(contract.ReadRequested(2))
    assert bench.done(ServeRead) == [ServeRead(1, 1)]


@reveals(
    "the lease is counted from the answer",
    "thesis 6.4.1: from the start of the round",
    (
        "reads:Reads._lease_ends_ms",
        "begun[-1] + self._parameters.lease_ms",
        "max(one.heard_ms for one in self._progress.values()) + self._parameters.lease_ms",
    ),
)
def the_lease_counts_from_the_rounds_beginning() -> None:
    bench = Bench(parameters=LEASE)
    bench.lead(1)
    first = bench.engine._round
    bench.pass_(LEASE.lease_ms - 10)
    bench.reply(1, 1, round_=first)
    bench.pass_(15)
    bench.post(contract.ReadRequested(1))
    assert bench.done(ServeRead) == []


@reveals(
    "a lease outlives a transfer",
    "thesis 6.4.1, 3.10",
    (
        "reads:Reads._lease_ends_ms",
        "if not self._parameters.lease_reads or self._was_handed_over or",
        "if not self._parameters.lease_reads or",
    ),
)
def who_handed_over_has_no_lease() -> None:
    bench = _leased()
    bench.post(contract.CommandGiven(1, "transfer", ("node 1",)))
    assert bench.said(TimeoutNow, 1)
    bench.post(contract.ReadRequested(2))
    assert bench.done(ServeRead) == []


# ------------------------------------------------------------------------------ membership


def _joint_from(height: int) -> dict[str, object]:
    """Nodes 0, 1, 2 give way to 0, 3, 4: both count from ``height`` on."""

    def sets(at: int) -> ValidatorSet:
        return members(0, 3, 4, old=(0, 1, 2)) if at >= height else members(0, 1, 2)

    return {"n": 3, "observers": 2, "sets": sets}


@reveals(
    "one majority is enough for a joint configuration",
    "section 6: C_old,new needs both",
    (
        "chain.validators:ValidatorSet.decided_by",
        "for half in (self.voters, self.outgoing)",
        "for half in (self.voters,)",
    ),
)
def a_joint_configuration_needs_both_majorities() -> None:
    bench = Bench(**_joint_from(2))  # type: ignore[arg-type]
    bench.lead(1)
    bench.reply(1, 1)
    assert bench.height == 1
    assert bench.own_block().height == 2, "the first that both halves decide comes by itself"
    bench.reply(3, 2)
    assert bench.height == 1, "0 and 3 of the new; of the old 0 alone"
    bench.reply(1, 2)
    assert bench.height == 2


@reveals(
    "a configuration counts only once it is committed",
    "section 6: a server uses the latest configuration in its log",
    (
        "server:Server._members",
        "return self._set_after(self._record.tip)",
        "return self._set_after(self._final)",
    ),
)
def a_configuration_counts_from_its_append_on() -> None:
    bench = Bench(**_joint_from(3))  # type: ignore[arg-type]
    first = bench.block(bench.genesis, 1)
    second = bench.block(first, 1)
    bench.append(1, 1, bench.genesis, first, second)
    assert bench.height == 0
    bench.engine._deadline_ms = 0
    bench.post(contract.TimerFired(("election",)))
    assert all(bench.said(RequestVote, to) for to in (1, 2, 3, 4))
    bench.hear(1, VoteReply(bench.term + 1, True, True))
    assert bench.role == "pre-candidate", "of the new members only itself"


@reveals(
    "a joint configuration is left before anything is decided by it",
    "section 6: C_new after C_old,new is committed",
    (
        "leader:Leader._wanted",
        "if left or self._is_decided_jointly(self._final):",
        "if True:",
    ),
)
def a_joint_configuration_is_left_once_a_block_of_it_is_final() -> None:
    bench = Bench(**_joint_from(2))  # type: ignore[arg-type]
    bench.lead(1)
    bench.reply(1, 1)
    bench.submit()

    def leaves() -> list[bool]:
        return [parse_claims(one.claims).leaves_joint for one in bench.done(Build)]  # type: ignore[attr-defined]

    assert True not in leaves()
    bench.reply(1, 2)
    bench.reply(3, 2)
    assert bench.height == 2
    assert True in leaves()


def _removing(height: int) -> dict[str, object]:
    """Node 0 leaves: joint from 2 on, without it from ``height`` on."""

    def sets(at: int) -> ValidatorSet:
        if at < 2:
            return members(0, 1, 2)
        return members(1, 2, old=(0, 1, 2)) if at < height else members(1, 2)

    return {"n": 3, "sets": sets}


@reveals(
    "a leader that was removed goes on",
    "section 6; thesis 4.2.2",
    (
        "leaving:Leaving._try_leave",
        "if self._has_opened and self._final != self._record.tip:",
        "if True:",
    ),
)
def a_removed_leader_hands_over_once_the_joint_blocks_are_final() -> None:
    bench = Bench(**_removing(4))  # type: ignore[arg-type]
    bench.lead(1)
    bench.reply(1, 1)
    bench.submit()
    bench.reply(1, 2)
    bench.reply(2, 2)
    bench.submit()
    assert bench.own_block().height == 3, "the last block that the joint configuration decides"
    assert bench.said(TimeoutNow) == [] and bench.role == "leader", "it stops none too early"
    bench.reply(1, 3)
    bench.reply(2, 3)
    assert bench.height == 3
    assert bench.said(TimeoutNow), "and then somebody else leads"
    built = [one for one in bench.done(Build) if one.parent == bench.tip]  # type: ignore[attr-defined]
    assert built == []


@reveals(
    "a leader counts itself in a configuration without it",
    "thesis 4.2.2; scylladb/scylladb#10618",
    (
        "server:Server._decided",
        "return members.decided_by(supporters, majority)",
        "return len(supporters) >= majority(len(members.voters))",
    ),
)
def a_leaving_leader_counts_for_the_old_half_only() -> None:
    bench = Bench(**_removing(9))  # type: ignore[arg-type]
    bench.lead(1)
    bench.reply(1, 1)
    bench.submit()
    bench.reply(1, 2)
    assert bench.height == 1, "of the new voters 1 and 2 only node 1 holds it"
    bench.reply(2, 2)
    assert bench.height == 2


@reveals(
    "a learner counts",
    "thesis 4.2.1",
    (
        "server:Server._decided",
        "return members.decided_by(supporters, majority)",
        "return len(supporters) >= majority(len(members.voters))",
    ),
)
def a_learner_receives_everything_and_counts_for_nothing() -> None:
    bench = Bench(observers=1, sets=lambda height: members(0, 1, 2, learners=(3,)))
    bench.lead(1)
    bench.reply(3, 0)
    assert [one for one in bench.said(AppendEntries, 3) if one.blocks]
    bench.reply(3, 1)
    assert bench.height == 0
    bench.reply(1, 1)
    assert bench.height == 1


# ------------------------------------------------------------------------------ snapshots


@reveals(
    "a final block from elsewhere drops the log behind it",
    "section 7: the suffix is kept where it follows",
    (
        "follower:Follower._finalize",
        "if not view.descends(self._record.tip, block):",
        "if self._record.tip != block:",
    ),
)
def what_stands_on_a_final_block_is_kept() -> None:
    bench = Bench()
    first = bench.block(bench.genesis, 1)
    second = bench.block(first, 1)
    bench.append(1, 1, bench.genesis, first, second)
    bench.hear(1, Committed((bench.sign(1, bench.statement(1, 1, first)),)))
    assert bench.height == 1 and bench.tip == second.id


@reveals(
    "an old final block takes the log back",
    "section 7: a snapshot never goes backwards",
    (
        "follower:Follower._finalize",
        "if head.height <= view.height(self._final):",
        "if False:",
    ),
    ("follower:Follower._finalize", "if not view.descends(block, self._final):", "if False:"),
    (
        "follower:Follower._learn",
        "if statement.height > self._view.height(self._final):",
        "if True:",
    ),
)
def an_old_commit_takes_nothing_back() -> None:
    bench = Bench()
    first = bench.block(bench.genesis, 1)
    second = bench.block(first, 1)
    bench.append(1, 1, bench.genesis, first, second)
    bench.hear(1, Committed((bench.sign(1, bench.statement(1, 1, second)),)))
    bench.hear(1, Committed((bench.sign(1, bench.statement(1, 1, first)),)))
    assert bench.height == 2
    assert len(bench.done(Finalize)) == 1
