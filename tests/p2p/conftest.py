"""Nodes with real sockets on 127.0.0.1."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.peers import Node


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
    gc.collect()
    leaked = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not leaked, leaked
