"""Bitcoin's Merkle tree, with the guard against duplicated leaves (CVE-2012-2459).

Leaves and inner nodes are sha256d. Where a level has an odd number of nodes the last is paired
with itself; hence two different lists can share a root, and a list in which two *different
positions* of a pair hold the same hash is refused as mutated. The second known flaw, an inner node
passed off as a 64-byte transaction (CVE-2017-12842), cannot arise: every leaf's preimage here, a
manifest or a transaction, is longer than 64 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from chain.errors import InvalidBlock
from chain.hashing import sha256d

BRANCH_LENGTH_MAX = 32
"""A tree of more than 2**32 leaves cannot be: longer branches are refused unseen."""


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over 32-byte leaf hashes (at least one).

    Raises InvalidBlock("mutated-merkle-tree") where two neighbours of a pair are equal.
    """
    assert leaves, "a block has its manifest as first leaf"
    level = list(leaves)
    while len(level) > 1:
        level = _next_level(level)
    return level[0]


def merkle_branch(leaves: Sequence[bytes], position: int) -> tuple[bytes, ...]:
    """The siblings from leaf ``position`` up to the root, lowest first."""
    assert 0 <= position < len(leaves)
    level, branch = list(leaves), []
    while len(level) > 1:
        sibling = position ^ 1
        branch.append(level[sibling] if sibling < len(level) else level[position])
        level = _next_level(level)
        position >>= 1
    return tuple(branch)


def root_and_branch(leaves: Sequence[bytes]) -> tuple[bytes, tuple[bytes, ...]]:
    """``merkle_root`` and the ``merkle_branch`` of leaf 0, in one pass."""
    assert leaves, "a block has its manifest as first leaf"
    level, branch = list(leaves), []
    while len(level) > 1:
        branch.append(level[1])
        level = _next_level(level)
    return level[0], tuple(branch)


def root_from_branch(leaf: bytes, branch: Sequence[bytes], position: int) -> bytes:
    """The root that a leaf at ``position`` and its siblings lead to."""
    node = leaf
    for sibling in branch:
        node = sha256d(sibling + node if position & 1 else node + sibling)
        position >>= 1
    return node


def _next_level(level: list[bytes]) -> list[bytes]:
    parents = []
    for index in range(0, len(level), 2):
        left = level[index]
        if index + 1 < len(level):
            right = level[index + 1]
            if left == right:
                raise InvalidBlock(
                    "mutated-merkle-tree", "two equal neighbours in the block's Merkle tree"
                )
        else:
            right = left
        parents.append(sha256d(left + right))
    return parents
