"""What sync needs of the node's snapshots: those it serves, and the one that it takes in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from chain.hashing import BlockId
from chain.snapshot import Snapshot
from chain.state.chunks import StateChunk
from p2p.wire import Holdings


class SnapshotDesk(Protocol):
    """The node's side. Answers at once; writes are small."""

    def holdings(self) -> Holdings:
        """What this node keeps: told to peers whenever it changes."""
        ...

    def snapshot(self, block: BlockId) -> Snapshot | None: ...

    def chunk(self, block: BlockId, path: bytes) -> StateChunk | None:
        """The chunk of that snapshot that covers ``path``."""
        ...

    # taking one in

    @property
    def gap_max(self) -> int:
        """Blocks behind which a node takes a snapshot rather than block after block; 0: never, but
        where nobody has the blocks."""
        ...

    @property
    def chunk_bytes(self) -> int:
        """Bytes at which this chain's states are cut into chunks."""
        ...

    @property
    def staged(self) -> Snapshot | None:
        """The one that is being taken in, also since before a restart."""
        ...

    @property
    def is_clean(self) -> bool:
        """Whether a new one may be begun: what an earlier one left is deleted."""
        ...

    def begin(self, snapshot: Snapshot) -> None:
        """Judges a description and begins to take it in. Raises InvalidProof."""
        ...

    def add(self, chunk: StateChunk) -> bool:
        """Judges a chunk and keeps it. False: nothing new. Raises InvalidProof, also where it is
        true, and smaller than whoever cuts as all do would have made it."""
        ...

    def gaps(self) -> Sequence[tuple[int, int]]:
        """Intervals of paths that are missing, in order; none: it is complete."""
        ...

    def drop(self) -> None:
        """Gives it up."""
        ...
