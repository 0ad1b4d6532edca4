"""The ledger: the block tree, the states of its blocks, and what of it lies on disk.

Every block above the *base* keeps a StateTree of its own (trees share structure, so each costs what
the block changed); the base's state lies flat on disk. A reorganisation above the base chooses
another leaf. Where the engine finalizes, the base follows the finalized block and other branches
are pruned. Where it does not, the base follows the head at a depth, deltas are kept, and a
reorganisation that goes deeper takes the base back, block by block, as far as it must.

The base moves in groups of blocks, each move one synced batch. A crash loses no more than what was
neither persisted nor flushed, and ``replay`` brings back the blocks above the base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from chain import codec
from chain.address import Address
from chain.block import Block, BlockHead
from chain.changes import StateChange
from chain.errors import ForeignStore, InvalidBlock, InvalidTransaction
from chain.execution import BlockExecution, Executed
from chain.genesis import Era, Genesis
from chain.hashing import BlockId
from chain.ledger.beginning import genesis_block
from chain.ledger.disk import (
    FINAL_KEY,
    GENESIS_KEY,
    HEAD_KEY,
    NOTE,
    REBASED_KEY,
    RECORD_KEY,
    BaseRow,
    Disk,
    IndexRow,
    ResultRow,
    Rows,
    body_key,
    delta_key,
    index_key,
    proof_key,
    result_key,
    validators_key,
)
from chain.ledger.flush import (
    advance_rows,
    block_rows,
    genesis_rows,
    retreat_rows,
    weight_bytes,
)
from chain.ledger.pruning import SWEEP_HEIGHTS, prune_below, sweep
from chain.ledger.reading import Reading
from chain.ledger.states import States, load_base
from chain.ledger.tree import BlockTree, Entry
from chain.ledger.verified import VerifiedSignatures, check_signatures
from chain.membership import MembershipRules
from chain.proof import Proof
from chain.signatures import Verifier
from chain.state.accounts import VALIDATORS_KEY, get_validators
from chain.state.tree import StateTree
from chain.storage import Store

FLUSH_DEPTH: Final = 64
"""Blocks below the head that stay in memory where nothing is final: ten times the depth at which
the devnet calls a block confirmed, so that what is undone on disk is rare."""
FLUSH_BLOCKS: Final = 16
"""Blocks that one move of the base takes together: their hot accounts are written once, and the
sync (0.2 to 10 ms) is shared. So many are executed again after a crash."""
FLUSH_TRANSACTIONS: Final = 512
"""Transactions that make a move worth its sync even for fewer blocks."""

BUILT_MAX: Final = 4
"""Blocks made here whose outcome is kept until they are inserted: a miner's last templates."""


class HeadMoved(NamedTuple):
    """What a move of the head took off the best chain and put on it, each from old to new."""

    removed: tuple[Block, ...]
    added: tuple[Block, ...]


class Ledger(Reading):
    """See the module. Implements chain.view.ChainView; the reading part is in chain.ledger.reading.

    ``finalizes``: the engine's property of that name. ``membership``: how the members of an era
    change. ``flush_depth``: how many blocks stay in memory below the head where it does not
    finalize. ``flush_blocks``: how many the base moves by.
    """

    def __init__(
        self,
        store: Store,
        genesis: Genesis,
        verifier: Verifier,
        finalizes: bool,
        membership: Callable[[Era], MembershipRules],
        flush_depth: int = FLUSH_DEPTH,
        flush_blocks: int = FLUSH_BLOCKS,
    ) -> None:
        """Raises ForeignStore (another chain's database), DamagedStore, StoreFailure."""
        assert flush_depth >= 1 and flush_blocks >= 1
        self.genesis_block = genesis_block(genesis)
        self.chain_id = self.genesis_block.id
        self.verified = VerifiedSignatures()
        self._verifier, self._membership = verifier, membership
        self.flush_depth, self._flush_blocks = flush_depth, flush_blocks
        disk = Disk(store)
        base_row = disk.base()
        if base_row is None:
            self._create(disk, genesis)
            base_row = BaseRow(self.chain_id, 0)
        elif store.get(GENESIS_KEY) != genesis.raw:
            raise ForeignStore(
                "the database belongs to another chain (its genesis differs); "
                "choose another data directory or the right genesis file"
            )
        tree = BlockTree(disk, load_base(disk, base_row))
        self._states = States(disk, tree)
        super().__init__(disk, tree, genesis, finalizes)
        self._stored_head = store.get(HEAD_KEY) or self.chain_id
        self._stored_final = store.get(FINAL_KEY)
        self.rebased = store.get(REBASED_KEY) is not None
        """A snapshot has replaced blocks since the engine's record was written."""
        # Rows to be deleted with the next flush, whatever a crash did to earlier deletions.
        self._built: dict[tuple[BlockId, bytes], Executed] = {}
        self._doomed: dict[BlockId, int] = {}
        self._unsettled: Rows = {}
        """What finality has written since the last synced batch (``finalize``)."""

    def _create(self, disk: Disk, genesis: Genesis) -> None:
        """Writes the genesis block and its state into an empty database."""
        if next(disk.store.scan(b""), None) is not None:
            raise ForeignStore("the database holds data, but none of a chain; empty it first")
        disk.write(genesis_rows(disk, genesis, self.genesis_block), sync=True)

    # --------------------------------------------------------------------------------- growing

    def can_extend(self, parent: BlockId) -> bool:
        """Whether a child of ``parent`` could be inserted: known, and not below a final block."""
        if not self.knows(parent):
            return False
        if self.finalizes:
            return self.height(parent) >= self.height(self._final)
        return self._reaches_kept(parent)

    def _reaches_kept(self, parent: BlockId) -> bool:
        """Whether the branch can be executed: it leaves the main chain where undo is kept."""
        lowest = self._disk.pruned.bodies_from - 1
        if lowest <= 0:
            return True
        if self.height(parent) < lowest:
            return False
        return self.ancestor(parent, lowest) == self._tree.id_at(lowest)

    def execution(self, parent: BlockId, *, time_ms: int, producer: Address) -> BlockExecution:
        """A child of ``parent``, to be filled; see ``can_extend``. KeyError for an unknown one."""
        height = self.height(parent) + 1
        assert self.can_extend(parent), "nothing grows below a final block"
        return BlockExecution(
            self._states.after(parent),
            chain_id=self.chain_id,
            limits=self.genesis.limits,
            height=height,
            time_ms=time_ms,
            producer=producer,
            membership=self._membership(self.params(parent)),
        )

    def insert(
        self,
        block: Block,
        weight: int,
        changes: tuple[StateChange, ...],
        replaying: bool = False,
    ) -> None:
        """Checks, executes and keeps a block whose parent is known; a known block is left alone.

        ``weight``: what it adds to its branch; ``changes``: what its claims do; both from the
        engine's rules, which have judged its head. ``replaying``: it was checked before it was
        stored, so its signatures are not checked again. Raises InvalidBlock: "wrong-height",
        "time-not-after-parent", "block-too-large", "bad-merkle-root", "mutated-merkle-tree",
        "invalid-transaction", "bad-signature", "wrong-state-root", "wrong-next-validators",
        "wrong-reward", "supply-overflow", "conflicts-with-finalized", "conflicts-with-pruned".
        """
        assert weight >= 0
        if self.knows(block.id):
            return
        parent = self._tree.row(block.previous)
        self._check_form(block, parent.head)
        if self.finalizes and block.height <= self.height(self.finalized()):
            raise InvalidBlock("conflicts-with-finalized", "a block beside a finalized one")
        if not self.can_extend(block.previous):
            raise InvalidBlock("conflicts-with-pruned", "it branches off below what is kept here")
        if not replaying:
            self._check_signatures(block)
        executed = self._execute(block, changes)
        total = int.from_bytes(parent.weight, "big") + weight
        entry = self._entry(block, parent, executed, total, replaying)
        self._doomed.pop(block.id, None)
        if block.height > self._tree.floor:
            self._tree.add(entry)
        if not self.finalizes and not replaying:
            self._store(entry)
        if replaying and block.id == self._stored_final:
            self._restore_final(entry)

    def _check_form(self, block: Block, parent: BlockHead) -> None:
        if block.height != parent.height + 1:
            raise InvalidBlock(
                "wrong-height", f"height {block.height} on a parent at {parent.height}"
            )
        if block.manifest.time_ms <= parent.time_ms:
            raise InvalidBlock("time-not-after-parent", "its time is not after its parent's")
        size, size_max = len(block.raw), self.genesis.limits.block_size_max
        if size > size_max:
            raise InvalidBlock("block-too-large", f"{size} bytes where at most {size_max} may be")
        block.check_body()

    def _check_signatures(self, block: Block) -> None:
        try:
            check_signatures(block.transactions, self.chain_id, self._verifier, self.verified)
        except InvalidTransaction as error:
            code = "bad-signature" if error.code == "bad-signature" else "invalid-transaction"
            raise InvalidBlock(code, f"{error.code}: {error.sentence}") from error

    def built(self, block: Block, executed: Executed) -> None:
        """Remembers how a block that was made here came out, so that its insert need not execute
        it a second time. ``executed`` must come from this ledger's own ``execution``. Parent and
        Merkle root name it, since they determine all that execution sees."""
        self._built[block.previous, block.header.merkle_root] = executed
        while len(self._built) > BUILT_MAX:
            del self._built[next(iter(self._built))]

    def _execute(self, block: Block, changes: tuple[StateChange, ...]) -> Executed:
        executed = self._built.pop((block.previous, block.header.merkle_root), None)
        if executed is None:
            executed = self._executed(block, changes)
        manifest = block.manifest
        if executed.reward != manifest.reward:
            raise InvalidBlock(
                "wrong-reward",
                f"it says {manifest.reward} base units, its claims mint {executed.reward}",
            )
        if executed.state.root != manifest.state_root:
            raise InvalidBlock("wrong-state-root", "executing it gives another state")
        if manifest.next_validators != self._next_validators_hash(block.previous):
            raise InvalidBlock("wrong-next-validators", "it names another next validator set")
        return executed

    def _executed(self, block: Block, changes: tuple[StateChange, ...]) -> Executed:
        manifest = block.manifest
        execution = self.execution(
            block.previous, time_ms=manifest.time_ms, producer=manifest.producer
        )
        for position, transaction in enumerate(block.transactions):
            try:
                execution.apply(transaction)
            except InvalidTransaction as error:
                raise InvalidBlock(
                    "invalid-transaction",
                    f"transaction {position}: {error.code}: {error.sentence}",
                ) from error
        return execution.finish(changes)

    def _entry(
        self, block: Block, parent: IndexRow, executed: Executed, weight: int, replaying: bool
    ) -> Entry:
        validators = parent.validators
        if VALIDATORS_KEY in executed.writes:
            # At once, so that it can be looked up; and with the block, so that it is synced.
            members = get_validators(executed.state)
            validators = members.hash
            self._disk.write({validators_key(validators): codec.encode(members)}, sync=False)
        row = IndexRow(
            block.head,
            weight_bytes(weight),
            self._tree.skip_of(block.previous, block.height),
            validators,
        )
        undo = executed.undo
        return Entry(
            block,
            row,
            executed.state,
            ResultRow(executed.receipts, executed.credits),
            tuple((key, undo[key], after) for key, after in executed.writes.items()),
            stored=replaying,
            synced=replaying,
        )

    def _store(self, entry: Entry) -> None:
        """Keeps a block at once, so that side branches outlive a restart (no engine finality).

        Unsynced above the floor, where ``replay`` notices a gap. Below it the index is trusted
        without a look at the ancestors, so what comes to lie there is synced.
        """
        below = entry.height <= self._tree.floor
        self._disk.write(self._block_rows(entry), sync=below)
        entry.stored, entry.synced = True, below
        if below:
            self._states.keep(entry.id, entry.state)

    def _block_rows(self, entry: Entry) -> Rows:
        rows = block_rows(entry, with_delta=not self.finalizes)
        if any(key == VALIDATORS_KEY for key, _, _ in entry.changes):
            members = get_validators(entry.state)
            rows[validators_key(members.hash)] = codec.encode(members)
        return rows

    def replay(self) -> Iterator[Block]:
        """At start: the stored blocks above the base whose parents are known, lowest first.

        The caller judges each and inserts it (``replaying=True``) before it asks for the next.
        Blocks that lost an ancestor in a power loss are passed over, and deleted in time, as are
        those that the caller refused.
        """
        for block in self._disk.bodies_from(self._tree.base.height + 1):
            if self.knows(block.previous):
                yield block
            if not self.knows(block.id):
                self._doom(block.id, block.height)

    # ------------------------------------------------------------------------------ durability

    def persist(self, record: bytes, blocks: Sequence[BlockId]) -> None:
        """One synced batch: the record, the named blocks, and every ancestor not synced before.

        Raises StoreFailure; the node must stop then. KeyError for an unknown block.
        """
        rows: Rows = {}
        written: list[Entry] = []
        seen: set[BlockId] = set()
        for block in blocks:
            self._tree.row(block)
            entry = self._tree.entries.get(block)
            while entry is not None and not entry.synced and entry.id not in seen:
                seen.add(entry.id)
                written.append(entry)
                entry = self._tree.entries.get(entry.block.previous)
        for entry in reversed(written):
            rows.update(self._block_rows(entry))
        rows[RECORD_KEY] = record
        if self.rebased:
            rows[REBASED_KEY] = None
        rows.update(self._unsettled)
        self._disk.write(rows, sync=True)
        self._unsettled, self.rebased = {}, False
        for entry in written:
            entry.stored = entry.synced = True

    def stored_head(self) -> BlockId:
        """The head when the node last ran; perhaps not known (any more): ask ``knows``."""
        return self._stored_head

    def state(self, block: BlockId | None = None) -> StateTree:
        """As in Reading; where nothing is final also of older blocks: the confirmed one may be."""
        if self.finalizes or block is None or block in self._tree.entries:
            return super().state(block)
        return self._states.after(block)

    def put_note(self, name: str, value: bytes) -> None:
        """Keeps something for people beside the chain, unsynced: a power loss may take it."""
        self._disk.write({NOTE + name.encode(): value}, sync=False)

    def put_proof(self, block: BlockId, proof: Proof) -> None:
        """Stores a proof beside a final block that is known."""
        head = self._tree.row(block).head
        rows: Rows = {proof_key(block): codec.encode(proof)}
        rows.update(self._links.rows(self._changes_in((head,), proof)))
        self._unsettled.update(rows)
        self._disk.write(rows, sync=False)

    # -------------------------------------------------------------------------- head and finality

    def set_head(self, block: BlockId) -> HeadMoved:
        """Makes ``block`` the tip of the best chain; it descends from the finalized block."""
        tree = self._tree
        if block == tree.head:
            return HeadMoved((), ())
        assert self.descends(block, self.finalized()), "the head left the finalized branch"
        added_ids = list(tree.down_to_main(block))
        fork = tree.height(added_ids[-1]) - 1 if added_ids else tree.height(block)
        removed = tuple(self._body_at(h) for h in range(fork + 1, tree.head_height + 1))
        if fork < tree.base.height:
            self._retreat(fork)
        for each in reversed(added_ids):
            if each not in tree.entries:
                tree.add(self._states.load(each))
        added = tuple(tree.entries[each].block for each in reversed(added_ids))
        self._leave_branch(fork)
        self._enter_branch(added)
        self._disk.write({HEAD_KEY: block}, sync=False)
        if not self.finalizes:
            self._advance_to(tree.head_height - self.flush_depth)
        return HeadMoved(removed, added)

    def finalize(self, block: BlockId, proof: Proof | None) -> tuple[Block, ...]:
        """Makes a block and its ancestors final; returns the newly final ones, lowest first.

        The head must descend from it (SetHead comes first), and it from the finalized block.
        Saying it again changes nothing, except that a proof is kept. Until the next synced batch
        each writing repeats the ones before: a power loss may keep a later write and lose an
        earlier one, and the pointer must not outlive the proofs below it.
        """
        assert self.finalizes, "this chain's engine never finalizes"
        tree = self._tree
        old, height = tree.height(self._final), tree.height(block)
        if height <= old:
            assert tree.on_main(block), "another block is final at this height"
            if proof is not None:
                self.put_proof(block, proof)
            return ()
        assert self.descends(block, self._final), "not a descendant of the finalized block"
        assert tree.on_main(block), "the head does not descend from it: set the head first"
        newly = tuple(self._body_at(h) for h in range(old + 1, height + 1))
        self._prune(old, newly)
        self._final = block
        self._unsettled[FINAL_KEY] = block
        heads = [each.head for each in newly]
        self._unsettled.update(self._links.rows(self._changes_in(heads, proof)))
        if proof is not None:
            self._unsettled[proof_key(block)] = codec.encode(proof)
        if not self._advance_to(height):
            self._disk.write(self._unsettled, sync=False)
        return newly

    def flush(self) -> None:
        """Moves the base as far as it may go; for a clean stop, so that little is replayed."""
        tree = self._tree
        goal = tree.head_height - self.flush_depth
        if self.finalizes:
            goal = tree.height(self._final)
        if goal > tree.base.height:
            self._advance(goal)

    def _doom(self, block: BlockId, height: int) -> None:
        self._doomed[block] = height

    def _doomed_rows(self) -> Rows:
        rows: Rows = {}
        for block, height in self._doomed.items():
            rows[body_key(height, block)] = None
            rows[index_key(block)] = rows[result_key(block)] = rows[delta_key(block)] = None
        return rows

    def _restore_final(self, entry: Entry) -> None:
        """A block that was final before the restart is final again.

        The proofs up to it are written again with the pointer: either all survive the next crash
        or none.
        """
        if not self.finalizes or entry.height <= self.height(self._final):
            return
        self.set_head(entry.id)
        for block in self._tree.branch[: entry.height - self._tree.base.height]:
            proof = self._disk.proof(block)
            if proof is not None:
                self._unsettled[proof_key(block)] = codec.encode(proof)
        self.finalize(entry.id, self._disk.proof(entry.id))

    def _prune(self, old: int, newly: Sequence[Block]) -> None:
        """Drops what branches off below the last of ``newly``."""
        tree = self._tree
        parent = self._final
        for block in newly:
            entry = tree.entries[parent]
            for sibling in [child for child in entry.children if child != block.id]:
                for each in reversed(tree.subtree(sibling)):
                    pruned = tree.drop(each)
                    if pruned.stored:
                        self._doom(each, pruned.height)
            entry.children = [block.id]
            parent = block.id

    def counts(self) -> dict[str, int]:
        """How much is held in memory, for metrics."""
        return {
            "blocks": len(self._tree.entries),
            "branch": len(self._tree.branch),
            "transactions": len(self._places),
            "verified": len(self.verified),
        }

    # --------------------------------------------------------------------------------- pruning

    def prune(self, bodies_from: int) -> int:
        """Keeps bodies from this height on, the base's at least; returns what is kept from.

        With the bodies go their results, undo, proofs and index entries; heads stay. First this is
        written, so that nothing is claimed that may be gone; ``sweep`` deletes. Where nothing is
        final, no branch can replace what lies below any more. Snapshots from which nothing would
        lead on go too: an open Shelf does not see that, so that a running node must not ask for it.
        """
        goal = min(bodies_from, self._tree.base.height)
        pruned = self._disk.pruned
        if goal > max(1, pruned.bodies_from):
            prune_below(self._disk, goal)
        return self._disk.pruned.bodies_from

    def sweep(self, heights: int = SWEEP_HEIGHTS) -> bool:
        """Deletes a slice of what is not kept; True: there is more to do."""
        return sweep(self._disk, heights)

    # ------------------------------------------------------------------------- moving the base

    def _advance_to(self, goal: int) -> bool:
        """Moves the base up to ``goal`` if enough has gathered to be worth a sync."""
        waiting = goal - self._tree.base.height
        if waiting <= 0:
            return False
        if waiting < self._flush_blocks:
            entries = self._tree.entries
            ids = self._tree.branch[:waiting]
            if sum(len(entries[i].block.transactions) for i in ids) < FLUSH_TRANSACTIONS:
                return False
        self._advance(goal)
        return True

    def _advance(self, goal: int) -> None:
        """Moves the base up to height ``goal`` of the head's branch, in groups."""
        tree = self._tree
        while tree.base.height < goal:
            rows = dict(self._unsettled)
            count = min(goal - tree.base.height, self._flush_blocks)
            entries = [tree.entries[block] for block in tree.branch[:count]]
            top = entries[-1]
            floor = max(tree.floor, top.height)
            on_branch = {entry.id for entry in entries}
            leaving = [e for e in tree.at_or_below(floor) if e.id not in on_branch]
            for entry in leaving:
                if not entry.synced:
                    rows.update(self._block_rows(entry))
            for entry in entries:
                if not entry.synced:
                    rows.update(self._block_rows(entry))
            moving, totals = advance_rows(self._disk, entries)
            rows.update(moving)
            rows.update(self._doomed_rows())
            self._disk.write(rows, sync=True)
            self._disk.stats_written(totals)
            for block in self._doomed:
                self._disk.forget(block)
            self._unsettled, self._doomed = {}, {}
            self._based_on(top, floor, tree.branch[count:])

    def _based_on(self, base: Entry, floor: int, branch: list[BlockId]) -> None:
        """The disk has moved; memory follows."""
        tree = self._tree
        for block in tree.branch[: len(tree.branch) - len(branch)]:
            self._unplace(tree.entries[block].block)
        tree.base, tree.floor, tree.branch = base, floor, branch
        base.stored = base.synced = True
        keep = set(branch)
        for entry in tree.at_or_below(floor):
            if entry.id not in keep:
                tree.drop(entry.id)

    def _retreat(self, fork: int) -> None:
        """Takes the base back to height ``fork`` of the main chain, in groups of blocks."""
        assert not self.finalizes, "finality never moves back"
        tree = self._tree
        assert fork >= self._disk.pruned.bodies_from - 1, "what was pruned cannot be unwound"
        self._leave_branch(tree.base.height)
        while tree.base.height > fork:
            entries: list[Entry] = []
            state, entry = tree.base.state, tree.base
            for _ in range(min(self._flush_blocks, tree.base.height - fork)):
                entry = self._with_delta(entry, state)
                entries.append(entry)
                state = state.update({key: before for key, before, _ in entry.changes})
                entry = self._states.from_disk(entry.block.previous, state)
            rows, totals = retreat_rows(self._disk, entries)
            self._disk.write(rows, sync=True)
            self._disk.stats_written(totals)
            if tree.base.id in tree.entries:
                tree.drop(tree.base.id)
            self._states.keep(tree.base.id, tree.base.state)
            tree.base = entry
            tree.add(entry)

    def _with_delta(self, entry: Entry, state: StateTree) -> Entry:
        """The entry with what it changed, which a base read at start does not hold."""
        return entry if entry.changes else self._states.from_disk(entry.id, state)

    def _leave_branch(self, height: int) -> None:
        """Cuts the head's branch in memory down to ``height``."""
        tree = self._tree
        kept = height - tree.base.height
        for block in tree.branch[kept:]:
            self._unplace(tree.entries[block].block)
        del tree.branch[kept:]

    def _enter_branch(self, added: Sequence[Block]) -> None:
        for block in added:
            self._tree.branch.append(block.id)
            self._place(block)
