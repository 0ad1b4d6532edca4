"""Links between real transports on 127.0.0.1."""

from __future__ import annotations

from p2p.wire import ConsensusFrame, Transactions


async def test_two_nodes_meet_and_talk_both_ways(start):
    listener = await start(1)
    dialer = await start(2, static=[listener.address])
    await dialer.until(lambda: dialer.linked() == {listener.key})
    await listener.until(lambda: listener.linked() == {dialer.key})
    vote = ConsensusFrame("pbft", 1, b"vote")
    dialer.transport.send(listener.key, vote)
    await listener.until(lambda: listener.messages == [(dialer.key, vote)])
    listener.transport.send(dialer.key, vote)
    await dialer.until(lambda: dialer.messages == [(listener.key, vote)])
    assert [peer.outbound for peer in dialer.transport.peers()] == [True]
    assert [peer.outbound for peer in listener.transport.peers()] == [False]


async def test_a_bulk_frame_larger_than_a_piece_arrives_whole(start):
    listener = await start(1)
    dialer = await start(2, static=[listener.address])
    await dialer.until(lambda: dialer.linked() == {listener.key})
    large = Transactions((bytes(range(256)) * 5_000,))
    dialer.transport.send(listener.key, large)
    await listener.until(lambda: listener.messages == [(dialer.key, large)])
    assert listener.transport.bytes_in["Transactions"] > 1_280_000
