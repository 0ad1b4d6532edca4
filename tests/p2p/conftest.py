"""Nodes with real sockets on 127.0.0.1, and what they heard."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import pytest

from p2p.peers import PeerBook, StaticPeer
from p2p.transport import PeerInfo, Transport, TransportSettings
from p2p.wire import PROTOCOL_VERSION, Hello, PeerMessage

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
    return hello if not changes else Hello(**{**_fields(hello), **changes})


def _fields(hello: Hello) -> dict[str, object]:
    return {name: getattr(hello, name) for name in hello.__struct_fields__}


Start = Callable[..., "asyncio.Future[Node]"]


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., object]]:
    """Starts nodes; stops them afterwards, and then nothing of them may be left."""
    nodes: list[Node] = []
    before = asyncio.all_tasks()

    async def run(number: int, **options: object) -> Node:
        node = Node(number, **options)  # type: ignore[arg-type]
        await node.transport.start()
        nodes.append(node)
        return node

    yield run
    for node in nodes:
        await node.transport.stop()
    leaked = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not leaked, leaked


def quick(**changes: object) -> TransportSettings:
    """Settings whose timeouts suit a test."""
    return replace(TransportSettings(), **changes)  # type: ignore[arg-type]
