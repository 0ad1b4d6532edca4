"""The ledger's reading side: ChainView for engines, and what REST and gossip ask.

All of it looks at the head's branch unless it says otherwise: in memory above the base, on disk up
to it. Both parts give the same answers in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from chain import codec
from chain.address import Address
from chain.block import Block, BlockHead
from chain.errors import DamagedStore
from chain.execution import Credit, Receipt
from chain.genesis import Era, Genesis, era_at
from chain.hashing import BlockId, TxId
from chain.ledger.disk import NOTE, RECORD_KEY, AddressStats, Disk, ResultRow
from chain.ledger.links import Links
from chain.ledger.touches import REWARD_POSITION, Totals, Touch, add_stats
from chain.ledger.tree import BlockTree
from chain.proof import Proof
from chain.snapshot import FORMAT, HEADS_BELOW, LINKS_MAX, SNAPSHOT_BYTES_MAX, SetLink, Snapshot
from chain.state.accounts import Account, get_account
from chain.state.tree import StateTree
from chain.transaction import Transaction
from chain.validators import ValidatorSet

CONFIRMATION_DEPTH: Final = 6
"""Blocks on top that confirm one where neither engine nor era says otherwise (Bitcoin's custom)."""


PROOF_WAITS_MAX: Final = 64
"""Blocks above the least that shows another, among which one must have a proof of its own."""


class Located(NamedTuple):
    """A transaction on the best chain; with ``transaction`` None (position -1), a block's reward.

    ``position``: index among the block's transactions.
    """

    transaction: Transaction | None
    block_id: BlockId
    height: int
    position: int
    receipt: Receipt | None


class Reading:
    """Everything that changes nothing."""

    def __init__(self, disk: Disk, tree: BlockTree, genesis: Genesis, finalizes: bool) -> None:
        self.genesis, self.finalizes = genesis, finalizes
        self._disk, self._tree = disk, tree
        self._links = Links(disk)
        # Where the engine never finalizes, only genesis is beyond doubt.
        genesis_id = disk.id_at(0)
        assert genesis_id is not None
        self.genesis_id: BlockId = genesis_id
        self._final: BlockId = tree.base.id if finalizes else genesis_id
        self._places: dict[TxId, tuple[BlockId, int]] = {}
        self._confirm: Callable[[], BlockId] | None = None
        self._confirmed: tuple[BlockId, BlockId] | None = None  # for which head, and the answer

    # -------------------------------------------------------------------------------- ChainView

    def head(self) -> BlockId:
        return self._tree.head

    def finalized(self) -> BlockId:
        """The last final block; genesis where the engine never finalizes."""
        return self._final

    def knows(self, block: BlockId) -> bool:
        return self._tree.find(block) is not None

    def header(self, block: BlockId) -> BlockHead:
        return self._tree.row(block).head

    def height(self, block: BlockId) -> int:
        return self._tree.height(block)

    def weight(self, block: BlockId) -> int:
        """Of the whole branch that ends in ``block``."""
        return int.from_bytes(self._tree.row(block).weight, "big")

    def ancestor(self, block: BlockId, height: int) -> BlockId:
        return self._tree.ancestor(block, height)

    def descends(self, block: BlockId, from_: BlockId) -> bool:
        return self._tree.descends(block, from_)

    def children(self, block: BlockId) -> Sequence[BlockId]:
        return self._tree.children(block)

    @property
    def bodies_from(self) -> int:
        """Least height, genesis apart, of which bodies are kept; 0 and 1: all are."""
        return self._disk.pruned.bodies_from

    @property
    def heads_from(self) -> int:
        """Least height, genesis apart, of which heads are kept."""
        return self._disk.pruned.heads_from

    @property
    def disk(self) -> Disk:
        """For what lies beside the chain: snapshots kept (Shelf) and fetched (Staging)."""
        return self._disk

    def record(self) -> bytes | None:
        """The engine's durable record; None where it was never written or was lost."""
        return self._disk.store.get(RECORD_KEY)

    def note(self, name: str) -> bytes | None:
        """What ``put_note`` kept under a name."""
        return self._disk.store.get(NOTE + name.encode())

    # ----------------------------------------------------------------------------------- blocks

    def block(self, block: BlockId) -> Block | None:
        return self._tree.body(block)

    def head_of(self, block: BlockId) -> BlockHead | None:
        row = self._tree.find(block)
        return None if row is None else row.head

    def proof(self, block: BlockId) -> Proof | None:
        return self._disk.proof(block)

    def id_at(self, height: int) -> BlockId | None:
        """The best chain's block at ``height``."""
        return self._tree.id_at(height)

    def in_best_chain(self, block: BlockId) -> bool:
        """Whether the block is known and lies on the head's branch."""
        return self.knows(block) and self._tree.on_main(block)

    def receipts(self, block: BlockId) -> tuple[Receipt, ...] | None:
        """One for each transaction of a known block."""
        result = self._result(block)
        return None if result is None else result.receipts

    def credits(self, block: BlockId) -> tuple[Credit, ...] | None:
        """Whom a known block's reward and fees went to: what Bitcoin's coinbase shows."""
        result = self._result(block)
        return None if result is None else result.credits

    def confirm_by(self, rule: Callable[[], BlockId]) -> None:
        """From now on ``rule`` says what is confirmed, where the engine never finalizes."""
        self._confirm = rule

    def confirmed(self) -> BlockId:
        """The finalized block; else what the engine's rule confirms (``confirm_by``).

        Without one: the head's ancestor at the era's ``confirmation_depth``.
        """
        if self.finalizes:
            return self._final
        if self._confirm is not None:
            if self._confirmed is None or self._confirmed[0] != self._tree.head:
                self._confirmed = (self._tree.head, self._confirm())
            return self._confirmed[1]
        height = self._tree.head_height
        parameters = dict(era_at(self.genesis.eras, height).parameters)
        depth = parameters.get("confirmation_depth", CONFIRMATION_DEPTH)
        assert isinstance(depth, int), "confirmation_depth is a number of blocks"
        found = self._tree.id_at(max(0, height - depth))
        assert found is not None
        return found

    # ------------------------------------------------------------------------------------ state

    def state(self, block: BlockId | None = None) -> StateTree:
        """The state after a block (default: the head). KeyError where it is not held."""
        return self._tree.entries[self._tree.head if block is None else block].state

    def state_held(self, block: BlockId) -> StateTree | None:
        """The state after a block, where it is in memory."""
        entry = self._tree.entries.get(block)
        return None if entry is None else entry.state

    def account(self, address: Address, at: BlockId | None = None) -> Account:
        """An account as a block (default: the head) leaves it. KeyError as in ``state``."""
        return get_account(self.state(at), address)

    # ----------------------------------------------------------------------------- transactions

    def transaction(self, txid: TxId) -> Located | None:
        """A transaction of the best chain; under a manifest's leaf hash, that block's reward."""
        place = self._places.get(txid)
        if place is not None:
            return self._located(place[0], place[1])
        row = self._disk.place(txid)
        if row is None:
            return None
        if self._disk.is_pruned(row.height):
            return None  # its entry is about to be deleted
        block = self._tree.id_at(row.height)
        assert block is not None, "what is indexed is on the main chain"
        return self._located(block, row.place + REWARD_POSITION)

    def history(
        self, address: Address, *, before: tuple[int, int] | None = None, count: int = 25
    ) -> list[Located]:
        """What touched an address, newest first: at most ``count``, older than ``before``.

        Without what stands in bodies that are not kept any more (``bodies_from``).

        ``before``: (height, position). It lists transactions that the address sent or was paid
        by, and rewards (position -1).
        """
        found: list[Located] = []
        for height, position in self._places_of(address, before, count):
            if self._disk.is_pruned(height):
                continue
            block = self._tree.id_at(height)
            assert block is not None, "what is indexed is on the main chain"
            found.append(self._located(block, position))
        return found

    def address_stats(self, address: Address) -> AddressStats:
        """Counts and sums over the best chain: all of it, whatever was pruned here since; where
        this node began from a snapshot, what came after that."""
        totals: Totals = {}
        for block in self._tree.branch:
            add_stats(totals, self._touches_of(block, address), self._disk.stats)
        return AddressStats(*totals[address]) if totals else self._disk.stats(address)

    # ------------------------------------------------------------------------------- validators

    def _next_validators_hash(self, parent: BlockId) -> bytes:
        """Hash of the set for the children of a child of ``parent``: fixed ``lag`` blocks before.

        The child is at h; its children are decided by the set in the state at h + 1 - lag.
        """
        height = self.height(parent) + 1
        lagging = max(0, height + 1 - self.genesis.limits.validator_lag)
        return self._tree.row(self.ancestor(parent, lagging)).validators

    def next_validators(self, parent: BlockId) -> ValidatorSet:
        """The set that a child of ``parent`` must name in its manifest."""
        return self._set(self._next_validators_hash(parent))

    def validators(self, parent: BlockId) -> ValidatorSet:
        """The set entitled to decide the child of ``parent``."""
        return self._set(self._tree.row(parent).head.manifest.next_validators)

    def change_pending(self, parent: BlockId) -> bool:
        """Whether the state after ``parent`` holds another set than the one that decides its child:
        a change that takes effect some blocks later."""
        row = self._tree.row(parent)
        return row.validators != row.head.manifest.next_validators

    def validators_ahead(self, parent: BlockId) -> list[ValidatorSet]:
        """The sets of the heights after ``parent`` that its branch has fixed, lowest first.

        The first decides the child of ``parent``, the last, as of its state, ``lag`` blocks above.
        """
        lag, height = self.genesis.limits.validator_lag, self.height(parent)
        found, at = [self.validators(parent)], parent
        hashes = [self._tree.row(parent).validators]
        for below in range(height - 1, max(height + 1 - lag, -1), -1):
            at = self.ancestor(at, below)
            hashes.append(self._tree.row(at).validators)
        found.extend(self._set(each) for each in reversed(hashes))
        return found

    def ever_listed(self, address: Address) -> bool:
        """Whether any set that this node has come to know, on any branch, lists the address."""
        return any(address in each.listed for each in self._disk.all_validators())

    def validator_set(self, hash_: bytes) -> ValidatorSet | None:
        """A set that this chain has had, by its hash."""
        return self._disk.validators(hash_)

    def _set(self, hash_: bytes) -> ValidatorSet:
        found = self._disk.validators(hash_)
        if found is None:
            raise DamagedStore(
                "a validator set is missing from the database; "
                "delete the database and let the node sync again"
            )
        return found

    def params(self, parent: BlockId) -> Era:
        """The era of the child of ``parent``. No action changes the eras that genesis wrote."""
        return era_at(self.genesis.eras, self.height(parent) + 1)

    def describe(self, height: int) -> Snapshot | None:
        """What a snapshot of the main chain's state at ``height`` says of itself.

        None as long as it cannot be shown: where the engine finalizes, until a block ``lag`` - 1
        above it or later is final with a proof. What is needed must still be in memory or kept.
        """
        lag = self.genesis.limits.validator_lag
        least = height + lag - 1
        top = self.proven_from(least) if self.finalizes else least
        if top is None or top > self._tree.head_height:
            return None
        heads = [self._head_at(each) for each in range(_lowest(height, lag), top + 1)]
        names = dict.fromkeys(
            head.manifest.next_validators for head in heads if head.height >= height
        )
        return Snapshot(
            FORMAT,
            self.genesis_id,
            height,
            tuple(heads),
            tuple(self._set(name) for name in names),
            self.proof(heads[-1].id) if self.finalizes else None,
            _fitting(self.set_links(top)),
            self._tree.row(heads[height - heads[0].height].id).weight,
        )

    def set_links(self, below: int) -> Sequence[SetLink]:
        """How the set that decides height ``below`` follows from genesis's, lowest first; with gaps
        where one of ``unproven`` lies below."""
        return [link for link in self._disk.links() if link.head.height < below]

    @property
    def unproven(self) -> Sequence[tuple[int, BlockId]]:
        """Final changes of the set that cannot be shown here, heights and blocks, lowest first."""
        return self._links.unproven

    def _changes_in(
        self, newly: Sequence[BlockHead], proof: Proof | None
    ) -> Iterator[tuple[BlockHead, Proof | None]]:
        """Blocks that have become final and name another set than decided them, with their proofs
        (``proof``: of the last): by these a stranger who knows an old set comes to believe in the
        new one."""
        for head in newly:
            parent = self._tree.find(head.previous)
            if parent is None:
                continue  # the lowest head that is kept here
            if head.manifest.next_validators != parent.head.manifest.next_validators:
                yield head, proof if head is newly[-1] else self.proof(head.id)

    def proven_from(self, least: int) -> int | None:
        """The lowest final height from ``least`` on of which a proof is held: it shows all below.

        Not every final block has one here: who has learnt of the latest only (a message was lost)
        holds none of those between. None where PROOF_WAITS_MAX blocks in a row have none.
        """
        final = self.height(self._final)
        for height in range(least, min(final, least + PROOF_WAITS_MAX) + 1):
            if self.proof(self._head_at(height).id) is not None:
                return height
        return None

    def _head_at(self, height: int) -> BlockHead:
        block = self._tree.id_at(height)
        assert block is not None, f"no head at height {height} of the main chain"
        return self.header(block)

    # --------------------------------------------------------------------------------- helpers

    def _places_of(
        self, address: Address, before: tuple[int, int] | None, count: int
    ) -> Iterator[tuple[int, int]]:
        for block in reversed(self._tree.branch):
            height = self._tree.height(block)
            if before is not None and height > before[0]:
                continue
            for touch in reversed(self._touches_of(block, address)):
                if before is None or (height, touch.position) < before:
                    if count <= 0:
                        return
                    count -= 1
                    yield height, touch.position
        below = (self._tree.base.height + 1, REWARD_POSITION)
        yield from self._disk.history(
            address, before if before is not None and before < below else None, count
        )

    def _touches_of(self, block: BlockId, address: Address) -> list[Touch]:
        return [t for t in self._tree.entries[block].touches if t.address == address]

    def _located(self, block: BlockId, position: int) -> Located:
        body, result = self._tree.body(block), self._result(block)
        assert body is not None and result is not None
        if position == REWARD_POSITION:
            return Located(None, block, body.height, position, None)
        return Located(
            body.transactions[position], block, body.height, position, result.receipts[position]
        )

    def _result(self, block: BlockId) -> ResultRow | None:
        entry = self._tree.entries.get(block)
        if entry is not None:
            return None if entry.bodiless else entry.result
        row = self._tree.find(block)
        if row is None or self._disk.is_pruned(row.head.height):
            return None
        return self._disk.result(block)

    def _body_at(self, height: int) -> Block:
        block = self._tree.id_at(height)
        body = None if block is None else self._tree.body(block)
        assert body is not None, "the main chain has no gaps"
        return body

    def _place(self, block: Block) -> None:
        for position, leaf in enumerate(block.leaves, start=REWARD_POSITION):
            self._places[leaf] = (block.id, position)

    def _unplace(self, block: Block) -> None:
        for leaf in block.leaves:
            self._places.pop(leaf, None)


def _lowest(height: int, lag: int) -> int:
    """The lowest head that a snapshot at ``height`` shows."""
    return max(1, height - max(lag, HEADS_BELOW))


def _fitting(links: Sequence[SetLink]) -> tuple[SetLink, ...]:
    """The newest changes of the set, as many as fit into half of what a snapshot may weigh."""
    room, count = SNAPSHOT_BYTES_MAX // 2, 0
    for link in reversed(links):
        room -= len(codec.encode(link))
        if room < 0 or count >= LINKS_MAX:
            break
        count += 1
    return tuple(links[len(links) - count :])
