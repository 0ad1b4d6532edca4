"""Leader election (section 5.2, 5.4.1; pre-vote and stickiness: thesis 9.6 and 4.2.3)."""

from __future__ import annotations

from consensus.contract import CancelTimer, NodeId
from consensus.raft.messages import RequestVote, VoteReply
from consensus.raft.server import HEARTBEAT_TIMER, Server


class Elections(Server):
    """Who leads. What a leader does then is in ``leader``."""

    # ------------------------------------------------------------------------------ standing

    def _may_stand(self) -> bool:
        """Voters of the own log's configuration stand, and those whom a block of the own log leaves
        out that is not final yet; unless they are behind or must listen."""
        return (
            self._is_needed
            and not self._listening
            and not self._syncing
            and not self._conflict
            and not self._stopping
        )

    def _on_election_timer(self) -> None:
        if self._role != "leader" and self._now.steady_ms >= self._deadline_ms:
            if self._may_stand():
                self._ask_first()
            else:
                self._draw_timeout()
        elif self._role == "leader":
            self._draw_timeout()
        self._arm_election_timer()

    def _ask_first(self) -> None:
        """Pre-vote: only who could win raises the term, so that a server which was cut off does
        not disturb the others when it comes back (thesis 9.6)."""
        self._draw_timeout()
        self._role, self._leader = "pre-candidate", None
        self._votes = {self._me}
        self._trace("pre-vote")
        self._canvass(pre=True)
        self._count_votes()

    def _stand(self, by_transfer: bool = False) -> None:
        """Enters a new term and asks for votes in it (section 5.2)."""
        self._draw_timeout()
        self._replace(term=self._term + 1, voted_for=self._me)
        self._role, self._leader = "candidate", None
        self._by_transfer = by_transfer
        self._votes = set()
        self._trace("election")
        self._canvass(pre=False)
        # The own vote counts like any other: once it is durable (law 3).
        self._say(self._me, VoteReply(self._term, True))

    def _canvass(self, *, pre: bool) -> None:
        tip = self._tip
        message = RequestVote(
            self._term + 1 if pre else self._term,
            tip.height,
            tip.block_id,
            self._tip_term,
            pre,
            not pre and self._by_transfer,
        )
        for voter in self._audience:
            self._say(voter, message)

    def _count_votes(self) -> None:
        """A majority of the configuration that the own log gives, of both halves of a joint one."""
        if not self._decided(self._members, self._votes):
            return
        if self._role == "pre-candidate":
            self._stand()
        elif self._role == "candidate":
            self._lead()

    def _lead(self) -> None:
        raise NotImplementedError

    # ------------------------------------------------------------------------------ voting

    def _is_sticky(self, sender: NodeId) -> bool:
        """Whether there is a leader that works, as far as this server knows (thesis 4.2.3).

        Within the least election timeout of hearing from it nobody else gets a vote, nor is his
        term believed. A leader that lost its majority is none any more (check-quorum).
        """
        if self._role == "leader":
            return True
        within = self._now.steady_ms - self._contact_ms < self._parameters.election_ms_min
        return within and self._leader != sender

    def _is_up_to_date(self, message: RequestVote) -> bool:
        """The log whose last entry has the later term is more up to date; of equal terms the
        longer one (section 5.4.1)."""
        return (message.last_term, message.last_height) >= (self._tip_term, self._tip.height)

    def _on_request_vote(self, sender: NodeId, message: RequestVote) -> None:
        if self._listening:
            return
        if not self._is_entitled(sender, message.last_id):
            if not self._view.knows(message.last_id):
                self._fetch(message.last_id, sender)  # perhaps its log makes it a member
            return
        if not message.transfer and self._is_sticky(sender):
            return
        if message.pre:
            self._answer_pre_vote(sender, message)
            return
        if message.term > self._term:
            self._follow(message.term, None)
        granted = (
            message.term == self._term
            and self._record.voted_for in (None, sender)
            and self._is_up_to_date(message)
        )
        if granted:
            self._follow(message.term, None)
            self._replace(voted_for=sender)
            self._put_off()
            self._trace("vote", height=message.last_height)
        self._say(sender, VoteReply(self._term, granted))

    def _answer_pre_vote(self, sender: NodeId, message: RequestVote) -> None:
        """Promises nothing and changes nothing."""
        granted = message.term > self._term and self._is_up_to_date(message)
        self._say(sender, VoteReply(message.term if granted else self._term, granted, True))

    def _on_vote_reply(self, sender: NodeId, message: VoteReply) -> None:
        if not message.granted:
            if message.term > self._term:
                self._follow(message.term, None)
            return
        asked = (
            self._role == "pre-candidate" and message.pre and message.term == self._term + 1
        ) or (self._role == "candidate" and not message.pre and message.term == self._term)
        if asked:
            self._votes.add(sender)
            self._count_votes()

    # ------------------------------------------------------------------------------ following

    def _follow(self, term: int, leader: NodeId | None) -> None:
        """Whatever this server was, it follows now; in a higher term with a new vote to give."""
        assert term >= self._term
        if term > self._term:
            self._replace(term=term, voted_for=None)
        if self._role == "leader":
            self._trace("stepped-down")
            self._emit(CancelTimer((HEARTBEAT_TIMER,)))
            self._draw_timeout()
            self._retire()
        self._role, self._leader = "follower", leader
        self._votes = set()

    def _retire(self) -> None:
        raise NotImplementedError
