"""One Raft server on its own; the test speaks for the others and holds what it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from chain.block import Block
from chain.hashing import BlockId
from chain.validators import Validator, ValidatorSet, validator_set
from consensus import contract
from consensus.contract import Effect, Finalize, Message, Persist, Send
from consensus.raft import PROTOCOL, RaftParameters
from consensus.raft.messages import (
    AppendEntries,
    AppendReply,
    Committed,
    Place,
    RequestVote,
    Statement,
    VoteReply,
)
from consensus.raft.record import parse_record
from consensus.raft.rules import Claims, term_of
from tests.support.engine_cluster import START_MS, Cluster, Node, make_address, make_block

M = TypeVar("M", bound=Message)

QUIET_MS = 160
"""Past the least election timeout, within which a server that just started votes for nobody."""


def members(
    *numbers: int, learners: tuple[int, ...] = (), old: tuple[int, ...] = ()
) -> ValidatorSet:
    """A configuration by node numbers; ``old``: the outgoing voters of a joint one."""
    return validator_set(
        [
            *(Validator(make_address(one), 1, f"node {one}") for one in numbers),
            *(Validator(make_address(one), 0, f"node {one}") for one in learners),
        ],
        outgoing=[Validator(make_address(one), 1, f"node {one}") for one in old],
    )


class Bench:
    """Server ``me`` of ``n``; nobody else runs."""

    def __init__(
        self,
        me: int = 0,
        n: int = 3,
        *,
        observers: int = 0,
        parameters: RaftParameters | None = None,
        sets: Callable[[int], ValidatorSet] | None = None,
        record: bool = True,
        quiet: bool = True,
    ) -> None:
        """``sets``: the configuration by height. ``record`` False: the server has lost it."""
        self.cluster = Cluster(
            PROTOCOL, n, parameters=parameters, observers=observers, background_sync_ms=None
        )
        if sets is not None:
            self.cluster.validator_sets = sets
        self.genesis = self.cluster.genesis
        self.node: Node = self.cluster.nodes[me]
        if not record:
            self.node.disk.record = None
        self.effects: list[Effect] = []
        self.cluster.observer = self._listen
        self.node.start()
        self.node.run()
        if quiet:
            # Without standing for election itself: the test decides who does.
            self.engine._deadline_ms = 10**9
            self.pass_(QUIET_MS)

    def _listen(self, node: Node, what: contract.Event | Effect) -> None:
        if node is self.node and isinstance(what, Effect):
            self.effects.append(what)

    @property
    def engine(self):  # type: ignore[no-untyped-def]
        return self.node.engine

    @property
    def role(self) -> str:
        return str(self.engine._role)

    @property
    def term(self) -> int:
        return int(self.engine._term)

    @property
    def tip(self) -> BlockId:
        return bytes(self.engine._record.tip)

    @property
    def height(self) -> int:
        """What is final."""
        return self.node.finalized_height

    # ------------------------------------------------------------------------------ input

    def hear(self, sender: int, message: Message) -> None:
        source = self.cluster.nodes[sender]
        signed = self.cluster.sign(source, message)
        self.post(contract.MessageReceived(source.address, signed))

    def post(self, event: contract.Event) -> None:
        """An event, and what is due at once because of it."""
        self.node.post(event)
        self.node.run()
        self.pass_(0)

    def pass_(self, milliseconds: int) -> None:
        self.cluster.run_for(milliseconds)

    def restart(self) -> None:
        """A power cut and a new life; nobody but the test stands for election."""
        self.node.crash()
        self.node.start()
        self.node.run()
        self.engine._deadline_ms = 10**9
        self.pass_(QUIET_MS)

    def block(self, parent: Block, term: int, producer: int = 1, extra: int = 0) -> Block:
        """An entry of a term; its producer is one of the cluster's nodes."""
        return make_block(
            parent.head,
            make_address(producer),
            self.cluster.validator_sets(parent.height + 2),
            START_MS,
            claims=Claims(term).raw,
            extra=extra,
        )

    def append(
        self,
        sender: int,
        term: int,
        previous: Block,
        *blocks: Block,
        round_: int = 0,
        committed: Statement | None = None,
    ) -> None:
        last = blocks[-1] if blocks else previous
        committed = None if committed is None else self.sign(sender, committed)
        self.hear(
            sender,
            AppendEntries(term, place(previous), place(last), blocks, round_, committed),
        )

    def sign(self, sender: int, statement: Statement) -> Statement:
        signed = self.cluster.sign(self.cluster.nodes[sender], Committed((statement,)))
        assert isinstance(signed, Committed)
        return signed.statements[0]

    def statement(self, leader: int, term: int, block: Block) -> Statement:
        return Statement(block.height, block.id, term, make_address(leader))

    def ask(
        self, sender: int, term: int, last: Block, *, pre: bool = False, transfer: bool = False
    ) -> VoteReply | None:
        """A vote request for a log that ends in ``last``; the answer, if there is one."""
        before = len(self.effects)
        message = RequestVote(term, last.height, last.id, term_of(last.head), pre, transfer)
        self.hear(sender, message)
        found = [m for to, m in self._said(before) if isinstance(m, VoteReply)]
        return found[-1] if found else None

    def lead(self, *voters: int) -> int:
        """Makes the server a leader by the votes of ``voters``; the new term."""
        self.engine._deadline_ms = 0
        self.post(contract.TimerFired(("election",)))
        for voter in voters:
            self.hear(voter, VoteReply(self.term + 1, True, True))
        for voter in voters:
            self.hear(voter, VoteReply(self.term, True))
        assert self.role == "leader", self.role
        return self.term

    def reply(self, sender: int, height: int, *, term: int | None = None, round_: int = 0) -> None:
        """``sender`` holds the log up to ``height``."""
        self.hear(sender, AppendReply(self.term if term is None else term, True, height, round_))

    def echo(self, *senders: int, height: int = 0) -> None:
        """They answer the latest round."""
        for sender in senders:
            self.reply(sender, height, round_=self.engine._round)

    def submit(self) -> None:
        """A transaction comes to this server alone."""
        self.cluster.submit(to=(self.node.number,))
        self.pass_(0)

    # ------------------------------------------------------------------------------ output

    def _said(self, since: int = 0) -> list[tuple[int, Message]]:
        numbers = {node.address: node.number for node in self.cluster.nodes}
        return [
            (numbers[one.to], one.message) for one in self.effects[since:] if isinstance(one, Send)
        ]

    def said(self, kind: type[M], to: int | None = None) -> list[M]:
        """Messages of a kind that were sent (to one node)."""
        return [
            message
            for target, message in self._said()
            if isinstance(message, kind) and (to is None or target == to)
        ]

    def done(self, kind: type[Effect]) -> list[Effect]:
        return [one for one in self.effects if isinstance(one, kind)]

    def own_block(self) -> Block:
        """The last block in the server's log."""
        return self.node.bodies[self.tip]

    @property
    def durable_term(self) -> int:
        record = self.node.disk.record
        assert record is not None
        return parse_record(record).term


def place(block: Block) -> Place:
    return Place(block.height, block.id)


__all__ = ["Bench", "Finalize", "Persist", "members", "place"]
