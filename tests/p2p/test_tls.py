"""A node is its key: what the certificate proves, and what it does not let through."""

from __future__ import annotations

import asyncio
import ssl
import tempfile

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from p2p import tls
from p2p.handshake import Refused
from p2p.peers import StaticPeer
from tests.support.tls13 import server_flight

SEED, OTHER = bytes([1]) * 32, bytes([2]) * 32


def elliptic_certificate() -> tuple[bytes, bytes]:
    """A certificate of another kind of key: PEM with its key, and DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(tls.NOT_BEFORE)
        .not_valid_after(tls.NOT_AFTER)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    encodings = serialization.Encoding
    return pem + certificate.public_bytes(encodings.PEM), certificate.public_bytes(encodings.DER)


def test_a_certificate_names_its_key_and_is_the_same_every_time():
    certificate = tls.make_certificate(SEED)
    assert certificate == tls.make_certificate(SEED)
    assert tls.certificate_key(certificate) == tls.public_key(SEED)
    parsed = x509.load_der_x509_certificate(certificate)
    parsed.verify_directly_issued_by(parsed)


@pytest.mark.parametrize(
    "certificate",
    [None, b"", b"\x30\x00", tls.make_certificate(SEED)[:-1], bytes(5_000)],
)
def test_what_is_no_certificate_is_refused(certificate):
    with pytest.raises(Refused) as refusal:
        tls.certificate_key(certificate)
    assert refusal.value.code == "wrong-key"


def test_a_kind_of_key_that_nobody_knows_is_refused():
    """Newer TLS libraries know keys that the certificate library does not."""
    honest, algorithm = tls.make_certificate(SEED), bytes.fromhex("06032b6570")
    of_signature, of_key, rest = honest.split(algorithm, 2)
    unknown = algorithm.join([of_signature, of_key]) + bytes.fromhex("06032b657f") + rest
    with pytest.raises(Refused, match="cannot be read"):
        tls.certificate_key(unknown)


def test_another_kind_of_key_is_refused():
    with pytest.raises(Refused, match="not an Ed25519 key"):
        tls.certificate_key(elliptic_certificate()[1])


def test_the_key_leaves_no_file_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[bytes] = []
    load = ssl.SSLContext.load_cert_chain

    def watch(context, path, password):
        seen.append(path.read_bytes())
        assert path.stat().st_mode & 0o077 == 0
        assert path.parent.stat().st_mode & 0o077 == 0
        load(context, path, password=password)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watch)
    tls.server_context(SEED)
    assert b"ENCRYPTED PRIVATE KEY" in seen[0]
    assert list(tmp_path.iterdir()) == []


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> ssl.SSLObject:
    """A whole handshake in memory; the client's end of it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (ours, theirs):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ours.version() == "TLSv1.3"
    return ours


def test_the_dialer_learns_the_listeners_key():
    end = handshake(tls.client_context(), tls.server_context(SEED))
    assert tls.certificate_key(end.getpeercert(binary_form=True)) == tls.public_key(SEED)


async def test_a_connection_that_was_closed_twice_may_be_ended_at_once():
    """aiohttp closes twice; Python 3.11.2 raises AttributeError out of its own abort() then."""
    held = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(
        lambda reader, writer: held.set_result(writer),
        "127.0.0.1",
        0,
        ssl=tls.server_context(SEED),
    )
    port = server.sockets[0].getsockname()[1]
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls.client_context())
    theirs = await held
    transport = writer.transport
    transport.close()
    transport.close()
    tls.abort(transport)
    tls.abort(theirs.transport)
    tls.abort(theirs.transport)
    server.close()


def test_nothing_older_than_tls_1_3_is_spoken():
    old_client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old_client.check_hostname, old_client.verify_mode = False, ssl.CERT_NONE
    old_client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        handshake(old_client, tls.server_context(SEED))
    old_server = tls.server_context(SEED)
    old_server.minimum_version = ssl.TLSVersion.TLSv1_2
    old_server.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        handshake(tls.client_context(), old_server)


def meet_by_hand(certificate: bytes, signing_seed: bytes) -> ssl.SSLObject:
    """Our client against the server of tests/support/tls13.py."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.client_context().wrap_bio(to_client, to_server)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    to_client.write(server_flight(to_server.read(), certificate, signing_seed))
    client.do_handshake()
    return client


def test_a_server_must_hold_the_key_of_the_certificate_that_it_shows():
    """RFC 8446, 4.4.3. CERT_NONE lets any certificate pass, but never one without its key."""
    honest = meet_by_hand(tls.make_certificate(SEED), SEED)
    assert tls.certificate_key(honest.getpeercert(binary_form=True)) == tls.public_key(SEED)
    with pytest.raises(ssl.SSLError, match=r"(?i)signature"):
        meet_by_hand(tls.make_certificate(SEED), OTHER)


async def test_a_dialer_gives_up_on_a_thief_of_a_certificate(start):
    """The same through the transport: the victim's certificate, the thief's signature."""

    async def thief(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        header = await reader.readexactly(5)
        hello = header + await reader.readexactly(int.from_bytes(header[3:], "big"))
        writer.write(server_flight(hello, tls.make_certificate(SEED), OTHER))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(thief, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    dialer = await start(3, static=[StaticPeer("127.0.0.1", port, tls.public_key(SEED))])
    await dialer.until(lambda: bool(dialer.transport.dial_failures))
    failure = next(iter(dialer.transport.dial_failures.values()))
    assert failure.reason == "unreachable"
    assert "signature" in failure.sentence.lower()
    assert dialer.joined == []
    server.close()
    await server.wait_closed()


async def test_a_listener_with_another_kind_of_key_is_refused(start, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "x.pem").write_bytes(elliptic_certificate()[0])
    context.load_cert_chain(tmp_path / "x.pem")
    server = await asyncio.start_server(
        lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context
    )
    dialer = await start(3, static=[StaticPeer("127.0.0.1", server.sockets[0].getsockname()[1])])
    await dialer.until(lambda: bool(dialer.transport.dial_failures))
    assert next(iter(dialer.transport.dial_failures.values())).reason == "wrong-key"
    server.close()
    await server.wait_closed()
