"""What peers say to each other: one binary WebSocket frame a message, canonically encoded.

A frame is one byte naming the message type, then the canonical encoding of its fields. Knowing
the type before decoding lets each type have a size limit of its own.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

import msgspec

from chain import codec
from chain.block import BLOCK_SIZE_MAX, Block, BlockHead
from chain.codec import Hash, Record, Uint
from chain.errors import InvalidEncoding
from chain.proof import EVIDENCE_SIZE_MAX, PROOF_SIZE_MAX, Evidence, Proof
from chain.snapshot import SNAPSHOT_BYTES_MAX, Snapshot
from chain.state.chunks import VALUE_SIZE_MAX, StateChunk

PROTOCOL_VERSION: Final = 1

KILOBYTE: Final = 1024
MEGABYTE: Final = 1024 * 1024

INVENTORY_MAX: Final = 1_000
"""Ids in one announcement or request: 32 kB."""
LOCATOR_MAX: Final = 64
"""Ids in a locator: dense near the tip, then doubling steps; 64 reach back 2**50 blocks."""
HEADS_MAX: Final = 500
"""Heads in one answer: about 200 kB."""
BLOCKS_MAX: Final = 64
"""Bodies asked for in one request; each comes as a frame of its own."""
ADDRESSES_MAX: Final = 100
"""Addresses in one peer exchange."""
OFFERS_MAX: Final = 8
"""Snapshots that one peer offers."""

PIECE_SIZE_MAX: Final = 64 * KILOBYTE
"""Bytes of a bulk frame sent at once: 5 ms of a 100 Mbit/s link, which a vote can wait."""

Lane = Literal["consensus", "bulk"]


class PeerMessage(Record, frozen=True):
    """Base of the frames' contents. ``code``: first byte of the frame. ``size_max``: bytes."""

    code: ClassVar[int]
    size_max: ClassVar[int]
    lane: ClassVar[Lane] = "bulk"


class Challenge(PeerMessage, frozen=True):
    """Listener to dialer, first frame: a fresh nonce that the dialer's proof must cover."""

    code: ClassVar[int] = 1
    size_max: ClassVar[int] = KILOBYTE
    lane: ClassVar[Lane] = "consensus"
    nonce: Hash


class Hello(PeerMessage, frozen=True):
    """Who I am and which chain I follow. Both sides send one; the dialer's carries its proof.

    ``proof``: the dialer's signature under a domain tag over chain id, both keys and the
    listener's nonce; empty from the listener, whose TLS certificate proves its key.
    ``listen_port``: where I accept links; 0: nowhere. ``features``: names, sorted.
    """

    code: ClassVar[int] = 2
    size_max: ClassVar[int] = 4 * KILOBYTE
    lane: ClassVar[Lane] = "consensus"
    protocol_version: Uint
    chain_id: Hash
    engine: Annotated[str, msgspec.Meta(max_length=64)]
    key: Hash
    agent: Annotated[str, msgspec.Meta(max_length=64)]
    height: Uint
    finalized_height: Uint
    listen_port: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    features: Annotated[tuple[str, ...], msgspec.Meta(max_length=32)] = ()
    proof: Annotated[bytes, msgspec.Meta(max_length=64)] = b""


class Goodbye(PeerMessage, frozen=True):
    """Why I hang up: a stable code and a sentence."""

    code: ClassVar[int] = 3
    size_max: ClassVar[int] = KILOBYTE
    lane: ClassVar[Lane] = "consensus"
    reason: Annotated[str, msgspec.Meta(max_length=64)]
    sentence: Annotated[str, msgspec.Meta(max_length=256)]


class Ping(PeerMessage, frozen=True):
    code: ClassVar[int] = 4
    size_max: ClassVar[int] = 64
    lane: ClassVar[Lane] = "consensus"
    nonce: Uint


class Pong(PeerMessage, frozen=True):
    code: ClassVar[int] = 5
    size_max: ClassVar[int] = 64
    lane: ClassVar[Lane] = "consensus"
    nonce: Uint


class Piece(PeerMessage, frozen=True):
    """A part of a large bulk frame, so that consensus messages can go in between.

    The pieces of one frame come in order and nothing else of the bulk lane between them;
    ``last`` ends it. Pieces joined are a frame of the bulk lane and never a Piece again.
    """

    code: ClassVar[int] = 6
    size_max: ClassVar[int] = PIECE_SIZE_MAX + 64
    last: bool
    body: Annotated[bytes, msgspec.Meta(min_length=1, max_length=PIECE_SIZE_MAX)]


class ConsensusFrame(PeerMessage, frozen=True):
    """An engine's message: the engine's name, the message type's tag, its encoding."""

    code: ClassVar[int] = 16
    size_max: ClassVar[int] = BLOCK_SIZE_MAX + MEGABYTE
    lane: ClassVar[Lane] = "consensus"
    engine: Annotated[str, msgspec.Meta(max_length=64)]
    tag: Uint
    body: bytes


class AnnounceTransactions(PeerMessage, frozen=True):
    code: ClassVar[int] = 32
    size_max: ClassVar[int] = 40 * KILOBYTE
    ids: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=INVENTORY_MAX)]


class GetTransactions(PeerMessage, frozen=True):
    code: ClassVar[int] = 33
    size_max: ClassVar[int] = 40 * KILOBYTE
    ids: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=INVENTORY_MAX)]


class Transactions(PeerMessage, frozen=True):
    """Encoded transactions; ``missing``: asked for, but not (any more) here."""

    code: ClassVar[int] = 34
    size_max: ClassVar[int] = 2 * MEGABYTE
    bodies: tuple[bytes, ...]
    missing: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=INVENTORY_MAX)] = ()


class PushTransactions(PeerMessage, frozen=True):
    """Encoded transactions for the node that makes the next block, which asked for none of them.

    Saves the two messages of announcing and asking on the way to a leader. Only members push.
    """

    code: ClassVar[int] = 35
    size_max: ClassVar[int] = 256 * KILOBYTE
    bodies: Annotated[tuple[bytes, ...], msgspec.Meta(min_length=1, max_length=INVENTORY_MAX)]


class AnnounceBlock(PeerMessage, frozen=True):
    """A new head of mine: its head, and whether I hold a finality proof of it."""

    code: ClassVar[int] = 48
    size_max: ClassVar[int] = 128 * KILOBYTE
    head: BlockHead
    has_proof: bool


class Status(PeerMessage, frozen=True):
    """My head and finalized height now; sent every few seconds and when they jump."""

    code: ClassVar[int] = 49
    size_max: ClassVar[int] = KILOBYTE
    head: Hash
    height: Uint
    finalized_height: Uint
    weight: Annotated[bytes, msgspec.Meta(max_length=32)]
    """Weight of my head's branch, big-endian."""


class GetHeads(PeerMessage, frozen=True):
    """Heads after the first id of ``locator`` that is on your chain; ``stop``: up to this id."""

    code: ClassVar[int] = 50
    size_max: ClassVar[int] = 4 * KILOBYTE
    locator: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=LOCATOR_MAX)]
    stop: Hash
    count: Annotated[int, msgspec.Meta(ge=1, le=HEADS_MAX)] = HEADS_MAX


class Heads(PeerMessage, frozen=True):
    """Consecutive heads, lowest first; empty: nothing after your locator."""

    code: ClassVar[int] = 51
    size_max: ClassVar[int] = 8 * MEGABYTE
    heads: Annotated[tuple[BlockHead, ...], msgspec.Meta(max_length=HEADS_MAX)]


class GetBlocks(PeerMessage, frozen=True):
    code: ClassVar[int] = 52
    size_max: ClassVar[int] = 4 * KILOBYTE
    ids: Annotated[tuple[Hash, ...], msgspec.Meta(min_length=1, max_length=BLOCKS_MAX)]


class BlockBody(PeerMessage, frozen=True):
    """One whole block, with the finality proof that I hold of it."""

    code: ClassVar[int] = 53
    size_max: ClassVar[int] = BLOCK_SIZE_MAX + MEGABYTE
    block: Block
    proof: Proof | None


class NoBlocks(PeerMessage, frozen=True):
    """Asked for, but not here (pruned, or never had)."""

    code: ClassVar[int] = 54
    size_max: ClassVar[int] = 4 * KILOBYTE
    ids: Annotated[tuple[Hash, ...], msgspec.Meta(min_length=1, max_length=BLOCKS_MAX)]


class FinalityProof(PeerMessage, frozen=True):
    """A proof for a block that you may hold already."""

    code: ClassVar[int] = 55
    size_max: ClassVar[int] = PROOF_SIZE_MAX + KILOBYTE
    block: Hash
    proof: Proof


class EvidenceFound(PeerMessage, frozen=True):
    code: ClassVar[int] = 56
    size_max: ClassVar[int] = 2 * EVIDENCE_SIZE_MAX + KILOBYTE
    evidence: Evidence


class SnapshotOffer(Record, frozen=True):
    """A snapshot that can be fetched here: of the state after this block."""

    height: Uint
    block: Hash


class Holdings(PeerMessage, frozen=True):
    """What I keep of the chain. Sent to peers whose hello lists the feature ``snapshots``.

    ``bodies_from``: least height, genesis apart, of which I serve bodies; ``heads_from``: heads.
    """

    code: ClassVar[int] = 57
    size_max: ClassVar[int] = KILOBYTE
    bodies_from: Uint
    heads_from: Uint
    snapshots: Annotated[tuple[SnapshotOffer, ...], msgspec.Meta(max_length=OFFERS_MAX)]


class GetSnapshot(PeerMessage, frozen=True):
    """The description of the snapshot after ``block``, please."""

    code: ClassVar[int] = 58
    size_max: ClassVar[int] = 64
    block: Hash


class SnapshotBody(PeerMessage, frozen=True):
    code: ClassVar[int] = 59
    size_max: ClassVar[int] = SNAPSHOT_BYTES_MAX + KILOBYTE
    snapshot: Snapshot


class GetChunk(PeerMessage, frozen=True):
    """The chunk that covers ``path``, of the snapshot after ``block``, please."""

    code: ClassVar[int] = 60
    size_max: ClassVar[int] = 128
    block: Hash
    path: Hash


class ChunkBody(PeerMessage, frozen=True):
    """The answer; ``path`` as it was asked for."""

    code: ClassVar[int] = 61
    size_max: ClassVar[int] = VALUE_SIZE_MAX + MEGABYTE
    block: Hash
    path: Hash
    chunk: StateChunk


class NoSnapshot(PeerMessage, frozen=True):
    """I have no such snapshot (any more)."""

    code: ClassVar[int] = 62
    size_max: ClassVar[int] = 64
    block: Hash


class GetPeers(PeerMessage, frozen=True):
    code: ClassVar[int] = 64
    size_max: ClassVar[int] = 64


class PeerAddress(Record, frozen=True):
    """Where a key accepts links. ``host`` is an IP address or a name."""

    key: Hash
    host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Peers(PeerMessage, frozen=True):
    code: ClassVar[int] = 65
    size_max: ClassVar[int] = 64 * KILOBYTE
    addresses: Annotated[tuple[PeerAddress, ...], msgspec.Meta(max_length=ADDRESSES_MAX)]


MESSAGE_TYPES: Final[dict[int, type[PeerMessage]]] = {
    kind.code: kind for kind in PeerMessage.__subclasses__()
}
FRAME_SIZE_MAX: Final = 1 + max(kind.size_max for kind in MESSAGE_TYPES.values())


def type_name(message: PeerMessage) -> str:
    """Such as ``Status``."""
    return type(message).__name__


def encode_frame(message: PeerMessage) -> bytes:
    """The frame's bytes."""
    return bytes([message.code]) + codec.encode(message)


def decode_frame(frame: bytes) -> PeerMessage:
    """The message in a frame. Raises InvalidEncoding (unknown type, too large, not canonical)."""
    if not frame:
        raise InvalidEncoding("empty-frame", "an empty frame")
    kind = MESSAGE_TYPES.get(frame[0])
    if kind is None:
        raise InvalidEncoding("unknown-message", f"no message type has code {frame[0]}")
    return codec.decode(frame[1:], kind, kind.size_max)


__all__ = [
    "FRAME_SIZE_MAX",
    "MESSAGE_TYPES",
    "PIECE_SIZE_MAX",
    "AnnounceBlock",
    "AnnounceTransactions",
    "BlockBody",
    "Challenge",
    "ChunkBody",
    "ConsensusFrame",
    "EvidenceFound",
    "FinalityProof",
    "GetBlocks",
    "GetChunk",
    "GetHeads",
    "GetPeers",
    "GetSnapshot",
    "GetTransactions",
    "Goodbye",
    "Heads",
    "Hello",
    "Holdings",
    "Lane",
    "NoBlocks",
    "NoSnapshot",
    "PeerAddress",
    "PeerMessage",
    "Peers",
    "Piece",
    "Ping",
    "Pong",
    "PushTransactions",
    "SnapshotBody",
    "SnapshotOffer",
    "Status",
    "Transactions",
    "decode_frame",
    "encode_frame",
    "type_name",
]
