"""What a Raft server makes of what it hears, held against what it knows right after.

* Who was answered from a later term is in that term from then on, and leads no more; an answer of
  an earlier term tells a leader nothing (section 5.1).
* A vote is given again to whoever asks for it again: its answer may have been lost (figure 2,
  RequestVote 2).
* The election timeout begins again only where the server hears a leader of its term or a later
  one, gives its vote, or tries itself (section 5.2): no other word puts an election off. And no
  timer runs longer than the longest of them (5.6), whatever a wall clock says.
* A log never becomes a part of itself: what is deleted makes room for an entry that contradicts it
  (figure 2, AppendEntries 3; section 7 for what is final).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chain.hashing import BlockId
from chain.view import ChainView
from consensus.contract import (
    Effect,
    Event,
    MessageReceived,
    NodeId,
    Now,
    Send,
    SetTimer,
    Started,
    TimerFired,
    Trace,
)
from consensus.raft.engine import RaftEngine
from consensus.raft.messages import AppendEntries, AppendReply, RequestVote, VoteReply
from consensus.raft.parameters import RaftParameters
from consensus.raft.record import RaftRecord
from consensus.raft.rules import term_of
from consensus.raft.server import ELECTION_TIMER
from moot.lab.checkers.bounds import innermost
from moot.lab.checkers.watching import Watched
from moot.lab.node import SimulatedNode
from moot.lab.planting import judged_honestly
from moot.lab.report import Findings

TRIES = ("pre-vote", "election", "stepped-down", "whole-again")
"""Traces of a server that waits anew because it stands itself, leads no more, or may vote again."""


class Reactions:
    """For one node."""

    def __init__(self, node: SimulatedNode, parameters: RaftParameters, findings: Findings) -> None:
        self._node = node
        self._parameters = parameters
        self._findings = findings
        # As the event under way found it.
        self._record = RaftRecord()
        self._deadline_ms = 0
        self._matched: Mapping[NodeId, int] = {}
        node.wrappers.append(lambda engine: Watched(engine, self._judge, self._look))

    @property
    def _engine(self) -> RaftEngine:
        engine = innermost(self._node.running.driver.engine)
        assert isinstance(engine, RaftEngine)
        return engine

    def _look(self, event: Event, now: Now) -> None:
        engine = self._engine
        self._record, self._deadline_ms = engine.record, engine.deadline_ms
        self._matched = engine.matched if _term_answered(event) else {}

    @judged_honestly
    def _judge(self, event: Event, effects: Sequence[Effect], view: ChainView, now: Now) -> None:
        engine, before = self._engine, self._record
        if engine.deadline_ms > self._deadline_ms and not _may_wait_anew(before, event, effects):
            what = type(event.message if isinstance(event, MessageReceived) else event).__name__
            self._violated(f"puts its election off for {what}")
        for effect in effects:
            if isinstance(effect, SetTimer) and effect.key[0] == ELECTION_TIMER:
                self._judge_timer(effect.delay_ms)
        if isinstance(event, MessageReceived) and (told := _term_answered(event)):
            self._judge_term(engine, event.sender, told)
        if engine.record.tip != before.tip:
            self._judge_log(before.tip, engine.record.tip, view)
        if isinstance(event, MessageReceived) and isinstance(event.message, RequestVote):
            self._judge_answer(event.sender, event.message, effects, view)

    def _judge_timer(self, delay_ms: int) -> None:
        if delay_ms > self._parameters.election_ms_max:
            self._violated(f"means to wait {delay_ms} ms for a leader")

    def _judge_term(self, engine: RaftEngine, sender: NodeId, told: int) -> None:
        if told > engine.term:
            self._violated(f"stays in term {engine.term}, and was answered from term {told}")
        before, after = self._matched.get(sender), engine.matched.get(sender)
        if told < self._record.term and before != after:
            self._violated(f"believes an answer of term {told} in term {engine.term}")

    def _judge_log(self, before: BlockId, after: BlockId, view: ChainView) -> None:
        with self._node.store.looked_at():
            if view.knows(before) and view.knows(after) and view.descends(before, after):
                self._violated(f"cuts its log off at height {view.height(after)}")

    def _judge_answer(
        self, sender: NodeId, asked: RequestVote, effects: Sequence[Effect], view: ChainView
    ) -> None:
        before = self._record
        if asked.pre or (before.term, before.voted_for) != (asked.term, sender):
            return
        refused = any(
            isinstance(one, Send) and one.message == VoteReply(asked.term, False) for one in effects
        )
        with self._node.store.looked_at():
            own = (term_of(view.header(before.tip)), before.height)
        if refused and (asked.last_term, asked.last_height) >= own:
            self._violated(f"takes its vote in term {asked.term} back")

    def _violated(self, what: str) -> None:
        node = self._node
        self._findings.violated("elections", f"{node.name} {what}", node.world.now_ms)


def _may_wait_anew(before: RaftRecord, event: Event, effects: Sequence[Effect]) -> bool:
    """Whether an event is one after which a server waits another timeout."""
    match event:
        case Started():
            return True
        case TimerFired(key=key) if key[0] == ELECTION_TIMER:
            return True
        case MessageReceived(message=AppendEntries() as append) if append.term >= before.term:
            return True
    return any(
        (isinstance(one, Trace) and one.name in TRIES)
        or (
            isinstance(one, Send)
            and isinstance(one.message, VoteReply)
            and one.message.granted
            and not one.message.pre
        )
        for one in effects
    )


def _term_answered(event: Event) -> int:
    """The term of whoever answered; 0: no answer, or a vote, whose term is the asker's."""
    match event:
        case MessageReceived(message=AppendReply() as reply):
            return reply.term
        case MessageReceived(message=VoteReply(granted=False) as reply):
            return reply.term
    return 0
