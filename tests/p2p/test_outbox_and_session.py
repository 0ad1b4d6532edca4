"""Two lanes out; frames judged on the way in. No sockets."""

from __future__ import annotations

import random

import pytest

from p2p.limits import LANE_BYTES, MESSAGE_RATES, MessageLimits, Rate
from p2p.outbox import QUEUE_FRAMES_MAX, Outbox
from p2p.session import (
    IDLE_TIMEOUT_MS,
    PING_INTERVAL_MS,
    Closed,
    Delivered,
    Fault,
    Reply,
    Session,
)
from p2p.wire import (
    PIECE_SIZE_MAX,
    Challenge,
    ConsensusFrame,
    GetPeers,
    Goodbye,
    Piece,
    Ping,
    Pong,
    Transactions,
    decode_frame,
    encode_frame,
)
from tests.support.peers import make_hello

VOTE = ConsensusFrame("pbft", 1, b"vote")
LARGE = Transactions((bytes(1_000_000),))


def outbox(**options: int) -> Outbox:
    return Outbox(MessageLimits(0, sender=True), **options)


def session() -> Session:
    return Session(MessageLimits(0), 0)


def drain(box: Outbox) -> list[bytes]:
    frames = []
    while (frame := box.take(0)) is not None:
        frames.append(frame)
    return frames


def test_a_vote_waits_for_one_piece_at_most():
    box = outbox()
    for _ in range(50):
        assert box.put(encode_frame(LARGE), "bulk")
    first = box.take(0)
    assert first is not None and len(first) <= PIECE_SIZE_MAX + 100
    assert box.put(encode_frame(VOTE), "consensus")
    assert box.take(0) == encode_frame(VOTE)
    assert isinstance(decode_frame(box.take(0)), Piece)


def test_pieces_join_to_the_same_frame():
    box, ear = outbox(), session()
    box.put(encode_frame(LARGE), "bulk")
    box.put(encode_frame(GetPeers()), "bulk")
    *pieces, other = drain(box)
    assert box.bytes_waiting == 0
    for piece in pieces[:-1]:
        assert ear.receive(piece, 0) is None
    assert ear.receive(encode_frame(VOTE), 0) == Delivered(VOTE, len(encode_frame(VOTE)))
    assert ear.receive(pieces[-1], 0) == Delivered(LARGE, len(encode_frame(LARGE)))
    assert isinstance(ear.receive(other, 0), Delivered)


def test_lanes_keep_their_order():
    box = outbox()
    for number in range(5):
        box.put(encode_frame(Ping(number)), "consensus")
    assert [decode_frame(frame) for frame in drain(box)] == [Ping(number) for number in range(5)]
    assert box.wait_ms(0) is None


def test_a_full_outbox_takes_no_more():
    box = outbox(bytes_max=1_000)
    assert box.put(bytes(600), "consensus")
    assert not box.put(bytes(600), "bulk")
    box = outbox()
    assert all(box.put(b"\x04", "consensus") for _ in range(QUEUE_FRAMES_MAX))
    assert not box.put(b"\x04", "bulk")


def test_bulk_is_paced_and_consensus_is_not():
    box = outbox()
    for _ in range(10):
        box.put(encode_frame(GetPeers()), "bulk")
    sent = len(drain(box))
    assert sent == MESSAGE_RATES[GetPeers].burst // 2
    wait_ms = box.wait_ms(0)
    assert wait_ms == 1_000
    box.put(encode_frame(VOTE), "consensus")
    assert box.wait_ms(0) == 0
    assert drain(box) == [encode_frame(VOTE)]
    assert box.take(wait_ms) is not None


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "empty-frame"),
        (b"\xfe", "unknown-message"),
        (b"\x10\xc1\xff", "malformed"),
        (encode_frame(VOTE)[:-1], "malformed"),
        (encode_frame(VOTE) + b"\x00", "malformed"),
        (b"\x10" + b"\x91" * 100_000, "malformed"),
        (b"\x10" + b"\x93\xd9\x04pbft\x01\xc4\x00", "not-canonical"),
        (encode_frame(Ping(1)) + bytes(64), "too-large"),
        (encode_frame(make_hello()), "unexpected-message"),
        (encode_frame(Challenge(bytes(32))), "unexpected-message"),
        (encode_frame(Pong(1)), "unsolicited"),
    ],
)
def test_a_bad_frame_is_a_fault_and_nothing_else(frame, reason):
    ear = session()
    outcome = ear.receive(frame, 0)
    assert isinstance(outcome, Fault)
    assert outcome.reason == reason
    assert isinstance(ear.receive(encode_frame(VOTE), 0), Delivered)


@pytest.mark.parametrize(
    "body",
    [
        encode_frame(VOTE),  # consensus does not come in pieces
        encode_frame(Piece(True, encode_frame(GetPeers()))),  # nor do pieces
        b"\xfe",
    ],
)
def test_pieces_of_what_may_not_be_cut_are_a_fault(body):
    outcome = session().receive(encode_frame(Piece(True, body)), 0)
    assert isinstance(outcome, Fault)
    assert outcome.reason == "malformed"


def test_no_more_is_held_than_the_type_may_have():
    ear = session()
    piece = encode_frame(Piece(False, encode_frame(LARGE)[:1] + bytes(PIECE_SIZE_MAX - 1)))
    outcomes = [ear.receive(piece, 0) for _ in range(40)]
    fault = next(position for position, outcome in enumerate(outcomes) if outcome is not None)
    assert isinstance(outcomes[fault], Fault)
    assert fault * PIECE_SIZE_MAX <= Transactions.size_max + 1


def test_joined_pieces_count_as_messages_of_their_type():
    rates = dict(MESSAGE_RATES)
    rates[GetPeers] = Rate(1, 1)
    ear = Session(MessageLimits(0, rates, LANE_BYTES), 0)
    hidden = encode_frame(Piece(True, encode_frame(GetPeers())))
    assert isinstance(ear.receive(hidden, 0), Delivered)
    outcome = ear.receive(hidden, 0)
    assert isinstance(outcome, Fault)
    assert outcome.reason == "rate-limit"


def test_pings_are_answered_and_measure():
    ear = session()
    assert ear.receive(encode_frame(Ping(77)), 0) == Reply(Pong(77))
    assert ear.tick(PING_INTERVAL_MS - 1) is None
    assert ear.tick(PING_INTERVAL_MS) == Reply(Ping(1))
    assert ear.receive(encode_frame(Pong(1)), PING_INTERVAL_MS + 30) is None
    assert ear.latency_ms == 30
    again = ear.receive(encode_frame(Pong(1)), PING_INTERVAL_MS + 31)
    assert isinstance(again, Fault)


def test_a_late_pong_is_no_fault():
    ear = session()
    ear.tick(PING_INTERVAL_MS)
    ear.tick(2 * PING_INTERVAL_MS)
    assert ear.receive(encode_frame(Pong(1)), 2 * PING_INTERVAL_MS + 5) is None
    assert ear.receive(encode_frame(Pong(2)), 2 * PING_INTERVAL_MS + 9) is None
    assert ear.latency_ms == 9


def test_silence_ends_the_link_but_not_our_own_absence():
    ear, now_ms = session(), 0
    outcome = None
    while not isinstance(outcome, Closed):
        now_ms += 1_000
        outcome = ear.tick(now_ms)
    assert (outcome.reason, now_ms) == ("idle", IDLE_TIMEOUT_MS)
    ear = session()
    # Stopped for an hour: what came meanwhile has not been read yet.
    assert not isinstance(ear.tick(3_600_000), Closed)


def test_what_came_while_we_were_stopped_is_no_flood():
    rates = dict(MESSAGE_RATES)
    rates[ConsensusFrame] = Rate(10, 10)
    ear = Session(MessageLimits(0, rates, LANE_BYTES), 0)
    ear.tick(60_000)
    outcomes = [ear.receive(encode_frame(VOTE), 60_000) for _ in range(700)]
    assert sum(isinstance(outcome, Delivered) for outcome in outcomes) == 610


def test_a_goodbye_ends_it():
    assert session().receive(encode_frame(Goodbye("shutdown", "x")), 0) == Closed("shutdown", "x")


def test_no_frame_makes_a_session_stumble():
    rng = random.Random(1)
    good = [
        encode_frame(message) for message in (VOTE, GetPeers(), Ping(1), Piece(False, b"\x22" * 40))
    ]
    kinds = set()
    for _ in range(5_000):
        frame = bytearray(rng.choice(good))
        for _ in range(rng.randrange(1, 4)):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        if rng.random() < 0.3:
            frame = frame[: rng.randrange(len(frame))] + rng.randbytes(rng.randrange(40))
        kinds.add(type(session().receive(bytes(frame), 0)))
    assert kinds == {Delivered, Fault, Reply, type(None)}
