"""One browser and one real network for all browser tests of the session."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import pytest

from chain.bech32m import show_address
from chain.hashing import parse_id
from chain.transaction import Transfer
from moot.client.node import NodeClient
from tests.support.browser import Browser, installed, open_browser
from tests.support.real_network import RealNetwork
from wallet.build import build, sign_transaction
from wallet.development import development_key

T = TypeVar("T")

START_TIMEOUT_S = 90.0


class Network:
    """Real nodes, driven from a loop in a thread of its own, since the browser's driver blocks."""

    def __init__(self, directory: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._directory = directory

    def start(self) -> None:
        self._thread.start()
        self.nodes = RealNetwork(self._directory, "pbft", 4)
        self.run(self.nodes.__aenter__())
        self.url = self.nodes.plan.urls()[0]

    def stop(self) -> None:
        self.run(self.nodes.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(START_TIMEOUT_S)

    def send(
        self,
        amount: int = 150_000_000,
        memo: bytes = b"",
        *,
        sender: int = 2,
        gap: int = 0,
        blocks: int | None = None,
    ) -> str:
        """A transfer between test accounts; its id.

        ``gap``: nonces left out before it, so that it has to wait; ``blocks``: how many more it
        may wait.
        """
        return self.run(self._send(amount, memo, sender, gap, blocks))

    async def _send(
        self, amount: int, memo: bytes, sender: int, gap: int, blocks: int | None
    ) -> str:
        key, recipient = development_key(sender), development_key(1).address
        async with NodeClient(self.url) as client:
            status = await client.status()
            account = await client.account(self.address(sender, status.prefix))
            transaction = build(
                key.address,
                (Transfer(recipient, amount, memo),),
                account.pending_nonce + gap,
                expiry=0 if blocks is None else status.head.height + blocks,
                fee_per_kilobyte=status.fee_per_kilobyte_min,
            )
            signed = sign_transaction(transaction, key, parse_id(status.chain_id))
            [result] = await client.submit([signed.raw])
        assert result.code == "", result.sentence
        return result.txid

    def address(self, index: int, prefix: str = "rmoot") -> str:
        return show_address(development_key(index).address, prefix)

    def final(self, txid: str) -> None:
        """Until all agree on it, so that the next test begins in peace."""
        self.run(self._final(txid))

    async def _final(self, txid: str) -> None:
        async with NodeClient(self.url) as client:
            while True:
                [status] = await client.transaction_statuses([txid])
                if status.state in ("final", "failed"):
                    return
                await asyncio.sleep(0.05)

    def pause_two(self) -> None:
        """Two of four stand still: no quorum, so nothing becomes final."""
        for index in (2, 3):
            self.nodes.nodes[index].signal(signal.SIGSTOP)

    def resume_two(self) -> None:
        for index in (2, 3):
            self.nodes.nodes[index].signal(signal.SIGCONT)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if not installed():
        pytest.skip("no chromium and chromedriver here")
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    network = Network(tmp_path_factory.mktemp("explorer") / "net")
    network.start()
    try:
        yield network
    finally:
        network.stop()


@pytest.fixture
def browser(chromium: Browser, network: Network) -> Browser:
    """The browser, at a desk, with a clean sheet, looking at the first node."""
    chromium.base = network.url
    chromium.size(1280)
    chromium.driver.get("about:blank")
    chromium.requested()
    chromium.complaints()
    return chromium
