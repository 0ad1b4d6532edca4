"""Finding ancestors, paging through histories, counting."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.changes import Mint
from chain.errors import InvalidEncoding
from chain.genesis import COIN, Era
from chain.hashing import BlockId
from chain.ledger import AddressStats, Ledger
from chain.ledger.disk import IndexRow
from chain.ledger.tree import BlockTree, skip_height
from chain.transaction import BUNDLE, Transfer
from tests.support.chains import (
    FEE,
    address,
    extend,
    grow,
    make_genesis,
    make_transaction,
    open_ledger,
    transfer,
)


@given(st.integers(0, 100_000), st.data())
def test_skip_links_lead_anywhere_in_few_steps(height: int, data: st.DataObject) -> None:
    goal = data.draw(st.integers(0, height))
    steps = 0
    while height > goal:
        skip, after = skip_height(height), skip_height(height - 1)
        assert 0 <= skip < height
        if skip == goal or (skip > goal and not (after < skip - 2 and after >= goal)):
            height = skip
        else:
            height -= 1
        steps += 1
    assert height == goal and steps <= 110


def test_ancestors_on_side_branches_and_on_disk() -> None:
    ledger = open_ledger(finalizes=False, flush_depth=3, flush_blocks=1)
    main = [ledger.genesis_block, *extend(ledger, 40)]
    tip, side = main[5], []
    for _ in range(50):
        tip = grow(ledger, tip.id, tag=1)
        side.append(tip)
    branch = [*main[:6], *side]
    for height, block in enumerate(branch):
        assert ledger.ancestor(tip.id, height) == block.id
        assert ledger.descends(tip.id, block.id)
        assert ledger.height(block.id) == height == ledger.weight(block.id)
    for block in main[6:]:
        assert not ledger.descends(tip.id, block.id)
        assert not ledger.descends(block.id, tip.id)
    assert ledger.descends(main[3].id, main[3].id)
    with pytest.raises(AssertionError):
        ledger.ancestor(main[3].id, 4)
    with pytest.raises(KeyError):
        ledger.ancestor(bytes(32), 0)


def test_headers_come_back_from_disk_as_they_were() -> None:
    ledger = open_ledger(flush_blocks=1)
    block = grow(ledger, ledger.head(), [transfer(ledger.chain_id, 0, 1, 1, 0)])
    ledger.set_head(block.id)
    ledger.finalize(block.id, None)
    extend(ledger, 2)
    ledger.finalize(ledger.head(), None)
    head = ledger.header(block.id)
    assert head == block.head == ledger.head_of(block.id)
    head.check_branch()


def unflushed(ledger: Ledger) -> None:
    pass


def half_flushed(ledger: Ledger) -> None:
    ledger.finalize(ledger.ancestor(ledger.head(), 4), None)
    ledger.flush()


def flushed(ledger: Ledger) -> None:
    ledger.finalize(ledger.head(), None)
    ledger.flush()


@pytest.mark.parametrize("flush", [unflushed, half_flushed, flushed])
def test_a_history_is_paged_newest_first(flush: Callable[[Ledger], None]) -> None:
    ledger = open_ledger()
    chain_id = ledger.chain_id
    for height in range(1, 8):
        first = 2 * (height - 1)
        payments = [
            transfer(chain_id, 2, 3, 1, height - 1, signed=False),
            transfer(chain_id, 0, 1, 5, first, signed=False),
            transfer(chain_id, 0, 1, 7, first + 1, signed=False),
        ]
        changes = (Mint(address(1), 100, 0),)
        block = grow(ledger, ledger.head(), payments, changes=changes)
        ledger.set_head(block.id)
    flush(ledger)
    expected = [(h, p) for h in range(7, 0, -1) for p in (2, 1, -1)] + [(0, -1)]
    whole = ledger.history(address(1), count=100)
    assert [(located.height, located.position) for located in whole] == expected
    assert [located.transaction is None for located in whole] == [p == -1 for _, p in expected]
    assert [located.receipt is None for located in whole] == [p == -1 for _, p in expected]
    for size in (1, 2, 5):
        paged, before = [], None
        while page := ledger.history(address(1), before=before, count=size):
            assert len(page) <= size
            paged += page
            before = (page[-1].height, page[-1].position)
        assert paged == whole
    assert ledger.history(address(1), before=(3, 1), count=2) == whole[14:16] != []
    assert ledger.history(address(1), before=(0, -1)) == []
    assert ledger.history(address(77)) == []
    assert ledger.address_stats(address(77)) == AddressStats()
    # Two payments a block, the reward with the fees of three transactions, and the allocation.
    start = 1_000 * COIN
    assert ledger.address_stats(address(1)) == AddressStats(
        22, 22, start + 7 * (5 + 7 + 100 + 3 * FEE), 0, 0
    )
    assert ledger.address_stats(address(0)) == AddressStats(15, 1, start, 14, 7 * (12 + 2 * FEE))
    for number in range(5):
        stats = ledger.address_stats(address(number))
        assert stats.funded_sum - stats.spent_sum == ledger.account(address(number)).balance


def test_failed_transfers_touch_their_sender_only() -> None:
    ledger = open_ledger()
    actions = [Transfer(address(1), 1), Transfer(address(2), 2**62), Transfer(address(0), 3)]
    mixed = make_transaction(ledger.chain_id, 0, 0, actions, mode=BUNDLE)
    block = grow(ledger, ledger.head(), [mixed])
    ledger.set_head(block.id)
    touched = [len(ledger.history(address(number))) - 1 for number in range(3)]
    assert touched == [1, 1, 0]
    start = 1_000 * COIN
    assert ledger.address_stats(address(0)) == AddressStats(2, 2, start + 3, 1, 1 + 3 + FEE)
    assert ledger.address_stats(address(1)) == AddressStats(2, 2, start + 1, 0, 0)
    assert ledger.address_stats(address(2)) == AddressStats(1, 1, start, 0, 0)


def test_what_is_not_there_is_none() -> None:
    ledger = open_ledger()
    nowhere = bytes(32)
    assert ledger.block(nowhere) is None and ledger.head_of(nowhere) is None
    assert ledger.proof(nowhere) is None and ledger.receipts(nowhere) is None
    assert ledger.credits(nowhere) is None and ledger.transaction(nowhere) is None
    assert ledger.id_at(1) is None and ledger.id_at(-1) is None
    assert not ledger.knows(nowhere) and not ledger.in_best_chain(nowhere)
    with pytest.raises(KeyError):
        ledger.state(nowhere)
    with pytest.raises(KeyError):
        ledger.put_proof(nowhere, None)  # type: ignore[arg-type]


def test_the_state_of_a_side_branch_can_be_read() -> None:
    ledger = open_ledger()
    side = grow(ledger, ledger.head(), [transfer(ledger.chain_id, 0, 1, 5, 0)])
    assert ledger.account(address(1), side.id).balance == 1_000 * COIN + 5
    assert ledger.account(address(1)).balance == 1_000 * COIN
    assert not ledger.in_best_chain(side.id) and ledger.block(side.id) == side


def test_eras_rule_by_height() -> None:
    genesis = make_genesis()
    eras = (Era(0, "first"), Era(3, "second"))
    changed = type(genesis)(
        *(getattr(genesis, f) if f != "eras" else eras for f in genesis.__struct_fields__)
    )
    ledger = open_ledger(changed)
    blocks = [ledger.genesis_block, *extend(ledger, 4)]
    engines = [ledger.params(block.id).engine for block in blocks]
    assert engines == ["first", "first", "second", "second", "second"]


def test_a_wrong_genesis_is_refused_with_a_sentence() -> None:
    genesis = make_genesis()
    wrong = type(genesis)(
        *(getattr(genesis, f) if f != "network" else "moon" for f in genesis.__struct_fields__)
    )
    with pytest.raises(InvalidEncoding):
        open_ledger(wrong)


def test_far_ancestors_are_found_without_a_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = open_ledger(finalizes=False, flush_depth=3, flush_blocks=1)
    main = extend(ledger, 300)
    tip = main[9]
    for _ in range(320):
        tip = grow(ledger, tip.id, tag=1)
    reads: list[bytes] = []
    plain = BlockTree.row

    def row(tree: BlockTree, block: BlockId) -> IndexRow:
        reads.append(block)
        return plain(tree, block)

    monkeypatch.setattr(BlockTree, "row", row)
    assert ledger.ancestor(main[-1].id, 20) == main[19].id
    assert len(reads) <= 2, "on the main chain the height index answers"
    reads.clear()
    assert ledger.ancestor(tip.id, 3) == main[2].id
    assert len(reads) <= 40, "elsewhere skip links do"


@pytest.mark.parametrize("flushed", [False, True])
def test_a_manifest_is_found_by_its_leaf_and_stands_for_the_reward(flushed: bool) -> None:
    ledger = open_ledger(finalizes=False, flush_depth=1 if flushed else 64, flush_blocks=1)
    rewarded = grow(ledger, ledger.head(), changes=(Mint(address(3), COIN, 1),))
    ledger.set_head(rewarded.id)
    extend(ledger, 3)
    found = ledger.transaction(rewarded.manifest.leaf)
    assert found == ledger.history(address(3))[0]
    assert found is not None and (found.block_id, found.position) == (rewarded.id, -1)
    assert found.transaction is None
    genesis = ledger.transaction(ledger.genesis_block.manifest.leaf)
    assert genesis is not None and genesis.block_id == ledger.chain_id
    # A branch that is left takes its manifests along.
    side = rewarded.previous
    for _ in range(6):
        side = grow(ledger, side, tag=9).id
    ledger.set_head(side)
    assert ledger.transaction(rewarded.manifest.leaf) is None
