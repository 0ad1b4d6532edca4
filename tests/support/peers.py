"""Nodes with real sockets on 127.0.0.1, and what they heard."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import msgspec

from p2p import tls
from p2p.handshake import DialerHandshake
from p2p.link import Dialer, read_frame
from p2p.peers import PeerBook, StaticPeer
from p2p.transport import PeerInfo, Transport, TransportSettings
from p2p.wire import (
    PROTOCOL_VERSION,
    GetPeers,
    Goodbye,
    Hello,
    PeerMessage,
    Ping,
    decode_frame,
    encode_frame,
)

CHAIN = bytes(range(32))
WAIT_S = 15


class Node:
    """A transport and everything that its handler was told."""

    def __init__(
        self,
        number: int,
        *,
        static: Sequence[StaticPeer] = (),
        settings: TransportSettings | None = None,
        hello: Hello | None = None,
        admit: Callable[[bytes], str | None] = lambda key: None,
    ) -> None:
        self.seed = bytes([number]) * 32
        self.joined: list[PeerInfo] = []
        self.left: list[tuple[bytes, str]] = []
        self.messages: list[tuple[bytes, PeerMessage]] = []
        self.on_message: Callable[[bytes, PeerMessage], None] | None = None
        self._changed = asyncio.Event()
        self.book = PeerBook(random.Random(number), static)
        mine = hello or make_hello()
        self.transport = Transport(
            self.seed, settings or TransportSettings(), self.book, lambda: mine, admit, self
        )

    @property
    def key(self) -> bytes:
        return self.transport.key

    @property
    def address(self) -> StaticPeer:
        return StaticPeer("127.0.0.1", self.transport.port, self.key)

    def peer_joined(self, peer: PeerInfo) -> None:
        self.joined.append(peer)
        self._changed.set()

    def peer_left(self, key: bytes, reason: str) -> None:
        self.left.append((key, reason))
        self._changed.set()

    def peer_message(self, key: bytes, message: PeerMessage) -> None:
        self.messages.append((key, message))
        self._changed.set()
        if self.on_message is not None:
            self.on_message(key, message)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for something that the handler hears of, or the dialer records."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._changed.clear()
                try:
                    async with asyncio.timeout(0.02):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    def linked(self) -> set[bytes]:
        return {peer.key for peer in self.transport.peers()}


def make_hello(**changes: object) -> Hello:
    hello = Hello(PROTOCOL_VERSION, CHAIN, "pbft", bytes(32), "test", 0, 0, 0)
    return msgspec.structs.replace(hello, **changes)


class Stranger:
    """A peer that speaks the protocol by hand, well or badly."""

    def __init__(self, number: int, to: Node, *, hello: Hello | None = None) -> None:
        self.seed = bytes([number]) * 32
        self.key = tls.public_key(self.seed)
        self.to = to
        self.mine = msgspec.structs.replace(hello or make_hello(), key=self.key)
        self.dialer = Dialer(tls.client_context(), None)

    async def __aenter__(self) -> Stranger:
        await self.dialer.__aenter__()
        self.socket = await self.dialer.connect("127.0.0.1", self.to.transport.port, "/p2p")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.dialer.__aexit__(None, None, None)

    async def enter(self) -> None:
        """The honest handshake."""
        speaker = DialerHandshake(self.mine, self.seed, self.dialer.key)
        await self.say(speaker.answer(await read_frame(self.socket)))
        speaker.receive(await read_frame(self.socket))

    async def say(self, message: PeerMessage) -> None:
        await self.socket.send_bytes(encode_frame(message))

    async def hear(self) -> PeerMessage:
        """The next message that is no ping and no question for peers."""
        async with asyncio.timeout(WAIT_S):
            while True:
                message = decode_frame(await read_frame(self.socket))
                if not isinstance(message, (Ping, GetPeers)):
                    return message

    async def farewell(self) -> str:
        """The reason in the goodbye that must come."""
        message = await self.hear()
        assert isinstance(message, Goodbye), message
        return message.reason
