"""A peer that means harm: it speaks TLS and WebSocket like everybody else, and then whatever it is
told to say. It serves the blocks that it is given, so that its lies are fetched and judged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import aiohttp
import msgspec

from chain.block import Block, BlockHead
from chain.proof import Proof
from p2p import tls
from p2p.handshake import DialerHandshake
from p2p.link import Dialer, read_frame
from p2p.wire import (
    AnnounceBlock,
    BlockBody,
    GetBlocks,
    GetHeads,
    Goodbye,
    Heads,
    Hello,
    NoBlocks,
    PeerMessage,
    Ping,
    Pong,
    decode_frame,
    encode_frame,
)

WAIT_S = 15.0


class HostilePeer:
    """One connection to a node. ``mine``: the hello that it shows, its key filled in."""

    def __init__(self, port: int, seed: bytes, mine: Hello) -> None:
        self.port = port
        self.seed = seed
        self.key = tls.public_key(seed)
        self.mine = msgspec.structs.replace(mine, key=self.key)
        self.blocks: dict[bytes, Block] = {}
        """What it serves when it is asked for these ids."""
        self.proofs: dict[bytes, Proof] = {}
        self.heads: tuple[BlockHead, ...] = ()
        """What it answers to any question for heads."""
        self.delivers = True
        self.heard: list[PeerMessage] = []
        self.goodbye: Goodbye | None = None
        self.closed = asyncio.Event()
        self._dialer = Dialer(tls.client_context(), None)
        self._listening: asyncio.Task[None] | None = None
        self._heard_more = asyncio.Event()
        self._pings = 1_000

    async def __aenter__(self) -> Self:
        await self._dialer.__aenter__()
        self.socket = await self._dialer.connect("127.0.0.1", self.port, "/p2p")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        await self._dialer.__aexit__(None, None, None)

    @property
    def node_key(self) -> bytes:
        """The key that the node's certificate proved."""
        return self._dialer.key

    async def answer(self) -> Hello:
        """The honest hello for the node's challenge, not sent yet."""
        speaker = DialerHandshake(self.mine, self.seed, self._dialer.key)
        return speaker.answer(await read_frame(self.socket))

    async def enter(self) -> Self:
        """Completes the honest handshake and begins to listen and to serve."""
        await self.say(await self.answer())
        assert isinstance(decode_frame(await read_frame(self.socket)), Hello)
        self._listening = asyncio.create_task(self._listen())
        return self

    async def say(self, message: PeerMessage) -> None:
        await self.say_bytes(encode_frame(message))

    async def say_bytes(self, frame: bytes) -> None:
        """One binary frame; whether anybody still listens is not our concern."""
        if not self.socket.closed:
            try:
                await self.socket.send_bytes(frame)
            except OSError:
                self.closed.set()

    async def offer(self, *blocks: Block) -> None:
        """Announces the last of these and serves them all."""
        for block in blocks:
            self.blocks[block.id] = block
        await self.say(AnnounceBlock(blocks[-1].head, False))

    async def hear(self, wanted: Callable[[PeerMessage], bool]) -> PeerMessage:
        """The first message of the node, from the start on, that is ``wanted``."""
        async with asyncio.timeout(WAIT_S):
            while True:
                for message in self.heard:
                    if wanted(message):
                        return message
                assert not self.closed.is_set(), f"closed: {self.goodbye}"
                self._heard_more.clear()
                await self._heard_more.wait()

    async def settle(self) -> None:
        """Until all that was said has been read: a ping is answered, or the link is gone."""
        self._pings += 1
        nonce = self._pings
        await self.say(Ping(nonce))
        async with asyncio.timeout(WAIT_S):
            while not self.closed.is_set() and Pong(nonce) not in self.heard:
                self._heard_more.clear()
                await self._heard_more.wait()

    async def farewell(self) -> str:
        """The reason that the node gave for hanging up; "" if it just did."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        async with asyncio.timeout(WAIT_S):
            await self.closed.wait()
        return "" if self.goodbye is None else self.goodbye.reason

    async def _listen(self) -> None:
        while True:
            received = await self.socket.receive()
            if received.type is not aiohttp.WSMsgType.BINARY:
                break
            message = decode_frame(bytes(received.data))
            self.heard.append(message)
            if isinstance(message, Goodbye):
                self.goodbye = message
            if isinstance(message, GetBlocks) and self.delivers:
                await self._serve(message.ids)
            if isinstance(message, GetHeads) and self.delivers:
                await self.say(Heads(self.heads))
            self._heard_more.set()
        self.closed.set()
        self._heard_more.set()

    async def _serve(self, ids: Sequence[bytes]) -> None:
        missing = []
        for block_id in ids:
            block = self.blocks.get(block_id)
            if block is None:
                missing.append(block_id)
            else:
                await self.say(BlockBody(block, self.proofs.get(block_id)))
        if missing:
            await self.say(NoBlocks(tuple(missing)))
