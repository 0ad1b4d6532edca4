"""Claims of the papers behind ``pow``, by section.

Nakamoto, "Bitcoin: A Peer-to-Peer Electronic Cash System" (2008); BIP34, BIP42, BIP113, BIP320;
the aserti3-2d specification (Bitcoin Cash, 2020).
"""

from __future__ import annotations

import math
import random

from chain.block import Block
from chain.genesis import COIN
from chain.header import HEADER_SIZE, VERSION
from chain.merkle import merkle_branch, merkle_root, root_from_branch
from consensus.contract import Grind, SetHead
from consensus.pow import PowParameters, PowRules
from consensus.pow.aserti3 import next_target
from consensus.pow.parameters import subsidy
from consensus.pow.rules import VERSION_ROLLING_MASK
from consensus.pow.target import TARGET_MAX, work
from moot.miner import kernel
from tests.consensus.pow.test_engine import Bench
from tests.consensus.pow.trees import BOB, EASY, GENESIS_MS, Tree, make_block

DAY_MS = 86_400_000

# ------------------------------------------------------------------------------- Nakamoto 2008


def test_section_4_work_is_exponential_in_zero_bits_and_checked_by_one_hash() -> None:
    """'The average work required is exponential in the number of zero bits required and can be
    verified by executing a single hash.'"""
    rng = random.Random(4)
    for zero_bits in (4, 6, 8):
        target = TARGET_MAX >> zero_bits
        assert work(target) == 2**zero_bits
        tries = []
        for _ in range(300):
            nonce = kernel.scan(rng.randbytes(80), target, 0, 2**16)
            assert nonce is not None
            tries.append(kernel.nonce_of(nonce) + 1)
        mean = sum(tries) / len(tries)
        assert abs(mean / 2**zero_bits - 1) < 4 / math.sqrt(len(tries))


def test_section_4_a_changed_block_needs_its_work_again_and_so_do_all_after_it() -> None:
    """'The work to change the block would include redoing all the blocks after it.'"""
    tree = Tree(PowRules(EASY))
    first = tree.child(tree.genesis)
    second = tree.child(tree.add(first).id)
    changed = make_block(
        tree.genesis, 1, time_ms=first.manifest.time_ms, bits=first.header.bits, producer=BOB
    )
    assert changed.id != first.id
    assert second.previous == first.id != changed.id


def test_section_4_faster_hardware_makes_difficulty_rise() -> None:
    """'If they're generated too fast, the difficulty increases.'"""
    tree = Tree(PowRules(EASY))
    fast = tree.grow(tree.genesis, 40, after_s=0)
    assert tree.rules.next_bits(tree, fast, 0) != EASY.initial_bits
    assert tree.rules.target(tree.rules.next_bits(tree, fast, 0)) < tree.rules.target(
        EASY.initial_bits
    )


def test_section_5_nodes_keep_both_branches_and_switch_when_one_becomes_longer() -> None:
    """'They work on the first one they received, but save the other branch in case it becomes
    longer.'"""
    bench = Bench()
    first = bench.tree.child(bench.tree.genesis, extra=1)
    other = bench.tree.child(bench.tree.genesis, extra=2)
    bench.imported(first)
    assert not [e for e in bench.imported(other) if isinstance(e, SetHead)]
    longer = bench.tree.child(other.id)
    assert SetHead(longer.id) in bench.imported(longer)


def test_section_5_acceptance_is_shown_by_working_on_the_next_block() -> None:
    """Step 6: nodes accept a block by "using the hash of the accepted block as the previous
    hash"; the search below the old one ends."""
    bench = Bench()
    request, _ = bench.grind()
    block = bench.tree.child(bench.tree.genesis, producer=BOB)
    effects = bench.imported(block)
    assert Grind(request, None, 0) in effects
    assert [e.parent for e in effects if hasattr(e, "parent")] == [block.id]


def test_section_6_new_coins_belong_to_the_block_s_creator_and_end() -> None:
    """'The incentive can transition entirely to transaction fees and be completely inflation
    free.'"""
    parameters = PowParameters()
    minted = sum(
        subsidy(parameters, halving * parameters.halving_interval) * parameters.halving_interval
        for halving in range(70)
    )
    assert minted == 2_099_999_997_690_000  # just below 21 million coins
    assert minted < 21_000_000 * COIN


def test_section_7_a_header_is_about_80_bytes_and_years_of_them_fit_in_memory() -> None:
    """'80 bytes * 6 * 24 * 365 = 4.2MB per year.'"""
    block = make_block(bytes(32), 1, time_ms=GENESIS_MS, bits=EASY.initial_bits)
    assert len(block.header.raw) == HEADER_SIZE == 80
    assert 4.2e6 < len(block.header.raw) * 6 * 24 * 365 < 4.21e6


def test_section_8_a_branch_of_hashes_shows_that_a_leaf_is_in_the_block() -> None:
    leaves = [bytes([number]) * 32 for number in range(5)]
    root = merkle_root(leaves)
    for position, leaf in enumerate(leaves):
        assert root_from_branch(leaf, merkle_branch(leaves, position), position) == root


def catch_up_probability(attacker: float, depth: int) -> float:
    """Section 11: the attacker mines while ``depth`` honest blocks come, then races."""
    honest = 1 - attacker
    expected = depth * attacker / honest
    total = 1.0
    for progress in range(depth + 1):
        poisson = math.exp(-expected) * expected**progress / math.factorial(progress)
        total -= poisson * (1 - (attacker / honest) ** (depth - progress))
    return total


def test_section_11_table_and_the_default_depth() -> None:
    """The paper's table; our default depth 6 leaves a tenth of the power less than 0.1 %."""
    assert abs(catch_up_probability(0.1, 5) - 0.0009137) < 1e-7
    assert abs(catch_up_probability(0.1, 10) - 0.0000012) < 1e-7
    assert abs(catch_up_probability(0.3, 5) - 0.1773523) < 1e-7
    depth = PowParameters().confirmation_depth
    assert depth == 6 and catch_up_probability(0.1, depth) < 0.001


def test_section_11_a_minority_that_races_falls_behind() -> None:
    """The gambler's ruin, played with our fork choice: equal targets, a third of the finds."""
    rng = random.Random(11)
    overtaken = 0
    for _ in range(60):
        bench = Bench(mining=False)
        honest = attacker = bench.tree.genesis
        for _ in range(6):
            honest = bench.tree.add(bench.tree.child(honest, bits=EASY.initial_bits)).id
            bench.imported(as_block(bench, honest))
        for turn in range(40):
            if rng.random() < 1 / 4:
                block = bench.tree.child(attacker, bits=EASY.initial_bits, extra=turn + 1)
                attacker = block.id
            else:
                block = bench.tree.child(honest, bits=EASY.initial_bits)
                honest = block.id
            bench.imported(block)
        overtaken += bench.tree.current == attacker
    assert overtaken <= 3  # (1/3) ** 6 is one in 729


def as_block(bench: Bench, block_id: bytes) -> Block:
    head = bench.tree.heads[block_id]
    return Block(head.header, head.manifest)


# ------------------------------------------------------------------------------------------ BIPs


def test_bip34_the_height_makes_equal_rewards_different() -> None:
    """Two coinbases of one miner at two heights have different leaves (BIP30's duplicates)."""
    one = make_block(bytes(32), 1, time_ms=GENESIS_MS, bits=0)
    two = make_block(bytes(32), 2, time_ms=GENESIS_MS, bits=0)
    assert one.manifest.leaf != two.manifest.leaf


def test_bip42_the_subsidy_does_not_begin_anew_after_64_halvings() -> None:
    parameters = PowParameters()
    for halvings in (33, 64, 65, 128):
        assert subsidy(parameters, halvings * parameters.halving_interval) == 0


def test_bip113_median_time_past_never_goes_back() -> None:
    """Whatever times miners choose, it only rises."""
    rng = random.Random(113)
    tree = Tree(PowRules(EASY))
    parent, earliest, manifest_ms = tree.genesis, 0, GENESIS_MS
    for _ in range(200):
        now_earliest = tree.rules.earliest_time_s(tree, parent)
        assert now_earliest >= earliest
        earliest, manifest_ms = now_earliest, manifest_ms + 1
        block = tree.child(
            parent, time_ms=manifest_ms, time_s=earliest + rng.choice([0, 0, 1, 100])
        )
        parent = tree.add(block).id


def test_bip320_sixteen_version_bits_are_free() -> None:
    assert VERSION_ROLLING_MASK == 0x1FFFE000 == kernel.VERSION_MASK
    assert VERSION & VERSION_ROLLING_MASK == 0


# ------------------------------------------------------------------------------- aserti3-2d, 2020


def asert(elapsed_ms: int, heights: int, anchor: int = 2**220) -> int:
    return next_target(
        anchor,
        elapsed_ms=elapsed_ms,
        heights=heights,
        spacing_ms=600_000,
        half_life_ms=2 * DAY_MS,
        limit=TARGET_MAX,
    )


def test_asert_on_schedule_difficulty_stays() -> None:
    for heights in (0, 1, 1_000, 10**6):
        assert asert(600_000 * (heights + 1), heights) == 2**220


def test_asert_each_half_life_behind_halves_and_ahead_doubles_the_difficulty() -> None:
    on_time = 600_000 * 1_001
    for halves in range(-20, 21):
        target = asert(on_time + halves * 2 * DAY_MS, 1_000)
        assert target == (2**220 << halves if halves >= 0 else 2**220 >> -halves)


def test_asert_depends_on_nothing_between_anchor_and_tip() -> None:
    """Path independence: no time warp, for there is no window to warp (BIP94's subject)."""
    rng = random.Random(94)
    results = set()
    for _ in range(20):
        tree = Tree(PowRules(PowParameters(initial_bits=0x207F_FFFF, pow_limit_bits=0x207F_FFFF)))
        parent, tip_ms = tree.genesis, GENESIS_MS + 50_000
        for number in range(29):
            time_ms = GENESIS_MS + 1_000 * number + rng.randrange(1, 1_000)
            parent = tree.add(tree.child(parent, time_ms=time_ms)).id
        tip = tree.add(tree.child(parent, time_ms=tip_ms)).id
        results.add(tree.rules.next_bits(tree, tip, 0))
    assert len(results) == 1


def test_asert_a_false_time_stamp_gains_nothing_that_lasts() -> None:
    """Timejacking: a tip two hours ahead makes the next block 3 % easier; an honest time after
    it takes all of that back."""
    honest = asert(600_000 * 101, 100)
    ahead = asert(600_000 * 101 + 7_200_000, 100)
    assert 1.02 < ahead / honest < 1.03
    assert asert(600_000 * 102, 101) == honest
