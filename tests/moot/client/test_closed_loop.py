"""The closed loop against a real node."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from moot.client.closed_loop import closed_loop
from moot.client.errors import NodeUnreachable
from tests.support.one_node import KEYS, OneNode


async def test_what_ended_is_in_the_chain_and_within_the_time(tmp_path: Path) -> None:
    async with OneNode(tmp_path) as node:
        report = await closed_loop(
            node.url, KEYS, outstanding=6, batch=3, seconds=0.5, warm_up_s=0.1
        )
        ledger = node.core.ledger
        applied = sum(ledger.account(key.address).nonce for key in KEYS)
        assert (report.outstanding, report.batch, report.failed) == (6, 3, {})
        assert 0 < report.operations <= applied
        assert report.latency_ms is not None
        times = report.latency_ms
        assert 0 < times["p50"] <= times["p99"] <= times["max"]
        # Two requests at a time: two accounts were used, the others never.
        assert [ledger.account(key.address).nonce > 0 for key in KEYS] == [True, True, False, False]


async def test_on_a_chain_without_finality_it_waits_for_a_block(tmp_path: Path) -> None:
    async with OneNode(tmp_path, "pow") as node:
        # Nobody mines: what does not end in time is told, not left out.
        monkey = pytest.MonkeyPatch()
        monkey.setattr("moot.client.closed_loop.PATIENCE_S", 0.2)
        try:
            report = await closed_loop(
                node.url,
                KEYS,
                outstanding=1,
                batch=1,
                seconds=0.3,
                goal="committed",
                warm_up_s=0,
            )
        finally:
            monkey.undo()
        assert report.operations == 0
        assert report.latency_ms is None
        assert report.failed["pending"] >= 1


@pytest.mark.parametrize(
    ("outstanding", "batch", "sentence"),
    [(1, 2, "a batch has 1 to 1"), (10, 0, "a batch has"), (10, 1, "10 requests at a time")],
)
async def test_a_shape_that_cannot_be(outstanding: int, batch: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        await closed_loop(
            "http://127.0.0.1:1", KEYS, outstanding=outstanding, batch=batch, seconds=1
        )


async def test_nobody_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(NodeUnreachable):
            await closed_loop(url, KEYS, outstanding=1, batch=1, seconds=1)
