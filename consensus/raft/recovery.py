"""A server that kept its key and lost its record: it may have voted, and held what it has no more.

Until it is whole it promises nothing: no vote, no answer to an append. Two things must come first.

* Every other voter has said how far it is, since this server came up, and at least a majority of
  all voters has not lost its record too. In no term up to the highest of theirs does it vote
  again: whoever might have had its vote is among them. (It has none to give in that very term.)
* A block above the highest log that they spoke of is final here. What this server once answered
  for and somebody counted, somebody else still holds, so it lies at or below that height; it is
  decided by then, and this server has it again if it was committed.
"""

from __future__ import annotations

from typing import Final

from chain.validators import majority
from consensus.contract import NodeId, Send, SetTimer
from consensus.raft.leaving import Leaving
from consensus.raft.messages import TermReply, TermRequest
from consensus.raft.server import RECOVERY_TIMER

ASK_AGAIN_MS: Final = 1_000
"""Pause before those are asked again that have not answered."""


class Recovery(Leaving):
    """Listens until it may speak."""

    def _others(self) -> tuple[NodeId, ...]:
        """The other voters of the latest configuration known, of both halves, in address order."""
        members = self._members
        voters = {one.address for one in (*members.voters, *members.outgoing)}
        return tuple(sorted(voters - {self._me}))

    def _ask_terms(self) -> None:
        if not self._listening:
            return
        for other in self._others():
            if other not in self._told or self._told[other].lost:
                self._emit(Send(other, TermRequest()))
        self._emit(SetTimer((RECOVERY_TIMER,), ASK_AGAIN_MS))

    def _on_term_request(self, sender: NodeId) -> None:
        if not self._is_entitled(sender, self._record.tip):
            return
        reply = TermReply(self._term, self._tip.height, self._listening)
        if self._listening:
            self._emit(Send(sender, reply))
        else:
            self._say(sender, reply)

    def _on_term_reply(self, sender: NodeId, message: TermReply) -> None:
        """The last word counts of one that had lost its record, the first of all others."""
        if not self._listening or sender not in self._others():
            return
        if sender not in self._told or self._told[sender].lost:
            self._told[sender] = message

    def _try_recover(self) -> bool:
        if not self._listening:
            return False
        others = self._others()
        told = [self._told[one] for one in others if one in self._told]
        whole = [one for one in told if not one.lost]
        if len(told) < len(others) or len(whole) < majority(len(others) + 1):
            return False
        if self._listen_until is None:
            self._listen_until = max(one.height for one in whole)
        final = self._view.height(self._final)
        if final <= self._listen_until:
            return False
        self._listening = False
        term = max(self._term, *(one.term for one in whole))
        # The own address: in this term there is no vote to give.
        self._replace(term=term, voted_for=self._me, tip=self._final, height=final)
        self._draw_timeout()
        self._contact_ms = self._now.steady_ms
        self._write()
        self._trace("whole-again", height=final)
        return True
