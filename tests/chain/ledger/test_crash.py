"""A crash at any write, then a power loss that takes what was not synced: the chain stays whole."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.errors import InvalidBlock
from chain.hashing import BlockId
from chain.ledger import Ledger
from chain.proof import Proof
from chain.storage import Changes
from chain.storage.memory import MemoryStore
from tests.chain.ledger.observe import best_chain
from tests.chain.ledger.test_reorganisation import GENESIS, Forest
from tests.support.chains import extend, grow, make_block, open_ledger


class PowerLoss(Exception):
    """The process ends here."""


class FusedStore(MemoryStore):
    """Dies instead of doing its ``fuse``-th write."""

    def __init__(self) -> None:
        super().__init__()
        self.fuse: int | None = None

    def write(self, changes: Changes, sync: bool) -> None:
        if self.fuse is not None:
            if self.fuse == 0:
                raise PowerLoss
            self.fuse -= 1
        super().write(changes, sync)


class Run:
    """A ledger at work on a random tree, and what it promised so far."""

    def __init__(self, seed: int, finalizes: bool) -> None:
        self.rng = random.Random(seed)
        self.finalizes = finalizes
        self.store = FusedStore()
        self.ledger = self.open()
        self.forest = Forest(self.ledger, self.rng)
        self.record: bytes | None = None
        self.promised: BlockId = self.ledger.chain_id
        self.final: BlockId = self.ledger.chain_id
        self.known: list[BlockId] = [self.ledger.chain_id]
        self.known_before: list[BlockId] = []
        self.steps = 0

    def open(self) -> Ledger:
        return open_ledger(
            GENESIS, self.store, finalizes=self.finalizes, flush_depth=3, flush_blocks=2
        )

    def step(self) -> None:
        ledger, rng, known = self.ledger, self.rng, self.known
        self.steps += 1
        parent = known[-1 - min(int(rng.expovariate(0.8)), len(known) - 1)]
        if self.finalizes and not ledger.descends(parent, ledger.finalized()):
            parent = ledger.head()
        block = self.forest.grow(parent, self.steps)
        known.append(block.id)
        if rng.random() < 0.5 and ledger.descends(block.id, ledger.finalized()):
            ledger.set_head(block.id)
        if rng.random() < 0.3:
            record = b"record %d" % self.steps
            ledger.persist(record, (block.id,))
            self.record, self.promised = record, block.id
        if self.finalizes and rng.random() < 0.4:
            height = ledger.height(ledger.head()) - rng.randrange(2)
            if height > ledger.height(ledger.finalized()):
                final = ledger.ancestor(ledger.head(), height)
                self.final = final  # the crash may come after the write that makes it so
                ledger.finalize(final, Proof("test", b"%d" % height))
                self.known = [b for b in known if ledger.knows(b)]

    def restart(self, *, rotated: bool) -> None:
        """A power loss; then what the node does at its start."""
        self.store.fuse = None
        self.known_before = [b for b in self.known if self.ledger.knows(b)]
        self.store.lose_unsynced(self.rng, rotated=rotated)
        self.ledger = ledger = self.open()
        self.forest.ledger = ledger
        for block in ledger.replay():
            try:
                _, weight, changes = self.forest.blocks[block.id]
                ledger.insert(block, weight, changes, replaying=True)
            except InvalidBlock as error:
                assert error.code == "conflicts-with-finalized"
        head = ledger.stored_head()
        if ledger.knows(head) and ledger.descends(head, ledger.finalized()):
            ledger.set_head(head)
        self.known = [b for b in self.known if ledger.knows(b)]


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    finalizes=st.booleans(),
    rotated=st.booleans(),
    fuse=st.integers(0, 60),
)
def test_what_a_crash_leaves_is_a_consistent_chain(
    seed: int, finalizes: bool, rotated: bool, fuse: int
) -> None:
    run = Run(seed, finalizes)
    for _ in range(3):
        run.store.fuse = fuse
        with pytest.raises(PowerLoss):
            while True:
                run.step()
        run.restart(rotated=rotated)
        check_promises(run)
        fuse = run.rng.randrange(40)


def check_promises(run: Run) -> None:
    ledger = run.ledger
    seen, expected = best_chain(ledger), best_chain(run.forest.straight(ledger.head()))
    if run.finalizes:  # the ledger to compare with is one without finality
        seen.pop("confirmed")
        expected.pop("confirmed")
    assert seen == expected
    assert ledger.record() == run.record
    # What was final is never contradicted: finality now lies on the branch that was final then.
    branch, at = [ledger.chain_id], run.final
    while at in run.forest.blocks:
        branch.append(at)
        at = run.forest.blocks[at][0].previous
    assert ledger.finalized() in branch
    run.final = ledger.finalized()
    # Write before you speak: what was persisted is there, unless another branch became final.
    assert ledger.knows(run.promised) or (run.finalizes and run.promised not in run.known_before)


def test_persisted_blocks_survive_with_their_ancestors() -> None:
    store = MemoryStore()
    ledger = open_ledger(GENESIS, store)
    blocks = extend(ledger, 4)
    ledger.persist(b"vote", (blocks[2].id,))
    store.lose_unsynced()
    again = open_ledger(GENESIS, store)
    assert again.record() == b"vote"
    replayed = list(replay(again))
    assert replayed == [block.id for block in blocks[:3]]


def replay(ledger: Ledger) -> list[BlockId]:
    found = []
    for block in ledger.replay():
        ledger.insert(block, 1, (), replaying=True)
        found.append(block.id)
    return found


def test_a_persisted_block_is_written_once() -> None:
    store = MemoryStore()
    ledger = open_ledger(GENESIS, store)
    block = extend(ledger, 1)[0]
    ledger.persist(b"1", (block.id,))
    sizes = []
    write = store.write

    def counting(changes: Changes, sync: bool) -> None:
        sizes.append((len(changes), sync))
        write(changes, sync)

    store.write = counting  # type: ignore[method-assign]
    ledger.persist(b"2", (block.id,))
    assert sizes == [(1, True)]


def test_a_gap_in_the_stored_blocks_ends_the_replay_there() -> None:
    store = MemoryStore()
    ledger = open_ledger(GENESIS, store, finalizes=False, flush_depth=3)
    blocks = extend(ledger, 3)
    store.write([(b"B" + (2).to_bytes(8, "big") + blocks[1].id, None)], sync=True)
    again = open_ledger(GENESIS, store, finalizes=False, flush_depth=3)
    assert replay(again) == [blocks[0].id]
    assert not again.knows(blocks[2].id)
    # The orphan's rows must not come to light when the base passes its height.
    again.insert(blocks[1], 1, ())
    for block in extend_from(again, blocks[1].id, 30):
        again.set_head(block)
    again.flush()
    assert not again.knows(blocks[2].id)
    assert store.get(b"I" + blocks[2].id) is None


def extend_from(ledger: Ledger, parent: BlockId, count: int) -> list[BlockId]:
    found = []
    for _ in range(count):
        parent = grow(ledger, parent, tag=77).id
        found.append(parent)
    return found


def test_what_was_final_is_final_again_after_a_restart() -> None:
    store = MemoryStore()
    ledger = open_ledger(GENESIS, store)
    blocks = extend(ledger, 5)
    side = grow(ledger, blocks[1].id, tag=9)
    ledger.persist(b"r", (blocks[4].id, side.id))
    ledger.finalize(blocks[3].id, None)
    assert not ledger.knows(side.id)
    again = open_ledger(GENESIS, store)
    assert again.height(again.finalized()) == 0
    for block in again.replay():
        try:
            again.insert(block, 1, (), replaying=True)
        except InvalidBlock as error:
            assert error.code == "conflicts-with-finalized"
    assert again.finalized() == blocks[3].id
    assert not again.knows(side.id)
    assert again.knows(blocks[4].id)
    again.set_head(again.stored_head())
    assert again.head() == blocks[4].id
    again.flush()
    assert store.get(b"I" + side.id) is None


def test_a_crash_in_the_middle_of_a_deep_reorganisation() -> None:
    store = FusedStore()
    ledger = open_ledger(GENESIS, store, finalizes=False, flush_depth=2, flush_blocks=2)
    main = extend(ledger, 12)
    parent, side = ledger.chain_id, []
    for _ in range(15):
        block = make_block(ledger, parent, tag=3)
        ledger.insert(block, 1, ())
        side.append(block)
        parent = block.id
    writes = 0
    for fuse in range(30):
        copy = FusedStore()
        copy.write(list(store.scan(b"")), sync=True)
        copy.fuse = None
        again = open_ledger(GENESIS, copy, finalizes=False, flush_depth=2, flush_blocks=2)
        for block in again.replay():
            again.insert(block, 1, (), replaying=True)
        again.set_head(again.stored_head())
        assert again.head() == main[-1].id
        copy.fuse = fuse
        try:
            again.set_head(parent)
        except PowerLoss:
            writes += 1
        else:
            break
        copy.fuse = None
        copy.lose_unsynced()
        last = open_ledger(GENESIS, copy, finalizes=False, flush_depth=2, flush_blocks=2)
        for block in last.replay():
            last.insert(block, 1, (), replaying=True)
        last.set_head(parent)
        assert last.id_at(15) == side[-1].id
        assert last.id_at(1) == side[0].id
    assert writes > 5


def test_side_branches_are_synced_when_they_leave_memory() -> None:
    """Below the floor the index is trusted without a look at the ancestors."""
    store = MemoryStore()
    ledger = open_ledger(GENESIS, store, finalizes=False, flush_depth=2, flush_blocks=1)
    low = grow(ledger, ledger.chain_id, tag=1)
    higher = grow(ledger, low.id, tag=1)
    extend(ledger, 8)
    assert ledger.counts()["blocks"] <= 4, "the side branch has left memory"
    late = grow(ledger, higher.id, tag=1)
    store.lose_unsynced()
    again = open_ledger(GENESIS, store, finalizes=False, flush_depth=2, flush_blocks=1)
    replay(again)
    assert [again.knows(block.id) for block in (low, higher, late)] == [True, True, True]
    assert again.block(late.id) == late
    again.set_head(late.id)
    assert again.id_at(1) == low.id


@pytest.mark.parametrize("fate", [5, 6, 7])
def test_a_side_block_below_the_floor_never_stands_without_its_parents(fate: int) -> None:
    """A log that was rotated keeps later writes and loses earlier ones."""
    store = MemoryStore()
    ledger = open_ledger(GENESIS, store, finalizes=False, flush_depth=2, flush_blocks=1)
    side = [grow(ledger, ledger.chain_id, tag=1)]
    extend(ledger, 10)
    for _ in range(5):
        side.append(grow(ledger, side[-1].id, tag=1))
    store.lose_unsynced(random.Random(fate), rotated=True)
    again = open_ledger(GENESIS, store, finalizes=False, flush_depth=2, flush_blocks=1)
    replay(again)
    known = [again.knows(block.id) for block in side]
    assert known == sorted(known, reverse=True), "no child is known without its parent"
    assert known[0]


@pytest.mark.parametrize("fate", range(12))
def test_a_final_block_that_had_a_proof_never_stands_without_it(fate: int) -> None:
    """Two crashes: the first start says again what is final; the second crash may lose the first
    writing of it and keep the second. A final block without its proof convinces nobody, and those
    who hold the block undecided would wait for ever."""
    store = MemoryStore()
    ledger = open_ledger(GENESIS, store)
    blocks = extend(ledger, 3)
    ledger.persist(b"record", [block.id for block in blocks])
    ledger.finalize(blocks[2].id, Proof("test", b"why"))
    again = open_ledger(GENESIS, store)
    replay(again)
    assert again.finalized() == blocks[2].id
    store.lose_unsynced(random.Random(fate), rotated=True)
    last = open_ledger(GENESIS, store)
    replay(last)
    if last.finalized() == blocks[2].id:
        assert last.proof(blocks[2].id) == Proof("test", b"why")


@pytest.mark.parametrize("fate", range(24))
def test_the_pointer_never_outlives_the_proofs_below_it(fate: int) -> None:
    """A log that was rotated keeps later writes and loses earlier ones; so does a second crash."""
    store, rng = MemoryStore(), random.Random(fate)
    ledger = open_ledger(GENESIS, store)
    blocks = extend(ledger, 6)
    ledger.persist(b"record", [block.id for block in blocks])
    for number, block in enumerate(blocks):
        ledger.finalize(block.id, Proof("test", b"why %d" % number))
        if number == fate % 4:
            ledger.persist(b"later", [block.id])
    for _ in range(2):
        store.lose_unsynced(rng, rotated=True)
        again = open_ledger(GENESIS, store)
        replay(again)
        for number, block in enumerate(blocks[: again.height(again.finalized())]):
            assert again.proof(block.id) == Proof("test", b"why %d" % number)
