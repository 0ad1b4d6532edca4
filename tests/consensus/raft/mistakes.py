"""What a server must do, as scenes, each with the textbook mistake that it would reveal.

The mistakes that implementations of Raft repeat, one by one. ``test_mistakes`` plays each scene
twice: as the code is, and with the mistake planted. Which of them are also planted in whole
networks: docs/guides/mistakes.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from consensus import contract
from consensus.contract import Finalize, Persist, Send
from consensus.raft import RaftParameters
from consensus.raft.messages import AppendReply, Committed, RequestVote, VoteReply
from consensus.raft.record import parse_record
from moot.lab.planting import Rewrite
from tests.support.raft_bench import QUIET_MS, Bench, members

Scene = Callable[[], None]


class Mistake(NamedTuple):
    """``scene`` passes as the code is, and fails with the rewrites planted."""

    name: str
    scene: Scene
    rewrites: tuple[Rewrite, ...]
    source: str


MISTAKES: list[Mistake] = []


def reveals(name: str, source: str, *rewrites: tuple[str, str, str]) -> Callable[[Scene], Scene]:
    """Adds a scene. Targets are below consensus.raft unless they say otherwise."""

    def add(scene: Scene) -> Scene:
        planted = tuple(
            Rewrite(target if target.startswith("chain.") else f"consensus.raft.{target}", old, new)
            for target, old, new in rewrites
        )
        MISTAKES.append(Mistake(name, scene, planted, source))
        return scene

    return add


# ------------------------------------------------------------------------------ durability


@reveals(
    "the vote is kept in memory",
    "figure 2, persistent state",
    (
        "record:parse_record",
        "return codec.decode(raw, RaftRecord, RECORD_SIZE_MAX)",
        "old = codec.decode(raw, RaftRecord, RECORD_SIZE_MAX)\n"
        "        return RaftRecord(term=old.term, tip=old.tip, height=old.height)",
    ),
)
def a_vote_survives_a_restart() -> None:
    bench = Bench()
    assert bench.ask(1, 5, bench.genesis) == VoteReply(5, True)
    bench.restart()
    assert bench.ask(2, 5, bench.genesis) == VoteReply(5, False)


@reveals(
    "the term is kept in memory",
    "figure 2, persistent state",
    (
        "record:parse_record",
        "return codec.decode(raw, RaftRecord, RECORD_SIZE_MAX)",
        "old = codec.decode(raw, RaftRecord, RECORD_SIZE_MAX)\n"
        "        return RaftRecord(tip=old.tip, height=old.height)",
    ),
)
def a_term_survives_a_restart() -> None:
    bench = Bench()
    bench.ask(1, 5, bench.genesis)
    bench.restart()
    assert bench.ask(2, 4, bench.genesis) == VoteReply(5, False)


@reveals(
    "the answer leaves before it is on disk",
    "figure 2; PySyncObj#84",
    (
        "server:Server._say",
        "self._write()\n        self._emit(Send(to, message))",
        "self._emit(Send(to, message))\n        self._write()",
    ),
)
def what_is_said_was_written_before() -> None:
    bench = Bench()
    bench.ask(1, 5, bench.genesis)
    bench.append(1, 5, bench.genesis, bench.block(bench.genesis, 5))
    said = [
        one
        for one in bench.effects
        if isinstance(one, Persist)
        or (isinstance(one, Send) and isinstance(one.message, (VoteReply, AppendReply)))
    ]
    assert [type(one) for one in said] == [Persist, Send, Persist, Send]


@reveals(
    "record and log are written apart",
    "figure 2; hashicorp/raft#661",
    ("server:Server._write", "(self._record.tip,) if self._record.height else ()", "()"),
)
def the_log_is_written_with_the_record() -> None:
    bench = Bench()
    block = bench.block(bench.genesis, 1)
    bench.append(1, 1, bench.genesis, block)
    (last,) = [one for one in bench.done(Persist) if isinstance(one, Persist)]
    assert parse_record(last.record).tip == block.id and last.blocks == (block.id,)
    bench.restart()
    assert bench.tip == block.id


@reveals(
    "finality deletes what the record on disk still names",
    "figure 2, persistent state: the log",
    ("follower:Follower._finalize", "if self._cuts_off_written(block):", "if False:"),
)
def a_log_is_cut_off_in_the_record_first() -> None:
    bench = Bench()
    first = bench.block(bench.genesis, 1)
    stale = bench.block(first, 1)
    bench.append(1, 1, bench.genesis, first, stale, bench.block(stale, 1))
    bench.hear(1, Committed((bench.sign(1, bench.statement(1, 1, first)),)))
    other = bench.block(first, 2, producer=2)
    above = bench.block(other, 2, producer=2)
    before = len(bench.effects)
    for block in (other, above):
        bench.node.offer(block, "sync")
    said = tuple(bench.sign(2, bench.statement(2, 2, block)) for block in (other, above))
    bench.hear(2, Committed(said))
    done = [one for one in bench.effects[before:] if isinstance(one, (Persist, Finalize))]
    assert [type(one) for one in done] == [Persist, Finalize, Finalize], "one sync is enough"
    assert isinstance(done[0], Persist)
    record = parse_record(done[0].record)
    assert done[0].blocks == (record.tip,) and record.tip in (other.id, above.id)


@reveals(
    "a log that a snapshot cut off is taken for one that the disk lost",
    "section 7; docs/engines/raft.md, what is durable",
    ("engine:RaftEngine._start", "view.knows(record.tip) or is_below or rebased", "is_below"),
)
def who_began_from_a_snapshot_below_its_logs_tip_starts_from_it() -> None:
    bench = _cut_off(rebased=True)
    assert (bench.role, bench.tip) == ("follower", bench.node.disk.finalized)
    block = bench.block(bench.node.bodies[bench.tip], 2, producer=2)
    bench.node.offer(block, "sync")
    bench.hear(2, Committed((bench.sign(2, bench.statement(2, 2, block)),)))
    assert bench.height == 2, "finality goes on, although the record still names the old log"
    assert bench.ask(2, 3, block) == VoteReply(3, True)
    record = parse_record(bench.node.disk.record or b"")
    assert (record.term, record.tip) == (3, block.id), "and with the next promise it does no more"


@reveals(
    "a database that lost the log is trusted",
    "figure 2, persistent state: the log",
    ("engine:RaftEngine._start", "or is_below or rebased", "or True"),
)
def who_lost_what_it_had_written_refuses_to_start() -> None:
    try:
        _cut_off(rebased=False)
    except AssertionError as error:
        assert "lost blocks" in str(error)
    else:
        raise AssertionError("it started")


def _cut_off(*, rebased: bool) -> Bench:
    """A server whose record names a log up to height 3, of which nothing is there any more, while
    another block is final at height 1; then a new life."""
    bench = Bench()
    first = bench.block(bench.genesis, 1)
    second = bench.block(first, 1)
    bench.append(1, 1, bench.genesis, first, second, bench.block(second, 1))
    final = bench.block(bench.genesis, 2, producer=2)
    bench.node.crash()
    disk = bench.node.disk
    disk.bodies = {bench.genesis.id: bench.genesis, final.id: final}
    disk.finalized = disk.finalized_unsynced = final.id
    bench.node.start(rebased=rebased)
    bench.node.run()
    bench.engine._deadline_ms = 10**9
    bench.pass_(QUIET_MS)
    return bench


@reveals(
    "finality waits for a sync each time",
    "docs/engines/raft.md, what is durable",
    ("follower:Follower._finalize", "if self._cuts_off_written(block):", "if True:"),
)
def finality_that_the_log_holds_costs_no_sync() -> None:
    bench = Bench()
    first = bench.block(bench.genesis, 1)
    bench.append(1, 1, bench.genesis, first)
    second = bench.block(first, 2, producer=2)
    bench.node.offer(second, "sync")
    before = len(bench.done(Persist))
    said = tuple(bench.sign(2, bench.statement(2, 2, block)) for block in (first, second))
    bench.hear(2, Committed(said))
    assert bench.height == 2 and len(bench.done(Persist)) == before


@reveals(
    "a server without its record votes",
    "figure 2: a lost record is no new server",
    ("server:Server.__init__", "self._listening = record is None", "self._listening = False"),
)
def a_server_without_its_record_votes_for_nobody() -> None:
    bench = Bench(record=False)
    assert bench.ask(1, 5, bench.genesis) is None
    bench.append(1, 5, bench.genesis, bench.block(bench.genesis, 5))
    assert bench.said(AppendReply) == [] and bench.done(Persist) == []


# ------------------------------------------------------------------------------ counting votes

_BY_NUMBER = (
    "server:Server._decided",
    "return members.decided_by(supporters, majority)",
    "return len(supporters) >= majority(len(members.voters))",
)


@reveals(
    "half of the votes is taken for a majority",
    "section 5.2",
    ("chain.validators:majority", "n // 2 + 1", "n // 2"),
)
def half_of_the_votes_elects_nobody() -> None:
    bench = Bench(n=4)
    _stand(bench, 1, 2)
    bench.hear(1, VoteReply(bench.term, True))
    assert bench.role == "candidate"
    bench.hear(2, VoteReply(bench.term, True))
    assert bench.role == "leader"


@reveals(
    "one voter is counted twice",
    "section 5.2",
    _BY_NUMBER,
    (
        "elections:Elections._on_vote_reply",
        "self._votes.add(sender)",
        "self._votes.add(sender + bytes([len(self._votes)]))",
    ),
)
def a_voter_counts_once() -> None:
    bench = Bench(n=5)
    _stand(bench, 1, 2)
    bench.hear(1, VoteReply(bench.term, True))
    bench.hear(1, VoteReply(bench.term, True))
    assert bench.role == "candidate"


@reveals("votes of non-members are counted", "section 5.2; ktoso/akka-raft#49", _BY_NUMBER)
def strangers_and_learners_elect_nobody() -> None:
    bench = Bench(n=3, observers=2, sets=lambda height: members(0, 1, 2, learners=(3,)))
    _stand(bench, 1)
    for voter in (3, 4):
        bench.hear(voter, VoteReply(bench.term, True))
    assert bench.role == "candidate"


@reveals(
    "a vote whose answer was lost is not given again",
    "figure 2, RequestVote",
    (
        "elections:Elections._on_request_vote",
        "self._record.voted_for in (None, sender)",
        "self._record.voted_for is None",
    ),
)
def a_vote_is_given_again_to_the_same_candidate() -> None:
    bench = Bench()
    assert bench.ask(1, 5, bench.genesis) == VoteReply(5, True)
    assert bench.ask(1, 5, bench.genesis) == VoteReply(5, True)
    assert bench.ask(2, 5, bench.genesis) == VoteReply(5, False)


@reveals(
    "the longer log wins, whatever its terms",
    "section 5.4.1",
    (
        "elections:Elections._is_up_to_date",
        "return (message.last_term, message.last_height) >= (self._tip_term, self._tip.height)",
        "return message.last_height >= self._tip.height",
    ),
)
def the_later_term_wins_then_the_longer_log() -> None:
    bench = Bench()
    old = [bench.block(bench.genesis, 1)]
    for _ in range(3):
        old.append(bench.block(old[-1], 1))
    new = bench.block(bench.genesis, 2, producer=2)
    bench.append(2, 2, bench.genesis, new)
    bench.pass_(QUIET_MS)
    assert bench.ask(1, 6, old[-1]) == VoteReply(6, False)
    later = bench.block(bench.genesis, 3)
    assert bench.ask(1, 7, later) == VoteReply(7, True)


# ------------------------------------------------------------------------------ the election timer


@reveals(
    "any message puts the election off",
    "section 5.2",
    (
        "elections:Elections._on_request_vote",
        "granted = (",
        "self._put_off()\n    granted = (",
    ),
)
def a_refused_candidate_puts_no_election_off() -> None:
    bench = Bench(quiet=False)
    block = bench.block(bench.genesis, 1)
    bench.append(1, 1, bench.genesis, block)
    bench.pass_(QUIET_MS)
    for term in range(2, 12):
        bench.ask(2, term, bench.genesis)
        bench.pass_(50)
    assert bench.said(RequestVote), "it stood for election itself"


@reveals(
    "all servers time out alike",
    "section 5.2",
    (
        "server:Server._draw_timeout",
        "self._rng.randint(low, high)",
        "low",
    ),
)
def each_try_draws_another_timeout() -> None:
    bench = Bench(quiet=False)
    drawn = set()
    for _ in range(8):
        drawn.add(bench.engine._timeout_ms)
        bench.pass_(301)
    parameters = RaftParameters()
    assert len(drawn) > 3
    assert all(parameters.election_ms_min <= one <= parameters.election_ms_max for one in drawn)


@reveals(
    "timeouts run on the wall clock",
    "section 5.6: timing must not touch safety, nor a stepping clock timing",
    (
        "follower:Follower._recognise",
        "self._contact_ms = self._now.steady_ms",
        "self._contact_ms = self._now.wall_ms",
    ),
    (
        "elections:Elections._is_sticky",
        "self._now.steady_ms - self._contact_ms",
        "self._now.wall_ms - self._contact_ms",
    ),
)
def a_step_of_the_wall_clock_changes_no_mind() -> None:
    bench = Bench()
    bench.append(1, 1, bench.genesis)
    bench.node.clock_offset_ms = 3_600_000
    assert bench.ask(2, 9, bench.genesis) is None


@reveals(
    "a server that was cut off raises the term alone",
    "thesis 9.6 (pre-vote)",
    ("elections:Elections._on_election_timer", "self._ask_first()", "self._stand()"),
)
def a_server_alone_keeps_its_term() -> None:
    bench = Bench(quiet=False)
    bench.pass_(3_000)
    assert bench.term == 0 and bench.durable_term == 0


@reveals(
    "a candidate disturbs a leader that works",
    "thesis 4.2.3 (ignore votes within the least timeout)",
    (
        "elections:Elections._on_request_vote",
        "if not message.transfer and self._is_sticky(sender):",
        "if False:",
    ),
)
def votes_are_refused_while_a_leader_is_heard() -> None:
    bench = Bench()
    bench.append(1, 1, bench.genesis)
    bench.pass_(100)
    assert bench.ask(2, 9, bench.genesis) is None
    assert bench.term == 1
    bench.pass_(60)
    assert bench.ask(2, 9, bench.genesis) == VoteReply(9, True)


@reveals(
    "a server that just restarted forgets that a leader was heard",
    "thesis 4.2.3, 6.4.1: a lease outlives its voters' restarts",
    (
        "engine:RaftEngine._start",
        "self._contact_ms = self._now.steady_ms",
        "self._contact_ms = -1_000_000",
    ),
)
def who_just_restarted_votes_for_nobody_yet() -> None:
    bench = Bench()
    bench.append(1, 1, bench.genesis)
    bench.node.crash()
    bench.node.start()
    bench.node.run()
    assert bench.ask(2, 9, bench.genesis) is None


@reveals(
    "a leader without its majority goes on leading",
    "thesis 6.2 (check-quorum)",
    (
        "leader:Leader._on_heartbeat_timer",
        "if not self._has_majority():",
        "if False:",
    ),
)
def a_leader_that_nobody_answers_steps_down() -> None:
    bench = Bench()
    bench.lead(1)
    bench.pass_(250)
    assert bench.role == "leader"
    bench.pass_(150)
    assert bench.role != "leader"


def _stand(bench: Bench, *pre_voters: int) -> None:
    """The server becomes a candidate, by pre-votes."""
    bench.engine._deadline_ms = 0
    bench.post(contract.TimerFired(("election",)))
    for voter in pre_voters:
        bench.hear(voter, VoteReply(bench.term + 1, True, True))
    assert bench.role == "candidate"
