"""The state tree against a slow definition of itself."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain import codec
from chain.state.proofs import StateProof
from chain.state.tree import (
    EMPTY,
    StateTree,
    _Inner,
    _Leaf,
    _merge,
    _merge_one,
    verify_state_proof,
)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def slow_root(contents: dict[bytes, bytes]) -> bytes:
    """The root by its definition, from nothing."""
    leaves = [
        (f"{int.from_bytes(sha256(key), 'big'):0256b}", sha256(key), sha256(value))
        for key, value in contents.items()
    ]

    def subtree(prefix: str, below: list[tuple[str, bytes, bytes]]) -> bytes:
        if not below:
            return bytes(32)
        if len(below) == 1:
            return sha256(b"\x00" + below[0][1] + below[0][2])
        halves = [
            subtree(prefix + bit, [leaf for leaf in below if leaf[0].startswith(prefix + bit)])
            for bit in "01"
        ]
        return sha256(b"\x01" + halves[0] + halves[1])

    return subtree("", leaves)


keys = st.integers(0, 40).map(lambda number: b"k%d" % number)
values = st.binary(min_size=1, max_size=3)
batches = st.lists(st.dictionaries(keys, st.none() | values, max_size=30), max_size=6)


@given(batches)
def test_root_and_contents_are_those_of_the_definition(
    history: list[dict[bytes, bytes | None]],
) -> None:
    tree, model = EMPTY, dict[bytes, bytes]()
    for changes in history:
        tree = tree.update(changes)
        for key, value in changes.items():
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
        assert tree.root == slow_root(model)
        assert dict(tree.items()) == model
        for number in range(41):
            key = b"k%d" % number
            assert tree.get(key) == model.get(key)
            assert verify_state_proof(tree.root, key, tree.prove(key)) == model.get(key)
    assert StateTree.build(model.items()).root == tree.root


def test_the_empty_state() -> None:
    assert EMPTY.root == bytes(32)
    assert EMPTY.get(b"k") is None
    assert list(EMPTY.items()) == []
    assert verify_state_proof(EMPTY.root, b"k", EMPTY.prove(b"k")) is None


def test_a_lone_leaf_is_the_root() -> None:
    tree = EMPTY.update({b"k": b"v"})
    assert tree.root == sha256(b"\x00" + sha256(b"k") + sha256(b"v"))
    assert tree.prove(b"k").siblings == ()


@given(st.dictionaries(keys, values, min_size=1), st.randoms(use_true_random=False))
def test_the_root_does_not_depend_on_the_way(
    contents: dict[bytes, bytes], rng: random.Random
) -> None:
    """One by one, in any order, by detours over other values and keys that are removed again."""
    tree = EMPTY
    order = sorted(contents)
    rng.shuffle(order)
    for key in order:
        tree = tree.update({key: b"detour", b"passing" + key: b"1"})
        if rng.random() < 0.5:
            tree = tree.update({key: None})
        tree = tree.update({key: contents[key]})
    tree = tree.update({b"passing" + key: None for key in order})
    assert tree.root == StateTree.build(contents.items()).root
    assert list(tree.items()) == sorted(contents.items(), key=lambda item: sha256(item[0]))
    assert tree.update(dict.fromkeys(contents)).root == bytes(32)


def test_an_old_tree_stays_as_it_was() -> None:
    old = StateTree.build((b"k%d" % number, b"old") for number in range(50))
    root = old.root
    new = old.update({b"k1": b"new", b"k2": None, b"other": b"x"})
    assert old.root == root != new.root
    assert (old.get(b"k1"), old.get(b"k2"), old.get(b"other")) == (b"old", b"old", None)
    assert (new.get(b"k1"), new.get(b"k2"), new.get(b"other")) == (b"new", None, b"x")


def test_what_changes_nothing_gives_the_same_tree() -> None:
    tree = StateTree.build((b"k%d" % number, b"v") for number in range(50))
    assert tree.update({}) is tree
    assert tree.update({b"k1": b"v"}) is tree
    assert tree.update({b"absent%d" % number: None for number in range(50)}) is tree
    assert tree.update({b"k%d" % number: b"v" for number in range(50)}) is tree


def test_what_does_not_change_is_shared() -> None:
    """A thousand versions of a large state must not cost a thousand states."""
    tree = StateTree.build((b"k%d" % number, b"v") for number in range(4096))
    before = {id(node) for node in nodes(tree)}
    after = [node for node in nodes(tree.update({b"k7": b"w"})) if id(node) not in before]
    assert len(after) <= 40


def nodes(tree: StateTree) -> list[object]:
    found: list[object] = []
    waiting: list[object] = [tree._top]
    while waiting:
        node = waiting.pop()
        if node is not None:
            found.append(node)
            waiting += [getattr(node, "left", None), getattr(node, "right", None)]
    return found


def test_an_empty_value_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        EMPTY.update({b"k": b""})


def near_keys(bits: int) -> tuple[bytes, bytes]:
    """Two keys whose paths share exactly their first ``bits`` bits, by trying."""
    seen: dict[int, bytes] = {}
    for number in range(1 << 20):
        key = b"near%d" % number
        path = int.from_bytes(sha256(key), "big")
        other = seen.setdefault(path >> (256 - bits), key)
        difference = path ^ int.from_bytes(sha256(other), "big")
        if difference.bit_length() == 256 - bits:
            return other, key
    raise AssertionError("no such keys")


@pytest.mark.parametrize("bits", [0, 1, 7, 8, 9, 16, 20])
def test_keys_whose_paths_run_together_for_long(bits: int) -> None:
    first, second = near_keys(bits)
    contents = {first: b"1", second: b"2"}
    for tree in (
        StateTree.build(contents.items()),
        EMPTY.update({first: b"1"}).update({second: b"2"}),
        EMPTY.update({second: b"2"}).update({first: b"1"}),
    ):
        assert tree.root == slow_root(contents)
        proof = tree.prove(first)
        assert len(proof.siblings) == bits + 1
        assert verify_state_proof(tree.root, first, proof) == b"1"
        assert tree.update({first: None}).root == slow_root({second: b"2"})


def test_paths_that_differ_in_the_last_bit_only() -> None:
    """The deepest tree that can be: 256 siblings, and no recursion that Python would refuse."""
    zeros = _Leaf(b"\x01" * 32, bytes(32), b"a", b"1")
    last = _Leaf(b"\x02" * 32, bytes(31) + b"\x01", b"b", b"2")
    leaves: dict[bytes, _Leaf | None] = {zeros.path: zeros, last.path: last}
    top = _merge(None, leaves, sorted(leaves), 0, 2, 0)
    one_by_one = _merge_one(_merge_one(None, zeros.path, zeros, 0), last.path, last, 0)
    assert top is not None
    assert top == one_by_one
    depth = 0
    node: object = top
    while isinstance(node, _Inner):
        node = node.left
        depth += 1
    assert (node, depth) == (zeros, 256)
    removed: dict[bytes, _Leaf | None] = {zeros.path: None, last.path: None}
    assert _merge(top, removed, sorted(removed), 0, 2, 0) is None
    assert _merge_one(top, last.path, None, 0) == zeros


def test_the_order_of_changes_does_not_show() -> None:
    rng = random.Random(5)
    contents = [(rng.randbytes(8), rng.randbytes(3)) for _ in range(300)]
    roots = set()
    for _ in range(5):
        rng.shuffle(contents)
        roots.add(EMPTY.update(dict(contents)).root)
        roots.add(EMPTY.update(dict(contents[:150])).update(dict(contents[150:])).root)
    assert roots == {slow_root(dict(contents))}


VECTORS = Path(__file__).parents[2] / "vectors" / "state_tree.json"


def vector_states() -> dict[str, dict[bytes, bytes]]:
    """The contents that the vectors are about."""
    return {
        "empty": {},
        "one key": {b"k": b"v"},
        "two keys": {b"k": b"v", b"l": b"w"},
        "ten keys": {b"key%d" % number: b"value%d" % number for number in range(10)},
        "long values": {bytes([number]): bytes([number]) * 100 for number in range(1, 5)},
    }


def make_vectors() -> list[dict[str, object]]:
    made: list[dict[str, object]] = []
    for name, contents in vector_states().items():
        tree = StateTree.build(contents.items())
        asked = [*sorted(contents)[:3], b"absent", b"absent too"]
        made.append(
            {
                "name": name,
                "contents": {key.hex(): value.hex() for key, value in sorted(contents.items())},
                "root": tree.root.hex(),
                "proofs": {key.hex(): codec.encode(tree.prove(key)).hex() for key in asked},
            }
        )
    return made


def test_vectors() -> None:
    """Roots and proofs never change. ``MOOT_WRITE_VECTORS=1 pytest ...`` writes the file anew,
    which is right only together with a new format."""
    if os.environ.get("MOOT_WRITE_VECTORS") == "1":
        VECTORS.write_text(json.dumps(make_vectors(), indent=1) + "\n")
    vectors = json.loads(VECTORS.read_text())
    assert vectors == make_vectors()
    for vector in vectors:
        root = bytes.fromhex(vector["root"])
        contents = {
            bytes.fromhex(key): bytes.fromhex(value) for key, value in vector["contents"].items()
        }
        assert root == slow_root(contents)
        for key, raw in vector["proofs"].items():
            proof = codec.decode(bytes.fromhex(raw), StateProof)
            found = verify_state_proof(root, bytes.fromhex(key), proof)
            assert found == contents.get(bytes.fromhex(key))
