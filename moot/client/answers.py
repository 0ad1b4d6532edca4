"""The shapes of a node's JSON answers. Fields that this version does not know are ignored.

Ids and hashes are lower-case hex in display order, addresses bech32m, amounts base units, times
milliseconds.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class HeadPoint(msgspec.Struct, frozen=True):
    """The head of a node's chain."""

    id: str
    height: int
    time_ms: int = 0


class FinalPoint(msgspec.Struct, frozen=True):
    """The last final (or confirmed) block."""

    id: str
    height: int


class MempoolCounts(msgspec.Struct, frozen=True):
    """Transactions waiting: all, their bytes, and those executable now."""

    count: int = 0
    bytes: int = 0
    pending: int = 0


class NodeStatus(msgspec.Struct, frozen=True):
    """GET /moot/status. ``finality`` says what ``finalized`` means on this chain.

    ``finality_means``: what "confirmed" is worth, in a sentence; empty where blocks are final.
    """

    chain_id: str
    network: str
    prefix: str
    name: str
    engine: str
    node: str
    head: HeadPoint
    finalized: FinalPoint
    finality: Literal["final", "confirmed"] = "final"
    finality_means: str = ""
    agent: str = ""
    version: str = ""
    syncing: bool = False
    peers: int = 0
    mempool: MempoolCounts = MempoolCounts()
    state_root: str = ""
    fee_per_kilobyte_min: int = 0
    mining: bool = False
    faucet: bool = False
    uptime_ms: int = 0
    hash_rate: float = 0.0


class Maturing(msgspec.Struct, frozen=True):
    """Coins that can be spent from ``height`` on."""

    height: int
    amount: int


class AccountAnswer(msgspec.Struct, frozen=True):
    """GET /moot/account. ``pending_nonce``: the next nonce after what waits in the mempool.

    ``height``: of the block whose state this is.
    """

    address: str
    balance: int
    nonce: int
    pending_nonce: int
    maturing: list[Maturing] = []
    height: int = 0
    consistency: str = "head"


class Submitted(msgspec.Struct, frozen=True):
    """What became of one submitted transaction; ``code`` is empty when it was taken.

    ``state`` (see TransactionStatus) and ``height`` are told where the request waited.
    """

    txid: str
    code: str = ""
    sentence: str = ""
    state: str = ""
    height: int | None = None


class TransactionStatus(msgspec.Struct, frozen=True):
    """Where a transaction is. ``failed``: final, but its receipt says ``code``. ``displaced``: it
    was in a block of a branch that lost, and ``code`` says why the winning one cannot take it.
    """

    txid: str
    state: Literal["unknown", "pending", "committed", "final", "failed", "displaced"]
    height: int | None = None
    code: str = ""


class DisplacedAnswer(msgspec.Struct, frozen=True):
    """A transaction that a losing branch had taken and the winning one cannot take. ``rival``: what
    has its place now, or empty."""

    txid: str
    sender: str
    nonce: int
    block: str
    height: int
    code: str
    sentence: str
    rival: str = ""
    at_ms: int = 0


class FaucetAnswer(msgspec.Struct, frozen=True):
    """POST /moot/faucet."""

    txid: str
    amount: int


class PeerAnswer(msgspec.Struct, frozen=True):
    """One link of a node."""

    node: str
    host: str
    port: int
    outbound: bool
    agent: str = ""
    height: int = 0
    finalized_height: int = 0
    latency_ms: float | None = None
    score: float = 0
    connected_ms: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class MemberAnswer(msgspec.Struct, frozen=True):
    """A voter, a learner, or one who is leaving. ``decides``: has a vote on the next block.
    ``finalized_height``: what is final there; None where the node asked is not linked to it."""

    address: str
    standing: str
    name: str = ""
    weight: int = 0
    decides: bool = False
    linked: bool = False
    finalized_height: int | None = None


class VoteAnswer(msgspec.Struct, frozen=True):
    """Who wishes something, and the last height at which that counts."""

    voter: str
    name: str = ""
    until_height: int = 0


class WishAnswer(msgspec.Struct, frozen=True):
    """What some members wish somebody to be: out, learner or voter."""

    subject: str
    standing: str
    votes: list[VoteAnswer]
    needed: int
    weight: int = 0
    name: str = ""


class MembersAnswer(msgspec.Struct, frozen=True):
    """GET /moot/members. ``change``: none, at-once or joint."""

    height: int
    change: str
    members: list[MemberAnswer]
    wishes: list[WishAnswer]
    quorum: int = 0
    lag: int = 0
    joint: bool = False


class ValidatorAnswer(msgspec.Struct, frozen=True):
    """One member of the set that decides now."""

    address: str
    name: str = ""
    weight: int = 1
    missing: bool = False


class ConsensusAnswer(msgspec.Struct, frozen=True):
    """GET /moot/consensus: an engine's status, for people.

    ``facts`` and ``tables`` (rows by table) are the engine's own; ``evidence`` counts what it holds
    against others; ``properties`` are its claims (fault model, synchrony, finality).
    """

    engine: str
    round: int = 0
    leader: str | None = None
    validators: list[ValidatorAnswer] = []
    quorum: int = 0
    faults: int = 0
    facts: dict[str, int | str] = {}
    tables: dict[str, list[dict[str, int | str]]] = {}
    why: list[str] = []
    evidence: int = 0
    properties: dict[str, Any] = {}


class WhyAnswer(msgspec.Struct, frozen=True):
    """GET /moot/why: why the node makes no progress, or that it does."""

    healthy: bool
    sentences: list[str] = []


class MiningTemplate(msgspec.Struct, frozen=True):
    """Work: an 80-byte header, and the target (big-endian hex) that its id must not pass."""

    job: str
    header: str
    target: str
    height: int
    expires_ms: int = 0


class MiningResult(msgspec.Struct, frozen=True):
    """What became of submitted work."""

    accepted: bool
    code: str = ""
    sentence: str = ""
    id: str = ""


class FeedFrame(msgspec.Struct, frozen=True):
    """One event of a node's feed.

    ``kind``: what the node sends (hello, head, final, transaction, dropped, consensus, peer), or
    "gap", made by this client after a reconnection: events may have been missed.
    """

    kind: str
    fields: dict[str, Any]


class EsploraStatus(msgspec.Struct, frozen=True):
    """Esplora's transaction status."""

    confirmed: bool
    block_height: int | None = None
    block_hash: str | None = None
    block_time: int | None = None


class EsploraOutput(msgspec.Struct, frozen=True):
    """Esplora's vout: under the account model, a credit (or, as a prevout, a debit)."""

    value: int
    scriptpubkey: str = ""
    scriptpubkey_asm: str = ""
    scriptpubkey_type: str = ""
    scriptpubkey_address: str | None = None


class EsploraInput(msgspec.Struct, frozen=True):
    """Esplora's vin: under the account model, a debit."""

    txid: str
    vout: int
    prevout: EsploraOutput | None = None
    is_coinbase: bool = False


class EsploraTransaction(msgspec.Struct, frozen=True):
    """GET /api/tx/:txid."""

    txid: str
    version: int
    locktime: int
    size: int
    weight: int
    fee: int
    vin: list[EsploraInput]
    vout: list[EsploraOutput]
    status: EsploraStatus


class EsploraBlock(msgspec.Struct, frozen=True):
    """GET /api/block/:hash."""

    id: str
    height: int
    version: int
    timestamp: int
    tx_count: int
    size: int
    weight: int
    merkle_root: str
    mediantime: int
    nonce: int
    bits: int
    difficulty: float
    previousblockhash: str | None = None


class EsploraMempool(msgspec.Struct, frozen=True):
    """GET /api/mempool."""

    count: int
    vsize: int
    total_fee: int
    fee_histogram: list[tuple[float, int]] = []
