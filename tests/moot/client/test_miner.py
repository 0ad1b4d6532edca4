"""The standalone miner speaks through this client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from chain.hashing import sha256
from chain.header import VERSION, Header, parse_header
from moot.client import ClientError, NodeClient
from moot.miner.standalone import MinerStatus, StandaloneMiner

HEADER = Header(VERSION, sha256(b"previous"), sha256(b"root"), 1_700_000_000, 0x1F00_FFFF, 0)


class LuckyGrinder:
    """Finds at once, as a real one does now and then."""

    def start(
        self, job_id: int, header: Header, target: int, found: Callable[[int, Header], None]
    ) -> None:
        assert target == 2**255
        asyncio.get_running_loop().call_soon(found, job_id, header)

    def cancel(self) -> None:
        return None

    def hash_rate(self) -> float:
        return 1.0


async def test_miner_mines_through_the_client() -> None:
    submitted: list[tuple[str, Header]] = []
    accepted = asyncio.Event()

    async def template(request: web.Request) -> web.Response:
        assert request.query["payout"] == "rmoot1payout"
        if request.query.get("longpoll") == "7":
            await accepted.wait()
        answer = {"job": "7", "header": HEADER.raw.hex(), "target": f"{2**255:064x}", "height": 3}
        return web.json_response(answer | {"expires_ms": 1})

    async def submit(request: web.Request) -> web.Response:
        body = await request.json()
        submitted.append((body["job"], parse_header(bytes.fromhex(body["header"]))))
        return web.json_response({"accepted": True, "code": "", "sentence": "", "id": "ab" * 32})

    def heard(status: MinerStatus) -> None:
        if status.accepted:
            accepted.set()

    app = web.Application()
    app.add_routes(
        [web.get("/moot/mining/template", template), web.post("/moot/mining/submit", submit)]
    )
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with NodeClient(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
        miner = StandaloneMiner(
            client, LuckyGrinder(), "rmoot1payout", report=heard, unreachable=(ClientError,)
        )
        task = asyncio.create_task(miner.run())
        async with asyncio.timeout(10):
            await accepted.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await runner.cleanup()
    assert submitted == [("7", HEADER)]
    assert miner.status().height == 0
