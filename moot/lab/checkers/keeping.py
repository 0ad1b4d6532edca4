"""What a node claims to keep it has, and snapshots and the flat state never go back."""

from __future__ import annotations

from chain.errors import InvalidProof
from chain.hashing import BlockId
from chain.ledger.shelf import Shelf
from chain.snapshot import Snapshot
from chain.state.chunks import Coverage
from moot.lab.node import SimulatedNode
from moot.lab.planting import judged_honestly
from moot.lab.report import Findings

CHECKER = "keeping"


class Keeping:
    """For one node, now and then; its disk is looked at as another process would."""

    def __init__(self, node: SimulatedNode, findings: Findings) -> None:
        self._node, self._findings = node, findings
        self._whole: set[BlockId] = set()
        self._base = 0
        self._disk: object = None

    def look(self) -> None:
        """When the node has done all that it had to do."""
        node = self._node
        if self._disk is not node.store.memory:  # a new, empty disk
            self._disk, self._base = node.store.memory, 0
        self._check_base()
        self._check_bodies()
        self._check_snapshots()

    def _check_base(self) -> None:
        ledger = self._node.running.ledger
        base = ledger.disk.base()
        assert base is not None
        if ledger.finalizes and base.height < self._base:
            self._violated(f"its state went back from height {self._base} to {base.height}")
        self._base = base.height

    def _check_bodies(self) -> None:
        core = self._node.running
        ledger = core.ledger
        lowest = max(1, core.snapshots.holdings().bodies_from)
        for height in range(lowest, ledger.height(ledger.head()) + 1):
            block = ledger.id_at(height)
            if block is None or ledger.block(block) is None:
                self._violated(f"says that it keeps bodies from {lowest} on, and lacks {height}")
                return

    def _check_snapshots(self) -> None:
        core = self._node.running
        ledger, shelf = core.ledger, Shelf(core.ledger.disk)
        for snapshot in shelf.kept:
            if snapshot.block not in self._whole and self._is_whole(shelf, snapshot):
                self._whole.add(snapshot.block)
        lowest = max(ledger.bodies_from, ledger.heads_from)
        for offer in core.snapshots.holdings().snapshots:
            if offer.height + 1 < lowest:
                self._violated(
                    f"offers a snapshot of height {offer.height}, and the blocks that lead on from "
                    f"there are kept from {lowest} on only"
                )
        settings = self._node.settings.snapshots
        if settings.every and settings.bodies and ledger.bodies_from > 1:
            # Up to a snapshot that it took it forgot nothing: its chain begins there.
            heights = [self._node.installed_height, *(each.height for each in shelf.kept)]
            if max(heights) + 1 < ledger.bodies_from:
                self._violated(
                    f"forgot all bodies below {ledger.bodies_from}, and no snapshot on its disk "
                    "reaches up to there"
                )

    @judged_honestly
    def _is_whole(self, shelf: Shelf, snapshot: Snapshot) -> bool:
        coverage = Coverage()
        try:
            for chunk in shelf.chunks(snapshot.height):
                chunk.check(snapshot.root)
                coverage.add(chunk.first, chunk.end)
        except InvalidProof as error:
            self._violated(f"its snapshot of height {snapshot.height} is damaged: {error}")
            return False
        if not coverage.complete:
            self._violated(f"its snapshot of height {snapshot.height} has gaps")
        return coverage.complete

    def _violated(self, what: str) -> None:
        self._findings.violated(CHECKER, f"{self._node.name} {what}", self._node.world.now_ms)
