"""A Raft server: one event in, an ordered list of effects out.

Where we differ from Ongaro and Ousterhout 2014 and from Ongaro's thesis:

* An entry is a block, its index a height, and the log is a branch of the block tree. An append is
  checked by height, term *and* id; the id names all that lies below it (log matching, 5.3).
* Terms stand in the blocks' claims, so that whoever syncs the chain knows the terms of its log.
* A leader's first entry is a block: empty, unless transactions wait already (section 8).
* Bodies too old to be in a leader's memory travel by the node's sync, and so do snapshots (7).
* A majority makes a block committed for its leader; the leader says so with a signed statement,
  which is final for everybody who hears it, and what a proof consists of. Where it has no vote on
  an entry that it inherited, one who has says it for the leader.
* The configuration is a function of the log's prefix, ``validator_lag`` blocks long ago: as if the
  configuration entry stood at the end of that lag (section 6; docs/engines/raft.md).
* A leader that still has its majority, and hears a later term from one that was cut off, stands
  for the next term itself instead of waiting to be replaced.

``_advance`` holds the protocol as a list of rules, tried in order until none applies; handling a
message mostly only notes what was heard.
"""

from __future__ import annotations

from chain.errors import InvalidMessage, InvalidProof
from chain.view import ChainView
from consensus.contract import (
    BlockBuilt,
    BlockImported,
    BlockRejected,
    CommandGiven,
    Effect,
    Event,
    Message,
    MessageReceived,
    NodeId,
    Now,
    ProofSeen,
    ReadRequested,
    Report,
    SetHead,
    Started,
    StopRequested,
    SyncChanged,
    TimerFired,
    TimerKey,
    TransactionsWaiting,
)
from consensus.raft.messages import (
    AppendEntries,
    AppendReply,
    Committed,
    ReadIndex,
    ReadIndexReply,
    RequestVote,
    StatementReply,
    StatementRequest,
    TermReply,
    TermRequest,
    TimeoutNow,
    VoteReply,
    parse_proof,
)
from consensus.raft.server import (
    ELECTION_TIMER,
    HEARTBEAT_TIMER,
    RECOVERY_TIMER,
    TRANSFER_TIMER,
    WRITE_TIMER,
)
from consensus.raft.status import Spokesman


class RaftEngine(Spokesman):
    """A server of Raft; one that only follows where ``me`` has no vote."""

    def handle(self, event: Event, view: ChainView, now: Now) -> list[Effect]:
        """One event in, effects out, in order."""
        self._view, self._now, self._effects = view, now, []
        match event:
            case Started():
                self._start(event.syncing, event.rebased)
            case MessageReceived():
                self._on_message(event.sender, event.message)
            case BlockImported():
                self._settled(event.block.id)
            case BlockRejected():
                self._on_rejected(event.block)
            case BlockBuilt():
                self._on_built(event.request, event.block)
            case TimerFired():
                self._on_timer(event.key)
            case TransactionsWaiting():
                self._waiting = event.count
            case ProofSeen():
                self._on_proof(event)
            case SyncChanged():
                self._syncing = event.syncing
            case ReadRequested():
                self._on_read(event.request)
            case CommandGiven():
                self._on_command(event.request, event.name, event.arguments)
            case StopRequested():
                self._on_stop()
            case _:
                pass  # no work is found and no evidence exists under Raft
        self._advance()
        return self._effects

    # ------------------------------------------------------------------------------ beginnings

    def _start(self, syncing: bool, rebased: bool) -> None:
        """A server always starts as a follower, and takes it that a leader was heard just now."""
        view, record = self._view, self._record
        self._syncing, self._final = syncing, view.finalized()
        on_log = view.knows(record.tip) and view.descends(record.tip, self._final)
        if not on_log:
            # What is final is in every log. A first record names no tip, a snapshot cuts it off,
            # and a crash may fall between finality learned from others and the next record; that
            # is written first where finality cuts off a log that reaches higher (``_finalize``).
            # A snapshot may have its place below such a log's tip; that is not for us to write.
            is_below = record.height <= view.height(self._final)
            assert view.knows(record.tip) or is_below or rebased, (
                "the database lost blocks that were written with the record"
            )
            self._replace(tip=self._final, height=view.height(self._final))
            if not record.height and not self._record.height:
                self._written = self._record  # both are genesis
        if view.head() != self._record.tip:
            self._emit(SetHead(self._record.tip))
        self._contact_ms = self._now.steady_ms
        self._draw_timeout()
        self._arm_election_timer()
        self._ask_terms()

    # ------------------------------------------------------------------------------ events

    def _on_message(self, sender: NodeId, message: Message) -> None:
        """A bad message changes nothing (law 4)."""
        try:
            match message:
                case RequestVote():
                    self._on_request_vote(sender, message)
                case VoteReply():
                    self._on_vote_reply(sender, message)
                case AppendEntries():
                    self._on_append(sender, message)
                case AppendReply():
                    self._on_append_reply(sender, message)
                case Committed():
                    self._learn(message.statements, sender)
                case TimeoutNow():
                    self._on_timeout_now(sender, message)
                case ReadIndex():
                    self._on_read_index(sender, message)
                case ReadIndexReply():
                    self._on_read_index_reply(sender, message)
                case TermRequest():
                    self._on_term_request(sender)
                case TermReply():
                    self._on_term_reply(sender, message)
                case StatementRequest():
                    self._on_statement_request(sender, message)
                case StatementReply():
                    self._on_statement_reply(sender, message)
                case _:
                    raise AssertionError(f"the gate let a {type(message).__name__} through")
        except InvalidMessage as fault:
            self._emit(Report(peer=sender, reason=fault.code))

    def _on_rejected(self, block: bytes) -> None:
        if self._own is not None and self._own.id == block:
            self._own = None
            self._trace("own-block-rejected")
        self._refused_block(block)

    def _on_proof(self, event: ProofSeen) -> None:
        """Sync brought a final block: what a snapshot brings in section 7."""
        try:
            statement = parse_proof(event.proof)
        except InvalidProof as error:
            raise AssertionError("a checked proof that is none of ours") from error
        self._learn((statement,), None)

    def _on_timer(self, key: TimerKey) -> None:
        match key[0]:
            case name if name == ELECTION_TIMER:
                self._on_election_timer()
            case name if name == HEARTBEAT_TIMER:
                self._on_heartbeat_timer()
            case name if name == WRITE_TIMER:
                self._on_write_timer()
            case name if name == TRANSFER_TIMER:
                self._on_transfer_timer()
            case name if name == RECOVERY_TIMER:
                self._ask_terms()

    # ------------------------------------------------------------------------------ the rules

    def _advance(self) -> None:
        """Applies the first rule that can be applied, until none can."""
        while (
            self._try_finalize()
            or self._try_recover()
            or self._try_append()
            or self._try_append_own()
            or self._try_commit()
            or self._try_read()
            or self._try_serve()
            or self._try_hand_over()
            or self._try_settle_transfer()
            or self._try_leave()
        ):
            pass
        if self._role == "leader":
            self._replicate()
            self._ask_for_block()
        self._drop_reads()
        self._announce_leader()
