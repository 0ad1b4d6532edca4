"""More scenes: who proves what a change of members leaves behind (consensus.raft.statements)."""

from __future__ import annotations

import pytest

from chain.block import Block
from chain.errors import InvalidProof
from chain.proof import Proof
from chain.validators import ValidatorSet
from consensus.contract import Finalize, Report, TimerFired
from consensus.raft import RaftParameters, RaftRules
from consensus.raft.messages import (
    Committed,
    Place,
    RequestVote,
    Statement,
    StatementReply,
    StatementRequest,
    TimeoutNow,
    VoteReply,
)
from tests.consensus.raft.mistakes import reveals
from tests.support.raft_bench import Bench, members


def _new_leader() -> tuple[Bench, list[Block]]:
    """Node 3, which a joint configuration brought in at height 3, leads with two entries below it
    that nobody has committed; 0, 1 and 2 alone decide them."""

    def sets(at: int) -> ValidatorSet:
        return members(0, 3, 4, old=(0, 1, 2)) if at >= 3 else members(0, 1, 2)

    bench = Bench(3, 3, observers=2, sets=sets)
    blocks = [bench.genesis]
    for _ in range(2):
        blocks.append(bench.block(blocks[-1], 1))
    bench.append(1, 1, bench.genesis, *blocks[1:])
    bench.pass_(RaftParameters().election_ms_max)
    bench.lead(0, 1, 4)
    return bench, blocks


def _stated(bench: Bench, voter: int, *blocks: Block, term: int | None = None) -> StatementReply:
    """What a voter answers."""
    term = bench.term if term is None else term
    return StatementReply(term, tuple(bench.statement(voter, term, block) for block in blocks))


def _proofs(bench: Bench) -> list[Proof]:
    return [one.proof for one in bench.done(Finalize) if isinstance(one, Finalize) and one.proof]


@reveals(
    "a leader calls final what it cannot prove",
    "docs/decisions/0012",
    (
        "statements:Statements._statements_for",
        "lacking = lacking or head",
        "pass",
    ),
)
def who_has_no_vote_on_an_entry_asks_one_who_has() -> None:
    bench, blocks = _new_leader()
    own = bench.own_block()
    assert own.height == 3
    for voter in (0, 1, 4):
        bench.reply(voter, 3)
    assert bench.height == 0 and bench.said(Committed) == [], "counted, and not proven"
    asked = StatementRequest(bench.term, 0, Place(2, blocks[2].id))
    assert [bench.said(StatementRequest, to) for to in range(5)] == [[asked], [asked], [], [], []]
    bench.hear(1, _stated(bench, 1, blocks[1], blocks[2]))
    assert bench.height == 3
    said = bench.said(Committed, 2)[0].statements
    assert [one.height for one in said] == [1, 2, 3]
    rules, sets = RaftRules(RaftParameters()), bench.cluster.validator_sets
    for block, proof in zip((blocks[1], blocks[2], own), _proofs(bench), strict=True):
        rules.check_proof(b"", block.head, proof, sets(block.height))
    with pytest.raises(InvalidProof):
        rules.check_proof(b"", blocks[1].head, _proofs(bench)[2], sets(1))


@reveals(
    "a lost request for statements is the end",
    "docs/decisions/0012",
    (
        "statements:Statements._ask_for_statements",
        "progress.asked_round < self._round",
        "progress.asked_round == 0",
    ),
)
def who_does_not_answer_is_asked_again_with_each_round() -> None:
    bench, blocks = _new_leader()
    for voter in (0, 1, 4):
        bench.reply(voter, 3)
    assert len(bench.said(StatementRequest, 1)) == 1
    bench.pass_(RaftParameters().heartbeat_ms)
    bench.echo(0, 1, 4, height=3)
    assert len(bench.said(StatementRequest, 1)) == 2, "once in a round"
    bench.hear(1, _stated(bench, 1, blocks[1]))
    assert bench.height == 0, "one is lacking still"
    bench.hear(0, _stated(bench, 0, blocks[2]))
    assert bench.height == 3


@reveals(
    "a leader waits for the word of members who may be gone",
    "docs/decisions/0012",
    (
        "statements:Statements._statements_for",
        "elif _share_a_half(deciding, members):",
        "else:",
    ),
)
def entries_of_members_before_the_former_ones_are_final_already() -> None:
    """The leader's first entry is decided by members of whom no half decided the entries below: in
    between a joint configuration was left, and nobody leaves one before those are final."""

    def sets(at: int) -> ValidatorSet:
        return members(3, 4, 5) if at >= 3 else members(0, 1, 2)

    bench = Bench(3, 3, observers=3, sets=sets)
    one = bench.block(bench.genesis, 1)
    two = bench.block(one, 1)
    bench.append(1, 1, bench.genesis, one, two)
    bench.pass_(RaftParameters().election_ms_max)
    bench.lead(4)
    bench.reply(4, 3)
    assert bench.height == 3 and bench.said(StatementRequest) == []
    assert [one.height for one in bench.said(Committed, 4)[0].statements] == [3]


@reveals(
    "anybody's word on an entry counts",
    "docs/decisions/0012",
    (
        "statements:Statements._on_statement_reply",
        "may_vote(view.validators(head.previous), sender)",
        "sender",
    ),
)
def only_the_word_of_one_with_a_vote_on_the_entry_counts() -> None:
    bench, blocks = _new_leader()
    for voter in (0, 1, 4):
        bench.reply(voter, 3)
    bench.hear(4, _stated(bench, 4, blocks[1], blocks[2]))
    assert bench.height == 0 and bench.said(Committed) == [], "node 4 has no vote there, either"
    of_another = bench.sign(0, bench.statement(0, bench.term, blocks[2]))
    bench.hear(1, StatementReply(bench.term, (of_another,)))
    assert [one.reason for one in bench.done(Report) if isinstance(one, Report)] == [
        "malformed-statement"
    ]
    beside = bench.block(bench.genesis, 1, extra=1)
    bench.node.offer(beside, "sync")
    bench.hear(1, _stated(bench, 1, beside))
    assert bench.height == 0, "an entry that the leader's log has not"
    bench.hear(1, _stated(bench, 1, blocks[1], blocks[2], term=bench.term - 1))
    assert bench.height == 0, "an answer to another leader"
    bench.hear(0, _stated(bench, 0, blocks[1]))
    bench.hear(1, _stated(bench, 1, blocks[2]))
    assert bench.height == 3


@reveals(
    "a follower states whatever it is asked",
    "docs/decisions/0012",
    (
        "statements:Statements._on_statement_request",
        "if not view.knows(last.block_id) or not view.descends(self._record.tip, last.block_id):",
        "if not view.knows(last.block_id):",
    ),
)
def a_follower_states_what_its_leader_has_counted_of_its_own_log() -> None:
    bench = Bench(sets=lambda at: members(1, 2, old=(0, 1, 2)) if at < 3 else members(1, 2))
    one = bench.block(bench.genesis, 4)
    two = bench.block(one, 4)
    three = bench.block(two, 4)
    beside = bench.block(bench.genesis, 4, extra=1)
    bench.append(1, 4, bench.genesis, one, two, three)
    bench.node.offer(beside, "sync")

    def answer(sender: int, term: int, block: Block, after: int = 0) -> list[list[Statement]]:
        before = len(bench.said(StatementReply))
        bench.hear(sender, StatementRequest(term, after, Place(block.height, block.id)))
        return [list(said.statements) for said in bench.said(StatementReply)[before:]]

    assert answer(2, 4, three) == [] == answer(1, 3, three), "not its leader, not that term"
    assert answer(1, 4, beside) == [], "that is not in its log"
    ((first, second),) = answer(1, 4, three)
    assert [first.block_id, second.block_id] == [one.id, two.id], "it has no vote on the third"
    assert {first.leader, second.leader} == {bench.node.address}
    ((last,),) = answer(1, 4, three, after=1)
    assert last == second
    bench.hear(1, StatementRequest(4, 0, Place(7, three.id)))
    assert [each.reason for each in bench.done(Report) if isinstance(each, Report)] == [
        "malformed-request"
    ]


# ------------------------------------------------------------------------------ who is left out


def _left_out() -> tuple[Bench, list[Block]]:
    """Node 0 holds the entry from which on 1 and 2 decide without it; nothing is final."""

    def sets(at: int) -> ValidatorSet:
        if at < 2:
            return members(0, 1, 2)
        return members(1, 2, old=(0, 1, 2)) if at < 4 else members(1, 2)

    bench = Bench(sets=sets)
    blocks = [bench.genesis]
    for _ in range(3):
        blocks.append(bench.block(blocks[-1], 1))
    bench.append(1, 1, bench.genesis, *blocks[1:])
    bench.pass_(RaftParameters().election_ms_max)
    return bench, blocks


@reveals(
    "who is left out by an entry that is not final stands no more",
    "thesis 4.2.2, figure 4.6",
    ("elections:Elections._may_stand", "self._is_needed", "self._is_voter"),
)
def who_is_left_out_stands_while_its_log_may_be_needed() -> None:
    """1 and 2 may lack the entry, and need a vote of 0, which its longer log forbids."""
    bench, _ = _left_out()
    bench.lead(1, 2)


@reveals(
    "the own vote counts where there is none",
    "thesis 4.2.2",
    (
        "server:Server._decided",
        "return members.decided_by(supporters, majority)",
        "return len(supporters) >= majority(len(members.voters))",
    ),
)
def who_is_left_out_counts_no_vote_of_its_own() -> None:
    bench, _ = _left_out()
    bench.engine._deadline_ms = 0
    bench.post(TimerFired(("election",)))
    bench.hear(1, VoteReply(bench.term + 1, True, True))
    assert bench.role == "pre-candidate", "of 1 and 2 only one would vote for it"


@reveals(
    "a leader without a vote waits for what it cannot commit",
    "section 5.4.2; thesis 4.2.2",
    (
        "leaving:Leaving._try_leave",
        "if self._has_opened and self._final != self._record.tip:",
        "if self._final != self._record.tip:",
    ),
)
def who_was_elected_without_a_vote_hands_its_log_on() -> None:
    bench, blocks = _left_out()
    bench.lead(1, 2)
    assert bench.said(TimeoutNow) == [], "they do not have all of its log yet"
    bench.reply(1, 3)
    bench.reply(2, 3)
    assert len(bench.said(TimeoutNow)) == 1
    assert bench.tip == blocks[3].id, "it adds nothing of its own"


@reveals(
    "who was left out stands for ever",
    "thesis 4.2.2 and 4.2.3",
    (
        "server:Server._is_needed",
        "may_vote(self._set_after(self._final), self._me)",
        "True",
    ),
)
def who_was_left_out_stands_no_more_once_that_is_final() -> None:
    bench, blocks = _left_out()
    bench.hear(1, Committed((bench.sign(1, bench.statement(1, 1, blocks[3])),)))
    assert bench.height == 3
    asked_before = len(bench.said(RequestVote))
    bench.engine._deadline_ms = 0
    bench.post(TimerFired(("election",)))
    assert len(bench.said(RequestVote)) == asked_before
