"""Who is there, and do we follow the same chain: the first three frames of a link (sans-I/O).

The listener's TLS certificate proves its key (p2p/tls.py). Then

    listener -> dialer     Challenge(nonce)
    dialer   -> listener   Hello, whose proof is a signature over chain, both keys and the nonce
    listener -> dialer     Hello

and either side may answer with a Goodbye that names its reason. A man in the middle would have to
make the dialer sign for the wrong listener's key; a recorded Hello fails on the next nonce.
"""

from __future__ import annotations

from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from chain.errors import Invalid, InvalidEncoding
from chain.hashing import tagged
from p2p import wire
from p2p.wire import Challenge, Goodbye, Hello, PeerMessage

DOMAIN: Final = "moot/p2p/hello"

WRONG_CHAIN: Final = "wrong-chain"
WRONG_VERSION: Final = "wrong-version"
WRONG_ENGINE: Final = "wrong-engine"
SELF_CONNECTION: Final = "self-connection"
BAD_PROOF: Final = "bad-proof"
WRONG_KEY: Final = "wrong-key"
NOT_ADMITTED: Final = "not-admitted"
BANNED: Final = "banned"
TOO_MANY_PEERS: Final = "too-many-peers"
DUPLICATE: Final = "duplicate"
BAD_HANDSHAKE: Final = "bad-handshake"

PERMANENT: Final = frozenset({WRONG_CHAIN, WRONG_VERSION, WRONG_ENGINE, SELF_CONNECTION})
"""Refusals that dialing again will not change."""


class Refused(Invalid):
    """One side will not talk to the other. ``code`` goes into the Goodbye."""


def goodbye(reason: str, sentence: str) -> Goodbye:
    """The frame that says so, cut to what it may hold."""
    return Goodbye(reason[:64], sentence[:256])


def proof_message(chain_id: bytes, listener: bytes, dialer: bytes, nonce: bytes) -> bytes:
    """What the dialer signs."""
    return tagged(DOMAIN, chain_id, listener, dialer, nonce)


def check_hello(mine: Hello, theirs: Hello) -> None:
    """Raises Refused unless both follow the same chain in the same language, as two nodes."""
    if theirs.protocol_version != mine.protocol_version:
        raise Refused(
            WRONG_VERSION,
            f"protocol version {theirs.protocol_version} where {mine.protocol_version} is spoken",
        )
    if theirs.chain_id != mine.chain_id:
        raise Refused(WRONG_CHAIN, "another chain (its genesis differs)")
    if theirs.engine != mine.engine:
        raise Refused(WRONG_ENGINE, f"engine {theirs.engine!r} where {mine.engine!r} runs")
    if theirs.key == mine.key:
        raise Refused(SELF_CONNECTION, "this node reached itself")


def _expect(frame: bytes, kind: type[PeerMessage]) -> PeerMessage:
    """The decoded frame, if of type ``kind``; a Goodbye becomes the refusal that it tells."""
    try:
        message = wire.decode_frame(frame)
    except InvalidEncoding as error:
        raise Refused(BAD_HANDSHAKE, f"handshake: {error.sentence}") from None
    if isinstance(message, Goodbye):
        raise Refused(message.reason, message.sentence)
    if not isinstance(message, kind):
        raise Refused(BAD_HANDSHAKE, f"{type(message).__name__} where {kind.__name__} was expected")
    return message


class ListenerHandshake:
    """The accepting side. ``nonce``: 32 random bytes, used for this link and never again."""

    def __init__(self, mine: Hello, nonce: bytes) -> None:
        assert len(nonce) == 32
        self._mine = mine
        self._nonce = nonce

    def challenge(self) -> Challenge:
        """The first frame."""
        return Challenge(self._nonce)

    def receive(self, frame: bytes) -> Hello:
        """The dialer's hello, checked, its key proven. Raises Refused."""
        theirs = _expect(frame, Hello)
        assert isinstance(theirs, Hello)
        check_hello(self._mine, theirs)
        message = proof_message(self._mine.chain_id, self._mine.key, theirs.key, self._nonce)
        try:
            Ed25519PublicKey.from_public_bytes(theirs.key).verify(theirs.proof, message)
        except (InvalidSignature, ValueError):
            raise Refused(BAD_PROOF, "the hello's proof is not of its key") from None
        return theirs

    def hello(self) -> Hello:
        """The answer to a good hello."""
        return self._mine


class DialerHandshake:
    """The calling side. ``listener_key``: what the TLS certificate proved."""

    def __init__(self, mine: Hello, seed: bytes, listener_key: bytes) -> None:
        self._mine = mine
        self._seed = seed
        self._listener_key = listener_key
        if listener_key == mine.key:
            raise Refused(SELF_CONNECTION, "this node reached itself")

    def answer(self, frame: bytes) -> Hello:
        """Our hello for the listener's challenge. Raises Refused."""
        challenge = _expect(frame, Challenge)
        assert isinstance(challenge, Challenge)
        message = proof_message(
            self._mine.chain_id, self._listener_key, self._mine.key, challenge.nonce
        )
        proof = Ed25519PrivateKey.from_private_bytes(self._seed).sign(message)
        return msgspec.structs.replace(self._mine, proof=proof)

    def receive(self, frame: bytes) -> Hello:
        """The listener's hello, checked against its certificate. Raises Refused."""
        theirs = _expect(frame, Hello)
        assert isinstance(theirs, Hello)
        check_hello(self._mine, theirs)
        if theirs.key != self._listener_key:
            raise Refused(BAD_PROOF, "the hello names another key than the certificate")
        return theirs


def keeps_new_link(mine: bytes, theirs: bytes, *, old_outbound: bool, new_outbound: bool) -> bool:
    """Of two links between the same two keys, whether the newer stays; both sides agree.

    If each dialed the other, the link that the smaller key dialed stays. If both were dialed by the
    same side, that side has lost the older one (a dialer never dials whom it is connected to).
    """
    if old_outbound == new_outbound:
        return True
    return new_outbound == (mine < theirs)
