"""A node's snapshots: making them beside the chain, judging those of others, pruning behind them.

All of it is done in slices by ``work``, so that the event loop is never held for long: a chunk of a
snapshot, some heights of old bodies, some thousand rows of an old state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from chain.errors import DamagedStore, InvalidProof
from chain.genesis import Genesis, era_at
from chain.hashing import BlockId, show_id
from chain.ledger import Ledger
from chain.ledger.disk import Disk
from chain.ledger.shelf import Shelf
from chain.ledger.staging import Staging
from chain.snapshot import LINKS_MAX, Snapshot
from chain.state.chunks import CHUNK_BYTES, StateChunk
from chain.storage import Store
from moot.node.eras import EraBook
from moot.node.gate import Gate
from moot.node.ports import Level
from p2p.wire import OFFERS_MAX, Holdings, SnapshotOffer

WORK_MS: Final = 20
"""Between two slices while there is something to do: a slice takes some 10 ms."""
IDLE_MS: Final = 1_000
"""How often an idle node looks whether there is."""
DEPTH: Final = 64
"""Where nothing is final: blocks on top of a block of which a snapshot is made."""
PROOF_PATIENCE: Final = 200
"""Blocks after which a snapshot is given up that no proof has shown final."""


class SnapshotSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator sets.

    ``every``: blocks from one snapshot to the next; 0: none are made. ``keep``: how many stay.
    ``gap_max``: blocks behind which a snapshot is taken rather than block after block; 0: only
    where no peer has the blocks. ``bodies``: how many blocks' bodies are kept; 0: all.
    ``depth``: see DEPTH.
    """

    every: int = 1_000
    keep: int = 2
    gap_max: int = 5_000
    bodies: int = 0
    depth: int = DEPTH


def install_staged(store: Store, genesis: Genesis) -> Snapshot | None:
    """Before a Ledger is opened: puts a snapshot in its place that was fetched completely.

    Returns it, or None. A state that was damaged on this disk is dropped, to be fetched anew.
    """
    disk = Disk(store)
    staging = Staging(disk)
    snapshot = staging.snapshot
    base = disk.base()
    try:
        if snapshot is None or base is None or not staging.complete:
            return None
    except DamagedStore:
        staging.drop()
        return None
    if snapshot.height <= base.height:
        staging.drop()  # blocks were faster
        return None
    staging.install(genesis.limits.validator_lag)
    return snapshot


class SnapshotKeeper:
    """Implements p2p.sync.holdings.SnapshotDesk. ``log``: moot.node.ports.Shell's."""

    def __init__(
        self,
        ledger: Ledger,
        eras: EraBook,
        gate: Gate,
        settings: SnapshotSettings,
        log: Callable[[Level, str, Mapping[str, object]], None],
    ) -> None:
        self._ledger, self._eras, self._gate = ledger, eras, gate
        self._settings, self._log = settings, log
        self._shelf = Shelf(ledger.disk)
        self._staging = Staging(ledger.disk)
        self._begun_on: BlockId | None = None
        self._written = False
        self.chunks_in = self.chunks_refused = 0

    # --------------------------------------------------------------------------------- making

    def before_final(self, block: BlockId) -> None:
        """``block`` is about to be final: the last moment at which its ancestors' states are all
        held in memory."""
        old = self._ledger.height(self._ledger.finalized())
        self._consider(old, self._ledger.height(block))

    def head_moved(self) -> None:
        """Where nothing is final: a block may lie deep enough now."""
        if not self._ledger.finalizes:
            depth = min(self._settings.depth, self._ledger.flush_depth)
            top = self._ledger.height(self._ledger.head()) - depth
            kept = self._shelf.kept
            self._consider(kept[-1].height if kept else 0, top)

    def _consider(self, above: int, upto: int) -> None:
        """Begins on the highest block in between at which one is due."""
        every = self._settings.every
        if not every or self._shelf.making is not None:
            return
        height = upto - upto % every
        kept = self._shelf.kept
        if height <= above or height == 0 or (kept and height <= kept[-1].height):
            return
        block = self._ledger.id_at(height)
        state = None if block is None else self._ledger.state_held(block)
        if state is None:
            return
        while self._shelf.sweep():
            pass  # what a crash left: nothing, nearly always
        self._shelf.begin(height, state)
        self._begun_on = block
        self._written = False

    def work(self) -> bool:
        """One slice of whatever is to be done; False: nothing is."""
        if self._shelf.making is not None and self._make():
            return True
        return self._shelf.sweep() or self._staging.sweep() or self._prune() or self._ledger.sweep()

    def _make(self) -> bool:
        """A chunk, or the end; False: it waits for finality, or for proofs of which a newcomer that
        knows genesis only needs each."""
        height = self._shelf.making
        assert height is not None
        if not self._written:
            self._written = not self._shelf.work()
            return True
        if self._ledger.id_at(height) != self._begun_on:
            # Where nothing is final another branch may have won since: what is written is the state
            # of a block that is none of ours any more.
            return self._give_up(height, "its block was taken back")
        snapshot = self._ledger.describe(height)
        final = self._ledger.height(self._ledger.confirmed())
        waited = final - height > self._ledger.genesis.limits.validator_lag + PROOF_PATIENCE
        if snapshot is not None and (waited or not self._ledger.unproven):
            self._shelf.finish(snapshot, self._settings.keep)
            self._log("info", "snapshot-made", {"height": height, "block": show_id(snapshot.block)})
            return True
        if waited:
            return self._give_up(height, "no proof of finality")
        return False

    def _give_up(self, height: int, why: str) -> bool:
        self._shelf.abandon()
        self._log("info", "snapshot-given-up", {"height": height, "why": why})
        return True

    def _prune(self) -> bool:
        """Bodies stay from the oldest snapshot on, so that whoever takes it can go on by blocks.

        Where nothing is ever settled, not even by policy, all stay: a branch from a partition of
        any length may win, and a node that had forgotten what it must take back could not follow.
        """
        settings, ledger = self._settings, self._ledger
        if not settings.bodies or self._settles_nothing():
            return False
        goal = ledger.height(ledger.confirmed()) - settings.bodies + 1
        if not ledger.finalizes:
            goal = min(goal, ledger.height(ledger.head()) - ledger.flush_depth)
        if settings.every:
            kept = self._shelf.kept
            goal = min(goal, kept[0].height + 1 if kept else 0)
        # In steps: each claims less in a synced write of its own.
        step = max(1, settings.bodies // 8)
        if goal < max(1, ledger.bodies_from) + step:
            return False
        before = ledger.bodies_from
        after = ledger.prune(goal)
        if after > before:
            self._log("info", "pruned", {"bodies_from": after})
        return after > before

    def _settles_nothing(self) -> bool:
        rules = self._eras.rules_after(self._ledger, self._ledger.head())
        return rules.properties.finality == "none"

    # -------------------------------------------------------------------------------- serving

    def holdings(self) -> Holdings:
        offers = [SnapshotOffer(each.height, each.block) for each in self._shelf.kept]
        return Holdings(
            self._ledger.bodies_from, self._ledger.heads_from, tuple(offers[-OFFERS_MAX:])
        )

    def snapshot(self, block: BlockId) -> Snapshot | None:
        return self._shelf.find(block)

    def chunk(self, block: BlockId, path: bytes) -> StateChunk | None:
        found = self._shelf.find(block)
        return None if found is None else self._shelf.chunk(found.height, path)

    @property
    def making(self) -> int | None:
        """Height of the one in the making."""
        return self._shelf.making

    @property
    def kept(self) -> tuple[Snapshot, ...]:
        """Those that are served, lowest first."""
        return self._shelf.kept

    # ------------------------------------------------------------------------------ taking in

    @property
    def gap_max(self) -> int:
        return self._settings.gap_max

    @property
    def chunk_bytes(self) -> int:
        return CHUNK_BYTES

    @property
    def staged(self) -> Snapshot | None:
        return self._staging.snapshot

    @property
    def is_clean(self) -> bool:
        return self._staging.is_clean

    @property
    def received_per_mille(self) -> int:
        """How much of the staged snapshot's state is here."""
        return self._staging.coverage.per_mille()

    def begin(self, snapshot: Snapshot) -> None:
        self.judge(snapshot)
        # Below what is final here nothing of it was judged: those links are the own ones.
        final = self._ledger.height(self._ledger.confirmed())
        above = [link for link in snapshot.links if link.head.height > final]
        links = (*self._ledger.set_links(final + 1), *above)
        self._staging.begin(msgspec.structs.replace(snapshot, links=links[-LINKS_MAX:]))
        self._log(
            "info", "snapshot-begun", {"height": snapshot.height, "block": show_id(snapshot.block)}
        )

    def judge(self, snapshot: Snapshot) -> None:
        """Raises InvalidProof unless it is shown final under the set that is known here.

        Codes besides those of ``check_form`` and the engine's: "snapshot-old" (not above what is
        final here), "snapshot-unproven" (nothing leads from the set known here to the one that
        proves it, or no proof can be had where nothing is final): that says nothing of the sender.
        """
        ledger = self._ledger
        snapshot.check_form(ledger.chain_id, ledger.genesis.limits.validator_lag)
        final = ledger.height(ledger.confirmed())
        if snapshot.height <= final:
            raise InvalidProof("snapshot-old", "it is not above what is final here")
        if not ledger.finalizes or snapshot.proof is None:
            raise InvalidProof("snapshot-unproven", "nothing shows it to be final")
        members = ledger.validators(ledger.confirmed())
        for link in snapshot.links:
            if link.head.height > final:
                rules = self._eras.rules(era_at(ledger.genesis.eras, link.head.height))
                self._gate.check_proof(rules, link.head, link.proof, members)
                members = link.members
        named = snapshot.heads[-2].manifest.next_validators
        if named != members.hash:
            raise InvalidProof(
                "snapshot-unproven", "no proofs lead from the validators known here to its own"
            )
        rules = self._eras.rules(era_at(ledger.genesis.eras, snapshot.top.height))
        self._gate.check_proof(rules, snapshot.top, snapshot.proof, members)

    def add(self, chunk: StateChunk) -> bool:
        staged = self._staging.snapshot
        assert staged is not None
        try:
            chunk.check(staged.root)
            self._staging.check_cut(chunk)
        except InvalidProof:
            self.chunks_refused += 1
            raise
        self.chunks_in += 1
        return self._staging.add(chunk)

    def gaps(self) -> Sequence[tuple[int, int]]:
        return tuple(self._staging.coverage.gaps())

    def drop(self) -> None:
        staged = self._staging.snapshot
        if staged is not None:
            self._log("info", "snapshot-dropped", {"height": staged.height})
        self._staging.drop()
