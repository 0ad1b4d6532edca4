"""Whom we know, whom we dial, whom we do not talk to. No sockets, no clock."""

from __future__ import annotations

import random

import pytest

from chain.errors import InvalidEncoding
from p2p.peers import (
    BACKOFF_MS,
    BAN_MS,
    BANS_MAX,
    GLOBAL,
    HOST_KEYS_MAX,
    LOOPBACK,
    NEW_FAILURES_MAX,
    NEW_MAX,
    NEW_PER_GROUP_MAX,
    NEW_PER_SOURCE_MAX,
    PRIVATE,
    STABLE_MS,
    STATIC_BACKOFF_MS,
    STATIC_BAN_MS,
    TRIED_FRESH_MS,
    TRIED_PER_GROUP_MAX,
    PeerBook,
    StaticPeer,
    group,
    reach,
)
from p2p.wire import ADDRESSES_MAX, PeerAddress

NOW = 1_800_000_000_000
KEY = bytes([1]) * 32


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def book(*static: StaticPeer) -> PeerBook:
    return PeerBook(random.Random(1), static)


def addresses(count: int, pattern: str) -> list[PeerAddress]:
    return [
        PeerAddress(key(number), pattern.format(number // 250, number % 250), 7000)
        for number in range(count)
    ]


def dial(table: PeerBook, now_ms: int = NOW, wanted: int = 8, connected=()) -> list[bytes | None]:
    return [entry.key for entry in table.candidates(now_ms, connected, (), wanted)]


@pytest.mark.parametrize(
    ("host", "where"),
    [
        ("127.0.0.1", LOOPBACK),
        ("127.8.8.8", LOOPBACK),
        ("::1", LOOPBACK),
        ("::ffff:127.0.0.1", LOOPBACK),
        ("10.1.2.3", PRIVATE),
        ("192.168.1.1", PRIVATE),
        ("fe80::1", PRIVATE),
        ("8.8.8.8", GLOBAL),
        ("2606:4700::1111", GLOBAL),
        ("0.0.0.0", None),
        ("224.0.0.1", None),
        ("255.255.255.255", None),
        ("node.example", None),
        ("", None),
    ],
)
def test_from_where_an_address_makes_sense(host, where):
    assert reach(host) == where


def test_groups_are_what_one_party_may_own():
    assert group("8.8.1.1") == group("8.8.200.9") != group("8.9.1.1")
    assert group("2606:4700::1") == group("2606:4700:ffff::1") != group("2606:4701::1")
    assert group("::ffff:8.8.1.1") == group("8.8.1.1")


def test_a_stranger_cannot_point_us_at_our_own_machine_or_network():
    table = book()
    offers = [
        PeerAddress(key(number), host, 22)
        for number, host in enumerate(["127.0.0.1", "10.0.0.1", "9.9.9.9", "localhost"])
    ]
    assert table.learn(offers, "8.8.8.8") == 1
    assert [entry.host for entry in table.entries()] == ["9.9.9.9"]
    assert book().learn(offers, "10.0.0.9") == 2
    assert book().learn(offers, "127.0.0.1") == 3


def test_one_source_one_group_and_the_whole_are_bounded():
    """Heilman et al., section 3: a table that one attacker can fill is no table."""
    table = book()
    spread = addresses(250, "9.{1}.{0}.1")
    assert table.learn(spread, "8.8.8.8") == NEW_PER_SOURCE_MAX
    table = book()
    for source in range(100):
        table.learn(addresses(1_000, "9.9.{0}.{1}"), f"{source + 20}.1.1.1")
    assert len(table) == NEW_PER_GROUP_MAX
    table = book()
    for source in range(100):
        offers = [
            PeerAddress(key(source * 64 + number), f"{source + 20}.{number}.1.1", 7000)
            for number in range(64)
        ]
        table.learn(offers, f"{source + 20}.1.1.1")
    assert len(table) == NEW_MAX


def test_a_thousand_hostile_addresses_of_this_machine_stay_few():
    table = book()
    table.learn(addresses(1_000, "127.0.{0}.{1}"), "127.0.0.1")
    assert len(table) == NEW_PER_SOURCE_MAX


def test_our_own_key_is_neither_learned_nor_dialed():
    table = book(StaticPeer("127.0.0.1", 1, KEY))
    table.own_key = KEY
    assert table.learn([PeerAddress(KEY, "127.0.0.1", 2)], "127.0.0.1") == 0
    assert dial(table) == []


def test_static_peers_are_dialed_whatever_is_wanted_and_never_dropped():
    table = book(StaticPeer("a.example", 1, KEY), StaticPeer("b.example", 1))
    assert dial(table, wanted=0) == [KEY, None]
    assert dial(table, wanted=0, connected=[KEY]) == [None]
    for attempt in range(100):
        table.failed("a.example", 1, "unreachable", NOW + attempt)
        table.failed("b.example", 1, "wrong-chain", NOW + attempt)
    assert len(table) == 2
    assert dial(table, NOW + 100 + STATIC_BACKOFF_MS[1], wanted=0) == [KEY, None]


def test_back_off_doubles_with_jitter_up_to_a_bound():
    table = book(StaticPeer("127.0.0.1", 1, KEY))
    entry = table.entries()[0]
    waits = []
    for _ in range(12):
        table.failed("127.0.0.1", 1, "unreachable", NOW)
        waits.append(entry.due_ms - NOW)
    first_ms, longest_ms = STATIC_BACKOFF_MS
    for attempt, wait_ms in enumerate(waits):
        full_ms = min(longest_ms, first_ms << attempt)
        assert full_ms // 2 <= wait_ms <= full_ms
    assert len(set(waits[8:])) > 1, "no jitter"
    assert dial(table, entry.due_ms - 1) == []
    assert dial(table, entry.due_ms) == [KEY]


def test_only_a_link_that_held_earns_a_fresh_back_off():
    table = book(StaticPeer("127.0.0.1", 1, KEY))
    entry = table.entries()[0]
    for _ in range(5):
        table.connected("127.0.0.1", 1, KEY, NOW)
        table.disconnected("127.0.0.1", 1, NOW + STABLE_MS - 1)
    assert entry.failures == 5
    table.connected("127.0.0.1", 1, KEY, NOW)
    table.disconnected("127.0.0.1", 1, NOW + STABLE_MS)
    assert entry.failures == 1


def test_a_clock_that_stepped_back_does_not_stop_dialing():
    table = book(StaticPeer("127.0.0.1", 1, KEY))
    table.failed("127.0.0.1", 1, "unreachable", NOW)
    assert dial(table, NOW - 1) == []
    assert dial(table, NOW - 2 * BACKOFF_MS[1]) == [KEY]


def test_a_stranger_who_never_answers_or_never_will_is_forgotten():
    table = book()
    table.learn([PeerAddress(KEY, "9.9.9.9", 1)], "8.8.8.8")
    for _ in range(NEW_FAILURES_MAX):
        assert len(table) == 1
        table.failed("9.9.9.9", 1, "unreachable", NOW)
    assert len(table) == 0
    table.learn([PeerAddress(KEY, "9.9.9.9", 1)], "8.8.8.8")
    table.failed("9.9.9.9", 1, "wrong-chain", NOW)
    assert len(table) == 0


def test_a_full_peer_is_not_forgotten():
    table = book()
    table.learn([PeerAddress(KEY, "9.9.9.9", 1)], "8.8.8.8")
    for _ in range(3 * NEW_FAILURES_MAX):
        table.failed("9.9.9.9", 1, "too-many-peers", NOW)
    assert len(table) == 1


def test_only_so_many_strangers_are_dialed_and_none_twice():
    table = book()
    table.learn(addresses(20, "9.{1}.{0}.1"), "8.8.8.8")
    table.learn([PeerAddress(key(3), "7.7.7.7", 1)], "8.8.8.8")
    chosen = dial(table, wanted=8)
    assert len(chosen) == len(set(chosen)) == 8
    everybody = dial(table, wanted=100)
    assert len(everybody) == len(set(everybody)) == 20
    assert dial(table, wanted=0) == []


def test_who_is_dialed_already_or_not_admitted_is_no_candidate():
    table = book(StaticPeer("127.0.0.1", 1, KEY))
    assert table.candidates(NOW, (), {("127.0.0.1", 1)}, 8) == []
    assert table.candidates(NOW, (), (), 8, lambda other: other != KEY) == []


def test_half_of_the_dials_go_to_addresses_that_have_worked():
    table = book()
    table.learn(addresses(60, "9.{1}.{0}.1"), "8.8.8.8")
    table.connected("9.7.0.1", 7000, key(7), NOW)
    firsts = [dial(table, wanted=1)[0] for _ in range(200)]
    assert 60 < firsts.count(key(7)) < 140


def test_tried_addresses_are_bounded_by_group_and_the_fresh_ones_stay():
    table = book()
    for number, offer in enumerate(addresses(TRIED_PER_GROUP_MAX + 5, "9.9.{0}.{1}")):
        table.learn([offer], "8.8.8.8")
        table.connected(offer.host, offer.port, offer.key, NOW + number)
    tried = [entry.key for entry in table.entries() if entry.tried]
    assert tried == [key(number) for number in range(TRIED_PER_GROUP_MAX)]
    last = addresses(TRIED_PER_GROUP_MAX + 5, "9.9.{0}.{1}")[-1]
    table.connected(last.host, last.port, last.key, NOW + TRIED_FRESH_MS + 1_000)
    tried = [entry.key for entry in table.entries() if entry.tried]
    assert last.key in tried and key(0) not in tried
    assert len(tried) == TRIED_PER_GROUP_MAX


def test_only_what_answered_lately_is_shared_and_never_beyond_its_reach():
    table = book(StaticPeer("10.0.0.5", 5, key(5)))
    table.learn([PeerAddress(key(1), "9.9.9.9", 1)], "127.0.0.1")
    table.proven(key(2), "9.9.9.8", 2, NOW)
    table.proven(key(3), "127.0.0.1", 3, NOW)
    table.connected("10.0.0.5", 5, key(5), NOW)

    def told(host: str, now_ms: int = NOW, to: bytes = KEY) -> set[bytes]:
        return {address.key for address in table.share(to, host, now_ms)}

    assert told("8.8.8.8") == {key(2)}
    assert told("10.0.0.9") == {key(2), key(5)}
    assert told("127.0.0.1") == {key(2), key(3), key(5)}
    assert told("127.0.0.1", to=key(3)) == {key(2), key(5)}
    assert told("127.0.0.1", NOW + TRIED_FRESH_MS) == set()
    table.ban(key(2), "9.9.9.8", NOW)
    assert told("8.8.8.8") == set()


def test_an_answer_to_peer_exchange_is_bounded():
    table = book()
    for number in range(300):
        table.proven(key(number), f"{20 + number // 60}.{number % 60}.1.1", 1, NOW)
    assert len(table.share(KEY, "8.8.8.8", NOW)) == ADDRESSES_MAX


def test_who_speaks_for_himself_replaces_hearsay_about_his_address():
    table = book()
    table.learn([PeerAddress(key(9), "9.9.9.9", 1)], "8.8.8.8")
    table.proven(KEY, "9.9.9.9", 1, NOW)
    assert [entry.key for entry in table.entries()] == [KEY]
    table.connected("9.9.9.9", 1, KEY, NOW)
    table.proven(key(9), "9.9.9.9", 1, NOW)  # what has been tried stays
    assert [entry.key for entry in table.entries()] == [KEY]


def test_bans_expire_sooner_for_the_operators_own_peers():
    table = book(StaticPeer("127.0.0.1", 1, KEY))
    assert table.ban(KEY, "127.0.0.1", NOW) == NOW + STATIC_BAN_MS
    assert table.ban(key(2), "9.9.9.9", NOW) == NOW + BAN_MS
    assert table.is_banned(KEY, "127.0.0.1", NOW)
    assert dial(table) == []
    assert not table.is_banned(KEY, "127.0.0.1", NOW + STATIC_BAN_MS)
    assert dial(table, NOW + STATIC_BAN_MS) == [KEY]
    assert [ban.key for ban in table.bans(NOW + STATIC_BAN_MS)] == [key(2)]
    assert table.unban(key(2)) and not table.unban(key(2))
    assert not table.is_banned(key(2), "9.9.9.9", NOW)


def test_a_host_with_many_banned_keys_is_banned_but_not_this_machine():
    table = book(StaticPeer("9.9.9.9", 1, KEY))
    for number in range(2, 2 + HOST_KEYS_MAX):
        assert not table.is_host_banned("9.9.9.9", NOW)
        table.ban(key(number), "9.9.9.9", NOW)
        table.ban(key(100 + number), "127.0.0.1", NOW)
    assert table.is_host_banned("9.9.9.9", NOW)
    assert table.is_banned(key(50), "9.9.9.9", NOW)
    assert not table.is_banned(KEY, "9.9.9.9", NOW), "an operator's peer may share the host"
    assert not table.is_host_banned("127.0.0.1", NOW)
    assert not table.is_host_banned("9.9.9.9", NOW + BAN_MS)


def test_bans_are_bounded_and_the_shortest_goes_first():
    table = book()
    for number in range(BANS_MAX + 1):
        table.ban(key(number), "", NOW + number)
    assert len(table.bans(NOW)) == BANS_MAX
    assert not table.is_banned(key(0), "", NOW)


def test_the_table_survives_on_disk():
    table = book(StaticPeer("127.0.0.1", 1, KEY))
    table.learn(addresses(10, "9.{1}.{0}.1"), "8.8.8.8")
    table.connected("9.3.0.1", 7000, key(3), NOW)
    table.ban(key(4), "9.4.0.1", NOW)
    again = book()
    again.load(table.to_bytes())
    assert again.to_bytes() == table.to_bytes()
    assert len(again) == 10
    assert again.is_banned(key(4), "9.4.0.1", NOW)
    assert [entry.key for entry in again.entries() if entry.tried] == [key(3)]


def test_a_damaged_table_is_refused_whole():
    table = book()
    table.learn(addresses(10, "9.{1}.{0}.1"), "8.8.8.8")
    stored = table.to_bytes()
    again = book()
    for damaged in (b"", stored[:-1], stored + b"\x00", b"\x00" * 100):
        with pytest.raises(InvalidEncoding):
            again.load(damaged)
    assert len(again) == 0


def test_static_peers_are_due_at_once_when_told_so() -> None:
    table = book(StaticPeer("10.0.0.1", 7000, key(1)))
    for _ in range(20):
        table.failed("10.0.0.1", 7000, "not-admitted", NOW)
    assert dial(table) == []
    table.retry_static()
    assert dial(table) == [key(1)]
    # And the wait starts anew, short.
    table.failed("10.0.0.1", 7000, "unreachable", NOW)
    assert dial(table, NOW + STATIC_BACKOFF_MS[0]) == [key(1)]
