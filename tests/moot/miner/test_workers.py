"""The worker pool with real processes."""

from __future__ import annotations

import asyncio

from chain.hashing import sha256
from chain.header import VERSION, Header
from moot.miner import kernel
from moot.miner.workers import Grinder

EASY = 2**256 // 2**14
HOPELESS = 1


def make_header(name: str) -> Header:
    return Header(VERSION, sha256(name.encode()), sha256(b"root"), 1_700_000_000, 0x1F00_FFFF, 0)


async def test_finds_the_known_nonce() -> None:
    header = make_header("known")
    nonce = kernel.scan_plainly(header.raw, EASY, 0, 2**20)
    found: asyncio.Future[tuple[int, Header]] = asyncio.get_running_loop().create_future()
    grinder = Grinder(1)
    try:
        grinder.start(7, header, EASY, lambda job, result: found.set_result((job, result)))
        job, result = await asyncio.wait_for(found, 30)
    finally:
        grinder.close()
    assert job == 7
    assert result.raw == kernel.with_nonce(header.raw, nonce or 0)
