"""A TCP proxy that tests can open, cut and make longer: a network cable between two real nodes."""

from __future__ import annotations

import asyncio
import contextlib
import random

READ_SIZE = 65_536


class Cable:
    """Carries bytes from its own port to ``target_port`` while it is plugged in.

    ``delay_ms``: least and greatest time that a piece takes one way, drawn from ``seed``; pieces
    keep their order, as TCP's do. ``port`` 0: a free one, known once it is plugged in.
    """

    def __init__(
        self, target_port: int, port: int = 0, delay_ms: tuple[int, int] = (0, 0), seed: int = 0
    ) -> None:
        self._target_port = target_port
        self.port = port
        self._delay_ms = delay_ms
        self._rng = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def plug_in(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            out_reader, out_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, out_writer}
        for source, sink in ((reader, out_writer), (out_reader, writer)):
            task = asyncio.create_task(self._carry(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arriving = asyncio.create_task(self._arrive(on_the_way, sink))
        self._tasks.add(arriving)
        arriving.add_done_callback(self._tasks.discard)
        now, due = asyncio.get_running_loop().time, 0.0
        data = b"."
        while data:
            try:
                data = await source.read(READ_SIZE)
            except ConnectionError:
                data = b""
            due = max(due, now() + self._rng.randint(*self._delay_ms) / 1_000)
            on_the_way.put_nowait((due, data))
        await arriving

    async def _arrive(
        self, on_the_way: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter
    ) -> None:
        """Each piece at its time; an empty one ends it."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while True:
                due, data = await on_the_way.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                if not data:
                    break
                sink.write(data)
                await sink.drain()
        sink.transport.abort()
        self._writers.discard(sink)
