"""The tests' test: textbook mistakes, planted one at a time, which the campaigns must notice."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from consensus.contract import EngineConfig, Message, NodeId, Persist
from consensus.pbft import (
    PROTOCOL,
    PbftEngine,
    PbftProtocol,
    book,
    certificates,
    inbox,
    replica,
    view_change,
)
from consensus.pbft.messages import Commit, ViewChange
from consensus.pbft.record import PbftRecord
from tests.consensus.pbft.campaign import QUICK, run_campaign
from tests.consensus.pbft.liars import double_voter, equivocating_primary, usurper
from tests.support.engine_cluster import Cluster, Node


class ForgetsItsRecord(PbftEngine):
    """Votes live in memory only: after a restart it votes as if new (bug B6)."""

    def __init__(self, me: NodeId, config: EngineConfig, record: bytes | None) -> None:
        super().__init__(me, config, PbftRecord().raw)


class SpeaksBeforeWriting(PbftEngine):
    """Broadcast first, Persist second."""

    def _speak(self, message: Message, blocks: tuple[bytes, ...] = ()) -> None:
        super()._speak(message, blocks)
        self._effects[-2:] = reversed(self._effects[-2:])
        assert isinstance(self._effects[-1], Persist)


class HidesWhatItPrepared(PbftEngine):
    """View changes without their prepared certificates (bug B2)."""

    def _view_change(self) -> ViewChange:
        change = super()._view_change()
        return ViewChange(change.view, change.height, change.parent, None, change.sender)


class StaysInTheOldView(PbftEngine):
    """Goes on voting in the view that it asked to leave (section 4.4 forbids it)."""

    def _try_say_view_change(self) -> bool:
        said = super()._try_say_view_change()
        if said:
            self._record = replace_view(self._record)
        return said


def replace_view(record: PbftRecord) -> PbftRecord:
    return replace(record, view=max(0, record.view - 1), active=True)


def protocol_of(engine: type[PbftEngine]) -> PbftProtocol:
    class Mutant(PbftProtocol):
        def engine(
            self, me: NodeId, config: EngineConfig, rng: random.Random, record: bytes | None
        ) -> PbftEngine:
            return engine(me, config, record)

    return Mutant()


def _is_found(run: Callable[[int], object], seeds: int) -> bool:
    for seed in range(seeds):
        try:
            run(seed)
        except AssertionError:
            return True
    return False


@pytest.mark.parametrize(
    "engine",
    [ForgetsItsRecord, SpeaksBeforeWriting, HidesWhatItPrepared, StaysInTheOldView],
    ids=lambda engine: engine.__name__,
)
def test_mutant_is_found_by_faults(engine: type[PbftEngine]) -> None:
    protocol = protocol_of(engine)
    assert _is_found(lambda seed: run_campaign(seed, 4, protocol=protocol, rounds=20), 300)


def _usurp() -> Cluster:
    """Node 3 alone sees block X final and is cut off; then the primary of view 1 drops X."""
    cluster = Cluster(PROTOCOL, 4, parameters=QUICK, background_sync_ms=None, latency_ms=(5, 10))
    usurping = cluster.nodes[1]
    usurping.honest, usurping.rewrite = False, usurper
    witness = cluster.nodes[3]

    def drop(source: Node, target: Node, message: Message) -> bool:
        first_commit = isinstance(message, Commit) and message.view == 0
        return (source is witness and witness.finalized_height > 0) or (
            first_commit and target is not witness
        )

    cluster.drop = drop
    cluster.start()
    cluster.submit()
    cluster.run_until(lambda: witness.finalized_height == 1, limit_ms=300)
    cluster.run_for(600)
    return cluster


def test_new_view_taken_on_trust_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug B2: nobody recomputes the choice, so a final block is replaced by another."""
    monkeypatch.setattr(inbox, "check_new_view", lambda message, members, parent: None)
    with pytest.raises(AssertionError, match="another one"):
        _usurp()


def test_usurper_is_refused_and_the_final_block_stays() -> None:
    """The same story with the check: the new view is refused, view 2 keeps the block."""
    cluster = _usurp()
    refused = {report.reason for node in cluster.nodes for report in node.reports}
    assert refused == {"wrong-choice"}
    cluster.heal()
    cluster.submit()
    cluster.run_until(lambda: min(node.finalized_height for node in cluster.nodes) >= 2)


def test_quorum_of_a_half_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of four: two quorums need not share a member at all."""

    def quorum(n: int) -> int:
        return n // 2

    for module in (book, certificates, replica, view_change):
        monkeypatch.setattr(module, "quorum_byzantine", quorum)

    def corrupt(node: Node) -> None:
        node.rewrite = equivocating_primary if node.number % 2 == 0 else double_voter

    assert _is_found(lambda seed: run_campaign(seed, 4, make_liar=corrupt), 60)


def test_honest_engine_passes_the_same_seeds() -> None:
    """Guards the tests above: what they find is the mutation."""
    assert not _is_found(lambda seed: run_campaign(seed, 4, rounds=20), 12)
