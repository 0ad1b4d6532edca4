"""Each checker sees what it is for: a node with one planted mistake, and the word that names it."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest

from chain.hashing import ZERO_HASH
from chain.view import ChainView
from consensus.contract import (
    Broadcast,
    Effect,
    Engine,
    EngineConfig,
    Event,
    Now,
    Persist,
    SetHead,
    Status,
)
from consensus.pbft import book, certificates, replica, view_change
from consensus.pbft.messages import Prepare, PrePrepare
from consensus.pbft.parameters import PbftParameters
from moot.lab.checkers import Auditor
from moot.lab.clients import Payment
from moot.lab.node import SimulatedNode
from moot.lab.planting import Rewrite, planted
from moot.lab.report import Findings
from moot.lab.run import Laboratory, Outcome, RunOptions, run
from moot.node.gate import Signer

Change = Callable[[list[Effect]], list[Effect]]


class Meddled:
    """An engine whose effects are changed on their way out."""

    def __init__(self, inner: Engine, change: Change) -> None:
        self.inner = inner
        self._change = change

    def handle(self, event: Event, view: ChainView, now: Now) -> list[Effect]:
        return self._change(self.inner.handle(event, view, now))

    def status(self, view: ChainView, now: Now) -> Status:
        return self.inner.status(view, now)


def meddle(nodes: int, change: Change) -> Callable[[Laboratory], None]:
    """The first ``nodes`` nodes have their effects changed; the checkers take them for honest."""

    def prepare(laboratory: Laboratory) -> None:
        for node in laboratory.nodes[:nodes]:
            node.wrappers.append(lambda engine: Meddled(engine, change))

    return prepare


def found(
    engine: str,
    *prepare: Callable[[Laboratory], None],
    faults: tuple[str, ...] = (),
    minutes: float = 0.1,
    seed: int = 1,
) -> Outcome:
    options = RunOptions(engine=engine, nodes=4, seed=seed, minutes=minutes, faults=faults)
    return run(options, prepare)


def checkers(outcome: Outcome) -> set[str]:
    return {violation.checker for violation in outcome.violations}


def test_a_vote_that_is_not_persisted_first() -> None:
    def forget(effects: list[Effect]) -> list[Effect]:
        return [effect for effect in effects if not isinstance(effect, Persist)]

    outcome = found("pbft", meddle(1, forget))
    assert checkers(outcome) == {"durable-before-speaking"}
    assert "persists nothing before it says so" in outcome.violations[0].message


def test_a_vote_that_is_said_before_it_is_persisted() -> None:
    def hurry(effects: list[Effect]) -> list[Effect]:
        said = [effect for effect in effects if isinstance(effect, Broadcast)]
        return said + [effect for effect in effects if not isinstance(effect, Broadcast)]

    assert checkers(found("pbft", meddle(1, hurry))) == {"durable-before-speaking"}


@pytest.mark.parametrize("swap", [False, True])
def test_a_block_that_is_signed_without_or_before_its_record(swap: bool) -> None:
    def change(effects: list[Effect]) -> list[Effect]:
        records = [effect for effect in effects if isinstance(effect, Persist)]
        others = [effect for effect in effects if not isinstance(effect, Persist)]
        return [*others, *records] if swap else others

    outcome = found("authority", meddle(1, change))
    assert "durable-before-speaking" in checkers(outcome)
    assert "asks for a block to sign" in outcome.violations[0].message


def test_two_blocks_signed_for_one_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine forgets what it signed when its clock is set back, and so does its signer."""
    monkeypatch.setattr(Signer, "_guard", lambda self, slot, digest: None)
    with planted(
        [Rewrite("consensus.authority:AuthorityEngine._next_turn", "self._last_slot + 1, ", "")]
    ):
        for seed in range(1, 20):
            outcome = found("authority", faults=("clock-jump",), minutes=0.3, seed=seed)
            if "contradiction" in checkers(outcome):
                return
    raise AssertionError("nobody noticed")


def test_a_second_proposal_after_a_restart() -> None:
    """A primary dies with its proposal unheard, and comes back as if it had never spoken."""

    def prepare(laboratory: Laboratory) -> None:
        first = laboratory.protocol.first_record(laboratory.chain_id)
        config = EngineConfig(laboratory.chain_id, PbftParameters(view_timeout_ms=1_000))

        def forget(node: SimulatedNode) -> None:
            if node.starts > 1:
                core, rng = node.running, laboratory.world.rng("fresh")
                fresh = laboratory.protocol.engine(core.me, config, rng, first)
                vars(core.driver.engine)["inner"] = fresh

        def die(node: SimulatedNode) -> None:
            node.crash()
            laboratory.network.heal()
            laboratory.world.after(200, node.start)

        def watch(node: SimulatedNode) -> Callable[[Event | Effect], None]:
            def proposes(thing: Event | Effect) -> None:
                if not isinstance(thing, Broadcast) or node.starts > 1:
                    return
                if isinstance(thing.message, PrePrepare) and thing.message.height == 3:
                    laboratory.network.partition([node])
                    laboratory.world.after(1, lambda: die(node))

            return proposes

        for node in laboratory.nodes:
            node.started.append(forget)
            node.observe(watch(node))

    outcome = found("pbft", prepare)
    assert "contradiction" in checkers(outcome)
    assert "pre-prepare at height 3, view 0" in outcome.violations[0].message


def test_two_chains_of_final_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the replicas for a quorum: both sides of a partition decide."""
    for module in (book, certificates, replica, view_change):
        monkeypatch.setattr(module, "quorum_byzantine", lambda members: members // 2)

    def split(laboratory: Laboratory) -> None:
        halves = laboratory.nodes[:2], laboratory.nodes[2:]
        laboratory.world.after(2_000, lambda: laboratory.network.partition(*halves))

    assert "agreement" in checkers(found("pbft", split, minutes=0.2))


def test_a_chain_that_stands_still() -> None:
    def mute(effects: list[Effect]) -> list[Effect]:
        return [effect for effect in effects if not isinstance(effect, Broadcast)]

    outcome = found("pbft", meddle(2, mute))
    assert checkers(outcome) <= {"lasso", "progress"}
    assert outcome.violations
    assert "view" in outcome.violations[0].message


def test_an_exception_out_of_the_engine_names_its_place() -> None:
    def trip(effects: list[Effect]) -> list[Effect]:
        assert not any(
            isinstance(effect, Broadcast) and isinstance(effect.message, Prepare)
            for effect in effects
        ), "tripped"
        return effects

    outcome = found("pbft", meddle(1, trip))
    assert "node-failed" in checkers(outcome)
    assert "test_checkers.py" in outcome.violations[0].message
    assert "tripped" in outcome.violations[0].message


def test_a_miner_that_does_not_follow_the_heaviest_branch() -> None:
    moves = 0

    def ignore_some(effects: list[Effect]) -> list[Effect]:
        nonlocal moves
        kept = []
        for effect in effects:
            moves += isinstance(effect, SetHead)
            if not isinstance(effect, SetHead) or moves % 5:
                kept.append(effect)
        return kept

    assert "fork-choice" in checkers(found("pow", meddle(1, ignore_some), minutes=0.5))


def test_an_engine_that_keeps_everything() -> None:
    def hoard(laboratory: Laboratory) -> None:
        def start(node: SimulatedNode) -> None:
            engine: object = node.running.driver.engine
            while hasattr(engine, "inner"):
                engine = engine.inner
            vars(engine)["_hoard"] = [0] * 20_001

        laboratory.nodes[0].started.append(start)

    outcome = found("pbft", hoard)
    assert checkers(outcome) == {"bounds"}
    assert "_hoard" in outcome.violations[0].message


def test_the_auditor_refuses_a_block_with_another_state_and_one_without_a_proof() -> None:
    laboratory = Laboratory(RunOptions(engine="pbft", nodes=4, seed=1, minutes=0.1, faults=()))
    laboratory.run()
    ledger = laboratory.nodes[0].running.ledger
    first = ledger.block(laboratory.agreement.final[0])
    assert first is not None
    proof = ledger.proof(first.id)
    findings = Findings()
    auditor = Auditor(laboratory.cluster.genesis, laboratory.cluster.verifier, findings)
    wrong = msgspec.structs.replace(first.manifest, state_root=ZERO_HASH)
    auditor.audit(msgspec.structs.replace(first, manifest=wrong), proof, 1)
    auditor.audit(first, None, 2)
    assert [one.checker for one in findings.violations] == ["validity", "validity"]
    auditor.audit(first, proof, 3)
    assert len(findings.violations) == 2
    assert auditor.height == 1


def test_coins_that_nobody_minted_are_missed() -> None:
    laboratory = Laboratory(RunOptions(engine="pow", nodes=3, seed=1, minutes=0.3, faults=()))
    assert laboratory.run().violations == []
    auditor = laboratory.auditor
    auditor.count(1)
    assert laboratory.findings.violations == []
    auditor.minted(-1)
    auditor.count(2)
    assert [one.checker for one in laboratory.findings.violations] == ["supply"]


def test_who_pruned_a_payment_says_by_the_nonce_that_it_took_effect() -> None:
    options = RunOptions(
        engine="raft", nodes=3, seed=1, minutes=0.1, faults=(), load_tps=8.0, snapshots="3,1,0,3"
    )
    laboratory = Laboratory(options)
    assert laboratory.run().violations == []
    clients, node = laboratory.clients, laboratory.nodes[0]
    ledger, told = node.running.ledger, dict(clients.acknowledged)
    forgotten = {txid for txid in told if ledger.transaction(txid) is None}
    assert forgotten, "the node has pruned some of what it said"
    clients.open = {
        txid: Payment(transaction, 0, 0, random.Random(1))
        for txid, (transaction, _) in told.items()
    }
    later = msgspec.structs.replace(
        next(iter(told.values()))[0], nonce=ledger.account(clients.users[0].address).nonce + 99
    )
    clients.open[later.id] = Payment(later, 0, 0, random.Random(1))
    clients.acknowledged.clear()
    clients.listeners.clear()  # they have heard of all
    clients._hear(node)
    assert set(clients.acknowledged) == set(told), "also what it knows no more"
    assert set(clients.open) == {later.id}, "but nothing whose nonce is not used up"


def test_an_acknowledged_payment_that_is_gone_and_one_that_is_there_twice() -> None:
    laboratory = Laboratory(RunOptions(engine="pbft", nodes=4, seed=1, minutes=0.1, faults=()))
    assert laboratory.run().violations == []
    clients, node = laboratory.clients, laboratory.nodes[0]
    txid, (transaction, height) = next(iter(clients.acknowledged.items()))
    clients.acknowledged[ZERO_HASH] = (transaction, height)
    clients.check(node, may_be_reverted=False)
    assert [one.checker for one in laboratory.findings.violations] == ["acknowledged-lost"]
    assert txid != ZERO_HASH
