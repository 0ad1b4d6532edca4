"""A state in chunks, each of which proves itself: what snapshots are sent, kept and filed in.

A chunk is a whole subtree of the state tree: all keys and values whose paths begin with the same
bits, and the hashes beside the way from the root to it. Whoever knows the state root can tell by a
chunk alone that each of its values is right, *and* that none is missing: the subtree is built anew
and hashed up to the root. Chunks lie side by side in the space of paths, so that what is still
missing is an interval, and any peer's chunk fills the same gap.

Everybody cuts alike: a chunk is the largest subtree that weighs no more than CHUNK_BYTES. One that
is smaller than it must be is true and useless: a state sent leaf by leaf could keep a newcomer
waiting almost for ever. ``check_cut`` tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

import msgspec

from chain.codec import Hash, Record
from chain.errors import InvalidProof
from chain.state.proofs import DEPTH_MAX, inner_hash, path_of
from chain.state.tree import StateTree, subtree_hash, weight_of

CHUNK_BYTES: Final = 128 * 1024
"""Keys and values in one chunk: some 1,500 accounts, built and hashed in about 10 ms. Part of the
protocol: peers refuse what is cut otherwise."""
CHUNK_ITEMS_MAX: Final = 64 * 1024
"""Items in one chunk, at most: a key has at least one byte, and its value too."""
KEY_SIZE_MAX: Final = 4 * 1024
VALUE_SIZE_MAX: Final = 2 * 1024 * 1024
"""Bytes of one value: the largest is a set of a thousand validators, at about 110 each."""
PATHS: Final = 1 << DEPTH_MAX
"""How many paths there are: chunks of a whole state cover 0 up to here."""

Key = Annotated[bytes, msgspec.Meta(max_length=KEY_SIZE_MAX)]
Value = Annotated[bytes, msgspec.Meta(min_length=1, max_length=VALUE_SIZE_MAX)]


class StateChunk(Record, frozen=True):
    """One subtree with its proof; see chain.state.tree.Subtree for the fields."""

    start: Hash
    siblings: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=DEPTH_MAX)]
    items: Annotated[tuple[tuple[Key, Value], ...], msgspec.Meta(max_length=CHUNK_ITEMS_MAX)]

    @property
    def first(self) -> int:
        """The lowest path that it covers, as a number."""
        return int.from_bytes(self.start, "big")

    @property
    def end(self) -> int:
        """The first path above what it covers; PATHS at the very end."""
        return self.first + (1 << (DEPTH_MAX - len(self.siblings)))

    @property
    def weight(self) -> int:
        """Bytes of its keys and values."""
        return weight_of(self.items)

    def check(self, root: bytes) -> None:
        """Raises InvalidProof unless this is all that a state with ``root`` holds there.

        Codes: "chunk-misplaced" (start or a key outside the subtree), "chunk-unordered" (keys not
        in order of path, or twice), "chunk-wrong-root".
        """
        depth, span = len(self.siblings), self.end - self.first
        if self.first % span:
            raise InvalidProof("chunk-misplaced", "a chunk begins where its subtree does")
        previous = self.first - 1
        for key, _ in self.items:
            path = int.from_bytes(path_of(key), "big")
            if path <= previous:
                raise InvalidProof("chunk-unordered", "a chunk's keys stand in order of path")
            if path >= self.end:
                raise InvalidProof("chunk-misplaced", "a key outside the chunk's subtree")
            previous = path
        node = subtree_hash(dict(self.items), depth)
        for level in range(depth - 1, -1, -1):
            sibling = self.siblings[level]
            if self.first >> (DEPTH_MAX - 1 - level) & 1:
                node = inner_hash(sibling, node)
            else:
                node = inner_hash(node, sibling)
        if node != root:
            raise InvalidProof("chunk-wrong-root", "the chunk does not lead to the state root")


def chunks_of(state: StateTree, bytes_max: int = CHUNK_BYTES) -> Iterator[StateChunk]:
    """The whole state in chunks, in order of path: always the same ones for the same state."""
    for subtree in state.subtrees(bytes_max):
        yield StateChunk(*subtree)


class Coverage:
    """Which paths are covered so far: disjoint intervals, in order."""

    def __init__(self) -> None:
        self._intervals: list[tuple[int, int]] = []

    def add(self, first: int, end: int) -> bool:
        """Adds [first, end). False where all of it was covered already."""
        assert 0 <= first < end <= PATHS
        merged: list[tuple[int, int]] = []
        for low, high in self._intervals:
            if low <= first and end <= high:
                return False
            if high < first or low > end:
                merged.append((low, high))
            else:
                first, end = min(first, low), max(end, high)
        merged.append((first, end))
        self._intervals = sorted(merged)
        return True

    def covers(self, first: int, end: int) -> bool:
        """Whether all of [first, end) is covered."""
        return any(low <= first and end <= high for low, high in self._intervals)

    @property
    def complete(self) -> bool:
        return self._intervals == [(0, PATHS)]

    def gaps(self) -> Iterator[tuple[int, int]]:
        """The intervals that are missing, in order."""
        at = 0
        for low, high in self._intervals:
            if low > at:
                yield at, low
            at = high
        if at < PATHS:
            yield at, PATHS

    def per_mille(self) -> int:
        """How much is covered; paths are hashes, so this is how much of the state is here."""
        return sum(high - low for low, high in self._intervals) * 1_000 // PATHS


def check_cut(
    chunk: StateChunk, state: StateTree, coverage: Coverage, bytes_max: int = CHUNK_BYTES
) -> None:
    """Raises InvalidProof where nobody who cuts as ``chunks_of`` does has made this true chunk.

    ``state``, ``coverage``: what of the same state is here already. A chunk shows nothing of how
    much lies beside it, so that one alone may be as small as it likes; but where the other half of
    the next larger subtree is here too, that subtree must be too heavy for a chunk. So who cuts too
    finely is found out as soon as it fills any such subtree, which in order of path takes no more
    chunks than the tree is deep. Codes: "chunk-large", "chunk-small".
    """
    weight, depth = chunk.weight, len(chunk.siblings)
    if weight > bytes_max:
        if len(chunk.items) > 1:
            raise InvalidProof("chunk-large", f"a chunk of {weight} bytes is cut once more")
        return
    if not depth:
        return
    span = chunk.end - chunk.first
    beside = chunk.first ^ span
    if coverage.covers(beside, beside + span):
        other = state.weight_below(beside, depth, bytes_max - weight)
        if other is not None:
            raise InvalidProof(
                "chunk-small", f"with what lies beside it it has but {weight + other} bytes"
            )
