"""A state in chunks: each proves itself, and together they are the whole."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import codec
from chain.errors import InvalidProof
from chain.state.chunks import PATHS, Coverage, StateChunk, check_cut, chunks_of
from chain.state.proofs import path_of
from chain.state.tree import EMPTY, StateTree

STATES = st.dictionaries(
    st.binary(min_size=1, max_size=12), st.binary(min_size=1, max_size=40), max_size=60
)
MANY = {b"key %d" % n: b"value %d" % (n * n) for n in range(500)}


@settings(max_examples=60)
@given(STATES, st.integers(1, 400))
def test_chunks_are_the_state_and_each_checks(items: dict[bytes, bytes], limit: int) -> None:
    tree = StateTree.build(items.items())
    found: dict[bytes, bytes] = {}
    at = 0
    for chunk in chunks_of(tree, limit):
        assert chunk.first == at, "no gap and no overlap"
        at = chunk.end
        chunk.check(tree.root)
        assert codec.decode(codec.encode(chunk), StateChunk) == chunk
        found.update(chunk.items)
        if len(chunk.items) > 1:
            assert sum(len(key) + len(value) for key, value in chunk.items) <= limit
    assert at == PATHS
    assert found == items


@settings(max_examples=60)
@given(STATES.filter(lambda items: len(items) > 1), st.data())
def test_a_tampered_chunk_is_refused(items: dict[bytes, bytes], data: st.DataObject) -> None:
    tree = StateTree.build(items.items())
    chunk = data.draw(st.sampled_from(list(chunks_of(tree, 100))))
    bad = data.draw(st.sampled_from(list(_tampered(chunk))))
    with pytest.raises(InvalidProof):
        bad.check(tree.root)


def _tampered(chunk: StateChunk) -> list[StateChunk]:
    """Every simple lie about a chunk."""
    items, siblings = chunk.items, chunk.siblings
    lies = [
        msgspec.structs.replace(chunk, items=(*items[:place], *items[place + 1 :]))
        for place in range(len(items))
    ]
    for place, (key, value) in enumerate(items):
        changed = (key, value + b"x")
        lies.append(
            msgspec.structs.replace(chunk, items=(*items[:place], changed, *items[place + 1 :]))
        )
    if items:
        lies.append(msgspec.structs.replace(chunk, items=(*items, items[-1])))
    if len(items) > 1:
        lies.append(msgspec.structs.replace(chunk, items=items[::-1]))
    if siblings:
        lies.append(msgspec.structs.replace(chunk, siblings=siblings[:-1]))
        lies.append(msgspec.structs.replace(chunk, siblings=(*siblings[::-1], b"\x01" * 32)))
        flipped = (chunk.first ^ (1 << (256 - len(siblings)))).to_bytes(32, "big")
        lies.append(msgspec.structs.replace(chunk, start=flipped))
    lies.append(msgspec.structs.replace(chunk, siblings=(*siblings, b"\x01" * 32)))
    lies.append(msgspec.structs.replace(chunk, start=(chunk.first | 1).to_bytes(32, "big")))
    return [lie for lie in lies if lie != chunk]


def test_a_key_of_elsewhere_is_named_as_misplaced() -> None:
    tree = StateTree.build(MANY.items())
    first, second, *_ = chunks_of(tree, 1_000)
    stretched = msgspec.structs.replace(first, items=(*first.items, second.items[0]))
    with pytest.raises(InvalidProof) as raised:
        stretched.check(tree.root)
    assert raised.value.code == "chunk-misplaced"
    with pytest.raises(InvalidProof) as raised:
        msgspec.structs.replace(first, items=first.items[1:]).check(tree.root)
    assert raised.value.code == "chunk-wrong-root"


def test_the_empty_state_and_a_single_leaf() -> None:
    (empty,) = chunks_of(EMPTY)
    empty.check(EMPTY.root)
    assert not empty.items
    tree = EMPTY.update({b"a": b"x" * 1_000})
    (single,) = chunks_of(tree, 10)
    single.check(tree.root)
    assert single.items == ((b"a", b"x" * 1_000),)


def test_a_chunk_of_another_state_is_refused() -> None:
    tree = StateTree.build(MANY.items())
    other = tree.update({b"key 3": b"another"})
    changed = [chunk for chunk in chunks_of(tree, 1_000) if chunk not in list(chunks_of(other))]
    for chunk in changed:
        with pytest.raises(InvalidProof):
            chunk.check(other.root)


@given(st.lists(st.tuples(st.integers(0, 31), st.integers(0, 5)), max_size=40))
def test_coverage_is_what_was_added(pieces: list[tuple[int, int]]) -> None:
    coverage, covered, unit = Coverage(), set[int](), PATHS >> 5
    for low, more in pieces:
        high = min(32, low + 1 + more)
        news = bool(set(range(low, high)) - covered)
        assert coverage.add(low * unit, high * unit) == news
        covered |= set(range(low, high))
        missing = {n for a, b in coverage.gaps() for n in range(a // unit, b // unit)}
        assert missing == set(range(32)) - covered
        assert coverage.complete == (len(covered) == 32)
        assert coverage.per_mille() == len(covered) * 1_000 // 32


@settings(max_examples=60)
@given(STATES, st.integers(1, 400), st.randoms(use_true_random=False))
def test_what_is_cut_as_all_cut_passes_in_any_order(
    items: dict[bytes, bytes], limit: int, order: random.Random
) -> None:
    chunks = list(chunks_of(StateTree.build(items.items()), limit))
    order.shuffle(chunks)
    state, coverage = EMPTY, Coverage()
    for chunk in [*chunks, *chunks]:
        check_cut(chunk, state, coverage, limit)
        state = state.update(dict(chunk.items))
        coverage.add(chunk.first, chunk.end)
    assert coverage.complete


@settings(max_examples=60)
@given(STATES, st.integers(1, 400), st.randoms(use_true_random=False))
def test_what_is_cut_otherwise_never_becomes_whole(
    items: dict[bytes, bytes], limit: int, order: random.Random
) -> None:
    tree = StateTree.build(items.items())
    whole = list(chunks_of(tree, limit))
    for other in (limit // 2, 2 * limit):
        chunks = list(chunks_of(tree, other))
        order.shuffle(chunks)
        state, coverage, refused = EMPTY, Coverage(), 0
        for chunk in chunks:
            try:
                check_cut(chunk, state, coverage, limit)
            except InvalidProof as error:
                assert error.code == ("chunk-large" if other > limit else "chunk-small")
                assert chunk not in whole
                refused += 1
                continue
            state = state.update(dict(chunk.items))
            coverage.add(chunk.first, chunk.end)
        assert coverage.complete == (not refused) == (set(chunks) == set(whole))


def test_leaves_in_order_of_path_are_found_out_within_the_trees_depth() -> None:
    tree = StateTree.build(MANY.items())
    state, coverage = EMPTY, Coverage()
    leaves = list(chunks_of(tree, 1))
    with pytest.raises(InvalidProof) as raised:
        for sent, chunk in enumerate(leaves):
            assert sent < max(len(each.siblings) for each in leaves)
            check_cut(chunk, state, coverage)
            state = state.update(dict(chunk.items))
            coverage.add(chunk.first, chunk.end)
    assert raised.value.code == "chunk-small"


def test_paths_are_hashes() -> None:
    tree = StateTree.build(MANY.items())
    for chunk in chunks_of(tree, 2_000):
        for key, _ in chunk.items:
            assert chunk.first <= int.from_bytes(path_of(key), "big") < chunk.end
