"""Claims of EIP-225 (Clique, Péter Szilágyi 2017) that ``authority`` keeps, and where it differs.

The EIP has no numbered sections; each test names the constant or the heading that it is about.
"""

from __future__ import annotations

import msgspec
import pytest

from chain.errors import InvalidBlock
from chain.transaction import OUT, VOTER, Transaction
from chain.validators import majority
from consensus.authority import (
    IN_TURN_WEIGHT,
    OUT_OF_TURN_WEIGHT,
    AuthorityParameters,
    is_in_turn,
    signed_recently,
    signers_of,
)
from consensus.contract import Build, SetHead, SetTimer, SyncChanged
from moot.lab.cluster import Cluster
from moot.lab.node import SimulatedNode
from tests.consensus.authority.test_engine import Bench, the
from tests.consensus.authority.trees import GENESIS_SLOT, SLOT_MS, Tree, signer
from wallet.build import membership_vote


def test_diff_inturn_is_2_and_diff_noturn_is_1() -> None:
    assert (IN_TURN_WEIGHT, OUT_OF_TURN_WEIGHT) == (2, 1)


def test_a_chain_in_turn_is_heavier_than_any_other_of_the_same_slots() -> None:
    """One signer is preferred for each block by the greater difficulty of blocks in turn."""
    tree = Tree(4)
    kept = tree.rota(tree.genesis, 6)
    mixed = tree.genesis
    for offset in range(1, 7):
        slot = GENESIS_SLOT + offset
        mixed = tree.grow(mixed, (slot + (1 if offset % 2 else 0)) % 4)
    assert tree.weight(kept) == 12 and tree.weight(mixed) == 9
    assert tree.height(kept) == tree.height(mixed)


@pytest.mark.parametrize("count", range(1, 12))
def test_signer_limit_is_half_the_signers_rounded_down_plus_one(count: int) -> None:
    """SIGNER_LIMIT: of so many consecutive blocks a signer may sign one. With
    floor(SIGNER_COUNT / 2) + 1 a chain is the work of a majority."""
    tree = Tree(count)
    signers, limit = signers_of(tree.set), count // 2 + 1
    parent = tree.grow(tree.genesis, 0)
    for others in range(1, limit):
        assert signed_recently(signers, signer(0), tree, parent)
        parent = tree.grow(parent, others % count)
    assert not signed_recently(signers, signer(0), tree, parent)
    assert limit == majority(count)


def test_authorising_a_block_a_signer_that_is_not_listed_is_refused() -> None:
    tree = Tree(3)
    with pytest.raises(InvalidBlock, match="no signer"):
        tree.rules.check_header(tree.make(tree.genesis, 0, producer=signer(9)).head, tree)


def test_authorization_strategy_in_turn_at_once_out_of_turn_after_a_random_wiggle() -> None:
    """In turn: at the very time. Out of turn: after a delay drawn from up to SIGNER_COUNT * 500 ms;
    here after a fixed pause and jitter, which end within the slot."""
    bench = Bench(me=1)
    bench.now_ms = (bench.slot - 1) * SLOT_MS  # another's slot
    (waits,) = the(SetTimer, bench.tell(SyncChanged(False)))
    parameters = bench.tree.rules.parameters
    low, high = parameters.step_in_ms, parameters.step_in_ms + parameters.jitter_ms
    assert low <= waits.delay_ms < high < SLOT_MS
    bench.now_ms = bench.slot * SLOT_MS  # its own
    (at_once,) = the(SetTimer, bench.tell(SyncChanged(False)))
    assert at_once.delay_ms == 0


def test_out_of_turn_blocks_keep_the_chain_going_when_a_signer_is_offline() -> None:
    """Others may sign out of turn, so that one that is down does not hold up the rest."""
    cluster = Cluster("authority", 3, 7)
    cluster.start()
    cluster.nodes[0].crash()
    cluster.run(10_000)
    ledger = cluster.nodes[1].running.ledger
    slots = 10_000 // 500
    assert ledger.height(ledger.head()) >= slots - 4


def test_differs_turns_go_by_slot_not_by_block_number() -> None:
    """EIP-225: BLOCK_NUMBER % SIGNER_COUNT. Then one that is down is in turn until its height is
    made out of turn; by slot, the others' turns come at the pace of the clock."""
    signers = signers_of(Tree(3).set)
    assert is_in_turn(signers, 4, signers[1]) and not is_in_turn(signers, 4, signers[0])


def test_differs_equal_weight_is_decided_by_the_smaller_id() -> None:
    """EIP-225 leaves ties to what was seen first; networks with an even number of signers have
    stood still over that. Two signers see two rival blocks in opposite orders, and agree."""
    tree = Tree(4)
    rivals = [tree.make(tree.genesis, by, into_ms=600) for by in (2, 3)]
    heads = set()
    for order in (rivals, rivals[::-1]):
        bench = Bench(me=7, count=4)
        for block in order:
            bench.imported(block)
        heads.add(bench.tree.current)
    assert len(heads) == 1


@pytest.mark.parametrize("count", [2, 4, 6])
def test_an_even_split_with_every_signer_spent_goes_on_when_it_heals(count: int) -> None:
    """Each half makes what it may and halts: two branches of equal weight, perhaps, on each of
    which half of the signers have signed recently. After the healing the chain moves again."""
    cluster = Cluster("authority", count, 3)
    nodes = cluster.nodes
    cluster.start()
    cluster.run(2_000)
    cluster.network.partition(nodes[: count // 2], nodes[count // 2 :])
    cluster.run(8_000)
    stopped = [_height(node) for node in nodes]
    cluster.run(4_000)
    assert [_height(node) for node in nodes] == stopped, "half is no majority"
    cluster.network.heal()
    cluster.run(6_000)
    assert min(_height(node) for node in nodes) >= max(stopped) + 6, cluster.explain()
    height = min(_height(node) for node in nodes) - 1
    assert len({node.running.ledger.id_at(height) for node in nodes}) == 1


def test_voting_a_majority_admits_and_a_majority_expels() -> None:
    """A proposal that a majority of the signers support comes into effect. Here by transactions,
    some blocks later (validator_lag), and without epochs."""
    cluster = Cluster("authority", 3, 5, observers=1)
    cluster.start()
    cluster.run(2_000)
    newcomer = cluster.nodes[3]
    _vote(cluster, [0], newcomer, VOTER)
    cluster.run(6_000)
    assert len(_set(cluster)) == 3, "one of three decides nothing"
    _vote(cluster, [1], newcomer, VOTER)
    cluster.run(12_000)
    assert newcomer.signer.address in _set(cluster)
    assert newcomer.running.engine_status().facts["role"] == "signer"
    made = _producers(cluster, 8)
    assert newcomer.signer.address in made, "it takes its turns"
    _vote(cluster, [0, 1, 2], cluster.nodes[2], OUT)  # three of four; it agrees to go
    cluster.run(12_000)
    assert cluster.nodes[2].signer.address not in _set(cluster)
    before = _height(cluster.nodes[0])
    cluster.run(5_000)
    assert _height(cluster.nodes[0]) > before + 5
    assert cluster.nodes[2].signer.address not in _producers(cluster, 8)


def _height(node: SimulatedNode) -> int:
    ledger = node.running.ledger
    return ledger.height(ledger.head())


def _set(cluster: Cluster) -> tuple[bytes, ...]:
    ledger = cluster.nodes[0].running.ledger
    return signers_of(ledger.validators(ledger.head()))


def _producers(cluster: Cluster, count: int) -> set[bytes]:
    ledger = cluster.nodes[0].running.ledger
    block = ledger.header(ledger.head())
    found = set()
    for _ in range(count):
        found.add(block.manifest.producer)
        block = ledger.header(block.previous)
    return found


def _vote(cluster: Cluster, voters: list[int], subject: SimulatedNode, standing: int) -> None:
    weight, name = (1, subject.name) if standing == VOTER else (0, "")
    wish = membership_vote(subject.signer.address, standing, weight, name)
    for number in voters:
        voter = cluster.nodes[number]
        core = voter.running
        nonce = core.mempool.next_nonce(voter.signer.address, core.ledger)
        draft = Transaction(voter.signer.address, nonce, 2_000, 0, 0, (wish,))
        witness = voter.signer.sign(draft.signing_bytes(core.ledger.chain_id))
        assert voter.submit([msgspec.structs.replace(draft, witness=(witness,))]) == [None]


def test_the_record_goes_first_so_that_no_slot_has_two_blocks() -> None:
    effects = Bench().ring()
    assert [type(effect).__name__ for effect in effects[:2]] == ["Persist", "Build"]
    assert the(Build, effects) and not the(SetHead, effects)


def test_parameters_default_to_slow_and_safe() -> None:
    assert AuthorityParameters().slot_ms == 3_000
