"""Raft's words, which nobody signs: votes, acknowledgements, and what a leader calls committed.

* One leader in a term (figure 3, election safety), and one vote of a server in a term, over
  restarts and new disks.
* A vote goes to a log that is at least as up to date (section 5.4.1), and to nobody within the
  least election timeout of hearing another leader (thesis 4.2.3).
* Term, vote and log are on disk before a vote, an acknowledgement or a candidacy is said.
* What a leader calls committed ends in an entry of its own term (5.4.2), and a majority of those
  who decide that entry has written it (5.3).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

from chain.address import Address
from chain.hashing import BlockId
from chain.ledger.disk import RECORD_KEY
from chain.storage import Changes
from chain.validators import majority
from consensus.contract import Build, Effect, Event, MessageReceived, Send, Trace
from consensus.raft.engine import RaftEngine
from consensus.raft.messages import AppendEntries, AppendReply, Committed, RequestVote, VoteReply
from consensus.raft.parameters import RaftParameters
from consensus.raft.record import RaftRecord, parse_record
from consensus.raft.rules import parse_claims, term_of
from moot.lab.checkers.bounds import innermost
from moot.lab.node import SimulatedNode
from moot.lab.planting import judged_honestly
from moot.lab.report import Findings

BLOCKS_KEPT = 2_048
"""Blocks of which it is known who wrote them: far more than stand uncommitted."""

Asked = tuple[RequestVote, int | None]
"""A request for a vote, and how many ms before it the voter heard a leader; None: it did not."""


class Elections:
    """For the whole cluster."""

    def __init__(
        self, nodes: Sequence[SimulatedNode], parameters: RaftParameters, findings: Findings
    ) -> None:
        self._findings = findings
        self._parameters = parameters
        self._leaders: dict[int, Address] = {}
        self._votes: dict[tuple[Address, int], Address] = {}
        self._asked: dict[tuple[Address, Address], dict[tuple[int, bool], Asked]] = {}
        """By candidate and voter, then by term and whether it is a pre-vote: the requests that may
        still be answered."""
        self._heard: dict[Address, tuple[Address, int, int]] = {}
        """By server: the leader that it heard last, when on its own clock, and in which term."""
        self._holders: OrderedDict[BlockId, set[Address]] = OrderedDict()
        self._read: dict[Address, tuple[bytes, RaftRecord]] = {}
        """By server: its record as last read; it seldom changes, and is asked for all the time."""
        for node in nodes:
            node.observe(partial(self._observe, node), Build, MessageReceived, Send, Trace)
            node.started.append(self._begin)
            before = node.store.on_write
            node.store.on_write = partial(self._written, node, before)

    def _begin(self, node: SimulatedNode) -> None:
        self._heard.pop(node.signer.address, None)

    def _written(self, node: SimulatedNode, before: object, changes: Changes, sync: bool) -> None:
        if callable(before):
            before(changes, sync)
        for key, value in changes:
            if key == RECORD_KEY and value is not None and sync and node.core is not None:
                with node.store.looked_at():
                    self._note_log(node, value)

    @judged_honestly
    def _note_log(self, node: SimulatedNode, raw: bytes) -> None:
        """The node has written the log that the record names; the bodies are in the same write."""
        ledger, block = node.running.ledger, parse_record(raw).tip
        floor = ledger.height(ledger.finalized())
        while ledger.knows(block) and ledger.height(block) > floor:
            holders = self._holders.setdefault(block, set())
            if node.signer.address in holders:
                return
            holders.add(node.signer.address)
            block = ledger.header(block).previous
        while len(self._holders) > BLOCKS_KEPT:
            self._holders.popitem(last=False)

    @judged_honestly
    def _observe(self, node: SimulatedNode, thing: Event | Effect) -> None:
        me = node.signer.address
        match thing:
            case MessageReceived(sender=sender, message=RequestVote() as asked):
                self._note_request(node, sender, asked)
            case MessageReceived(sender=sender, message=AppendEntries() as append):
                with node.store.looked_at():
                    self._note_leader(node, sender, append)
            case Send(to=to, message=message) if to != me:
                with node.store.looked_at():
                    self._judge(node, to, message)
            case Trace(name="leads", fields=fields):
                term = int(fields["term"])
                if self._leaders.setdefault(term, me) != me:
                    self._violated(node, "elections", f"leads in term {term}, as another one does")
            case Build(parent=parent, claims=claims) if parse_claims(claims).leaves_joint:
                with node.store.looked_at():
                    self._judge_leaving(node, parent)

    def _note_request(self, node: SimulatedNode, sender: Address, asked: RequestVote) -> None:
        """As it stands when the request is handled: the answer is said a little later. A node that
        was paused handles many before it says anything; of equal ones any may be answered."""
        requests = self._asked.setdefault((sender, node.signer.address), {})
        if node.running.driver.idle:
            requests.clear()
        ago_ms = self._leader_heard_ms_ago(node, sender)
        _, before_ms = requests.get((asked.term, asked.pre), (asked, ago_ms))
        if ago_ms is not None:
            ago_ms = None if before_ms is None else max(ago_ms, before_ms)
        requests[asked.term, asked.pre] = (asked, ago_ms)

    def _note_leader(self, node: SimulatedNode, leader: Address, append: AppendEntries) -> None:
        """A leader of an older term than the engine knows of is none, also where the engine has not
        come to writing the later one."""
        if self._record(node) is None or append.term < self._term_of(node):
            return
        ledger = node.running.ledger
        if leader in ledger.validators(ledger.head()).listed:
            self._heard[node.signer.address] = (leader, node.clock().steady_ms, append.term)

    def _leader_heard_ms_ago(self, node: SimulatedNode, candidate: Address) -> int | None:
        """None: it need not wait for a leader. One that handed over in a later term leads no more,
        which the record may not say yet where both requests are handled in one go."""
        leader, at_ms, term = self._heard.get(node.signer.address, (candidate, 0, 0))
        ago_ms = node.clock().steady_ms - at_ms
        if leader == candidate:
            return None
        if ago_ms < self._parameters.election_ms_min and self._term_of(node) > term:
            return None
        return ago_ms

    def _term_of(self, node: SimulatedNode) -> int:
        """As the server has it in memory."""
        engine = innermost(node.running.driver.engine)
        assert isinstance(engine, RaftEngine)
        return engine.term

    def _record(self, node: SimulatedNode) -> RaftRecord | None:
        raw = node.store.memory.get(RECORD_KEY)
        if raw is None:
            return None
        address = node.signer.address
        before, record = self._read.get(address, (b"", None))
        if record is None or raw != before:
            record = parse_record(raw)
            self._read[address] = (raw, record)
        return record

    def _judge(self, node: SimulatedNode, to: Address, message: object) -> None:
        record = self._record(node)
        match message:
            case RequestVote(pre=False) as asked:
                if record is None or record.term < asked.term:
                    self._unwritten(node, f"stands in term {asked.term}")
            case VoteReply(granted=True) as vote:
                self._judge_vote(node, to, vote, record)
            case AppendReply(success=True) as reply:
                if (
                    record is None
                    or (record.term, record.height) < (reply.term, 0)
                    or (record.term == reply.term and record.height < reply.height)
                ):
                    self._unwritten(node, f"acknowledges height {reply.height}")
            case Committed() as committed:
                self._judge_commit(node, committed)

    def _judge_vote(
        self, node: SimulatedNode, to: Address, vote: VoteReply, record: RaftRecord | None
    ) -> None:
        me, term = node.signer.address, vote.term
        asked, ago_ms = self._asked.get((to, me), {}).get((term, vote.pre), (None, None))
        ledger = node.running.ledger
        if record is not None and asked is not None and ledger.knows(record.tip):
            own = (term_of(ledger.header(record.tip)), record.height)
            if (asked.last_term, asked.last_height) < own:
                self._violated(node, "elections", f"votes in term {term} for a log behind its own")
        patience_ms = self._parameters.election_ms_min
        if asked is not None and not asked.transfer and ago_ms is not None and ago_ms < patience_ms:
            self._violated(node, "elections", f"votes {ago_ms} ms after it heard a leader")
        if vote.pre:
            return
        # A later term's record may share the write, and says the same: nothing more in this one.
        if record is None or record.term < term or (record.term == term and record.voted_for != to):
            self._unwritten(node, f"votes in term {term}")
        if self._votes.setdefault((me, term), to) != to:
            self._violated(node, "elections", f"votes twice in term {term}")

    def _judge_commit(self, node: SimulatedNode, committed: Committed) -> None:
        last, ledger = committed.statements[-1], node.running.ledger
        if last.leader != node.signer.address or not ledger.knows(last.block_id):
            return
        head = ledger.header(last.block_id)
        if term_of(head) != last.term:
            self._violated(
                node, "elections", f"counts an entry of term {term_of(head)} in term {last.term}"
            )
        holders = self._holders.get(last.block_id, set())
        if not ledger.validators(head.previous).decided_by(holders, majority):
            self._violated(
                node,
                "elections",
                f"calls height {last.height} committed, which {len(holders)} servers have written",
            )

    def _judge_leaving(self, node: SimulatedNode, parent: BlockId) -> None:
        ledger = node.running.ledger
        final = ledger.header(ledger.finalized())
        joint = ledger.validators(parent).hash
        if not final.height or ledger.validators(final.previous).hash != joint:
            self._violated(
                node, "elections", "leaves a joint configuration of which nothing is committed"
            )

    def _unwritten(self, node: SimulatedNode, what: str) -> None:
        self._violated(node, "durable-before-speaking", f"{what} and has not written it")

    def _violated(self, node: SimulatedNode, checker: str, what: str) -> None:
        self._findings.violated(checker, f"{node.name} {what}", node.world.now_ms)
