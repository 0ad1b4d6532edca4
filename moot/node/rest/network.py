"""``/moot/peers``, ``/moot/consensus``, ``/moot/why``, ``/readyz``: the node among others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from aiohttp import web

from chain.errors import Invalid
from chain.proof import Evidence
from consensus.contract import Status
from moot.node.clock import system_clock
from moot.node.rest.context import Context
from moot.node.rest.routes import Problem, Table
from moot.node.why import explain, unready

EVIDENCE_PER_PAGE: Final = 100
COMMAND_TIMEOUT_S: Final = 10.0
"""Seconds that an engine may take over a command."""

table = Table()


class PeerFacts(msgspec.Struct):
    node: str
    host: str
    port: int
    outbound: bool
    agent: str
    height: int
    finalized_height: int
    latency_ms: int | None
    score: int
    connected_ms: int
    bytes_in: int
    bytes_out: int


class PeersAnswer(msgspec.Struct):
    peers: list[PeerFacts]


@table.add("GET", "/moot/peers", PeersAnswer)
async def peers(context: Context, request: web.Request) -> PeersAnswer:
    """The linked peers. Heights are those that the peer told last."""
    claims = context.core.sync.claims()
    facts = []
    for peer in context.runtime.transport.peers():
        height, finalized = claims.get(peer.key, (peer.hello.height, peer.hello.finalized_height))
        facts.append(
            PeerFacts(
                node=context.show(b"\x00" + peer.key),
                host=peer.host,
                port=peer.port,
                outbound=peer.outbound,
                agent=peer.hello.agent,
                height=height,
                finalized_height=finalized,
                latency_ms=peer.latency_ms,
                score=peer.score,
                connected_ms=peer.connected_ms,
                bytes_in=peer.bytes_in,
                bytes_out=peer.bytes_out,
            )
        )
    return PeersAnswer(facts)


class ValidatorFacts(msgspec.Struct):
    address: str
    name: str
    weight: int
    missing: bool


class PropertiesFacts(msgspec.Struct):
    fault_model: str
    synchrony: str
    finality: str
    finalizes: bool
    permissioned: bool
    needs: str
    confirmed: str = ""
    """Where nothing is final: what "confirmed" is worth."""


class ConsensusAnswer(msgspec.Struct):
    engine: str
    round: int
    leader: str | None
    validators: list[ValidatorFacts]
    quorum: int
    faults: int
    facts: Mapping[str, int | str]
    tables: Mapping[str, Sequence[Mapping[str, int | str]]]
    why: list[str]
    evidence: int
    properties: PropertiesFacts


@table.add("GET", "/moot/consensus", ConsensusAnswer)
async def consensus(context: Context, request: web.Request) -> ConsensusAnswer:
    """What the engine is doing: its own words, votes, who leads, who is missing."""
    core = context.core
    status: Status = core.engine_status()
    validators = core.ledger.validators(core.ledger.head())
    properties = core.rules.properties
    return ConsensusAnswer(
        engine=core.protocol.name,
        round=status.round,
        leader=None if status.leader is None else context.show(status.leader),
        validators=[
            ValidatorFacts(
                context.show(member.address),
                member.name,
                member.weight,
                member.address in status.missing,
            )
            for member in validators.members
        ],
        quorum=properties.quorum(len(validators)),
        faults=properties.faults(len(validators)),
        facts=status.facts,
        tables=status.tables,
        why=list(status.why),
        evidence=len(core.evidence),
        properties=PropertiesFacts(
            fault_model=properties.fault_model,
            synchrony=properties.synchrony,
            finality=properties.finality,
            finalizes=properties.finalizes,
            permissioned=properties.permissioned,
            needs=properties.needs,
            confirmed=properties.confirmed,
        ),
    )


class WhyAnswer(msgspec.Struct):
    healthy: bool
    sentences: list[str]


@table.add("GET", "/moot/why", WhyAnswer)
async def why(context: Context, request: web.Request) -> WhyAnswer:
    """Why this node makes no progress, in plain sentences: who is missing, what to do."""
    unlinked = context.runtime.transport.unlinked()
    healthy, sentences = explain(context.core, system_clock().steady_ms, unlinked)
    return WhyAnswer(healthy, sentences)


class ReadyAnswer(msgspec.Struct):
    ready: bool
    reasons: list[str]


@table.add("GET", "/readyz", ReadyAnswer, errors=(503,))
async def readyz(context: Context, request: web.Request) -> web.Response:
    """200 when this node is abreast of its network, else 503 with reasons."""
    reasons = unready(context.core)
    body = msgspec.json.encode(ReadyAnswer(not reasons, reasons))
    return web.Response(status=503 if reasons else 200, body=body, content_type="application/json")


class EvidenceFacts(msgspec.Struct):
    """Two signed messages of one key that contradict each other, in hex."""

    engine: str
    guilty: str
    first: str
    second: str


class EvidenceAnswer(msgspec.Struct):
    evidence: list[EvidenceFacts]


@table.add("GET", "/moot/evidence", EvidenceAnswer)
async def evidence(context: Context, request: web.Request) -> EvidenceAnswer:
    """The newest contradictions seen (at most 100), oldest first, with who is guilty."""
    core = context.core
    return EvidenceAnswer(
        [
            EvidenceFacts(
                each.engine,
                _guilty(context, each),
                each.first.hex(),
                each.second.hex(),
            )
            for each in core.evidence[-EVIDENCE_PER_PAGE:]
        ]
    )


def _guilty(context: Context, evidence: Evidence) -> str:
    """Who contradicted itself; empty where the rules of now do not tell any more."""
    core = context.core
    validators = core.ledger.validators(core.ledger.head())
    try:
        return context.show(core.rules.check_evidence(evidence, validators))
    except Invalid:
        return ""


class CommandBody(msgspec.Struct):
    """An operator's command to the engine, such as a transfer of leadership."""

    name: str
    arguments: list[str] = []


class CommandAnswer(msgspec.Struct):
    """What came of it; a sentence that begins with "refused" says why nothing did."""

    outcome: str


@table.add("POST", "/moot/command", CommandAnswer, body=CommandBody, errors=(415,), admin=True)
async def command(context: Context, request: web.Request) -> CommandAnswer:
    """Gives the engine an operator's command and waits for its outcome."""
    body = await context.json(request, CommandBody)
    outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def done(text: str) -> None:
        if not outcome.done():
            outcome.set_result(text)

    with context.runtime.our_part():
        context.core.requests.command(body.name, tuple(body.arguments), done)
    context.runtime.wake()
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            return CommandAnswer(await outcome)
    except TimeoutError:
        raise Problem(503, "no-outcome", "the engine has not answered; it may still act") from None
