"""Hostile proofs: whatever is changed in a proof, it proves the truth or nothing."""

from __future__ import annotations

import hashlib
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain import codec
from chain.errors import InvalidEncoding, InvalidProof
from chain.state.proofs import (
    EMPTY_ROOT,
    OtherLeaf,
    StateProof,
    inner_hash,
    leaf_hash,
    path_of,
    verify_state_proof,
)
from chain.state.tree import EMPTY, StateTree

CONTENTS = {b"k%d" % number: b"v%d" % number for number in range(64)}
TREE = StateTree.build(CONTENTS.items())
replace = msgspec.structs.replace


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def absent_key(*, beside_leaf: bool) -> bytes:
    """A key whose absence is shown by another leaf, or by an empty place."""
    return next(
        key
        for key in (b"absent%d" % number for number in range(1_000))
        if (TREE.prove(key).other is not None) == beside_leaf
    )


def refused(root: bytes, key: bytes, proof: StateProof) -> str:
    with pytest.raises(InvalidProof) as caught:
        verify_state_proof(root, key, proof)
    return caught.value.code


def test_every_key_is_proven_present_and_others_absent() -> None:
    for key, value in CONTENTS.items():
        assert verify_state_proof(TREE.root, key, TREE.prove(key)) == value
    for beside_leaf in (False, True):
        key = absent_key(beside_leaf=beside_leaf)
        assert verify_state_proof(TREE.root, key, TREE.prove(key)) is None


def test_another_value() -> None:
    proof = TREE.prove(b"k1")
    assert refused(TREE.root, b"k1", replace(proof, value=b"more")) == "proof-wrong-root"
    assert refused(TREE.root, b"k1", replace(proof, value=b"")) == "proof-empty-value"


def test_another_root() -> None:
    other = TREE.update({b"k2": b"changed"})
    assert refused(other.root, b"k1", TREE.prove(b"k1")) == "proof-wrong-root"
    assert refused(EMPTY_ROOT, b"k1", TREE.prove(b"k1")) == "proof-wrong-root"


def test_another_keys_proof() -> None:
    assert refused(TREE.root, b"k1", TREE.prove(b"k2")) == "proof-wrong-root"
    assert refused(TREE.root, b"absent", TREE.prove(b"k2")) == "proof-wrong-root"


def test_a_present_key_passed_off_as_absent() -> None:
    """By every way to say absent: an empty place, its own leaf as another's, a leaf elsewhere."""
    proof = TREE.prove(b"k1")
    gone = replace(proof, value=None)
    assert refused(TREE.root, b"k1", gone) == "proof-wrong-root"
    own = OtherLeaf(path_of(b"k1"), sha256(b"v1"))
    assert refused(TREE.root, b"k1", replace(gone, other=own)) == "proof-of-presence"
    for number in range(64):
        key = b"k%d" % number
        if number != 1:
            leaf = OtherLeaf(path_of(key), sha256(CONTENTS[key]))
            theirs = replace(TREE.prove(key), value=None, other=leaf)
            code = refused(TREE.root, b"k1", theirs)
            assert code in ("proof-off-path", "proof-wrong-root")


def test_a_leaf_off_the_path_proves_nothing() -> None:
    """The leaf is in the tree, and the way leads to it: only it is not where the key would be."""
    other = b"k2"
    path = path_of(other)
    key = next(
        key
        for key in (b"absent%d" % number for number in range(1_000))
        if path_of(key)[0] >> 7 != path[0] >> 7
    )
    theirs = StateProof(TREE.prove(other).siblings, other=OtherLeaf(path, sha256(CONTENTS[other])))
    assert refused(TREE.root, key, theirs) == "proof-off-path"


def test_siblings_too_many_too_few_or_misplaced() -> None:
    proof = TREE.prove(b"k1")
    siblings = proof.siblings
    assert len(siblings) > 2
    for changed in (
        siblings[:-1],
        siblings[1:],
        (*siblings, EMPTY_ROOT),
        (EMPTY_ROOT, *siblings),
        siblings[::-1],
        (),
    ):
        assert refused(TREE.root, b"k1", replace(proof, siblings=changed)) == "proof-wrong-root"
    deep = replace(proof, siblings=(EMPTY_ROOT,) * 257)
    assert refused(TREE.root, b"k1", deep) == "proof-too-deep"


def test_hashes_of_another_length() -> None:
    """64 bytes for a sibling could hide two nodes in one."""
    proof = TREE.prove(b"k1")
    long = (proof.siblings[0] * 2, *proof.siblings[1:])
    assert refused(TREE.root, b"k1", replace(proof, siblings=long)) == "proof-malformed"
    short = OtherLeaf(bytes(31), bytes(33))
    halves = replace(proof, value=None, other=short)
    assert refused(TREE.root, b"k1", halves) == "proof-malformed"


def test_a_proof_that_says_both() -> None:
    both = replace(TREE.prove(b"k1"), other=OtherLeaf(bytes(32), bytes(32)))
    assert refused(TREE.root, b"k1", both) == "proof-ambiguous"


def test_an_inner_node_is_no_leaf() -> None:
    """Without the two first bytes an inner node's hash could be read as a leaf's."""
    left, right = leaf_hash(bytes(32), sha256(b"1")), leaf_hash(b"\xff" * 32, sha256(b"2"))
    root = inner_hash(left, right)
    assert refused(root, b"k", StateProof((), other=OtherLeaf(left, right))) == "proof-wrong-root"
    assert leaf_hash(left, right) != inner_hash(left, right)


def test_absence_from_the_empty_state_is_no_absence_elsewhere() -> None:
    proof = EMPTY.prove(b"k1")
    assert proof == StateProof(())
    assert refused(TREE.root, b"k1", proof) == "proof-wrong-root"


def test_the_encoding_refuses_what_no_proof_can_be() -> None:
    for fields in (
        ((bytes(31),), None, None),
        ((bytes(32),) * 257, None, None),
        ((), b"", None),
        ((), None, (bytes(32), bytes(31))),
        ((), None),
    ):
        with pytest.raises(InvalidEncoding):
            codec.decode(codec.encode(fields), StateProof)
    proof = TREE.prove(absent_key(beside_leaf=True))
    assert codec.decode(codec.encode(proof), StateProof) == proof


@given(st.randoms(use_true_random=False), st.integers(0, 99))
def test_no_flipped_bit_proves_anything_else(rng: random.Random, number: int) -> None:
    """Of a key that is there or not: a changed proof is refused, or proves the same."""
    key = b"k%d" % number
    raw = bytearray(codec.encode(TREE.prove(key)))
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    try:
        found = verify_state_proof(TREE.root, key, codec.decode(bytes(raw), StateProof))
    except (InvalidEncoding, InvalidProof):
        return
    assert found == CONTENTS.get(key)
