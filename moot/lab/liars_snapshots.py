"""Liars that serve snapshots: forged chunks, forged proofs of their blocks."""

from __future__ import annotations

import msgspec

from moot.lab.liars import Liar, liar_kind
from moot.lab.liars_consensus import BYZANTINE
from p2p.wire import ChunkBody, PeerMessage, SnapshotBody


@liar_kind("chunk-forger", BYZANTINE)
class ChunkForger(Liar):
    """Serves states in which an account has another balance, or is missing."""

    def outgoing(self, key: bytes, message: PeerMessage) -> None:
        if isinstance(message, ChunkBody) and message.chunk.items:
            items = list(message.chunk.items)
            place = self.rng.randrange(len(items))
            name, value = items[place]
            if self.rng.random() < 0.5:
                items[place] = (name, value[:-1] + bytes([value[-1] ^ 1]))
            else:
                del items[place]
            chunk = msgspec.structs.replace(message.chunk, items=tuple(items))
            message = ChunkBody(message.block, message.path, chunk)
        super().outgoing(key, message)


@liar_kind("snapshot-forger", BYZANTINE)
class SnapshotForger(Liar):
    """Serves descriptions whose proof nobody signed."""

    def outgoing(self, key: bytes, message: PeerMessage) -> None:
        if isinstance(message, SnapshotBody) and message.snapshot.proof is not None:
            proof = message.snapshot.proof
            body = bytearray(proof.body)
            body[-1 - self.rng.randrange(32)] ^= 1 << self.rng.randrange(8)
            forged = msgspec.structs.replace(proof, body=bytes(body))
            message = SnapshotBody(msgspec.structs.replace(message.snapshot, proof=forged))
        super().outgoing(key, message)
