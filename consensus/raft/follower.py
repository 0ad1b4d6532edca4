"""What a follower does with appends and commit statements (section 5.3, figure 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from chain.block import Block
from chain.errors import InvalidEncoding, InvalidMessage
from chain.hashing import BlockId
from chain.view import ChainView
from consensus.contract import Finalize, Import, NodeId
from consensus.raft.elections import Elections
from consensus.raft.log import hints
from consensus.raft.messages import AppendEntries, AppendReply, Place, Statement
from consensus.raft.rules import may_vote, parse_claims, term_of
from consensus.raft.server import Unanswered

UNANSWERED_MAX: Final = 64
"""Appends whose entries are still being imported or fetched: more than a leader's window."""
STATEMENTS_KEPT_MAX: Final = 512
"""Statements for blocks that have not come yet: two messages full. Sync brings the rest."""


class Follower(Elections):
    """The log grows as the leader says."""

    # ------------------------------------------------------------------------------ appends

    def _on_append(self, sender: NodeId, message: AppendEntries) -> None:
        """AppendEntries, receiver's rules 1 to 4 of figure 2; the entries are imported first."""
        _check_form(message, self._view)
        if self._listening:
            self._learn(() if message.committed is None else (message.committed,), sender)
            return
        if not self._is_entitled(sender, message.last.block_id):
            if not self._view.knows(message.last.block_id):
                self._fetch(message.last.block_id, sender)
            return
        if message.term < self._term:  # rule 1
            self._say(sender, AppendReply(self._term, False, 0, message.round))
            return
        if message.term == self._term and self._role == "leader":
            self._trace("two-leaders")  # of one term: somebody's record was lost unnoticed
            return
        self._recognise(sender, message.term)
        self._take_entries(sender, message)
        if message.committed is not None:
            self._learn((message.committed,), sender)

    def _recognise(self, sender: NodeId, term: int) -> None:
        """Whoever appends in the current or a higher term is its leader (section 5.2)."""
        if (self._role, self._leader, self._term) != ("follower", sender, term):
            self._unanswered.clear()
            self._fetching.clear()
            self._agreed = 0
            self._follow(term, sender)
            self._trace("follows")
        self._contact_ms = self._now.steady_ms
        self._put_off()

    def _take_entries(self, sender: NodeId, message: AppendEntries) -> None:
        previous, last = message.previous.block_id, message.last.block_id
        has_entries = message.last != message.previous
        if (
            previous in self._fetching
            or last in self._fetching
            or (has_entries and not message.blocks and not self._is_here(last))
        ):
            self._await_fetched(sender, message)
        elif not self._is_here(previous) and not self._is_here(last):
            # Rule 2, also for a heartbeat: refused, and told where to look (5.3).
            found = hints(self._view, self._record.tip, self._final)
            self._say(sender, AppendReply(self._term, False, 0, message.round, found))
        else:
            for block in message.blocks:
                self._bodies.keep(block)
                if not self._is_here(block.id):
                    self._importing[block.id] = None
                    self._emit(Import(block, "proposal"))
            self._remember(Unanswered(message.last, message.round))

    def _is_here(self, block: BlockId) -> bool:
        """In the tree, or about to be: the importer has it."""
        return block in self._importing or self._view.knows(block)

    def _await_fetched(self, sender: NodeId, message: AppendEntries) -> None:
        """The entries come by sync, which may take long: meanwhile the leader is answered that it
        was heard, and what is known to be in common."""
        self._fetching[message.last.block_id] = None
        while len(self._fetching) > UNANSWERED_MAX:
            del self._fetching[next(iter(self._fetching))]
        self._remember(Unanswered(message.last, message.round))
        self._fetch(message.last.block_id, sender)
        self._say(sender, AppendReply(self._term, True, self._agreed, message.round))

    def _remember(self, append: Unanswered) -> None:
        self._unanswered.append(append)
        while len(self._unanswered) > UNANSWERED_MAX:
            self._unanswered.popleft()

    def _settled(self, block: BlockId) -> None:
        """The importer has answered."""
        self._importing.pop(block, None)
        self._fetching.pop(block, None)

    def _refused_block(self, block: BlockId) -> None:
        """An entry cannot be executed here: nothing that leans on it will be."""
        if block in self._importing or block in self._fetching:
            self._importing.clear()
            self._fetching.clear()
            self._unanswered.clear()
            self._trace("entry-rejected")

    def _try_append(self) -> bool:
        """Rules 3 and 4 of figure 2, once the entries are imported, and the answer.

        All that came in together is written together: one sync, and one answer.
        """
        if not self._unanswered or self._importing or self._leader is None:
            return False
        ready = [one for one in self._unanswered if self._view.knows(one.last.block_id)]
        if not ready or self._role != "follower":
            return False
        for one in ready:
            self._unanswered.remove(one)
            self._extend(one.last)
        top = max(one.last.height for one in ready)
        self._agreed = max(self._agreed, top)
        rounds = max(one.round for one in ready)
        self._say(self._leader, AppendReply(self._term, True, top, rounds))
        return True

    def _extend(self, last: Place) -> None:
        """The log holds the leader's entries up to ``last``.

        Only a *conflicting* entry deletes what follows it: an append that comes late and is
        shorter than the log erases nothing (figure 2, rule 3).
        """
        view = self._view
        if view.descends(self._record.tip, last.block_id):
            return
        if not view.descends(last.block_id, self._final):
            self._contradicted(last.height)
            return
        assert term_of(view.header(last.block_id)) <= self._term, "an entry of a later term"
        self._set_tip(last.block_id)

    # ------------------------------------------------------------------------------ commits

    def _learn(self, statements: Sequence[Statement], sender: NodeId | None) -> None:
        """Keeps commit statements until their blocks are here; nothing is final by height alone."""
        for statement in statements:
            if statement.height > self._view.height(self._final):
                self._statements[statement.block_id] = statement
        while len(self._statements) > STATEMENTS_KEPT_MAX:
            del self._statements[next(iter(self._statements))]
        if statements and sender is not None and not self._view.knows(statements[-1].block_id):
            last = statements[-1]
            if self._listening or last.height > self._record.height + 1:
                self._fetch(last.block_id, sender)

    def _try_finalize(self) -> bool:
        """What a leader has committed is final: figure 2, "rules for servers", and rule 5.

        A statement names its block, so that a follower finalizes no other block at that height.
        """
        if self._conflict or not self._statements:
            return False
        known = [one for one in self._statements.values() if self._view.knows(one.block_id)]
        moved = False
        for statement in sorted(known, key=lambda one: one.height):
            self._statements.pop(statement.block_id)
            moved = self._finalize(statement) or moved
        return moved

    def _finalize(self, statement: Statement) -> bool:
        view, block = self._view, statement.block_id
        head = view.header(block)
        sound = head.height == statement.height and term_of(head) <= statement.term
        if not sound or not may_vote(view.validators(head.previous), statement.leader):
            return False
        if head.height <= view.height(self._final):
            if not view.descends(self._final, block):
                self._contradicted(head.height)
            return False
        if not view.descends(block, self._final):
            self._contradicted(head.height)
            return False
        if statement.term > self._term:
            self._follow(statement.term, None)
        if not view.descends(self._record.tip, block):
            if self._role == "leader":
                self._contradicted(head.height)  # an own log lacks what was committed in its term
                return False
            self._set_tip(block)  # committed, so every later log holds it
        if self._cuts_off_written(block):
            self._write()
        self._final = block
        self._emit(Finalize(block, statement.proof))
        if self._committed is None or statement.height > self._committed.height:
            self._committed = statement
        self._trace("committed", height=head.height)
        return True

    def _cuts_off_written(self, block: BlockId) -> bool:
        """Whether the node forgets blocks that the durable record names once ``block`` is final: a
        conflicting log that reaches above it. The record lets them go first, or a crash in between
        looks as if the database had lost them. What a snapshot cut off is forgotten already."""
        view, written = self._view, self._written
        return (
            written.height > view.height(block)
            and view.knows(written.tip)
            and not view.descends(written.tip, block)
        )

    def _contradicted(self, height: int) -> None:
        """Two committed blocks of which neither is the other's child: this server stops voting."""
        if not self._conflict:
            self._conflict = True
            self._trace("conflicting-finality", height=height)


def _check_form(message: AppendEntries, view: ChainView) -> None:
    """Raises InvalidMessage unless the blocks lead from the entry before to the last one, and no
    entry is of a later term than the leader's."""
    previous, blocks = message.previous, message.blocks
    for place in (previous, message.last):
        if view.knows(place.block_id):
            head = view.header(place.block_id)
            if head.height != place.height or term_of(head) > message.term:
                raise InvalidMessage("malformed-append", "it names an entry that is another one")
    if message.last.height < previous.height:
        raise InvalidMessage("malformed-append", "the last entry lies below the one before")
    if message.last.height == previous.height and message.last != previous:
        raise InvalidMessage("malformed-append", "two entries at one height")
    if not blocks:
        return
    if _claimed_term(blocks[-1]) > message.term:
        raise InvalidMessage("malformed-append", "an entry of a later term than its leader's")
    place = previous
    for block in blocks:
        if block.previous != place.block_id or block.height != place.height + 1:
            raise InvalidMessage("malformed-append", "its blocks do not follow on each other")
        place = Place(block.height, block.id)
    if place != message.last:
        raise InvalidMessage("malformed-append", "its blocks do not lead to the last entry")


def _claimed_term(block: Block) -> int:
    """Raises InvalidMessage."""
    try:
        return parse_claims(block.manifest.claims).term
    except InvalidEncoding as error:
        raise InvalidMessage("malformed-append", error.sentence) from None
