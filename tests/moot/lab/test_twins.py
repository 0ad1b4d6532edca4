"""Twins whose partitions and leaders are drawn for each view (Bano et al., OPODIS 2021)."""

from __future__ import annotations

import itertools
import random

import msgspec
import pytest

from chain.validators import Validator, ValidatorSet
from consensus.pbft.certificates import primary_of
from moot.lab.hunt import hunt
from moot.lab.leaders import ROTAS, leaders_drawn
from moot.lab.liars_views import PATIENCE_MS, ViewPartitions
from moot.lab.mutants import find_mutant
from moot.lab.planting import MutantGone
from moot.lab.run import Laboratory, RunOptions, run
from moot.lab.signer import CheapKey
from p2p.wire import ConsensusFrame, GetPeers

TWINS = RunOptions(
    engine="pbft",
    nodes=4,
    seed=1,
    minutes=0.3,
    faults=(),
    liars=1,
    liar_kinds=("twins-by-view",),
    parameters={"view_timeout_ms": 300},
)


def members() -> ValidatorSet:
    keys = sorted(CheapKey(number).address for number in range(4))
    return ValidatorSet(tuple(Validator(key, 1, "") for key in keys))


def test_leaders_are_drawn_for_all_alike_and_given_back() -> None:
    voters = members()
    rota = [primary_of(voters, view) for view in range(200)]
    with leaders_drawn("pbft", random.Random(7)):
        drawn = [primary_of(voters, view) for view in range(200)]
        with pytest.raises(MutantGone, match="planted"), leaders_drawn("pbft", random.Random(8)):
            pass
    with leaders_drawn("pbft", random.Random(7)):
        assert [primary_of(voters, view) for view in range(200)] == drawn
    with leaders_drawn("pbft", random.Random(8)):
        assert [primary_of(voters, view) for view in range(200)] != drawn
    assert [primary_of(voters, view) for view in range(200)] == rota != drawn
    # Nobody leads much more or less than a fourth of the views, and some lead twice in a row.
    assert all(25 <= drawn.count(member.address) <= 75 for member in voters.voters)
    assert any(one == other for one, other in itertools.pairwise(drawn))


def test_an_engine_without_a_rota_keeps_what_it_has() -> None:
    assert "pow" not in ROTAS
    with leaders_drawn("pow", random.Random(1)):
        pass


def test_a_partition_lasts_as_long_as_a_round_but_not_for_ever() -> None:
    laboratory = Laboratory(msgspec.structs.replace(TWINS, liars=0, liar_kinds=None))
    with laboratory.lasting:
        parted = ViewPartitions.of(laboratory)
        assert ViewPartitions.of(laboratory) is parted
        nodes = laboratory.nodes

        def drawn() -> list[bool]:
            return [parted.same_group(one, other) for one in nodes for other in nodes]

        seen = []
        for view in range(12):
            for node in nodes:
                parted.entered(node, (5, view))
            seen.append(drawn())
            laboratory.world.run_until(laboratory.world.now_ms + PATIENCE_MS // 2)
            assert drawn() == seen[-1]
        assert len({tuple(each) for each in seen}) > 2
        lasting = set()
        for _ in range(12):
            laboratory.world.run_until(laboratory.world.now_ms + PATIENCE_MS)
            lasting.add(tuple(drawn()))
        assert len(lasting) > 2


def test_across_a_partition_votes_are_lost_and_all_else_waits_in_its_order() -> None:
    laboratory = Laboratory(msgspec.structs.replace(TWINS, liars=0, liar_kinds=None))
    with laboratory.lasting:
        parted = ViewPartitions.of(laboratory)
        one, other = laboratory.nodes[:2]
        laboratory.cluster.start()
        laboratory.world.run_until(200)
        laboratory.faults.active = True
        sent: list[object] = []
        laboratory.network.send = lambda _, key, message: sent.append(message)  # type: ignore[method-assign,assignment]

        def enter(together: bool) -> None:
            for view in range(1_000, 2_000):
                parted.entered(one, (9, view + 1_000 * together))
                if parted.same_group(one, other) is together:
                    return

        enter(together=False)
        vote, first, second = ConsensusFrame("pbft", 1, b"x"), GetPeers(), GetPeers()
        for message in (vote, first, second):
            one.send(other.key, message)
        assert sent == []
        enter(together=True)
        assert sent == [first, second] and sent[0] is first
        enter(together=False)
        one.send(other.key, first)
        laboratory.network.disconnect(one.key, other.key, "closed")
        sent.clear()
        enter(together=True)
        assert sent == []  # what waited for a link that is gone


def test_a_planted_quorum_is_found_by_twins_alone() -> None:
    planted = msgspec.structs.replace(
        find_mutant("quorum-of-half"),
        liars=("twins-by-view",),
        faults=(),
        parameters={"view_timeout_ms": 300},
    )
    catch = hunt(planted, 3, shrinks=False)
    assert catch.found and catch.checker in ("agreement", "validity")


def test_honest_replicas_bear_them() -> None:
    outcome = run(TWINS)
    assert outcome.violations == [] and outcome.operations > 0
    assert outcome.exercised["rounds_parted"] > 30
    assert outcome.exercised["lost_between_groups"] > 30
    assert outcome.exercised["view-entered"] > 3


@pytest.mark.slow
def test_honest_replicas_bear_them_under_faults_too() -> None:
    for seed in range(100, 120):
        options = msgspec.structs.replace(TWINS, seed=seed, nodes=4 + seed % 4, faults=None)
        assert run(options).violations == [], seed
