"""What gossip and sync ask of the node that drives them. The set is closed.

They do nothing themselves: each call returns a list of actions, to be carried out in order.
``peer`` is always the peer's 32-byte key.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from chain.block import Block
from chain.hashing import BlockId
from chain.proof import Proof
from chain.transaction import Transaction
from p2p.wire import PeerMessage

PeerKey = bytes
BlockOrigin = Literal["sync", "gossip"]


class SendTo(msgspec.Struct, frozen=True):
    """Put ``message`` on the link to ``peer``."""

    peer: PeerKey
    message: PeerMessage


class Misbehaved(msgspec.Struct, frozen=True):
    """``peer`` broke a rule; ``reason`` is a stable kebab-case code. Costs it score."""

    peer: PeerKey
    reason: str


class Disconnect(msgspec.Struct, frozen=True):
    """Hang up, saying why: a stable code and a sentence for people."""

    peer: PeerKey
    reason: str
    sentence: str


class TransactionsReceived(msgspec.Struct, frozen=True):
    """Decoded, but not judged: signature, nonce and fee are the mempool's to check."""

    peer: PeerKey
    transactions: tuple[Transaction, ...]


class BlockReceived(msgspec.Struct, frozen=True):
    """A body that is what its header commits to; its parent is imported or was delivered before.

    To be answered by ``Sync.imported`` or ``Sync.rejected``.
    """

    peer: PeerKey
    block: Block
    proof: Proof | None
    origin: BlockOrigin


class ProofReceived(msgspec.Struct, frozen=True):
    """A finality proof, unchecked, of an imported block of which we hold none."""

    peer: PeerKey
    block_id: BlockId
    proof: Proof


class SyncingChanged(msgspec.Struct, frozen=True):
    """Whether this node is catching up (true) or abreast of its peers (false)."""

    syncing: bool


class SnapshotReady(msgspec.Struct, frozen=True):
    """The snapshot of the state after ``block`` is complete here: install it and start again."""

    block: BlockId


Action = (
    SendTo
    | Misbehaved
    | Disconnect
    | TransactionsReceived
    | BlockReceived
    | ProofReceived
    | SyncingChanged
    | SnapshotReady
)

__all__ = [
    "Action",
    "BlockOrigin",
    "BlockReceived",
    "Disconnect",
    "Misbehaved",
    "PeerKey",
    "ProofReceived",
    "SendTo",
    "SnapshotReady",
    "SyncingChanged",
    "TransactionsReceived",
]
