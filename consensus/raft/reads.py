"""Linearizable reads without a write to the log (section 8; thesis 6.4).

A leader may answer a read from its own state once (1) an entry of its own term is committed, so
that it knows all that is, (2) the height that was committed when the read came is final here, and
(3) a majority has answered a round of heartbeats that began after the read came: nobody else led
at that moment. Reads that come while a round is under way share the next one.

With ``lease_reads`` step 3 is left out while the lease lasts (6.4.1): a majority that answered a
round takes part in no election for ``election_ms_min`` after it was heard; the leader counts from
the round's *beginning*, shortened by the clocks' drift, and looks at its clock at the very moment
of use, so that a leader that was stopped past its lease serves nothing.
"""

from __future__ import annotations

from typing import Final

from consensus.contract import Answer, NodeId, Send, ServeRead
from consensus.raft.leader import Leader
from consensus.raft.messages import ReadIndex, ReadIndexReply
from consensus.raft.server import AskedRead, Read

READS_MAX: Final = 1_024
"""Open reads; as many as the node itself keeps open."""


class Reads(Leader):
    """Answers reads, as a leader, or through the leader."""

    def _on_read(self, request: int) -> None:
        """A client of this node."""
        if self._role == "leader" and not self._conflict:
            self._take_read(request, None)
        elif self._leader is None or self._listening or self._conflict:
            self._emit(Answer(request, "refused: no leader is known now; ask again"))
        elif len(self._asked_reads) >= READS_MAX:
            self._emit(Answer(request, "refused: too many reads are open; ask again"))
        else:
            self._asked_reads[request] = AskedRead(self._leader, self._term, self._now.steady_ms)
            self._say(self._leader, ReadIndex(self._term, request))

    def _on_read_index(self, sender: NodeId, message: ReadIndex) -> None:
        if not self._is_entitled(sender, self._record.tip):
            return
        if self._role != "leader" or message.term != self._term:
            # It rests on no record: also who has lost the record and may not speak can say this.
            self._emit(Send(sender, ReadIndexReply(message.term, message.request, None)))
        else:
            self._take_read(message.request, sender)

    def _on_read_index_reply(self, sender: NodeId, message: ReadIndexReply) -> None:
        asked = self._asked_reads.get(message.request)
        if asked is None or (asked.leader, asked.term) != (sender, message.term):
            return
        del self._asked_reads[message.request]
        if message.height is None:
            self._emit(Answer(message.request, "refused: the leader has changed; ask again"))
        else:
            self._emit(ServeRead(message.request, message.height))

    # ------------------------------------------------------------------------------ the leader

    def _take_read(self, request: int, asker: NodeId | None) -> None:
        if len(self._reads) + len(self._unopened) >= READS_MAX:
            self._refuse_read(request, asker, "too many reads are open")
        else:
            self._unopened.append((request, asker))

    def _try_read(self) -> bool:
        """Step 1: from here on the committed height is known; then a round begins, or the lease."""
        if self._role != "leader" or not self._unopened or not self._is_open:
            return False
        height = max(self._announced, self._view.height(self._final))
        if self._has_lease():
            for request, asker in self._unopened:
                self._serve(request, asker, height)
        else:
            for request, asker in self._unopened:
                self._reads.append(Read(request, asker, self._round + 1, height))
            confirmed = self._confirmed_round()
            if not self._rounds or confirmed >= self._rounds[-1].number:
                self._begin_round()
                for member in self._progress:
                    self._send_append(member, self._progress[member].next, ())
        self._unopened.clear()
        return True

    def _try_serve(self) -> bool:
        """Step 3: a majority has answered a round that began after the read came."""
        if not self._reads:
            return False
        confirmed = self._confirmed_round()
        ready = [one for one in self._reads if one.round <= confirmed]
        if not ready:
            return False
        self._reads = [one for one in self._reads if one.round > confirmed]
        for one in ready:
            self._serve(one.request, one.asker, one.height)
        if self._reads and confirmed >= self._round:
            self._begin_round()
            for member in self._progress:
                self._send_append(member, self._progress[member].next, ())
        return True

    def _confirmed_round(self) -> int:
        """The latest round that a majority has answered; 0: none."""
        answered = {progress.round for progress in self._progress.values()} | {self._round}
        for number in sorted(answered, reverse=True):
            heard = {one for one, at in self._progress.items() if at.round >= number}
            if self._decided(self._members, heard | {self._me}):
                return number
        return 0

    def _lease_ends_ms(self) -> int:
        """When the lease ends, on the steady clock; 0: there is none."""
        if not self._parameters.lease_reads or self._was_handed_over or self._role != "leader":
            return 0
        confirmed = self._confirmed_round()
        begun = [one.begun_ms for one in self._rounds if one.number <= confirmed]
        return begun[-1] + self._parameters.lease_ms if begun else 0

    def _has_lease(self) -> bool:
        return self._now.steady_ms < self._lease_ends_ms()

    def _serve(self, request: int, asker: NodeId | None, height: int) -> None:
        if asker is None:
            self._emit(ServeRead(request, height))
        else:
            self._say(asker, ReadIndexReply(self._term, request, height))

    def _refuse_read(self, request: int, asker: NodeId | None, why: str) -> None:
        if asker is None:
            self._emit(Answer(request, f"refused: {why}; ask again"))
        else:
            self._say(asker, ReadIndexReply(self._term, request, None))

    def _drop_reads(self) -> None:
        """Refuses what cannot be answered any more: the leader changed, or does not answer."""
        if self._role != "leader" and (self._reads or self._unopened):
            dropped = [(one.request, one.asker) for one in self._reads] + self._unopened
            self._reads, self._unopened = [], []
            for request, asker in dropped:
                self._refuse_read(request, asker, "this node leads no more")
        if not self._asked_reads:
            return
        stale_ms = self._now.steady_ms - 2 * self._parameters.election_ms_max
        for request, asked in list(self._asked_reads.items()):
            if (asked.leader, asked.term) != (self._leader, self._term) or asked.at_ms < stale_ms:
                del self._asked_reads[request]
                self._emit(Answer(request, "refused: the leader does not answer; ask again"))
