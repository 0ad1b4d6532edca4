"""Each rule of a header has a block that breaks it and nothing else."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.changes import Mint
from chain.errors import InvalidBlock, InvalidProof
from chain.genesis import Era
from chain.hashing import BlockId
from chain.header import VERSION
from chain.proof import Evidence, Proof
from chain.validators import ValidatorSet
from consensus.contract import Rules, WorkRules
from consensus.pow import PowParameters, PowRules
from consensus.pow.target import bits_from_target
from tests.consensus.pow.trees import ALICE, BOB, EASY, GENESIS_MS, Tree

GENESIS_S = GENESIS_MS // 1_000


@pytest.fixture
def tree() -> Tree:
    return Tree(PowRules(EASY))


def refused(tree: Tree, parent: BlockId, **changes: object) -> str:
    """The code with which a child that differs in ``changes`` is refused."""
    with pytest.raises(InvalidBlock) as caught:
        tree.rules.check_header(tree.child(parent, **changes).head, tree)  # type: ignore[arg-type]
    return caught.value.code


def accepted(tree: Tree, parent: BlockId, **changes: object) -> None:
    tree.rules.check_header(tree.child(parent, **changes).head, tree)  # type: ignore[arg-type]


def test_rules_answer_both_protocols(tree: Tree) -> None:
    rules: Rules = tree.rules
    assert isinstance(rules, WorkRules)
    assert not rules.properties.finalizes and rules.properties.finality == "depth"


def test_honest_blocks_pass(tree: Tree) -> None:
    parent = tree.genesis
    for _ in range(30):
        block = tree.child(parent)
        tree.rules.check_header(block.head, tree)
        parent = tree.add(block).id


def test_hash_above_target(tree: Tree) -> None:
    nonce_without_work = next(
        block
        for extra in range(100)
        if int.from_bytes(
            (block := tree.child(tree.genesis, extra=extra, grind_to=2**256)).id, "little"
        )
        > tree.rules.target(EASY.initial_bits)
    )
    with pytest.raises(InvalidBlock) as caught:
        tree.rules.check_header(nonce_without_work.head, tree)
    assert caught.value.code == "insufficient-work"


@pytest.mark.parametrize("bits", [0, 0x1D80FFFF, 0x1D00007F, 0xFF7FFFFF, 0x2100FFFF])
def test_bits_that_are_no_target_or_above_the_limit(tree: Tree, bits: int) -> None:
    assert refused(tree, tree.genesis, bits=bits, grind_to=2**256) == "bad-bits"


def test_difficulty_is_computed_not_believed(tree: Tree) -> None:
    easier_than_asked = tree.grow(tree.genesis, 90, after_s=0)  # far ahead of schedule
    asked = tree.rules.next_bits(tree, easier_than_asked, 0)
    assert tree.rules.target(asked) < tree.rules.target(EASY.initial_bits)
    assert refused(tree, easier_than_asked, bits=EASY.initial_bits) == "bad-difficulty"
    harder = bits_from_target(tree.rules.target(asked) // 2)
    assert refused(tree, easier_than_asked, bits=harder) == "bad-difficulty"


def test_reward_is_exact(tree: Tree) -> None:
    for reward in (EASY.subsidy + 1, EASY.subsidy - 1, 0):
        assert refused(tree, tree.genesis, reward=reward) == "bad-reward"


def test_version_bits_that_are_free_and_not(tree: Tree) -> None:
    for bit in range(32):
        version = VERSION ^ 1 << bit
        if 13 <= bit <= 28:
            accepted(tree, tree.genesis, version=version)
        else:
            assert refused(tree, tree.genesis, version=version) == "bad-version"


def test_claims_and_seals_have_no_place(tree: Tree) -> None:
    assert refused(tree, tree.genesis, claims=b"x") == "unexpected-claims"
    assert refused(tree, tree.genesis, seal=b"x") == "unexpected-seal"


def test_header_time_is_rolled_forward_only_and_within_the_limit(tree: Tree) -> None:
    own_s = GENESIS_S + 1
    accepted(tree, tree.genesis, time_s=own_s)
    accepted(tree, tree.genesis, time_s=own_s + 7_200)
    assert refused(tree, tree.genesis, time_s=own_s + 7_201) == "bad-time"
    assert refused(tree, tree.genesis, time_s=own_s - 1) == "bad-time"


def test_header_time_exceeds_the_median_of_eleven(tree: Tree) -> None:
    """Six of the last eleven headers are rolled ahead; the child may not go below the sixth."""
    parent = tree.grow(tree.genesis, 5)
    for _ in range(6):
        parent = tree.add(tree.child(parent, time_s=GENESIS_S + 1_000)).id
    median = GENESIS_S + 1_000
    assert tree.rules.earliest_time_s(tree, parent) == median + 1
    assert refused(tree, parent, time_s=median) == "time-too-old"
    accepted(tree, parent, time_s=median + 1)


def test_five_of_eleven_cannot_move_the_median(tree: Tree) -> None:
    parent = tree.grow(tree.genesis, 20)
    for _ in range(5):
        parent = tree.add(tree.child(parent, time_s=GENESIS_S + 5_000)).id
    assert tree.rules.earliest_time_s(tree, parent) == tree.heads[parent].time_ms // 1_000


@given(st.lists(st.integers(0, 40), max_size=40))
def test_earliest_time_is_the_median_rule_and_the_manifest_rule(rolls: list[int]) -> None:
    tree = Tree(PowRules(EASY))
    parent, times, manifest_ms = tree.genesis, [GENESIS_S], GENESIS_MS
    for roll in rolls:
        earliest = max(sorted(times[-11:])[len(times[-11:]) // 2] + 1, (manifest_ms + 1) // 1_000)
        assert tree.rules.earliest_time_s(tree, parent) == earliest
        manifest_ms += 1
        block = tree.child(parent, time_ms=manifest_ms, time_s=earliest + roll)
        tree.rules.check_header(block.head, tree)
        parent = tree.add(block).id
        times.append(earliest + roll)


def test_a_block_far_ahead_of_the_clock_is_not_yet(tree: Tree) -> None:
    block = tree.child(tree.genesis, time_s=GENESIS_S + 100)
    limit_ms = EASY.future_limit_ms
    assert tree.rules.earliest_ms(block.head) == (GENESIS_S + 100) * 1_000 - limit_ms


def test_fixed_difficulty_never_moves() -> None:
    fixed = PowParameters(
        initial_bits=0x207F_FFFF, pow_limit_bits=0x207F_FFFF, fixed_difficulty=1, half_life_ms=1
    )
    tree = Tree(PowRules(fixed))
    parent = tree.grow(tree.genesis, 50, after_s=1)
    assert tree.rules.next_bits(tree, parent, 0) == fixed.initial_bits


def test_asert_counts_from_the_last_block_before_its_era() -> None:
    """A chain that changes to pow at height 6 is not behind a schedule that began with genesis."""
    parameters = msgspec.structs.replace(EASY, initial_bits=0x201F_FFFF)
    tree = Tree(PowRules(parameters), from_height=6)
    parent = tree.genesis
    for _ in range(5):  # another engine's blocks
        parent = tree.add(tree.child(parent, after_s=1_000, bits=0x207F_FFFF)).id
    assert tree.rules.next_bits(tree, parent, 0) == parameters.initial_bits
    tree.era = Era(0, "pow")
    assert tree.rules.next_bits(tree, parent, 0) == parameters.pow_limit_bits


def test_reward_ripens_for_the_producer(tree: Tree) -> None:
    block = tree.child(tree.genesis, producer=BOB)
    assert tree.rules.author(block.head) == BOB
    assert tree.rules.state_changes(block.head, tree) == (Mint(BOB, EASY.subsidy, 1 + 6),)


def test_fees_ripen_when_the_subsidy_is_gone() -> None:
    rules = PowRules(PowParameters(halving_interval=1))
    tree = Tree(rules)
    head = tree.child(tree.genesis, reward=0, grind_to=2**256).head
    assert rules.state_changes(head, tree) == (Mint(ALICE, 0, 101),)


def test_nothing_proves_finality_and_nobody_equivocates(tree: Tree) -> None:
    head = tree.child(tree.genesis).head
    assert tree.rules.seal_attestations(head) == ()
    with pytest.raises(InvalidProof):
        tree.rules.check_proof(b"", head, Proof("pow", b""), ValidatorSet())
    with pytest.raises(InvalidProof):
        tree.rules.check_evidence(Evidence("pow", b"", b""), ValidatorSet())
