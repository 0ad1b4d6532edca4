"""Changes of the validator set, and what proves them to a stranger who knows an older set.

A block that names another set than decided it is shown by a proof of its own only: its descendants
are decided by the new set, in which nobody believes yet. So where finality was learnt from one of
those, the proof is missing, and that is noted until it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chain import codec
from chain.block import BlockHead
from chain.errors import DamagedStore
from chain.hashing import BlockId
from chain.ledger.disk import UNPROVEN, Disk, Rows, link_key, unproven_key
from chain.proof import Proof
from chain.snapshot import SetLink


class Links:
    """What lies under ``L`` and ``Munproven``."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._unproven: dict[int, BlockId] = {
            int.from_bytes(key[len(UNPROVEN) :], "big"): block
            for key, block in disk.store.scan(UNPROVEN)
        }

    @property
    def unproven(self) -> Sequence[tuple[int, BlockId]]:
        """Heights and blocks of final changes of which no proof is here, lowest first."""
        return sorted(self._unproven.items()) if self._unproven else ()

    def rows(self, changes: Iterable[tuple[BlockHead, Proof | None]]) -> Rows:
        """What is written of final blocks that name another set than decided them: a link for each
        that comes with its proof, a note for the others."""
        rows: Rows = {}
        for head, proof in changes:
            height = head.height
            if proof is None:
                rows[unproven_key(height)] = self._unproven[height] = head.id
                continue
            members = self._disk.validators(head.manifest.next_validators)
            if members is None:
                raise DamagedStore("a validator set that a final block names is missing")
            rows[link_key(height)] = codec.encode(SetLink(head, proof, members))
            if self._unproven.pop(height, None) is not None:
                rows[unproven_key(height)] = None
        return rows
