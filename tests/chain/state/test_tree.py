"""The state tree against a slow definition of itself."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from chain.state.tree import EMPTY, StateTree, verify_state_proof


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
