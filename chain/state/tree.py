"""The state as an immutable tree: a new version shares all that did not change with the old one.

Which tree belongs to a set of keys and values depends on that set alone, never on the history
that led to it. How the tree is hashed is told in chain.state.proofs.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple, final

import msgspec

from chain.state.proofs import (
    DEPTH_MAX,
    EMPTY_ROOT,
    OtherLeaf,
    StateProof,
    leaf_hash,
    path_of,
    verify_state_proof,
)

__all__ = ["EMPTY", "StateTree", "Subtree", "subtree_hash", "verify_state_proof", "weight_of"]

_sha256 = hashlib.sha256
_MASKS: Final = tuple(128 >> bit for bit in range(8))


@final
class _Leaf(msgspec.Struct, frozen=True, gc=False):
    # gc=False here and below: a node refers to older nodes only, so no cycle can arise, and the
    # collector need not walk through a hundred thousand of them again and again.
    hash: bytes
    path: bytes
    key: bytes
    value: bytes


@final
class _Inner(msgspec.Struct, frozen=True, gc=False):
    hash: bytes
    left: _Leaf | _Inner | None
    right: _Leaf | _Inner | None


_Node = _Leaf | _Inner | None


class StateTree:
    """Keys and values (bytes; values not empty) under one root hash."""

    __slots__ = ("_top", "root")

    root: bytes
    """32 bytes that commit to every key and value; all zero for the empty state."""

    def __init__(self, top: _Node = None) -> None:
        self._top = top
        self.root = EMPTY_ROOT if top is None else top.hash

    @staticmethod
    def build(items: Iterable[tuple[bytes, bytes]]) -> StateTree:
        """The tree of these keys and values; of one key named twice the last one counts."""
        return EMPTY.update(dict(items))

    def get(self, key: bytes) -> bytes | None:
        """The value of ``key``, or None."""
        path = path_of(key)
        node, depth = self._top, 0
        while type(node) is _Inner:
            node = node.right if path[depth >> 3] & _MASKS[depth & 7] else node.left
            depth += 1
        if node is None or node.path != path:
            return None
        return node.value

    def update(self, changes: Mapping[bytes, bytes | None]) -> StateTree:
        """The tree with these values set, or removed where None; itself where nothing changes."""
        if not changes:
            return self
        leaves: dict[bytes, _Leaf | None] = {}
        for key, value in changes.items():
            path = _sha256(key).digest()
            if value is None:
                leaves[path] = None
            else:
                assert value, "a state value is never empty: remove the key instead"
                digest = _sha256(b"\x00" + path + _sha256(value).digest()).digest()
                leaves[path] = _Leaf(digest, path, key, value)
        paths = sorted(leaves)
        top = _merge(self._top, leaves, paths, 0, len(paths), 0)
        return self if top is self._top else StateTree(top)

    def prove(self, key: bytes) -> StateProof:
        """Proof of the key's value, or of its absence."""
        path = path_of(key)
        siblings: list[bytes] = []
        node, depth = self._top, 0
        while type(node) is _Inner:
            turns_right = path[depth >> 3] & _MASKS[depth & 7]
            sibling = node.left if turns_right else node.right
            node = node.right if turns_right else node.left
            siblings.append(EMPTY_ROOT if sibling is None else sibling.hash)
            depth += 1
        if node is None:
            return StateProof(tuple(siblings))
        if node.path == path:
            return StateProof(tuple(siblings), value=node.value)
        other = OtherLeaf(node.path, _sha256(node.value).digest())
        return StateProof(tuple(siblings), other=other)

    def subtrees(self, bytes_max: int) -> Iterator[Subtree]:
        """The tree cut into subtrees that lie side by side and cover it, in order of path.

        Each is as large as it may be without its keys and values passing ``bytes_max``; a single
        leaf may. Which subtrees these are follows from the tree alone. An empty one is among them:
        it shows that nothing lies there.
        """
        waiting: list[tuple[_Node, int, tuple[bytes, ...]]] = [(self._top, 0, ())]
        while waiting:
            node, start, siblings = waiting.pop()
            items = _gathered(node, bytes_max)
            if items is not None:
                yield Subtree(start.to_bytes(32, "big"), siblings, tuple(items))
                continue
            assert type(node) is _Inner, "a single leaf is never cut"
            left = EMPTY_ROOT if node.left is None else node.left.hash
            right = EMPTY_ROOT if node.right is None else node.right.hash
            half = 1 << (DEPTH_MAX - 1 - len(siblings))
            waiting.append((node.right, start + half, (*siblings, left)))
            waiting.append((node.left, start, (*siblings, right)))

    def weight_below(self, start: int, depth: int, bytes_max: int) -> int | None:
        """Bytes of the keys and values whose paths share their first ``depth`` bits with ``start``.

        ``start``: a path, as a number. None where they are more than ``bytes_max``.
        """
        node, level = self._top, 0
        while type(node) is _Inner and level < depth:
            node = node.right if start >> (DEPTH_MAX - 1 - level) & 1 else node.left
            level += 1
        if (
            type(node) is _Leaf
            and int.from_bytes(node.path, "big") ^ start >= 1 << DEPTH_MAX - depth
        ):
            return 0  # the only leaf this far down lies beside the way
        items = _gathered(node, bytes_max)
        size = bytes_max + 1 if items is None else weight_of(items)
        return size if size <= bytes_max else None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys and values, ordered by sha256(key)."""
        waiting: list[_Node] = [self._top]
        while waiting:
            node = waiting.pop()
            while type(node) is _Inner:
                waiting.append(node.right)
                node = node.left
            if node is not None:
                yield node.key, node.value


class Subtree(NamedTuple):
    """All leaves below one node of a tree.

    ``start``: the lowest path that leads there (32 bytes); as many of its bits as there are
    ``siblings`` lead from the root to the node. ``siblings``: hashes beside that way, the root's
    child first. ``items``: keys and values, ordered by sha256(key).
    """

    start: bytes
    siblings: tuple[bytes, ...]
    items: tuple[tuple[bytes, bytes], ...]


def weight_of(items: Iterable[tuple[bytes, bytes]]) -> int:
    """Bytes of keys and values, as ``StateTree.subtrees`` counts them."""
    return sum(len(key) + len(value) for key, value in items)


def subtree_hash(items: Mapping[bytes, bytes], depth: int) -> bytes:
    """The hash of the node at ``depth`` below which just these leaves lie.

    Their paths share their first ``depth`` bits. No value is empty.
    """
    if not items:
        return EMPTY_ROOT
    leaves: dict[bytes, _Leaf | None] = {}
    for key, value in items.items():
        path = path_of(key)
        leaves[path] = _Leaf(leaf_hash(path, _sha256(value).digest()), path, key, value)
    paths = sorted(leaves)
    node = _merge(None, leaves, paths, 0, len(paths), depth)
    assert node is not None
    return node.hash


def _gathered(node: _Node, bytes_max: int) -> list[tuple[bytes, bytes]] | None:
    """What lies below ``node``, in order of path; None where it is more than ``bytes_max``."""
    items: list[tuple[bytes, bytes]] = []
    size = 0
    waiting: list[_Node] = [node]
    while waiting:
        below = waiting.pop()
        while type(below) is _Inner:
            waiting.append(below.right)
            below = below.left
        if below is not None:
            size += len(below.key) + len(below.value)
            items.append((below.key, below.value))
            if size > bytes_max and type(node) is _Inner:
                return None
    return items


def _join(left: _Node, right: _Node) -> _Node:
    """The subtree with these halves: a lone leaf moves up, so that history leaves no trace."""
    if left is None:
        if right is None or isinstance(right, _Leaf):
            return right
        return _Inner(_sha256(b"\x01" + EMPTY_ROOT + right.hash).digest(), None, right)
    if right is None:
        if isinstance(left, _Leaf):
            return left
        return _Inner(_sha256(b"\x01" + left.hash + EMPTY_ROOT).digest(), left, None)
    return _Inner(_sha256(b"\x01" + left.hash + right.hash).digest(), left, right)


def _merge(
    node: _Node,
    leaves: dict[bytes, _Leaf | None],
    paths: list[bytes],
    low: int,
    high: int,
    depth: int,
) -> _Node:
    """``node``, whose paths share ``depth`` bits, with the leaves of paths[low:high] put in.

    Those are at least one, sorted, and share these bits too; None takes a leaf out.
    """
    if high - low == 1:
        return _merge_one(node, paths[low], leaves[paths[low]], depth)
    left: _Node
    right: _Node
    left = right = None
    if type(node) is _Inner:
        left, right = node.left, node.right
    elif node is not None and node.path not in leaves:
        # An old leaf that stays: one more to be placed.
        leaves[node.path] = node
        paths = paths[low:high]
        insort(paths, node.path)
        low, high = 0, len(paths)
    middle = _split(paths, low, high, depth)
    new_left = _merge(left, leaves, paths, low, middle, depth + 1) if low < middle else left
    new_right = _merge(right, leaves, paths, middle, high, depth + 1) if middle < high else right
    if new_left is left and new_right is right and type(node) is _Inner:
        return node
    return _join(new_left, new_right)


def _split(paths: list[bytes], low: int, high: int, depth: int) -> int:
    """Where paths[low:high], equal in their first ``depth`` bits, turn from bit 0 to bit 1."""
    path, index, mask = paths[low], depth >> 3, _MASKS[depth & 7]
    first_of_right = path[:index] + bytes(((path[index] | mask) & ~(mask - 1),))
    return bisect_left(paths, first_of_right, low, high)


def _merge_one(node: _Node, path: bytes, leaf: _Leaf | None, depth: int) -> _Node:
    """_merge for a single change, without recursion: most of the way down a change is alone."""
    way: list[_Inner] = []
    below = node
    while type(below) is _Inner:
        way.append(below)
        below = below.right if path[depth >> 3] & _MASKS[depth & 7] else below.left
        depth += 1
    new: _Node = leaf
    if below is None:
        if leaf is None:
            return node
    elif below.path == path:
        if leaf is not None and leaf.hash == below.hash:
            return node
    elif leaf is None:
        return node
    else:
        new = _fork(below, leaf, depth)
    old: _Node = below
    while way:
        parent = way.pop()
        left, right = parent.left, parent.right
        if left is old:
            left = new
        else:
            right = new
        if left is None or right is None:
            new = _join(left, right)
        else:  # as _join, here for speed: this line runs some eight times a change
            new = _Inner(_sha256(b"\x01" + left.hash + right.hash).digest(), left, right)
        old = parent
    return new


def _fork(first: _Leaf, second: _Leaf, depth: int) -> _Node:
    """The subtree at ``depth`` with just these two leaves."""
    difference = int.from_bytes(first.path, "big") ^ int.from_bytes(second.path, "big")
    fork = DEPTH_MAX - difference.bit_length()
    left, right = (first, second) if first.path < second.path else (second, first)
    node = _join(left, right)
    for level in range(fork - 1, depth - 1, -1):
        if first.path[level >> 3] & _MASKS[level & 7]:
            node = _join(None, node)
        else:
            node = _join(node, None)
    return node


EMPTY: Final = StateTree()
"""The state with nothing in it."""
