"""How fast two transports talk over TLS on this machine, beside bare aiohttp WebSockets.

    python tests/bench/bench_transport.py [seconds]

Everything runs in one process, so both ends share one core: quote ratios, not digits.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time

import aiohttp
from aiohttp import web

from p2p import tls
from p2p.limits import LANE_BYTES, MESSAGE_RATES, Rate
from p2p.peers import PeerBook, StaticPeer
from p2p.transport import PeerInfo, Transport, TransportSettings
from p2p.wire import (
    MESSAGE_TYPES,
    PROTOCOL_VERSION,
    ConsensusFrame,
    Hello,
    PeerMessage,
    Transactions,
)

CHAIN = bytes(32)
WINDOW_BYTES = 4_000_000
UNLIMITED = TransportSettings(
    message_rates={kind: Rate(10**7, 10**8) for kind in MESSAGE_TYPES.values()},
    lane_bytes={lane: Rate(10**10, 10**11) for lane in LANE_BYTES},
)
assert MESSAGE_RATES.keys() == UNLIMITED.message_rates.keys()


class End:
    """One end: counts, and echoes if told to."""

    def __init__(self, number: int, static: list[StaticPeer]) -> None:
        hello = Hello(PROTOCOL_VERSION, CHAIN, "pbft", bytes(32), "bench", 0, 0, 0)
        book = PeerBook(random.Random(number), static)
        self.transport = Transport(
            bytes([number]) * 32, UNLIMITED, book, lambda: hello, lambda key: None, self
        )
        self.joined = asyncio.Event()
        self.heard = asyncio.Event()
        self.count = 0
        self.echo = False

    def peer_joined(self, peer: PeerInfo) -> None:
        self.joined.set()

    def peer_left(self, key: bytes, reason: str) -> None:
        print("left:", reason)

    def peer_message(self, key: bytes, message: PeerMessage) -> None:
        self.count += 1
        self.heard.set()
        if self.echo:
            self.transport.send(key, message)


async def one_way(sender: End, receiver: End, message: PeerMessage, seconds: float) -> float:
    """Messages a second, with a bounded number in flight."""
    size = 100 + sum(len(body) for body in getattr(message, "bodies", (b"",)))
    in_flight_max = max(4, WINDOW_BYTES // max(size, 1_000))
    receiver.count = sent = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        while sent - receiver.count < in_flight_max:
            sender.transport.send(receiver.transport.key, message)
            sent += 1
        receiver.heard.clear()
        await receiver.heard.wait()
    rate = receiver.count / elapsed
    while receiver.count < sent:
        receiver.heard.clear()
        await receiver.heard.wait()
    return rate


async def round_trips(one: End, other: End, message: PeerMessage, seconds: float) -> float:
    """Median milliseconds of one message there and back."""
    other.echo = True
    times = []
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        start = time.perf_counter()
        one.heard.clear()
        one.transport.send(other.transport.key, message)
        await one.heard.wait()
        times.append(time.perf_counter() - start)
    other.echo = False
    return statistics.median(times) * 1_000


async def bare(size: int, seconds: float, *, secure: bool) -> tuple[float, float]:
    """The same with aiohttp alone: messages a second one way, median round trip in ms."""
    count = 0

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal count
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        async for message in socket:
            if len(message.data) == 1:
                await socket.send_bytes(message.data)
            count += 1
        return socket

    context = tls.server_context(bytes([1]) * 32) if secure else None
    server = await asyncio.get_running_loop().create_server(
        web.Server(answer), "127.0.0.1", 0, ssl=context
    )
    port = server.sockets[0].getsockname()[1]
    scheme = "wss" if secure else "ws"
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(
            f"{scheme}://127.0.0.1:{port}/", ssl=tls.client_context() if secure else True
        )
        body = bytes(size)
        start = time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            for _ in range(32):
                await socket.send_bytes(body)
            await asyncio.sleep(0)
        rate = count / elapsed
        times = []
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            begin = time.perf_counter()
            await socket.send_bytes(b"x")
            await socket.receive()
            times.append(time.perf_counter() - begin)
        await socket.close()
    server.close()
    return rate, statistics.median(times[len(times) // 10 :]) * 1_000


async def main(seconds: float) -> None:
    listener = End(1, [])
    await listener.transport.start()
    dialer = End(2, [StaticPeer("127.0.0.1", listener.transport.port)])
    await dialer.transport.start()
    await dialer.joined.wait()
    for size in (200, 20_000):
        vote = ConsensusFrame("pbft", 1, bytes(size - 12))
        for secure in (False, True):
            rate, trip = await bare(size, seconds, secure=secure)
            name = "aiohttp with TLS" if secure else "aiohttp"
            print(f"{name:22} {size:>7} B {rate:>9,.0f}/s   round trip {trip:.3f} ms")
        rate = await one_way(dialer, listener, vote, seconds)
        trip = await round_trips(dialer, listener, vote, seconds)
        print(f"{'transport, consensus':22} {size:>7} B {rate:>9,.0f}/s   round trip {trip:.3f} ms")
        bulk = Transactions((bytes(size - 12),))
        rate = await one_way(dialer, listener, bulk, seconds)
        print(f"{'transport, bulk':22} {size:>7} B {rate:>9,.0f}/s")
    large = Transactions((bytes(1_000_000),))
    rate = await one_way(dialer, listener, large, seconds)
    print(f"{'transport, bulk':22} {1_000_000:>7} B {rate:>9,.0f}/s   (in pieces)")
    await dialer.transport.stop()
    await listener.transport.stop()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0))
