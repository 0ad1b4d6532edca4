"""A TLS 1.3 server by hand (RFC 8446), able to do what no library lets one do: lie.

It shows any certificate and signs the handshake with any key. One cipher suite
(TLS_AES_128_GCM_SHA256), one group (X25519), one flight; enough for a client to make up its mind.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

X25519 = 0x001D
KEY_SHARE = 51
ED25519 = b"\x08\x07"
CONTEXT = b" " * 64 + b"TLS 1.3, server CertificateVerify\x00"  # section 4.4.3


def server_flight(client_hello_record: bytes, certificate: bytes, signing_seed: bytes) -> bytes:
    """ServerHello up to Finished, for the ClientHello in one TLS record."""
    hello = client_hello_record[5:]
    session, client_share = _parse_client_hello(hello)
    own = X25519PrivateKey.generate()
    share = own.public_key().public_bytes_raw()
    server_hello = _message(
        2,
        b"\x03\x03"
        + bytes(32)
        + bytes([len(session)])
        + session
        + b"\x13\x01\x00"
        + _vector(
            2,
            b"\x00\x2b\x00\x02\x03\x04"
            + KEY_SHARE.to_bytes(2, "big")
            + _vector(2, X25519.to_bytes(2, "big") + _vector(2, share)),
        ),
    )
    shared = own.exchange(X25519PublicKey.from_public_bytes(client_share))
    # Section 7.1: the key schedule.
    early = _extract(bytes(32), bytes(32))
    secret = _extract(_derive(early, "derived", b""), shared)
    traffic = _derive(secret, "s hs traffic", hello + server_hello)

    transcript = hello + server_hello + _message(8, _vector(2, b""))
    shown = _vector(3, certificate) + _vector(2, b"")
    transcript += _message(11, b"\x00" + _vector(3, shown))
    signed = CONTEXT + hashlib.sha256(transcript).digest()
    signature = Ed25519PrivateKey.from_private_bytes(signing_seed).sign(signed)
    transcript += _message(15, ED25519 + _vector(2, signature))
    finished_key = _expand_label(traffic, "finished", b"", 32)
    check = hmac.digest(finished_key, hashlib.sha256(transcript).digest(), "sha256")
    transcript += _message(20, check)

    inner = transcript[len(hello) + len(server_hello) :] + b"\x16"
    header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
    key = _expand_label(traffic, "key", b"", 16)
    nonce = _expand_label(traffic, "iv", b"", 12)
    sealed = AESGCM(key).encrypt(nonce, inner, header)
    return b"\x16\x03\x03" + _vector(2, server_hello) + header + sealed


def _parse_client_hello(hello: bytes) -> tuple[bytes, bytes]:
    """Session id and X25519 share of a ClientHello."""
    at = 4 + 2 + 32
    session = hello[at + 1 : at + 1 + hello[at]]
    at += 1 + len(session)
    at += 2 + int.from_bytes(hello[at : at + 2], "big")  # cipher suites
    at += 1 + hello[at] + 2  # compression, length of the extensions
    while at < len(hello):
        kind = int.from_bytes(hello[at : at + 2], "big")
        size = int.from_bytes(hello[at + 2 : at + 4], "big")
        body = hello[at + 4 : at + 4 + size]
        at += 4 + size
        if kind == KEY_SHARE:
            entry = 2
            while entry < len(body):
                length = int.from_bytes(body[entry + 2 : entry + 4], "big")
                if int.from_bytes(body[entry : entry + 2], "big") == X25519:
                    return session, body[entry + 4 : entry + 4 + length]
                entry += 4 + length
    raise AssertionError("the client offers no X25519 share")


def _vector(length_size: int, body: bytes) -> bytes:
    return len(body).to_bytes(length_size, "big") + body


def _message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + _vector(3, body)


def _extract(salt: bytes, material: bytes) -> bytes:
    return hmac.digest(salt, material, "sha256")


def _expand_label(secret: bytes, label: str, context: bytes, length: int) -> bytes:
    info = length.to_bytes(2, "big") + _vector(1, b"tls13 " + label.encode()) + _vector(1, context)
    return HKDFExpand(SHA256(), length, info).derive(secret)


def _derive(secret: bytes, label: str, messages: bytes) -> bytes:
    return _expand_label(secret, label, hashlib.sha256(messages).digest(), 32)
