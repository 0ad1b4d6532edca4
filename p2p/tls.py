"""TLS 1.3 between peers: a node *is* its Ed25519 key, and its certificate says only that.

The listener shows a certificate signed by its own key. Nobody vouches for it, so the dialer's
context accepts any at the TLS level; what is proven is possession: TLS 1.3's CertificateVerify
(RFC 8446, 4.4.3) is a signature by the certificate's key over this very handshake, and OpenSSL
checks it whatever the verify mode. The dialer then compares the key with the one it meant to reach.
"""

from __future__ import annotations

import asyncio
import datetime
import secrets
import ssl
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.x509.oid import NameOID

from chain.hashing import sha256
from p2p.handshake import WRONG_KEY, Refused

NOT_BEFORE: Final = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
NOT_AFTER: Final = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
"""RFC 5280, 4.1.2.5: no well-defined end. The key is the identity; it does not expire."""
CERTIFICATE_SIZE_MAX: Final = 4 * 1024
"""Bytes; ours has about 300. Bounds what a stranger makes us parse."""


def public_key(seed: bytes) -> bytes:
    """The 32-byte Ed25519 public key of a 32-byte seed."""
    key = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return key.public_bytes_raw()


def make_certificate(seed: bytes) -> bytes:
    """The node's certificate (DER): the same bytes for the same seed, always."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    raw = key.public_key().public_bytes_raw()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, raw.hex())])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        # RFC 5280, 4.1.2.2: positive, at most 20 bytes.
        .serial_number(int.from_bytes(sha256(raw)[:16], "big") | 1)
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .sign(key, None)
    )
    return certificate.public_bytes(serialization.Encoding.DER)


def certificate_key(certificate: bytes | None) -> bytes:
    """The Ed25519 key in a certificate (DER). Raises Refused where there is none."""
    if certificate is None or len(certificate) > CERTIFICATE_SIZE_MAX:
        raise Refused(WRONG_KEY, "no certificate, or one far too large")
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm):
        raise Refused(WRONG_KEY, "the certificate cannot be read") from None
    if not isinstance(key, Ed25519PublicKey):
        raise Refused(WRONG_KEY, "the certificate's key is not an Ed25519 key")
    return key.public_bytes_raw()


def server_context(seed: bytes) -> ssl.SSLContext:
    """The listener's context: TLS 1.3 only, no session tickets (every link proves the key anew)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    _load(context, make_certificate(seed), seed)
    return context


def client_context() -> ssl.SSLContext:
    """The dialer's context: TLS 1.3 only; whose certificate it is, is checked afterwards."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _load(context: ssl.SSLContext, certificate: bytes, seed: bytes) -> None:
    """Loads certificate and key. Python's ssl reads them from files only: the key is written
    encrypted under a password that never leaves memory, into a directory of our own, and is
    removed at once, so that a crash here leaves nothing behind that could be used."""
    password = secrets.token_bytes(32).hex().encode()
    key = Ed25519PrivateKey.from_private_bytes(seed).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )
    chain = ssl.DER_cert_to_PEM_cert(certificate).encode()
    with tempfile.TemporaryDirectory(prefix="moot-tls-") as directory:
        path = Path(directory) / "node.pem"
        path.touch(mode=0o600)
        path.write_bytes(key + chain)
        context.load_cert_chain(path, password=password)


def abort(transport: asyncio.WriteTransport) -> None:
    """Ends a connection at once, whatever was still to be sent; also one that is closing already.

    In Python 3.11.2, which Debian 12 has, a TLS transport that was closed twice, as aiohttp does,
    has let go of its protocol, and its ``abort`` fails on that; its end is under way then.
    """
    with suppress(AttributeError):
        transport.abort()
