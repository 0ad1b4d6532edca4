"""Links between real transports on 127.0.0.1: TLS, handshake, lanes, limits, and the end of it."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import ssl

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.client_reqrep import ConnectionKey

from p2p import tls
from p2p.handshake import DialerHandshake
from p2p.limits import MESSAGE_RATES, Rate
from p2p.link import Dialer, read_frame, why_unreachable
from p2p.peers import StaticPeer
from p2p.transport import TransportSettings
from p2p.wire import (
    FRAME_SIZE_MAX,
    ConsensusFrame,
    GetPeers,
    PeerAddress,
    Peers,
    Pong,
    Status,
    Transactions,
    encode_frame,
)
from tests.support.peers import Node, Stranger, make_hello

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]

VOTE = ConsensusFrame("pbft", 1, b"vote")
STATUS = Status(bytes(32), 1, 1, b"")


async def link(start, first=1, second=2, **options):
    listener = await start(first, **options)
    dialer = await start(second, static=[listener.address])
    await dialer.until(lambda: dialer.linked() == {listener.key})
    await listener.until(lambda: listener.linked() == {dialer.key})
    return listener, dialer


async def test_two_nodes_meet_and_talk_both_ways(start):
    listener, dialer = await link(start)
    dialer.transport.send(listener.key, VOTE)
    await listener.until(lambda: listener.messages == [(dialer.key, VOTE)])
    listener.transport.send(dialer.key, VOTE)
    await dialer.until(lambda: dialer.messages == [(listener.key, VOTE)])
    assert [peer.outbound for peer in dialer.transport.peers()] == [True]
    assert [peer.outbound for peer in listener.transport.peers()] == [False]
    assert listener.transport.peers()[0].port == dialer.transport.port
    assert listener.transport.messages_in == {"ConsensusFrame": 1, "GetPeers": 1}
    assert dialer.transport.bytes_out["ConsensusFrame"] == len(encode_frame(VOTE))


async def test_messages_are_counted_under_the_names_that_the_node_gives_them(start):
    listener, dialer = await link(start)
    for one in (listener, dialer):
        one.transport._name_of = lambda message: "a vote" if message == VOTE else "the rest"
    dialer.transport.send(listener.key, VOTE)
    await listener.until(lambda: bool(listener.messages))
    size = len(encode_frame(VOTE))
    assert (listener.transport.messages_in["a vote"], listener.transport.bytes_in["a vote"]) == (
        1,
        size,
    )
    assert dialer.transport.messages_out["a vote"] == 1
    assert dialer.transport.bytes_out["a vote"] == size


async def test_a_bulk_frame_larger_than_a_piece_arrives_whole(start):
    listener, dialer = await link(start)
    large = Transactions((bytes(range(256)) * 5_000,))
    dialer.transport.send(listener.key, large)
    await listener.until(lambda: listener.messages == [(dialer.key, large)])
    assert listener.transport.bytes_in["Transactions"] == len(encode_frame(large))


async def test_a_bare_address_is_dialed_and_its_key_learned(start):
    listener = await start(1)
    dialer = await start(2, static=[StaticPeer("127.0.0.1", listener.transport.port)])
    await dialer.until(lambda: dialer.linked() == {listener.key})
    assert dialer.book.is_static(listener.key)


# -- who may not come in


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"chain_id": bytes(32)}, "wrong-chain"),
        ({"protocol_version": 2}, "wrong-version"),
        ({"engine": "raft"}, "wrong-engine"),
    ],
)
async def test_who_follows_something_else_is_told_so(start, changes, reason):
    listener = await start(1)
    dialer = await start(2, static=[listener.address], hello=make_hello(**changes))
    failures = dialer.transport.dial_failures
    await dialer.until(lambda: listener.address[:2] in failures)
    assert failures[listener.address[:2]].reason == reason
    assert (dialer.joined, listener.joined) == ([], [])


async def test_a_node_that_reaches_itself_says_so(start):
    node = await start(1)
    node.book.add_static(StaticPeer("127.0.0.1", node.transport.port))
    failures = node.transport.dial_failures
    await node.until(lambda: bool(failures))
    assert [failure.reason for failure in failures.values()] == ["self-connection"]
    async with Stranger(1, node) as stranger:
        stranger.dialer._connector.key = bytes(32)  # so that its own side does not notice
        await stranger.say(msgspec.structs.replace(stranger.mine, proof=bytes(64)))
        await stranger.hear()
        assert await stranger.farewell() == "self-connection"
    assert node.joined == []


async def test_who_is_not_admitted_is_told_so_on_either_side(start):
    listener = await start(1, admit=lambda key: "members only")
    dialer = await start(2, static=[StaticPeer("127.0.0.1", listener.transport.port)])
    failures = dialer.transport.dial_failures
    await dialer.until(lambda: bool(failures))
    failure = failures[("127.0.0.1", listener.transport.port)]
    assert (failure.reason, failure.sentence) == ("not-admitted", "members only")
    picky = await start(
        3, static=[StaticPeer(*dialer.address[:2])], admit=lambda key: "members only"
    )
    await picky.until(lambda: bool(picky.transport.dial_failures))
    assert [failure.reason for failure in picky.transport.dial_failures.values()] == [
        "not-admitted"
    ]


async def test_who_is_not_admitted_any_more_is_dropped(start):
    members: set[bytes] = set()
    listener = await start(1, admit=lambda key: None if key in members else "members only")
    async with Stranger(2, listener) as stranger:
        members.add(stranger.key)
        await stranger.enter()
        await listener.until(lambda: bool(listener.joined))
        listener.transport.recheck()
        assert listener.linked() == {stranger.key}
        members.clear()
        listener.transport.recheck()
        assert await stranger.farewell() == "not-admitted"
    await listener.until(lambda: listener.left == [(stranger.key, "not-admitted")])


async def test_who_is_banned_is_told_so(start):
    listener, dialer = await link(start)
    listener.transport.misbehaved(dialer.key, "bad-signature")
    assert listener.linked() == set()
    await dialer.until(lambda: dialer.left == [(listener.key, "banned")])
    failures = dialer.transport.dial_failures
    await dialer.until(lambda: bool(failures))
    assert failures[listener.address[:2]].reason == "banned"


async def test_there_is_room_for_so_many_strangers_and_for_every_static_peer(start):
    listener = await start(1, settings=TransportSettings(inbound_max=1))
    async with Stranger(2, listener) as first, Stranger(3, listener) as second:
        await first.enter()
        await listener.until(lambda: len(listener.joined) == 1)
        await second.say(await answer(second))
        assert await second.farewell() == "too-many-peers"
        async with Stranger(4, listener) as friend:
            listener.book.add_static(StaticPeer("127.0.0.1", 1, friend.key))
            await friend.enter()
            await listener.until(lambda: len(listener.joined) == 2)


async def answer(stranger):
    speaker = DialerHandshake(stranger.mine, stranger.seed, stranger.dialer.key)
    return speaker.answer(await read_frame(stranger.socket))


async def test_a_recorded_handshake_is_refused(start):
    listener = await start(1)
    async with Stranger(2, listener) as honest:
        recorded = await answer(honest)
        await honest.say(recorded)
        await listener.until(lambda: listener.linked() == {honest.key})
    await listener.until(lambda: listener.linked() == set())
    async with Stranger(2, listener) as thief:
        await thief.say(recorded)
        await thief.hear()  # the challenge, which the recording does not answer
        assert await thief.farewell() == "bad-proof"
    assert len(listener.joined) == 1


async def test_a_listener_with_another_key_than_the_one_dialed_gets_not_a_byte(start):
    impostor = await start(3)
    dialer = await start(2, static=[StaticPeer("127.0.0.1", impostor.transport.port, bytes(32))])
    await dialer.until(lambda: bool(dialer.transport.dial_failures))
    failure = next(iter(dialer.transport.dial_failures.values()))
    assert failure.reason == "wrong-key"
    assert (impostor.joined, dialer.joined) == ([], [])


async def test_a_man_in_the_middle_with_a_key_of_his_own_is_refused(start):
    """A proxy under its own certificate, which the victim reached by a bare address; it relays
    every frame of the handshake between the two honest ends."""
    listener = await start(1)
    seed = bytes([7]) * 32

    async def relay(request):
        near = web.WebSocketResponse(compress=False)
        await near.prepare(request)
        async with Dialer(tls.client_context(), listener.key) as dialer:
            far = await dialer.connect("127.0.0.1", listener.transport.port, "/p2p")
            await near.send_bytes(await read_frame(far))  # the challenge
            await far.send_bytes(await read_frame(near))  # the victim's hello, proof and all
            await near.send_bytes(await read_frame(far))  # what the listener says to it
            await near.receive()
        return near

    server = await asyncio.get_running_loop().create_server(
        web.Server(relay), "127.0.0.1", 0, ssl=tls.server_context(seed)
    )
    port = server.sockets[0].getsockname()[1]
    victim = await start(2, static=[StaticPeer("127.0.0.1", port)])
    await victim.until(lambda: bool(victim.transport.dial_failures))
    await victim.transport.stop()
    server.close()
    await server.wait_closed()
    assert victim.transport.dial_failures[("127.0.0.1", port)].reason == "bad-proof"
    assert (listener.joined, victim.joined) == ([], [])


# -- two links between the same two


async def test_two_that_dial_each_other_end_with_one_link(start):
    first, second = await start(1), await start(2)
    first.book.add_static(second.address)
    second.book.add_static(first.address)
    await first.until(lambda: first.linked() == {second.key})
    await second.until(lambda: second.linked() == {first.key})

    def agreed() -> bool:
        ours, theirs = first.transport.peers(), second.transport.peers()
        return len(ours) == len(theirs) == 1 and ours[0].outbound != theirs[0].outbound

    await first.until(agreed)
    assert first.transport.dial_failures == second.transport.dial_failures == {}
    first.transport.send(second.key, VOTE)
    second.transport.send(first.key, VOTE)
    await first.until(lambda: first.messages == [(second.key, VOTE)])
    await second.until(lambda: second.messages == [(first.key, VOTE)])


async def test_a_mesh_that_all_dial_at_once_settles_and_may_stop_in_the_midst(start):
    nodes = [await start(number) for number in range(1, 7)]
    for node in nodes:
        for other in nodes:
            if other is not node:
                node.book.add_static(other.address)
    await nodes[0].until(lambda: all(len(node.linked()) == 5 for node in nodes))
    await asyncio.gather(*(node.transport.stop() for node in nodes))
    assert all(node.linked() == set() for node in nodes)


async def test_the_link_that_the_smaller_key_dialed_replaces_the_other(start):
    nodes = sorted([await start(1), await start(2)], key=lambda node: node.key)
    small, large = nodes
    large.book.add_static(small.address)
    await small.until(lambda: small.linked() == {large.key})
    await large.until(lambda: large.linked() == {small.key})
    async with Stranger(small.seed[0], large) as again:  # the smaller key dials as well
        await again.enter()
        await large.until(lambda: len(large.joined) == 2)
        assert [peer.outbound for peer in large.transport.peers()] == [False]
        assert large.left == [(small.key, "duplicate")]
        async with Stranger(large.seed[0], small) as other:
            # To the smaller key nothing is known of that: its old link was closed.
            await small.until(lambda: small.linked() == set())
            await other.enter()
            await small.until(lambda: len(small.joined) >= 2)


async def test_a_peer_that_lost_its_link_takes_its_own_place(start):
    listener = await start(1)
    async with Stranger(2, listener) as old, Stranger(2, listener) as new:
        await old.enter()
        await listener.until(lambda: len(listener.joined) == 1)
        await new.enter()
        await listener.until(lambda: len(listener.joined) == 2)
        assert listener.left == [(old.key, "duplicate")]
        await new.say(VOTE)
        await listener.until(lambda: listener.messages == [(new.key, VOTE)])


# -- bad frames


@pytest.mark.parametrize(
    ("frame", "times"),
    [
        (b"\x10\xc1\xff", 2),  # no MessagePack
        (encode_frame(VOTE)[:-1], 2),
        (b"\x10" + b"\x91" * 1_000_000, 2),  # deeply nested
        (b"\xfe", 10),  # unknown type
        (b"", 2),
        (b"\x04" + bytes(100), 1),  # a ping of 100 bytes
        (encode_frame(Pong(3)), 10),
        (encode_frame(Peers(())), 60),
        (encode_frame(make_hello()), 5),
    ],
)
async def test_bad_frames_lead_to_a_ban(start, frame, times):
    listener = await start(1)
    async with Stranger(2, listener) as stranger:
        await stranger.enter()
        for _ in range(times):
            await stranger.socket.send_bytes(frame)
        assert await stranger.farewell() == "banned"
    await listener.until(lambda: listener.left == [(stranger.key, "banned")])
    assert listener.messages == []
    async with Stranger(2, listener) as again:
        await again.say(await answer(again))
        assert await again.farewell() == "banned"


async def test_one_bad_frame_is_forgiven_and_the_next_good_one_heard(start):
    listener = await start(1)
    async with Stranger(2, listener) as stranger:
        await stranger.enter()
        await stranger.socket.send_bytes(b"\xfe")
        await stranger.say(VOTE)
        await listener.until(lambda: listener.messages == [(stranger.key, VOTE)])
        assert listener.transport.peers()[0].score == 10


async def test_a_frame_larger_than_any_may_be_is_not_even_read(start):
    listener = await start(1)
    async with Stranger(2, listener) as stranger:
        await stranger.enter()
        await stranger.socket.send_bytes(bytes(FRAME_SIZE_MAX + 1))
        await listener.until(lambda: listener.left == [(stranger.key, "banned")])


@pytest.mark.parametrize("kind", ["text", "ping"])
async def test_other_websocket_messages_than_binary_are_misbehaviour(start, kind):
    listener = await start(1)
    async with Stranger(2, listener) as stranger:
        await stranger.enter()
        for _ in range(5):
            await (stranger.socket.send_str("x") if kind == "text" else stranger.socket.ping())
        assert await stranger.farewell() == "banned"


async def test_random_bytes_never_stop_a_node(start):
    listener, dialer = await link(start)
    rng = random.Random(1)
    for number in range(3, 13):
        async with Stranger(number, listener) as stranger:
            await stranger.enter()
            for _ in range(20):
                await stranger.socket.send_bytes(rng.randbytes(rng.randrange(200)))
            await stranger.socket.close()
    dialer.transport.send(listener.key, VOTE)
    await listener.until(lambda: (dialer.key, VOTE) in listener.messages)
    assert not listener.transport.failed.done()


async def test_a_flood_beyond_the_rate_leads_to_a_ban(start):
    rates = {**MESSAGE_RATES, Status: Rate(1, 10)}
    listener = await start(1, settings=TransportSettings(message_rates=rates))
    async with Stranger(2, listener) as stranger:
        await stranger.enter()
        for _ in range(150):
            await stranger.say(STATUS)
        assert await stranger.farewell() == "banned"
    assert 10 <= len(listener.messages) <= 12


# -- slow ones


async def test_whoever_says_nothing_before_the_deadline_is_cut(start):
    listener = await start(1, settings=TransportSettings(handshake_timeout_ms=200))
    port = listener.transport.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)  # not even TLS
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    async with Stranger(2, listener) as stranger:  # a WebSocket, and no hello
        await stranger.hear()
        async with asyncio.timeout(5):
            assert (await stranger.socket.receive()).type.name in ("CLOSED", "CLOSE")
    await listener.until(lambda: listener.transport._listener.in_flight == 0)


async def test_a_request_that_trickles_is_cut_all_the_same(start):
    listener = await start(1, settings=TransportSettings(handshake_timeout_ms=300))
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", listener.transport.port, ssl=tls.client_context()
    )
    request = b"GET /p2p HTTP/1.1\r\n" + b"X: y\r\n" * 10_000
    sent = 0
    async with asyncio.timeout(5):
        while not reader.at_eof() and not writer.is_closing():
            writer.write(request[sent : sent + 1])
            sent += 1
            try:
                async with asyncio.timeout(0.01):
                    await reader.read(1)
            except (TimeoutError, ConnectionError):
                continue
    assert 5 < sent < 1_000
    writer.transport.abort()
    await listener.until(lambda: listener.transport._listener.in_flight == 0)


async def test_a_stranger_may_not_send_more_than_a_handshake(start):
    settings = TransportSettings(handshake_timeout_ms=60_000)
    listener = await start(1, settings=settings)
    async with Stranger(2, listener) as stranger:
        await stranger.hear()
        # RFC 6455, 5.2: a masked binary frame that announces 8 MB, and the first part of it.
        announced = b"\x82\xff" + (8_000_000).to_bytes(8, "big") + bytes(4)
        stranger.dialer.transport.write(announced + bytes(100_000))
        await listener.until(lambda: listener.transport._listener.in_flight == 0)
    async with Stranger(2, listener) as stranger:
        await stranger.enter()
        await stranger.say(ConsensusFrame("pbft", 1, bytes(1_000_000)))
        await listener.until(lambda: len(listener.messages) == 1)


async def test_a_node_may_dial_without_listening(start):
    listener = await start(1)
    dialer = await start(2, static=[listener.address], settings=TransportSettings(listen=False))
    await listener.until(lambda: listener.linked() == {dialer.key})
    assert [peer.port for peer in listener.transport.peers()] == [0]
    assert listener.book.entries() == []


async def test_a_node_may_advertise_another_port_than_it_binds(start):
    listener = await start(1)
    settings = TransportSettings(advertise_port=7777)
    dialer = await start(2, static=[listener.address], settings=settings)
    await listener.until(lambda: listener.linked() == {dialer.key})
    assert [peer.port for peer in listener.transport.peers()] == [7777]


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_links_work_over_ipv6(start):
    try:
        listener = await start(1, settings=TransportSettings(host="::1"))
    except OSError:
        pytest.skip("no IPv6 loopback here")
    there = StaticPeer("::1", listener.transport.port, listener.key)
    dialer = await start(2, static=[there], settings=TransportSettings(listen=False))
    await dialer.until(lambda: dialer.linked() == {listener.key})
    assert [peer.host for peer in dialer.transport.peers()] == ["::1"]


async def test_other_paths_are_answered_with_a_404_and_hung_up_on(start):
    listener = await start(1)
    connector = aiohttp.TCPConnector(ssl=tls.client_context())
    async with aiohttp.ClientSession(connector=connector) as session:
        url = f"https://127.0.0.1:{listener.transport.port}/"
        async with session.get(url) as response:
            assert response.status == 404
        async with session.get(url + "p2p") as response:
            assert response.status == 400
    await listener.until(lambda: listener.transport._listener.in_flight == 0)


async def test_one_address_has_so_many_slots(start):
    settings = TransportSettings(handshakes_per_host_max=2, handshake_timeout_ms=60_000)
    listener = await start(1, settings=settings)
    port = listener.transport.port
    open_ = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    await listener.until(lambda: listener.transport._listener.in_flight == 2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    for _, other in [*open_, (reader, writer)]:
        other.close()
        await other.wait_closed()
    await listener.until(lambda: listener.transport._listener.in_flight == 0)


async def test_who_does_not_read_is_dropped_and_others_are_served(start):
    listener = await start(1, settings=TransportSettings(queue_bytes_max=20_000_000))
    dialer = await start(2, static=[listener.address])
    await listener.until(lambda: listener.linked() == {dialer.key})
    async with Stranger(3, listener) as stranger:
        await stranger.enter()
        await listener.until(lambda: stranger.key in listener.linked())
        stranger.dialer.transport.pause_reading()
        large = Transactions((bytes(1_000_000),))
        sent = 0
        while stranger.key in listener.linked():
            listener.transport.send(stranger.key, large)
            listener.transport.send(dialer.key, VOTE)
            sent += 1
            await asyncio.sleep(0)
        assert 20 <= sent < 60
        await listener.until(lambda: listener.left == [(stranger.key, "slow-peer")])
        await dialer.until(lambda: len(dialer.messages) == sent)


async def test_who_is_silent_is_dropped_and_who_answers_pings_is_not(start):
    settings = TransportSettings(ping_interval_ms=200, idle_timeout_ms=600)
    listener = await start(1, settings=settings)
    dialer = await start(2, static=[listener.address])
    async with Stranger(3, listener) as silent:
        await silent.enter()
        await listener.until(lambda: listener.left == [(silent.key, "idle")])
        assert listener.linked() == {dialer.key}
        assert listener.transport.peers()[0].latency_ms is not None


async def test_a_vote_overtakes_bulk(start):
    listener, dialer = await link(start)
    large = Transactions((bytes(1_000_000),))
    for _ in range(50):
        dialer.transport.send(listener.key, large)
    # Once the bulk is under way, a vote is sent.
    await listener.until(lambda: len(listener.messages) >= 1)
    dialer.transport.send(listener.key, VOTE)
    await listener.until(lambda: len(listener.messages) == 51)
    position = [message for _, message in listener.messages].index(VOTE)
    assert position < 25, "the vote waited behind the queue"


async def test_a_vote_sent_with_the_bulk_comes_first(start):
    listener, dialer = await link(start)
    large = Transactions((bytes(1_000_000),))
    for _ in range(50):
        dialer.transport.send(listener.key, large)
    dialer.transport.send(listener.key, VOTE)
    await listener.until(lambda: len(listener.messages) == 51)
    assert listener.messages[0] == (dialer.key, VOTE)


# -- dialing


async def test_a_restarted_peer_is_dialed_again(start):
    listener, dialer = await link(start)
    port = listener.transport.port
    await listener.transport.stop()
    await dialer.until(lambda: dialer.left == [(listener.key, "shutdown")])
    await dialer.until(lambda: bool(dialer.transport.dial_failures))
    assert next(iter(dialer.transport.dial_failures.values())).reason == "unreachable"
    again = await start(1, settings=TransportSettings(port=port))
    await dialer.until(lambda: dialer.linked() == {again.key})
    assert dialer.transport.dial_failures == {}


async def test_peer_exchange_makes_a_third_node_known(start):
    hub = await start(1)
    first = await start(2, static=[hub.address])
    await hub.until(lambda: hub.linked() == {first.key})
    second = await start(3, static=[hub.address])
    await second.until(lambda: second.linked() == {hub.key, first.key})
    await first.until(lambda: first.linked() == {hub.key, second.key})
    await hub.until(lambda: hub.linked() == {first.key, second.key})


async def test_an_unasked_list_of_peers_is_not_believed(start):
    listener = await start(1)
    async with Stranger(2, listener) as stranger:
        await stranger.enter()
        await stranger.say(Peers((PeerAddress(bytes(32), "127.0.0.1", 9),)))
        await stranger.say(GetPeers())
        told = await stranger.hear()
        assert told == Peers(())
        assert bytes(32) not in {entry.key for entry in listener.book.entries()}


async def test_a_redirect_is_not_followed(start):
    async def elsewhere(request):
        return web.Response(status=302, headers={"Location": "https://127.0.0.1:1/p2p"})

    seed = bytes([9]) * 32
    server = await asyncio.get_running_loop().create_server(
        web.Server(elsewhere), "127.0.0.1", 0, ssl=tls.server_context(seed)
    )
    port = server.sockets[0].getsockname()[1]
    dialer = await start(2, static=[StaticPeer("127.0.0.1", port, tls.public_key(seed))])
    await dialer.until(lambda: bool(dialer.transport.dial_failures))
    failure = next(iter(dialer.transport.dial_failures.values()))
    assert (failure.reason, "redirect" in failure.sentence) == ("bad-handshake", True)
    server.close()
    await server.wait_closed()


# -- our own mistakes, and the end


async def test_an_exception_of_the_handler_is_not_swallowed(start):
    listener, dialer = await link(start)

    def broken(key, message):
        raise AssertionError("a mistake of ours")

    listener.on_message = broken
    dialer.transport.send(listener.key, VOTE)
    with pytest.raises(AssertionError, match="a mistake of ours"):
        async with asyncio.timeout(5):
            await listener.transport.failed


async def test_a_broken_hello_is_not_swallowed(start):
    listener = await start(1)
    listener.transport._make_hello = lambda: None  # type: ignore[assignment,return-value]
    await start(2, static=[listener.address])
    with pytest.raises(TypeError):
        async with asyncio.timeout(5):
            await listener.transport.failed


async def test_a_handler_may_hang_up_and_send_from_within(start):
    listener, dialer = await link(start)
    order: list[str] = []

    def hang_up(key, message):
        order.append("message")
        listener.transport.send(key, STATUS)
        listener.transport.disconnect(key, "enough", "enough for today")
        order.append("returned")

    listener.on_message = hang_up
    dialer.transport.send(listener.key, VOTE)
    dialer.transport.send(listener.key, VOTE)
    await dialer.until(lambda: dialer.left == [(listener.key, "enough")])
    await listener.until(lambda: bool(listener.left))
    assert order == ["message", "returned"], "no message comes after the link was closed"


async def test_what_was_under_way_when_a_link_was_closed_is_not_delivered(start):
    listener, dialer = await link(start)
    await listener.until(lambda: listener.transport.messages_in["GetPeers"] == 1)
    socket_ = listener.transport._links[dialer.key].socket
    receive = socket_.receive

    async def close_meanwhile():
        message = await receive()
        listener.transport.disconnect(dialer.key, "enough", "enough for today")
        return message

    socket_.receive = close_meanwhile
    dialer.transport.send(listener.key, VOTE)  # heard by the call that waits already
    await listener.until(lambda: len(listener.messages) == 1)
    dialer.transport.send(listener.key, STATUS)
    await listener.until(lambda: bool(listener.left))
    await dialer.until(lambda: bool(dialer.left))
    assert listener.messages == [(dialer.key, VOTE)]


async def test_who_returns_from_a_ban_starts_anew(start):
    listener = await start(1)
    async with Stranger(2, listener) as stranger:
        await stranger.enter()
        listener.transport.misbehaved(stranger.key, "bad-signature")
        assert await stranger.farewell() == "banned"
    listener.book.unban(stranger.key)
    async with Stranger(2, listener) as stranger:
        await stranger.enter()
        await listener.until(lambda: len(listener.joined) == 2)
        assert listener.transport.peers()[0].score == 0


async def test_sending_to_nobody_does_nothing(start):
    node = await start(1)
    node.transport.send(bytes(32), VOTE)
    node.transport.disconnect(bytes(32), "x", "y")
    assert node.transport.messages_out == {}


async def test_stop_is_prompt_and_the_others_are_told(start):
    listener, dialer = await link(start)
    async with asyncio.timeout(3):
        await listener.transport.stop()
    await dialer.until(lambda: dialer.left == [(listener.key, "shutdown")])
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", listener.transport.port)


async def test_what_was_sent_to_the_consensus_lane_before_the_stop_still_arrives(start):
    listener, dialer = await link(start)
    for _ in range(500):
        dialer.transport.send(listener.key, VOTE)
    await dialer.transport.stop()
    await listener.until(lambda: listener.left == [(dialer.key, "shutdown")])
    assert listener.messages == [(dialer.key, VOTE)] * 500


async def test_stop_does_no_harm_before_the_start_after_a_failed_one_or_twice(start):
    node = await start(1)
    await Node(2).transport.stop()
    failed = Node(3, settings=TransportSettings(port=node.transport.port))
    with pytest.raises(OSError):
        await failed.transport.start()
    await failed.transport.stop()
    await node.transport.stop()
    await node.transport.stop()


async def test_the_book_survives_a_restart(start):
    listener, dialer = await link(start)
    third = await start(3)
    third.book.load(listener.book.to_bytes())
    assert [entry.key for entry in third.book.entries()] == [dialer.key]
    await third.until(lambda: third.linked() == {dialer.key})


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), "nobody listens there"),
        (OSError(errno.EHOSTUNREACH, "Connect call failed"), os.strerror(errno.EHOSTUNREACH)),
        (socket.gaierror(socket.EAI_NONAME, "Name not known"), "Name not known"),
        (ssl.SSLError(1, "wrong version number"), "wrong version number"),
        (OSError("Multiple exceptions"), "Multiple exceptions"),
    ],
)
def test_why_a_dial_failed_is_told_in_the_systems_words(error: OSError, sentence: str) -> None:
    key = ConnectionKey("10.0.0.1", 7, True, True, None, None, None)
    assert why_unreachable(aiohttp.ClientConnectorError(key, error)) == sentence


def test_a_dial_that_nobody_answered_or_that_was_broken_off_has_its_sentence() -> None:
    assert why_unreachable(TimeoutError()) == "no answer in time"
    assert why_unreachable(aiohttp.ServerDisconnectedError()) == "Server disconnected"
    assert why_unreachable(ConnectionResetError()) == "ConnectionResetError"


async def test_a_dial_where_nobody_listens_says_so(start):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        there = StaticPeer("127.0.0.1", free.getsockname()[1], None)
        dialer = await start(2, static=[there])
        await dialer.until(lambda: bool(dialer.transport.dial_failures))
    (failure,) = dialer.transport.unlinked()
    assert (failure.reason, failure.sentence) == ("unreachable", "nobody listens there")
