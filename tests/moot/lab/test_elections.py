"""The checker of Raft's words sees each broken one, and says nothing of an honest server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chain.address import Address
from chain.hashing import ZERO_HASH
from consensus.contract import MessageReceived, Send, Trace
from consensus.raft import RaftParameters
from consensus.raft.engine import RaftEngine
from consensus.raft.messages import (
    AppendEntries,
    AppendReply,
    Committed,
    Place,
    RequestVote,
    Statement,
    VoteReply,
)
from consensus.raft.rules import term_of
from moot.lab.checkers import Elections
from moot.lab.checkers.bounds import innermost
from moot.lab.cluster import Cluster
from moot.lab.node import SimulatedNode
from moot.lab.report import Findings

PATIENCE_MS = RaftParameters().election_ms_min
LATER = 5
"""Terms that nobody has come to."""


class Scene:
    """Three honest servers with a leader, some blocks, and the checker; then somebody's word."""

    def __init__(self) -> None:
        self.cluster = Cluster("raft", 3, 1, parameters={"idle_block_ms": 0})
        self.findings = Findings()
        self.checker = Elections(self.cluster.nodes, RaftParameters(), self.findings)
        self.cluster.start()
        self.cluster.run(1_000)
        for _ in range(3):
            self.cluster.transfer(self.cluster.world.rng("pay"), self.cluster.nodes[0])
            self.cluster.run(500)
        assert self.findings.violations == []
        leader = self.cluster.nodes[0].running.producer
        self.leader = next(one for one in self.cluster.nodes if one.signer.address == leader)
        self.voter, self.other = (one for one in self.cluster.nodes if one is not self.leader)

    @property
    def term(self) -> int:
        return self.engine(self.leader).term

    @property
    def tip(self) -> Place:
        ledger = self.leader.running.ledger
        return Place(ledger.height(ledger.head()), ledger.head())

    def engine(self, node: SimulatedNode) -> RaftEngine:
        engine = innermost(node.running.driver.engine)
        assert isinstance(engine, RaftEngine)
        return engine

    def says(self, node: SimulatedNode, to: SimulatedNode, message: object) -> None:
        self.checker._observe(node, Send(to.signer.address, message))  # type: ignore[arg-type]

    def hears(self, node: SimulatedNode, source: SimulatedNode, message: object) -> None:
        self.checker._observe(node, MessageReceived(source.signer.address, message))  # type: ignore[arg-type]

    def asks(self, term: int, height: int | None = None, *, pre: bool = True) -> RequestVote:
        ledger, tip = self.leader.running.ledger, self.tip
        last = term_of(ledger.header(tip.block_id)) if height is None else 0
        return RequestVote(term, tip.height if height is None else height, tip.block_id, last, pre)

    def heartbeat(self, term: int) -> AppendEntries:
        return AppendEntries(term, self.tip, self.tip, (), 1)

    def found(self) -> list[tuple[str, str]]:
        return [(one.checker, one.message) for one in self.findings.violations]


def two_leaders(scene: Scene) -> None:
    scene.checker._observe(scene.voter, Trace("leads", {"term": scene.term}))


def two_votes(scene: Scene) -> None:
    scene.says(scene.voter, scene.other, VoteReply(scene.term, True))


def a_vote_that_is_not_written(scene: Scene) -> None:
    scene.says(scene.voter, scene.other, VoteReply(scene.term + LATER, True))


def a_vote_for_a_shorter_log(scene: Scene) -> None:
    scene.hears(scene.voter, scene.other, scene.asks(scene.term + 1, 0))
    scene.cluster.run(PATIENCE_MS)
    scene.says(scene.voter, scene.other, VoteReply(scene.term + 1, True, True))


def a_vote_while_a_leader_is_heard(scene: Scene) -> None:
    scene.hears(scene.voter, scene.leader, scene.heartbeat(scene.term))
    scene.hears(scene.voter, scene.other, scene.asks(scene.term + 1))
    scene.says(scene.voter, scene.other, VoteReply(scene.term + 1, True, True))


def a_candidacy_that_is_not_written(scene: Scene) -> None:
    scene.says(scene.voter, scene.other, scene.asks(scene.term + LATER, pre=False))


def an_acknowledgement_that_is_not_written(scene: Scene) -> None:
    scene.says(
        scene.voter, scene.leader, AppendReply(scene.term, True, scene.tip.height + LATER, 1)
    )


def _commits(scene: Scene, term: int) -> None:
    tip = scene.tip
    word = Statement(tip.height, tip.block_id, term, scene.leader.signer.address)
    scene.says(scene.leader, scene.voter, Committed((word,)))


def an_entry_of_an_earlier_term_is_counted(scene: Scene) -> None:
    _commits(scene, scene.term + 1)


def what_few_have_written_is_called_committed(scene: Scene) -> None:
    scene.checker._holders[scene.tip.block_id] = {scene.leader.signer.address}
    _commits(scene, scene.term)


@pytest.mark.parametrize(
    ("word", "checker", "words"),
    [
        (two_leaders, "elections", "as another one does"),
        (two_votes, "elections", "votes twice"),
        (a_vote_that_is_not_written, "durable-before-speaking", "has not written it"),
        (a_vote_for_a_shorter_log, "elections", "a log behind its own"),
        (a_vote_while_a_leader_is_heard, "elections", "ms after it heard a leader"),
        (a_candidacy_that_is_not_written, "durable-before-speaking", "stands in term"),
        (an_acknowledgement_that_is_not_written, "durable-before-speaking", "acknowledges height"),
        (an_entry_of_an_earlier_term_is_counted, "elections", "counts an entry of term"),
        (what_few_have_written_is_called_committed, "elections", "which 1 servers have written"),
    ],
)
def test_each_broken_word_is_named(word: Callable[[Scene], None], checker: str, words: str) -> None:
    scene = Scene()
    word(scene)
    assert any(one == checker and words in message for one, message in scene.found()), scene.found()


def test_a_leader_of_an_older_term_is_not_heard() -> None:
    """A server that was paused handles a vote of a later term and then what an old leader had said
    before, and writes only after that: the old leader's word keeps it from no election."""
    scene = Scene()
    old, engine = scene.term, scene.engine(scene.voter)
    scene.checker._heard.clear()
    engine._replace(term=old + 1, voted_for=None)
    scene.hears(scene.voter, scene.leader, scene.heartbeat(old))
    scene.hears(scene.voter, scene.other, scene.asks(old + 2))
    scene.says(scene.voter, scene.other, VoteReply(old + 2, True, True))
    assert scene.found() == []
    scene.hears(scene.voter, scene.leader, scene.heartbeat(old + 1))
    scene.hears(scene.voter, scene.other, scene.asks(old + 3))
    scene.says(scene.voter, scene.other, VoteReply(old + 3, True, True))
    assert len(scene.found()) == 1


def test_a_strangers_statement_is_no_word_of_the_leaders() -> None:
    scene = Scene()
    word = Statement(scene.tip.height, ZERO_HASH, scene.term, Address(scene.voter.signer.address))
    scene.says(scene.leader, scene.voter, Committed((word,)))
    assert scene.found() == []
