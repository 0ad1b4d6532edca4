"""The acceptor: the memory of Paxos (Paxos Made Simple, sections 2.2 and 2.5).

Nothing here is sent or stored: whoever holds an acceptor writes its state before it answers.
"""

from __future__ import annotations

from chain.hashing import BlockId
from consensus.paxos.ballot import NO_BALLOT, Ballot
from consensus.paxos.messages import Vote


class Acceptor:
    """One acceptor at one open height."""

    def __init__(self, promised: Ballot = NO_BALLOT, accepted: Vote | None = None) -> None:
        self.promised = promised
        """It accepts nothing below this ballot."""
        self.accepted = accepted
        """What it accepted last; of the highest ballot, since no lower one follows."""

    def prepare(self, ballot: Ballot) -> bool:
        """Phase 1b: promises ``ballot`` unless a higher one was promised.

        The same ballot is promised again: the answer may have been lost.
        """
        if ballot < self.promised:
            return False
        self.promised = ballot
        return True

    def accept(self, ballot: Ballot, block: BlockId) -> bool:
        """Phase 2b: accepts unless a *higher* ballot was promised (P1a).

        An acceptance is a promise too, so that a later promise never shows less than this vote.
        """
        if ballot < self.promised:
            return False
        self.promised = ballot
        self.accepted = Vote(ballot, block)
        return True
