"""Proofs that a key has a value in a state, or that it has none. Checked without the state.

The tree (chain.state.tree) is a binary trie over the bits of sha256(key), most significant bit
first, in which a subtree with a single leaf *is* that leaf and an empty one is 32 zero bytes:

    leaf  = sha256(0x00 || sha256(key) || sha256(value))
    inner = sha256(0x01 || left || right)

The two kinds differ in their first byte, so neither passes for the other (RFC 6962 section 2.1).
A leaf commits to its whole path, so that the one leaf found where a key would have to be proves
the key's absence.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final

import msgspec

from chain.codec import Hash, Record
from chain.errors import InvalidProof

DEPTH_MAX: Final = 256
"""Bits of a path: no leaf lies deeper."""
EMPTY_ROOT: Final = bytes(32)
"""The hash of an empty subtree: nothing has this SHA-256, as far as anyone knows."""


class OtherLeaf(Record, frozen=True):
    """The leaf that lies where the key would be: sha256 of its key, and of its value."""

    path: Hash
    value_hash: Hash


class StateProof(Record, frozen=True):
    """The way from the root to where the key is, or would be.

    ``siblings``: hashes beside the way, the root's child first. ``value``: the key's value where
    it has one. ``other``: the only leaf of the subtree that the key's path ends in, where that is
    another key's. With neither, that subtree is empty.
    """

    siblings: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=DEPTH_MAX)]
    value: Annotated[bytes, msgspec.Meta(min_length=1)] | None = None
    other: OtherLeaf | None = None


def path_of(key: bytes) -> bytes:
    """Where ``key`` lies in the tree: 32 bytes, read bit by bit from the most significant."""
    return hashlib.sha256(key).digest()


def leaf_hash(path: bytes, value_hash: bytes) -> bytes:
    """The hash of the subtree that holds one leaf only."""
    return hashlib.sha256(b"\x00" + path + value_hash).digest()


def inner_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a subtree with two or more leaves, over its two halves."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def verify_state_proof(root: bytes, key: bytes, proof: StateProof) -> bytes | None:
    """The value of ``key`` in the state with ``root``, or None: proven absent.

    Raises InvalidProof where the proof does not lead to ``root`` or proves nothing of ``key``.
    """
    path = path_of(key)
    depth = len(proof.siblings)
    if depth > DEPTH_MAX:
        raise InvalidProof("proof-too-deep", f"{depth} siblings where a path has 256 bits")
    if proof.value is not None and proof.other is not None:
        raise InvalidProof("proof-ambiguous", "a proof shows the key's value or another leaf")
    if proof.value is not None:
        if not proof.value:
            raise InvalidProof("proof-empty-value", "no state value is empty")
        node = leaf_hash(path, hashlib.sha256(proof.value).digest())
    elif proof.other is not None:
        other = proof.other
        if len(other.path) != 32 or len(other.value_hash) != 32:
            raise InvalidProof("proof-malformed", "a leaf has two hashes of 32 bytes")
        if other.path == path:
            raise InvalidProof("proof-of-presence", "the other leaf is the key's own")
        if not _same_bits(other.path, path, depth):
            raise InvalidProof("proof-off-path", "the other leaf does not lie on the key's path")
        node = leaf_hash(other.path, other.value_hash)
    else:
        node = EMPTY_ROOT
    bits = int.from_bytes(path, "big")
    for level in range(depth - 1, -1, -1):
        sibling = proof.siblings[level]
        if len(sibling) != 32:
            raise InvalidProof("proof-malformed", "a sibling is a hash of 32 bytes")
        if bits >> (DEPTH_MAX - 1 - level) & 1:
            node = inner_hash(sibling, node)
        else:
            node = inner_hash(node, sibling)
    if node != root:
        raise InvalidProof("proof-wrong-root", "the proof does not lead to the state root")
    return proof.value


def _same_bits(first: bytes, second: bytes, count: int) -> bool:
    difference = int.from_bytes(first, "big") ^ int.from_bytes(second, "big")
    return difference >> (DEPTH_MAX - count) == 0
