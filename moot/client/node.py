"""NodeClient: a node's REST API and feed, typed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, Final, Literal
from urllib.parse import quote

import aiohttp
import msgspec

from moot.client.answers import (
    AccountAnswer,
    ConsensusAnswer,
    DisplacedAnswer,
    EsploraBlock,
    EsploraMempool,
    EsploraStatus,
    EsploraTransaction,
    FaucetAnswer,
    FeedFrame,
    MembersAnswer,
    MiningResult,
    MiningTemplate,
    NodeStatus,
    PeerAnswer,
    Submitted,
    TransactionStatus,
    WhyAnswer,
)
from moot.client.errors import BadAnswer, NodeRefused, NodeUnreachable
from moot.client.http import HttpClient, reason_of

Consistency = Literal["linearizable", "serializable"]
"""How fresh an answer about an account must be."""

BATCH_MAX: Final = 1_000
"""Transactions or ids in one request; the node allows no more."""
WAIT_MARGIN_S: Final = 10.0
"""Seconds beyond those that the node is asked to wait, before it is taken for gone."""
READ_TIMEOUT_S: Final = 15.0
"""Seconds to wait for a linearizable read: longer than a node waits for its quorum."""
LONG_POLL_TIMEOUT_S: Final = 90.0
"""Seconds to wait for a mining template that is to differ from the last."""
FEED_FRAME_SIZE_MAX: Final = 1024 * 1024
"""Bytes of one frame of the feed."""
FEED_HEARTBEAT_S: Final = 15.0
"""Seconds between pings; a node that answers none is taken for gone."""
RECONNECT_S: Final = (0.2, 5.0)
"""Shortest and longest wait before the feed is opened again; it doubles in between."""
PAGE_CONFIRMED: Final = 25
"""Confirmed transactions on one page of an address's history (Esplora)."""


class _Command(msgspec.Struct):
    outcome: str


class _Peers(msgspec.Struct):
    peers: list[PeerAnswer]


class _Displaced(msgspec.Struct):
    displaced: list[DisplacedAnswer]


class _Results(msgspec.Struct):
    results: list[Submitted]


class _Statuses(msgspec.Struct):
    statuses: list[TransactionStatus]


def _part(text: str | int) -> str:
    return quote(str(text), safe="")


class NodeClient(HttpClient):
    """One node. ``async with NodeClient("http://127.0.0.1:8645") as node: await node.status()``.

    Every method raises NodeUnreachable, NodeRefused or BadAnswer (moot.client.errors).
    """

    # --- /moot ------------------------------------------------------------------------------------

    async def status(self) -> NodeStatus:
        """The chain, the head, finality, the mempool: a node on one page."""
        return await self.get("/moot/status", NodeStatus)

    async def account(self, address: str, consistency: Consistency | None = None) -> AccountAnswer:
        """Balance and nonces of an address.

        ``consistency``: "serializable": at the node's last final block, which may be old;
        "linearizable": no older than what anybody was told is final before; the node asks a quorum
        first, and NodeRefused (400 or 503) says why it cannot. None: at its head, which may not
        stay.
        """
        return await self.get(
            f"/moot/account/{_part(address)}",
            AccountAnswer,
            parameters={} if consistency is None else {"consistency": consistency},
            timeout_s=READ_TIMEOUT_S if consistency == "linearizable" else None,
        )

    async def submit(
        self,
        transactions: Sequence[bytes],
        *,
        wait: Literal["committed", "final"] | None = None,
        wait_s: float = 10.0,
    ) -> list[Submitted]:
        """Hand in signed transactions (canonical bytes), in order; one result for each.

        ``wait``: the answer comes only when all that were taken are that far, or after ``wait_s``
        seconds (at most 30).

        More than BATCH_MAX go in several requests: when a later one fails, the error says nothing
        of those before it (ask transaction_statuses). Handing in the same again does no harm.
        """
        results: list[Submitted] = []
        for start in range(0, len(transactions), BATCH_MAX):
            batch = transactions[start : start + BATCH_MAX]
            body = {"transactions": [raw.hex() for raw in batch]}
            path, timeout_s = "/moot/transactions", None
            if wait is not None:
                path += f"?wait={wait}&seconds={wait_s:g}"
                timeout_s = wait_s + WAIT_MARGIN_S
            answer = self.decode(
                await self.request("POST", path, json=body, timeout_s=timeout_s), _Results
            )
            self._check_count(len(answer.results), len(batch))
            results += answer.results
        return results

    async def transaction_statuses(self, txids: Sequence[str]) -> list[TransactionStatus]:
        """Where each of these transactions is, in the order asked."""
        statuses: list[TransactionStatus] = []
        for start in range(0, len(txids), BATCH_MAX):
            batch = list(txids[start : start + BATCH_MAX])
            answer = await self.post("/moot/transactions/status", {"ids": batch}, _Statuses)
            self._check_count(len(answer.statuses), len(batch))
            statuses += answer.statuses
        return statuses

    def _check_count(self, got: int, wanted: int) -> None:
        if got != wanted:
            raise BadAnswer(self.base_url, f"{got} results for {wanted} transactions")

    async def faucet(self, address: str) -> FaucetAnswer:
        """Ask a test network's faucet for coins."""
        return await self.post("/moot/faucet", {"address": address}, FaucetAnswer)

    async def peers(self) -> list[PeerAnswer]:
        """The node's links."""
        return (await self.get("/moot/peers", _Peers)).peers

    async def members(self) -> MembersAnswer:
        """Voters, learners and open votes."""
        return await self.get("/moot/members", MembersAnswer)

    async def displaced(self) -> list[DisplacedAnswer]:
        """Transactions that a losing branch had taken and the winning one cannot take."""
        return (await self.get("/moot/displaced", _Displaced)).displaced

    async def consensus(self) -> ConsensusAnswer:
        """What the node's engine says of itself."""
        return await self.get("/moot/consensus", ConsensusAnswer)

    async def command(self, name: str, arguments: Sequence[str] = ()) -> str:
        """Gives the engine an operator's command; its outcome. Needs the node's token."""
        body = {"name": name, "arguments": list(arguments)}
        return (await self.post("/moot/command", body, _Command)).outcome

    async def why(self) -> WhyAnswer:
        """Why the node makes no progress, in plain sentences."""
        return await self.get("/moot/why", WhyAnswer)

    # Genesis and proofs are documents to be kept and judged elsewhere: they are given as they came.

    async def genesis(self) -> dict[str, Any]:
        """The people's form of the chain's genesis."""
        return await self.get("/moot/genesis", dict[str, Any])

    async def block_facts(self, block_id: str) -> dict[str, Any]:
        """What a block's header and manifest say (GET /moot/block/:id)."""
        return await self.get(f"/moot/block/{_part(block_id)}", dict[str, Any])

    async def block_proof(self, block_id: str) -> dict[str, Any]:
        """The document that shows a block to be final (format moot-block-proof)."""
        return await self._document(f"/moot/block/{_part(block_id)}/proof", "moot-block-proof")

    async def transaction_proof(self, txid: str) -> dict[str, Any]:
        """The document that shows a transaction to be in a final block."""
        return await self._document(f"/moot/tx/{_part(txid)}/proof", "moot-transaction-proof")

    async def account_proof(self, address: str, block_id: str | None = None) -> dict[str, Any]:
        """The document that shows an account's state at a block (default: the last final one)."""
        return await self._document(
            f"/moot/account/{_part(address)}/proof",
            "moot-account-proof",
            {} if block_id is None else {"block": block_id},
        )

    async def _document(
        self, path: str, wanted: str, parameters: dict[str, str] | None = None
    ) -> dict[str, Any]:
        document = await self.get(path, dict[str, Any], parameters=parameters)
        if document.get("format") != wanted:
            raise BadAnswer(self.base_url, f"not a document of the format {wanted}")
        return document

    async def mining_template(self, payout: str, longpoll: str | None = None) -> MiningTemplate:
        """Work that pays ``payout``. With ``longpoll``: waits until it is another than that job."""
        parameters = {"payout": payout}
        if longpoll is not None:
            parameters["longpoll"] = longpoll
        return await self.get(
            "/moot/mining/template",
            MiningTemplate,
            parameters=parameters,
            timeout_s=None if longpoll is None else LONG_POLL_TIMEOUT_S,
        )

    async def mining_submit(self, job: str, header: bytes | str) -> MiningResult:
        """Hand in an 80-byte header (or its hex) found for a job."""
        body = {"job": job, "header": header if isinstance(header, str) else header.hex()}
        return await self.post("/moot/mining/submit", body, MiningResult)

    # --- the feed ---------------------------------------------------------------------------------

    async def feed(
        self, *, kinds: Sequence[str] = (), reconnect: bool = True
    ) -> AsyncGenerator[FeedFrame, None]:
        """What happens in the node, as it happens, until the caller stops.

        ``kinds``: of head, final, transaction, dropped, peer, consensus; none: all but the last.
        Raises NodeUnreachable or NodeRefused if it cannot be opened at first. Later it is opened
        again with growing waits, which a frame of kind "gap" tells; with ``reconnect`` false, the
        iteration ends instead.
        """
        query = f"?kinds={','.join(kinds)}" if kinds else ""
        socket = await self._open_feed(query)
        while True:
            async with socket:
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        yield self._frame(message.data)
            if not reconnect:
                return
            socket = await self._reopen_feed(query)
            yield FeedFrame("gap", {})

    async def _open_feed(self, query: str) -> aiohttp.ClientWebSocketResponse:
        try:
            async with asyncio.timeout(self._timeout.total):
                return await self.session.ws_connect(
                    self.url("/moot/feed" + query),
                    heartbeat=FEED_HEARTBEAT_S,
                    max_msg_size=FEED_FRAME_SIZE_MAX,
                    headers=self._headers,
                )
        except aiohttp.WSServerHandshakeError as error:
            if error.status == 200:
                raise BadAnswer(self.base_url, "its feed is no WebSocket") from None
            raise NodeRefused(error.status, "", "the node does not open its feed") from None
        except TimeoutError:
            raise NodeUnreachable(self.base_url, "its feed did not open in time") from None
        except (aiohttp.ClientError, OSError) as error:
            reason = f"its feed does not open: {reason_of(error)}"
            raise NodeUnreachable(self.base_url, reason) from None

    async def _reopen_feed(self, query: str) -> aiohttp.ClientWebSocketResponse:
        wait_s, longest_s = RECONNECT_S
        while True:
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, longest_s)
            try:
                return await self._open_feed(query)
            except (NodeUnreachable, NodeRefused):
                continue

    def _frame(self, text: str) -> FeedFrame:
        fields = self.decode(text, dict[str, Any])
        kind = fields.pop("kind", None)
        if not isinstance(kind, str):
            raise BadAnswer(self.base_url, "a frame of the feed without a kind")
        return FeedFrame(kind, fields)

    # --- Esplora ----------------------------------------------------------------------------------

    async def broadcast(self, transaction: bytes) -> str:
        """Hand in one signed transaction; its id. NodeRefused says why not."""
        return self.text(await self.request("POST", "/api/tx", text=transaction.hex()))

    async def tx(self, txid: str) -> EsploraTransaction:
        """A transaction as Esplora shows it."""
        return await self.get(f"/api/tx/{_part(txid)}", EsploraTransaction)

    async def tx_status(self, txid: str) -> EsploraStatus:
        """Whether and where a transaction is confirmed."""
        return await self.get(f"/api/tx/{_part(txid)}/status", EsploraStatus)

    async def tx_hex(self, txid: str) -> str:
        """The raw transaction in hex."""
        return await self.get_text(f"/api/tx/{_part(txid)}/hex")

    async def address_txs(self, address: str) -> list[EsploraTransaction]:
        """Up to 50 waiting transactions of an address, then its newest 25 confirmed ones."""
        return await self.get(f"/api/address/{_part(address)}/txs", list[EsploraTransaction])

    async def address_txs_chain(
        self, address: str, last_seen: str | None = None
    ) -> list[EsploraTransaction]:
        """25 confirmed transactions of an address, newest first, after ``last_seen``."""
        path = f"/api/address/{_part(address)}/txs/chain"
        if last_seen is not None:
            path += f"/{_part(last_seen)}"
        return await self.get(path, list[EsploraTransaction])

    async def address_history(self, address: str) -> AsyncIterator[EsploraTransaction]:
        """All transactions of an address, newest first, fetched page by page as they are read."""
        page = await self.address_txs(address)
        while page:
            for transaction in page:
                yield transaction
            confirmed = [transaction for transaction in page if transaction.status.confirmed]
            if len(confirmed) < PAGE_CONFIRMED:
                return
            page = await self.address_txs_chain(address, confirmed[-1].txid)

    async def block(self, block_id: str) -> EsploraBlock:
        """A block as Esplora shows it."""
        return await self.get(f"/api/block/{_part(block_id)}", EsploraBlock)

    async def blocks(self, start_height: int | None = None) -> list[EsploraBlock]:
        """Ten blocks downwards from a height (default: the head)."""
        tail = "" if start_height is None else f"/{start_height}"
        return await self.get(f"/api/blocks{tail}", list[EsploraBlock])

    async def block_txids(self, block_id: str) -> list[str]:
        """The ids of all transactions in a block."""
        return await self.get(f"/api/block/{_part(block_id)}/txids", list[str])

    async def block_id_at(self, height: int) -> str:
        """The id of the block at a height of the best chain."""
        return await self.get_text(f"/api/block-height/{height}")

    async def tip_height(self) -> int:
        """The head's height."""
        return self.decode(await self.get_text("/api/blocks/tip/height"), int)

    async def tip_id(self) -> str:
        """The head's id."""
        return await self.get_text("/api/blocks/tip/hash")

    async def mempool(self) -> EsploraMempool:
        """How much waits, by fee rate."""
        return await self.get("/api/mempool", EsploraMempool)

    async def fee_estimates(self) -> dict[str, float]:
        """Fee rates by the count of blocks that one is ready to wait."""
        return await self.get("/api/fee-estimates", dict[str, float])
