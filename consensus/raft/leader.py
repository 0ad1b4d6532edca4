"""What a leader does: append, replicate, commit, and know whether it still leads (section 5.3,
5.4.2; thesis 6.2)."""

from __future__ import annotations

from typing import Final

from chain.block import Block, BlockHead
from chain.hashing import BlockId
from consensus.contract import Build, Import, NodeId, Report, Send, SetTimer
from consensus.raft.log import last_common
from consensus.raft.messages import AppendEntries, AppendReply, Committed, Place
from consensus.raft.progress import Progress
from consensus.raft.rules import Claims, has_left, parse_claims, term_of
from consensus.raft.server import (
    HEARTBEAT_TIMER,
    ROUNDS_MAX,
    WRITE_TIMER,
    Round,
    Wanted,
)
from consensus.raft.statements import Statements

BUILD_REQUEST: Final = 1
"""One number for all: a new Build replaces an older one that is not answered yet."""


class Leader(Statements):
    """Leads while it can reach a majority."""

    # ------------------------------------------------------------------------------ beginning

    def _lead(self) -> None:
        """Elected: says so at once, and opens its term with a block of its own (section 8)."""
        self._role, self._leader = "leader", self._me
        self._stored = self._announced = 0
        self._was_handed_over = False
        self._trace("leads", height=self._tip.height)
        self._meet_members()
        self._beat()

    def _meet_members(self) -> None:
        """Progress is kept of everybody in the configuration, learners too; others are let go."""
        audience = self._audience
        for member in audience:
            if member not in self._progress:
                self._progress[member] = Progress(self._tip, self._now.steady_ms)
        for member in [one for one in self._progress if one not in audience]:
            del self._progress[member]

    def _retire(self) -> None:
        self._progress.clear()
        self._building = self._own = None
        self._rounds.clear()

    # ------------------------------------------------------------------------------ heartbeats

    def _beat(self) -> None:
        """A round of heartbeats: an append to everybody, and a look at who answered."""
        self._begin_round()
        for member in self._progress:
            self._send_append(member, self._progress[member].next, ())
        self._emit(SetTimer((HEARTBEAT_TIMER,), self._parameters.heartbeat_ms))

    def _begin_round(self) -> None:
        """Whoever answers an append of this round heard from this leader after now."""
        self._round += 1
        self._rounds.append(Round(self._round, self._now.steady_ms))
        while len(self._rounds) > ROUNDS_MAX:
            self._rounds.popleft()

    def _on_heartbeat_timer(self) -> None:
        if self._role != "leader":
            return
        if not self._has_majority():
            self._trace("lost-its-majority")
            self._follow(self._term, None)
            return
        self._beat()

    def _has_majority(self) -> bool:
        """Check-quorum: a majority answered within the longest election timeout (thesis 6.2)."""
        heard = {one for one in self._progress if self._is_heard(one)}
        return self._decided(self._members, heard | {self._me})

    def _is_heard(self, follower: NodeId) -> bool:
        """Whether it answered within the longest election timeout."""
        since_ms = self._now.steady_ms - self._parameters.election_ms_max
        return self._progress[follower].heard_ms >= since_ms

    # ------------------------------------------------------------------------------ replication

    def _replicate(self) -> None:
        """Sends what each follower lacks, as far as its window lets it."""
        for member, progress in self._progress.items():
            while progress.next != self._tip and progress.may_send():
                blocks = self._bodies.between(self._view, progress.next, self._tip)
                before = progress.next
                last = Place(blocks[-1].height, blocks[-1].id) if blocks else self._tip
                progress.sent(last, sum(len(block.raw) for block in blocks))
                self._send_append(member, before, blocks, last)

    def _send_append(
        self, to: NodeId, previous: Place, blocks: tuple[Block, ...], last: Place | None = None
    ) -> None:
        message = AppendEntries(
            self._term, previous, last or previous, blocks, self._round, self._committed
        )
        if not self._conflict:
            self._emit(Send(to, message))  # not behind the own write: it rests on the term alone

    def _on_append_reply(self, sender: NodeId, message: AppendReply) -> None:
        if message.term > self._term:
            self._catch_up_with(message.term)
            return
        if self._role != "leader" or message.term < self._term:
            return
        if sender == self._me:
            self._stored = max(self._stored, message.height)
            return
        progress = self._progress.get(sender)
        if progress is None:
            return
        if message.height > self._tip.height:
            self._emit(Report(peer=sender, reason="matches-what-is-not-there"))
            return
        progress.heard_ms = self._now.steady_ms
        progress.round = max(progress.round, min(message.round, self._round))
        if message.success:
            progress.accepted(message.height)
            return
        common = last_common(self._view, self._tip, message.hints)
        if common is None or common.height < progress.matched:
            return  # said before it matched: an answer that comes late
        progress.refused(common)

    def _catch_up_with(self, term: int) -> None:
        """Somebody is in a higher term. A leader that still has its majority asks for that
        majority's votes at once, so that the leadership stays where it works."""
        healthy = self._role == "leader" and self._has_majority()
        self._follow(term, None)
        if healthy and self._may_stand():
            self._ask_first()

    # ------------------------------------------------------------------------------ commitment

    def _try_commit(self) -> bool:
        """The highest entry of the own term that a majority holds, and all below it (5.3, 5.4.2).

        Each entry counts under the configuration that is entitled to decide its height. Entries
        of earlier terms are never counted: they are committed by what stands on them (figure 8).
        """
        if self._role != "leader" or self._announced >= self._record.height:
            return False
        floor = max(self._announced, self._view.height(self._final))
        head = self._view.header(self._record.tip)
        while head.height > floor and term_of(head) == self._term:
            if self._is_replicated(head):
                return self._announce(head, floor)
            head = self._view.header(head.previous)
        return False

    def _is_replicated(self, head: BlockHead) -> bool:
        holders = {one for one, at in self._progress.items() if at.matched >= head.height}
        if self._stored >= head.height:
            holders.add(self._me)
        return self._decided(self._view.validators(head.previous), holders)

    def _announce(self, head: BlockHead, floor: int) -> bool:
        """Tells all, with a statement for each newly committed block; False while one is asked
        for."""
        statements = self._statements_for(head, floor)
        if not statements:
            return False
        self._announced = head.height
        message = Committed(statements)
        for member in self._audience:
            self._say(member, message)
        self._say(self._me, message)
        return True

    # ------------------------------------------------------------------------------ appending

    @property
    def _has_opened(self) -> bool:
        """Whether the log ends in an entry of the own term."""
        return self._tip_term == self._term

    @property
    def _is_open(self) -> bool:
        """Whether an entry of the own term is committed: what is final is all that ever was."""
        return term_of(self._view.header(self._final)) == self._term

    def _may_append(self) -> bool:
        """Blocks are made on the log's tip only, by one who has a vote on them."""
        if (
            self._role != "leader"
            or self._stopping
            or not self._is_voter
            or self._transfer is not None
        ):
            return False
        uncommitted = self._tip.height - self._view.height(self._final)
        if not self._has_opened:
            return True
        return uncommitted < self._parameters.blocks_in_flight

    def _wanted(self) -> Wanted:
        """The next block: at once where the protocol needs one, else when a transaction waits."""
        members, tip = self._members, self._view.header(self._record.tip)
        if not self._has_opened:
            return Wanted(tip.id, Claims(self._term), 0)
        if members.outgoing and self._is_open:
            left = has_left(self._view, tip)
            if left or self._is_decided_jointly(self._final):
                return Wanted(tip.id, Claims(self._term, not left), 0)
            if not self._is_decided_jointly(tip.id):
                return Wanted(tip.id, Claims(self._term), 0)  # the first that both halves decide
        return Wanted(tip.id, Claims(self._term), self._parameters.idle_block_ms or None)

    def _is_decided_jointly(self, block: BlockId) -> bool:
        """Whether the joint configuration in force is the one that decides ``block``."""
        head = self._view.header(block)
        return bool(head.height) and (
            self._view.validators(head.previous).hash == self._members.hash
        )

    def _ask_for_block(self) -> None:
        """Asks for the next block while the last ones are under way: what queues up meanwhile
        goes into it."""
        building = self._building
        if (
            building is not None
            and building.parent == self._record.tip
            and not self._members.outgoing
        ):
            return  # asked for already; only a joint configuration makes it more urgent
        if not self._may_append():
            return
        wanted = self._wanted()
        if wanted == building:
            return
        self._building = wanted
        self._emit(
            Build(
                BUILD_REQUEST,
                wanted.parent,
                wanted.claims.raw,
                wanted.deadline_ms,
                may_be_empty=wanted.deadline_ms is not None,
            )
        )

    def _on_built(self, request: int, block: Block | None) -> None:
        building = self._building
        if request != BUILD_REQUEST or building is None:
            return
        if block is None:
            self._building = None
            return
        if block.previous != building.parent or block.manifest.claims != building.claims.raw:
            return  # an answer to an older wish
        self._building = None
        if not self._may_append() or block.previous != self._record.tip:
            return
        if parse_claims(block.manifest.claims).term != self._term:
            return
        if not self._view.knows(block.id):
            self._own = block
            self._emit(Import(block, "own"))
            return
        self._append(block)

    def _try_append_own(self) -> bool:
        """A block that had to be imported first."""
        block = self._own
        if block is None or not self._view.knows(block.id):
            return False
        self._own = None
        if self._may_append() and block.previous == self._record.tip:
            self._append(block)
        return True

    def _append(self, block: Block) -> None:
        """The leader appends to its own log (section 5.3) and replicates; it writes while the
        entries are on their way, since an append promises nothing (thesis 10.2.1). The timer lets
        the node send first: a disk's sync holds up everything behind it."""
        assert self._written.term == self._term, "a leader's term is durable before it leads"
        self._bodies.keep(block)
        self._set_tip(block.id)
        self._meet_members()
        self._emit(SetTimer((WRITE_TIMER,), 0))

    def _on_write_timer(self) -> None:
        """The own log counts like a follower's: once it is durable (law 3)."""
        if self._role == "leader":
            self._write()
            self._emit(Send(self._me, AppendReply(self._term, True, self._tip.height, self._round)))
