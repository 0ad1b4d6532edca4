"""Token buckets, rates, scores."""

from __future__ import annotations

import pytest

from p2p import wire
from p2p.limits import (
    BAN_THRESHOLD,
    DECAY_MS_PER_POINT,
    LANE_BYTES,
    LATE_ANSWER_MS,
    MESSAGE_RATES,
    POINTS,
    POINTS_DEFAULT,
    SCORES_MAX,
    MessageLimits,
    Rate,
    Scores,
    TokenBucket,
)


def test_a_bucket_gives_its_burst_and_then_its_rate():
    bucket = TokenBucket(rate=3, burst=2, now_ms=0)
    assert [bucket.take(1, 0) for _ in range(3)] == [True, True, False]
    assert not bucket.take(1, 333)
    assert bucket.take(1, 334)
    assert bucket.wait_ms(1, 334) == 333


def test_a_bucket_loses_nothing_to_rounding():
    bucket = TokenBucket(rate=1, burst=1, now_ms=0)
    assert bucket.take(1, 0)
    for now_ms in range(1, 1000):
        assert not bucket.take(1, now_ms)
    assert bucket.take(1, 1000)


def test_a_bucket_is_never_fuller_than_its_burst_and_ignores_a_clock_that_goes_back():
    bucket = TokenBucket(rate=10, burst=5, now_ms=1_000_000)
    assert not bucket.take(6, 2_000_000)
    assert bucket.take(5, 2_000_000)
    assert not bucket.take(1, 0)
    assert bucket.take(1, 2_000_100)


def test_credit_and_debt_go_beyond_the_bounds():
    bucket = TokenBucket(rate=10, burst=5, now_ms=0)
    bucket.credit(1_000)
    assert bucket.take(15, 0)
    bucket.spend(5, 0)
    assert bucket.wait_ms(1, 0) == 600
    assert bucket.wait_ms(100, 0) == 1_000  # a full bucket is as full as it gets


def test_every_message_type_has_a_rate_and_every_lane_room_for_its_largest_frame():
    assert MESSAGE_RATES.keys() == set(wire.MESSAGE_TYPES.values())
    for kind in wire.MESSAGE_TYPES.values():
        assert LANE_BYTES[kind.lane].burst // 2 > kind.size_max, kind


def test_messages_and_bytes_are_both_limited():
    rates = dict(MESSAGE_RATES)
    rates[wire.Status] = Rate(1, 2)
    limits = MessageLimits(0, rates, {"consensus": Rate(1, 1), "bulk": Rate(100, 1_000)})
    assert limits.admit(wire.Status.code, 400, "bulk", 0)
    assert limits.admit(wire.Status.code, 400, "bulk", 0)
    assert not limits.admit(wire.Status.code, 10, "bulk", 0), "three messages"
    assert not limits.admit(wire.GetHeads.code, 400, "bulk", 0), "1,200 bytes"
    assert limits.admit(wire.GetHeads.code, 200, "bulk", 0)


def test_who_paces_by_the_senders_table_never_meets_the_receivers():
    sender, receiver = MessageLimits(0, sender=True), MessageLimits(0)
    code, size, now_ms, sent = wire.GetHeads.code, 2_000, 0, 0
    while now_ms < 60_000:
        wait_ms = sender.wait_ms(code, size, "bulk", now_ms)
        now_ms += wait_ms
        sender.spend(code, size, "bulk", now_ms)
        assert receiver.admit(code, size, "bulk", now_ms)
        sent += 1
    assert sent > 1_000


def test_points_decay_and_outlive_the_link():
    scores, key = Scores(), bytes(32)
    assert scores.charge(key, "malformed", 0) == POINTS["malformed"]
    assert scores.charge(key, "no such reason", 0) == POINTS["malformed"] + POINTS_DEFAULT
    assert scores.score(key, 10 * DECAY_MS_PER_POINT) == 60
    assert scores.score(key, 1_000 * DECAY_MS_PER_POINT) == 0
    assert scores.score(bytes([1]) * 32, 0) == 0
    scores.forget(key)
    assert scores.score(key, 0) == 0


def test_scores_are_bounded():
    scores = Scores()
    for number in range(SCORES_MAX + 10):
        scores.charge(number.to_bytes(32, "big"), "malformed", 0)
    assert scores.score((9).to_bytes(32, "big"), 0) == 0
    assert scores.score((10).to_bytes(32, "big"), 0) == POINTS["malformed"]


@pytest.mark.parametrize("reason", ["bad-signature", "invalid-block", "too-large"])
def test_what_no_honest_node_sends_is_a_ban_at_once(reason):
    assert Scores().charge(bytes(32), reason, 0) >= BAN_THRESHOLD


def test_late_answers_over_a_link_that_took_anothers_place_cost_nothing() -> None:
    """A node asked for dozens of blocks when the link was replaced, and banned its honest peer."""
    scores, key = Scores(), bytes(32)
    scores.link_ended(key, 1_000)
    for reason in ("unsolicited", "unsolicited-heads", "unsolicited-block"):
        for _ in range(50):
            assert scores.charge(key, reason, 1_000 + LATE_ANSWER_MS - 1) == 0
    # Anything else still counts, so does anybody else, and so does the same a while later.
    assert scores.charge(key, "malformed", 1_001) == POINTS["malformed"]
    assert scores.charge(bytes([1] * 32), "unsolicited-block", 1_001) == 20
    scores.forget(key)
    assert scores.charge(key, "unsolicited-block", 1_000 + LATE_ANSWER_MS) == 20
