"""The standalone miner: hashes here for a node elsewhere, over its REST interface.

The node hands out a header with a target; the miner searches a nonce (and rolls version and time)
and submits the header. Waiting for the next template is a long poll, so a new head anywhere stops
the search here within a round trip and a slice of hashing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, NamedTuple, Protocol

import msgspec

from chain.errors import InvalidEncoding
from chain.header import Header, parse_header
from moot.miner.workers import benchmark

__all__ = ["MinerStatus", "MiningClient", "MiningGrinder", "StandaloneMiner", "benchmark"]

PAUSE_S_MIN = 1.0
PAUSE_S_MAX = 30.0
"""A node that does not answer is asked again after the first, doubling up to the second."""
POLL_S = 1.0
"""Least time between two answers that name the same job: a node that does not hold its long polls
must not be asked in a loop."""
SUBMIT_TRIES = 5
"""A find is worth a block's reward: it is submitted again when the node does not answer."""
REPORT_S = 1.0


class MiningClient(Protocol):
    """The two calls of moot.client that a miner needs; both may raise the client's errors.

    The answers are structs or mappings with the fields of _Template and _Verdict.
    """

    async def mining_template(self, payout: str, longpoll: str | None = None) -> object: ...

    async def mining_submit(self, job: str, header: str) -> object: ...


class MiningGrinder(Protocol):
    """What hashes; see moot.miner.workers.Grinder."""

    def start(
        self, job_id: int, header: Header, target: int, found: Callable[[int, Header], None]
    ) -> None: ...

    def cancel(self) -> None: ...

    def hash_rate(self) -> float: ...


class MinerStatus(NamedTuple):
    """What the miner has to say: hashes a second, and finds by what became of them.

    ``height`` is that of the block searched for, 0 when nothing is searched. ``sentence`` says
    what happened last, for people.
    """

    hash_rate: float
    accepted: int
    stale: int
    rejected: int
    lost: int
    height: int
    sentence: str


_Hex160 = Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{160}$")]
_Hex64 = Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{64}$")]


class _Template(msgspec.Struct, frozen=True):
    """The node's answer, as far as a miner reads it; ``target`` is big-endian."""

    job: str
    header: _Hex160
    target: _Hex64
    height: int


class _Verdict(msgspec.Struct, frozen=True):
    accepted: bool
    code: str = ""
    sentence: str = ""
    id: str = ""


class StandaloneMiner:
    """Mines for ``payout`` until ``run`` is cancelled.

    ``unreachable`` are the errors by which ``client`` says that the node did not answer or refused
    the request: they are waited out. ``report`` is called on the loop about once a second, and
    whenever something happened.
    """

    def __init__(
        self,
        client: MiningClient,
        grinder: MiningGrinder,
        payout: str,
        *,
        report: Callable[[MinerStatus], None],
        unreachable: tuple[type[Exception], ...] = (OSError, TimeoutError),
        pause_s_min: float = PAUSE_S_MIN,
    ) -> None:
        self._client = client
        self._grinder = grinder
        self._payout = payout
        self._report = report
        self._failures: tuple[type[Exception], ...] = (
            *unreachable,
            msgspec.ValidationError,
            InvalidEncoding,
        )
        self._pause_s_min = pause_s_min
        self._jobs = 0
        self._accepted = self._stale = self._rejected = self._lost = 0
        self._height = 0
        self._sentence = "starting"
        self._submissions: set[asyncio.Task[None]] = set()

    def status(self) -> MinerStatus:
        """The present figures."""
        return MinerStatus(
            self._grinder.hash_rate(),
            self._accepted,
            self._stale,
            self._rejected,
            self._lost,
            self._height,
            self._sentence,
        )

    async def run(self) -> None:
        """Asks for templates and hashes, for ever; ends by cancellation only."""
        reporter = asyncio.create_task(self._report_regularly())
        try:
            await self._follow()
        finally:
            self._rest()
            pending = [reporter, *self._submissions]
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        known: str | None = None
        pause_s = self._pause_s_min
        while True:
            asked = loop.time()
            try:
                answer = await self._client.mining_template(self._payout, known)
                template = msgspec.convert(answer, _Template, from_attributes=True)
                if template.job != known:
                    self._search(template)
            except self._failures as error:
                self._rest()
                self._say(f"no template from the node ({error}); asking again in {pause_s:g} s")
                known = None
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, PAUSE_S_MAX)
                continue
            pause_s = self._pause_s_min
            if template.job == known:
                await asyncio.sleep(max(0.0, POLL_S - (loop.time() - asked)))
            known = template.job

    def _search(self, template: _Template) -> None:
        header = parse_header(bytes.fromhex(template.header))
        self._jobs += 1
        self._height = template.height

        def found(_: int, result: Header) -> None:
            task = asyncio.get_running_loop().create_task(self._submit(template.job, result))
            self._submissions.add(task)
            task.add_done_callback(self._submissions.discard)

        self._grinder.start(self._jobs, header, int(template.target, 16), found)
        self._say(f"searching block {template.height}")

    async def _submit(self, job: str, header: Header) -> None:
        pause_s = self._pause_s_min
        for _ in range(SUBMIT_TRIES):
            try:
                answer = await self._client.mining_submit(job, header.raw.hex())
                verdict = msgspec.convert(answer, _Verdict, from_attributes=True)
            except self._failures as error:
                self._say(f"found a block, but the node does not answer ({error})")
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, PAUSE_S_MAX)
                continue
            if verdict.accepted:
                self._accepted += 1
                self._say(f"found block {verdict.id}")
            elif verdict.code.startswith("stale"):
                self._stale += 1
                self._say("found a block too late: the chain had moved on")
            else:
                self._rejected += 1
                self._say(f"the node refused a block: {verdict.sentence} ({verdict.code})")
            return
        self._lost += 1
        self._say("found a block and could not deliver it")

    def _rest(self) -> None:
        self._grinder.cancel()
        self._height = 0

    def _say(self, sentence: str) -> None:
        self._sentence = sentence
        self._report(self.status())

    async def _report_regularly(self) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            self._report(self.status())
