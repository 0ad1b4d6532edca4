"""The first three frames, without sockets."""

from __future__ import annotations

import msgspec
import pytest

from p2p import tls
from p2p.handshake import DialerHandshake, ListenerHandshake, Refused, keeps_new_link
from p2p.wire import Goodbye, Hello, Ping, encode_frame
from tests.support.peers import make_hello

LISTENER, DIALER, MIDDLE = (bytes([number]) * 32 for number in (1, 2, 3))
NONCE = bytes([9]) * 32


def hello_of(seed: bytes, **changes: object) -> Hello:
    return make_hello(key=tls.public_key(seed), **changes)


def meet(
    mine: Hello, theirs: Hello, nonce: bytes = NONCE
) -> tuple[ListenerHandshake, DialerHandshake]:
    return (
        ListenerHandshake(mine, nonce),
        DialerHandshake(theirs, DIALER, tls.public_key(LISTENER)),
    )


def test_both_sides_end_with_the_other_hello():
    listener, dialer = meet(hello_of(LISTENER, height=7), hello_of(DIALER, height=5))
    answer = dialer.answer(encode_frame(listener.challenge()))
    heard = listener.receive(encode_frame(answer))
    assert (heard.key, heard.height) == (tls.public_key(DIALER), 5)
    assert dialer.receive(encode_frame(listener.hello())).height == 7


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"protocol_version": 2}, "wrong-version"),
        ({"chain_id": bytes(32)}, "wrong-chain"),
        ({"engine": "raft"}, "wrong-engine"),
    ],
)
def test_each_side_refuses_who_follows_something_else(changes, code):
    listener, dialer = meet(hello_of(LISTENER), hello_of(DIALER, **changes))
    answer = dialer.answer(encode_frame(listener.challenge()))
    with pytest.raises(Refused) as refusal:
        listener.receive(encode_frame(answer))
    assert refusal.value.code == code
    with pytest.raises(Refused) as refusal:
        dialer.receive(encode_frame(listener.hello()))
    assert refusal.value.code == code


def test_a_recorded_hello_fails_on_the_next_nonce():
    listener, dialer = meet(hello_of(LISTENER), hello_of(DIALER))
    recorded = encode_frame(dialer.answer(encode_frame(listener.challenge())))
    assert listener.receive(recorded).key == tls.public_key(DIALER)
    with pytest.raises(Refused) as refusal:
        ListenerHandshake(hello_of(LISTENER), bytes([8]) * 32).receive(recorded)
    assert refusal.value.code == "bad-proof"


def test_a_proof_made_for_another_listener_is_refused():
    """The man in the middle: the dialer reached his key and signs for it, and for it alone."""
    listener = ListenerHandshake(hello_of(LISTENER), NONCE)
    dialer = DialerHandshake(hello_of(DIALER), DIALER, tls.public_key(MIDDLE))
    relayed = dialer.answer(encode_frame(listener.challenge()))
    with pytest.raises(Refused) as refusal:
        listener.receive(encode_frame(relayed))
    assert refusal.value.code == "bad-proof"


@pytest.mark.parametrize("proof", [b"", bytes(63), bytes(64)])
def test_a_proof_that_is_no_signature_is_refused(proof):
    forged = msgspec.structs.replace(hello_of(DIALER), proof=proof)
    with pytest.raises(Refused) as refusal:
        ListenerHandshake(hello_of(LISTENER), NONCE).receive(encode_frame(forged))
    assert refusal.value.code == "bad-proof"


def test_a_key_that_the_dialer_does_not_hold_is_refused():
    stolen = msgspec.structs.replace(hello_of(DIALER), key=tls.public_key(MIDDLE))
    listener = ListenerHandshake(hello_of(LISTENER), NONCE)
    dialer = DialerHandshake(stolen, DIALER, tls.public_key(LISTENER))
    with pytest.raises(Refused) as refusal:
        listener.receive(encode_frame(dialer.answer(encode_frame(listener.challenge()))))
    assert refusal.value.code == "bad-proof"


def test_a_listener_that_names_another_key_than_its_certificate_is_refused():
    _, dialer = meet(hello_of(LISTENER), hello_of(DIALER))
    with pytest.raises(Refused) as refusal:
        dialer.receive(encode_frame(hello_of(MIDDLE)))
    assert refusal.value.code == "bad-proof"


def test_a_node_does_not_talk_to_itself():
    mine = hello_of(LISTENER)
    with pytest.raises(Refused) as refusal:
        DialerHandshake(mine, LISTENER, mine.key)
    assert refusal.value.code == "self-connection"
    with pytest.raises(Refused) as refusal:
        ListenerHandshake(mine, NONCE).receive(encode_frame(mine))
    assert refusal.value.code == "self-connection"


def test_a_goodbye_is_the_refusal_that_it_tells_and_other_frames_are_none():
    _, dialer = meet(hello_of(LISTENER), hello_of(DIALER))
    with pytest.raises(Refused) as refusal:
        dialer.answer(encode_frame(Goodbye("banned", "for an hour")))
    assert (refusal.value.code, refusal.value.sentence) == ("banned", "for an hour")
    for frame in (b"", b"\xff", b"\x01\xc0", encode_frame(Ping(1))):
        with pytest.raises(Refused) as refusal:
            dialer.answer(frame)
        assert refusal.value.code == "bad-handshake"


def test_both_sides_keep_the_link_that_the_smaller_key_dialed():
    small, large = bytes(32), bytes([1]) * 32
    # The link that the smaller dialed comes second: both take it.
    assert keeps_new_link(small, large, old_outbound=False, new_outbound=True)
    assert keeps_new_link(large, small, old_outbound=True, new_outbound=False)
    # It came first: both stay with it.
    assert not keeps_new_link(small, large, old_outbound=True, new_outbound=False)
    assert not keeps_new_link(large, small, old_outbound=False, new_outbound=True)
    # Dialed twice by the same side: that side has lost the first.
    assert keeps_new_link(small, large, old_outbound=False, new_outbound=False)
