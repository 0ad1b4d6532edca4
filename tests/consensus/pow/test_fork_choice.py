"""Fork choice over random trees, against an oracle that knows no engine."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from chain.block import Block
from consensus.contract import SetHead
from tests.consensus.pow.test_engine import Bench
from tests.consensus.pow.trees import make_block

WORK_BITS = (0x207F_FFFF, 0x203F_FFFF, 0x201F_FFFF)
"""Targets of which each takes twice the work of the one before."""


@dataclass
class Drawn:
    blocks: list[Block]
    arrival: list[int]


@st.composite
def trees(draw: st.DrawFn) -> Drawn:
    """Blocks in the order of making, and an order of arrival in which parents come first."""
    count = draw(st.integers(1, 25))
    genesis = Bench(mining=False).tree.genesis
    blocks: list[Block] = []
    parents: list[int] = []
    for number in range(count):
        parent = draw(st.integers(-1, number - 1))
        previous, height = (
            (genesis, 0) if parent < 0 else (blocks[parent].id, blocks[parent].height)
        )
        bits = draw(st.sampled_from(WORK_BITS))
        blocks.append(make_block(previous, height + 1, time_ms=10**12, bits=bits, extra=number))
        parents.append(parent)
    keys = draw(st.lists(st.integers(0, 50), min_size=count, max_size=count))
    arrival: list[int] = []
    while len(arrival) < count:
        ready = [
            n
            for n in range(count)
            if n not in arrival and (parents[n] < 0 or parents[n] in arrival)
        ]
        arrival.append(min(ready, key=lambda n: (keys[n], n)))
    return Drawn(blocks, arrival)


def naive_head(drawn: Drawn, genesis: bytes) -> bytes:
    """After each arrival: walk every branch, add up its work; the first to reach the most wins."""
    arrived: dict[bytes, Block] = {}
    best, best_work = genesis, 0
    for number in drawn.arrival:
        block = drawn.blocks[number]
        arrived[block.id] = block
        total, walk = 0, block.id
        while walk in arrived:
            total += 2 ** WORK_BITS.index(arrived[walk].header.bits)
            walk = arrived[walk].previous
        if total > best_work:
            best, best_work = block.id, total
    return best


@settings(max_examples=150, deadline=None)
@given(trees())
def test_engine_agrees_with_the_oracle(drawn: Drawn) -> None:
    bench = Bench(mining=False)
    for number in drawn.arrival:
        effects = bench.imported(drawn.blocks[number])
        moves = [effect for effect in effects if isinstance(effect, SetHead)]
        assert len(moves) <= 1
    assert bench.tree.current == naive_head(drawn, bench.tree.genesis)


@settings(max_examples=100, deadline=None)
@given(trees(), st.randoms(use_true_random=False))
def test_all_orders_of_arrival_end_at_equal_work_and_one_more_block_unites(
    drawn: Drawn, rng: object
) -> None:
    """Convergence: nodes that saw the same blocks differ by a tie at most, and a block ends it."""
    one, other = Bench(mining=False), Bench(mining=False)
    for number in drawn.arrival:
        one.imported(drawn.blocks[number])
    for block in drawn.blocks:
        other.imported(block)
    assert one.tree.weights[one.tree.current] == other.tree.weights[other.tree.current]
    tip = one.tree.heads[one.tree.current]
    last = make_block(tip.id, tip.height + 1, time_ms=10**12, bits=WORK_BITS[0], extra=99)
    one.imported(last)
    other.imported(last)
    assert one.tree.current == other.tree.current == last.id
