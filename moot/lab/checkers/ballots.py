"""Who stands or leads in Raft: whether a majority is behind it, as its own log counts one.

* Who enters a term by itself was told by a majority that it could win (pre-vote, thesis 9.6).
* Who leads has got the votes of a majority in that term (section 5.2).
* Who goes on leading was answered by a majority within the longest election timeout (check-quorum,
  thesis 6.2).

A majority is of the configuration that the log gives, committed or not; of both halves of a joint
one (section 6). Learners and strangers are in none.
"""

from __future__ import annotations

from collections.abc import Sequence

from chain.address import Address
from chain.validators import ValidatorSet, majority
from chain.view import ChainView
from consensus.contract import Effect, Event, MessageReceived, Now, TimerFired, Trace
from consensus.raft.engine import RaftEngine
from consensus.raft.messages import AppendReply, TimeoutNow, VoteReply
from consensus.raft.parameters import RaftParameters
from consensus.raft.server import HEARTBEAT_TIMER
from moot.lab.checkers.bounds import innermost
from moot.lab.checkers.watching import Watched
from moot.lab.node import SimulatedNode
from moot.lab.planting import judged_honestly
from moot.lab.report import Findings


class Ballots:
    """For one node; nothing of it outlives a restart, as nobody leads over one."""

    def __init__(self, node: SimulatedNode, parameters: RaftParameters, findings: Findings) -> None:
        self._node = node
        self._parameters = parameters
        self._findings = findings
        self._forget(node)
        node.started.append(self._forget)
        node.wrappers.append(lambda engine: Watched(engine, self._did, self._heard))

    def _forget(self, node: SimulatedNode) -> None:
        self._votes: dict[tuple[int, bool], set[Address]] = {}
        """By term, and whether it is a pre-vote: who has given it."""
        self._sent_in = 0
        """The term in which a leader told this server to stand at once."""
        self._answered_ms: dict[Address, int] = {}
        """While it leads: when each member answered last, or was met, on the own
        steady clock."""

    @property
    def _engine(self) -> RaftEngine:
        engine = innermost(self._node.running.driver.engine)
        assert isinstance(engine, RaftEngine)
        return engine

    def _heard(self, event: Event, now: Now) -> None:
        """Before the engine handles it."""
        match event:
            case MessageReceived(sender=sender, message=VoteReply(granted=True) as vote):
                term = self._engine.term
                self._votes = {key: who for key, who in self._votes.items() if key[0] >= term}
                self._votes.setdefault((vote.term, vote.pre), set()).add(sender)
            case MessageReceived(sender=sender, message=AppendReply() as reply):
                if reply.term == self._engine.term:
                    self._answered_ms[sender] = now.steady_ms
            case MessageReceived(message=TimeoutNow() as told):
                self._sent_in = told.term
            case _:
                pass

    def _did(self, event: Event, effects: Sequence[Effect], view: ChainView, now: Now) -> None:
        """After the engine has handled it."""
        for effect in effects:
            match effect:
                case Trace(name="election", fields=fields):
                    self._judge_candidate(int(fields["term"]), view)
                case Trace(name="leads", fields=fields):
                    self._judge_leader(int(fields["term"]), view, now)
                case _:
                    pass
        if isinstance(event, TimerFired) and event.key[0] == HEARTBEAT_TIMER and self._engine.leads:
            self._judge_leadership(view, now)

    @judged_honestly
    def _members(self, view: ChainView) -> ValidatorSet:
        with self._node.store.looked_at():
            return view.validators(self._engine.record.tip)

    @judged_honestly
    def _judge_candidate(self, term: int, view: ChainView) -> None:
        who = self._votes.get((term, True), set()) | {self._node.signer.address}
        if self._sent_in + 1 != term and not self._members(view).decided_by(who, majority):
            self._violated(f"stands in term {term}, which {len(who)} think it could win")

    @judged_honestly
    def _judge_leader(self, term: int, view: ChainView, now: Now) -> None:
        who, members = self._votes.get((term, False), set()), self._members(view)
        if not members.decided_by(who, majority):
            self._violated(f"leads in term {term} by {len(who)} votes")
        self._answered_ms = dict.fromkeys(members.listed, now.steady_ms)

    @judged_honestly
    def _judge_leadership(self, view: ChainView, now: Now) -> None:
        members = self._members(view)
        self._answered_ms = {
            member: self._answered_ms.get(member, now.steady_ms) for member in members.listed
        }
        since_ms = now.steady_ms - self._parameters.election_ms_max
        who = {one for one, at_ms in self._answered_ms.items() if at_ms >= since_ms}
        if not members.decided_by(who | {self._node.signer.address}, majority):
            self._violated(f"leads on in term {self._engine.term}, and {len(who)} answer it")

    def _violated(self, what: str) -> None:
        node = self._node
        self._findings.violated("elections", f"{node.name} {what}", node.world.now_ms)
