"""What makes a block acceptable under the rota, one rule after the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain import codec
from chain.block import Block, BlockHead
from chain.errors import InvalidBlock, InvalidProof
from chain.proof import Evidence, Proof
from chain.validators import majority
from consensus.authority import (
    PROTOCOL,
    AuthorityParameters,
    Claims,
    is_in_turn,
    signed_recently,
    signers_of,
)
from consensus.contract import ConfirmationRules, SealRules, Slot
from consensus.registry import protocol
from tests.consensus.authority.trees import GENESIS_SLOT, SEAL, SLOT_MS, Tree, members, signer


def refused(tree: Tree, block: Block) -> str:
    with pytest.raises(InvalidBlock) as error:
        tree.rules.check_header(block.head, tree)
    return error.value.code


def in_turn_after(tree: Tree, parent: bytes, after: int = 1) -> int:
    return (tree.heads[parent].time_ms // SLOT_MS + after) % tree.count


def test_registered() -> None:
    assert protocol("authority") is PROTOCOL
    rules = PROTOCOL.rules(AuthorityParameters())
    assert isinstance(rules, SealRules) and isinstance(rules, ConfirmationRules)


def test_a_block_in_turn_and_one_out_of_turn_are_taken() -> None:
    tree = Tree(3)
    by = in_turn_after(tree, tree.genesis)
    tree.rules.check_header(tree.make(tree.genesis, by).head, tree)
    tree.rules.check_header(tree.make(tree.genesis, (by + 1) % 3).head, tree)


def test_in_turn_weighs_twice_out_of_turn() -> None:
    tree = Tree(3)
    by = in_turn_after(tree, tree.genesis)
    assert tree.rules.weight(tree.make(tree.genesis, by).head) == 2
    assert tree.rules.weight(tree.make(tree.genesis, (by + 1) % 3).head) == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"claims": b""}, "bad-claims"),
        ({"claims": codec.encode((GENESIS_SLOT + 1, 1))}, "bad-claims"),
        ({"claims": codec.encode((GENESIS_SLOT + 1, True)) + b"\0"}, "bad-claims"),
        ({"reward": 1}, "reward-not-zero"),
        ({"seal": b""}, "bad-seal"),
        ({"seal": bytes(65)}, "bad-seal"),
        ({"producer": signer(7)}, "not-a-signer"),
        ({"slot": GENESIS_SLOT}, "wrong-slot"),
        ({"slot": GENESIS_SLOT + 2}, "wrong-slot"),
        ({"after": 0}, "slot-not-after-parent"),
    ],
)
def test_each_field_is_held_to_its_rule(changes: dict[str, object], code: str) -> None:
    tree = Tree(3)
    by = in_turn_after(tree, tree.genesis)
    assert refused(tree, tree.make(tree.genesis, by, **changes)) == code  # type: ignore[arg-type]


def test_a_turn_is_neither_claimed_falsely_nor_hidden() -> None:
    tree = Tree(3)
    by = in_turn_after(tree, tree.genesis)
    assert refused(tree, tree.make(tree.genesis, by, in_turn=False)) == "wrong-turn"
    other = (by + 1) % 3
    assert refused(tree, tree.make(tree.genesis, other, in_turn=True)) == "wrong-turn"


def test_a_learner_is_no_signer_and_no_part_of_the_rota() -> None:
    tree = Tree(3, learners=1)
    assert signers_of(tree.set) == tuple(signer(number) for number in range(3))
    assert refused(tree, tree.make(tree.genesis, 3)) == "not-a-signer"


@pytest.mark.parametrize(("count", "pause"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (7, 3)])
def test_a_signer_leaves_the_next_blocks_to_others(count: int, pause: int) -> None:
    """Of floor(n/2) + 1 blocks in a row a signer signs one (EIP-225, SIGNER_LIMIT)."""
    tree = Tree(count)
    parent = tree.grow(tree.genesis, 0)
    for others in range(pause):
        assert refused(tree, tree.make(parent, 0)) == "signed-recently"
        parent = tree.grow(parent, others + 1)
    tree.rules.check_header(tree.make(parent, 0).head, tree)


def test_the_pause_is_counted_on_the_blocks_own_branch() -> None:
    tree = Tree(3)
    tree.grow(tree.genesis, 0)
    tree.rules.check_header(tree.make(tree.genesis, 0, after=2).head, tree)


@given(count=st.integers(1, 9), seed=st.randoms(use_true_random=False))
def test_on_every_branch_more_than_the_quorum_lets_wait_may_sign(count: int, seed: object) -> None:
    """No deadlock: any majority holds somebody who has not signed recently, on any branch."""
    tree = Tree(count)
    parent = tree.genesis
    signers = signers_of(tree.set)
    for _ in range(3 * count):
        free = [
            number
            for number in range(count)
            if not signed_recently(signers, signers[number], tree, parent)
        ]
        assert len(free) >= count - count // 2
        assert len(free) + majority(count) > count
        parent = tree.grow(parent, seed.choice(free))  # type: ignore[attr-defined]


def test_a_minority_comes_to_a_halt() -> None:
    for count in (2, 3, 4, 5, 6, 7):
        tree = Tree(count)
        minority = list(range((count - 1) // 2)) if count > 2 else [0]
        parent, signed = tree.genesis, 0
        signers = signers_of(tree.set)
        while True:
            free = [n for n in minority if not signed_recently(signers, signers[n], tree, parent)]
            if not free:
                break
            parent, signed = tree.grow(parent, free[0]), signed + 1
        assert signed == len(minority)


# ----------------------------------------------------------------------------- not before its time


def test_a_block_is_not_yet_before_its_slot_begins() -> None:
    tree = Tree(3)
    block = tree.make(tree.genesis, 0, into_ms=700)
    assert tree.rules.earliest_ms(block.head) == (GENESIS_SLOT + 1) * SLOT_MS


# ---------------------------------------------------------------------------------- confirmation


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8])
def test_a_majority_of_distinct_signers_on_top_confirms(count: int) -> None:
    """Under the rota any floor(n/2) + 1 blocks in a row have as many signers."""
    tree = Tree(count)
    tree.current = tree.rota(tree.genesis, 20)
    assert tree.height(tree.rules.confirmed(tree)) == 20 - majority(count)


def test_few_blocks_confirm_genesis_only() -> None:
    tree = Tree(5)
    tree.current = tree.rota(tree.genesis, 2)
    assert tree.rules.confirmed(tree) == tree.genesis


def test_one_signer_twice_on_top_counts_once_and_former_signers_do_not_count() -> None:
    tree = Tree(3)
    first = tree.grow(tree.genesis, 0)
    tree.current = tree.grow(first, 1, 1, 1)
    assert tree.rules.confirmed(tree) == tree.genesis
    tree.current = tree.grow(first, 1, 2)
    assert tree.rules.confirmed(tree) == first
    tree.set = members(2)
    assert tree.rules.confirmed(tree) == tree.genesis


# -------------------------------------------------------------------------------------- signatures


def test_a_seal_is_one_signature_of_the_producer_for_its_slot() -> None:
    tree = Tree(3)
    block = tree.make(tree.genesis, 1, seal=b"")
    (open_,) = tree.rules.seal_attestations(block.head)
    assert open_.signer == signer(1) and open_.content == block.id and not open_.signature
    assert open_.slot == Slot("block", GENESIS_SLOT + 1, 0)
    assert tree.rules.seal(block.head, [SEAL]) == SEAL


def evidence(first: BlockHead, second: BlockHead, engine: str = "authority") -> Evidence:
    return Evidence(engine, codec.encode(first), codec.encode(second))


def test_two_blocks_of_one_signer_for_one_slot_are_evidence() -> None:
    tree = Tree(3)
    one = tree.make(tree.genesis, 1, extra=1).head
    two = tree.make(tree.genesis, 1, extra=2).head
    assert tree.rules.check_evidence(evidence(one, two), tree.set) == signer(1)
    signed = tree.rules.evidence_attestations(evidence(one, two))
    assert [each.content for each in signed] == [one.id, two.id]


def test_also_at_different_heights() -> None:
    tree = Tree(3)
    one = tree.make(tree.genesis, 1, after=2).head
    two = tree.make(tree.grow(tree.genesis, 0), 1).head
    assert one.height != two.height
    assert tree.rules.check_evidence(evidence(one, two), tree.set) == signer(1)


def test_what_is_no_contradiction_is_no_evidence() -> None:
    tree = Tree(3)
    one = tree.make(tree.genesis, 1).head
    cases = {
        "no-contradiction": [
            evidence(one, one),
            evidence(one, tree.make(tree.genesis, 2).head),
            evidence(one, tree.make(tree.genesis, 1, after=2).head),
        ],
        "foreign-evidence": [evidence(one, tree.make(tree.genesis, 1, extra=2).head, "pbft")],
        "malformed-evidence": [
            Evidence("authority", b"", codec.encode(one)),
            Evidence("authority", codec.encode(one), codec.encode(one)[:-1]),
            evidence(one, tree.make(tree.genesis, 1, claims=b"x").head),
            evidence(one, BlockHead(one.header, tree.make(tree.genesis, 1, extra=2).manifest)),
        ],
    }
    for code, wrong in cases.items():
        for each in wrong:
            with pytest.raises(InvalidProof) as error:
                tree.rules.check_evidence(each, tree.set)
            assert error.value.code == code
    tree.set = members(1)
    with pytest.raises(InvalidProof, match="not a member"):
        tree.rules.check_evidence(
            evidence(one, tree.make(tree.genesis, 1, in_turn=False, extra=2).head), tree.set
        )


def test_nothing_is_ever_proven_final() -> None:
    tree = Tree(3)
    with pytest.raises(InvalidProof, match="no block is final"):
        tree.rules.check_proof(
            bytes(32), tree.heads[tree.genesis], Proof("authority", b""), tree.set
        )


# -------------------------------------------------------------------------------------- parameters


def test_the_rota_goes_by_slot() -> None:
    signers = signers_of(members(3))
    assert [
        signers.index(next(s for s in signers if is_in_turn(signers, n, s))) for n in range(5)
    ] == [
        0,
        1,
        2,
        0,
        1,
    ]
    assert Claims(1, True) != Claims(1, False)


def test_somebody_must_be_able_to_step_in_within_a_slot() -> None:
    AuthorityParameters(slot_ms=1_000, step_in_ms=600)
    with pytest.raises(ValueError, match="less than slot_ms"):
        AuthorityParameters(slot_ms=1_000, step_in_ms=700)
