"""Raft's messages (Ongaro and Ousterhout 2014, figure 2; Ongaro's thesis).

Nothing is signed while deciding: the link already names the peer, and nobody lies in this fault
model. The one signed thing is a leader's *commit statement*, for strangers who were not there.

Entries are blocks, and an entry's index is its height. An append names the entry before and the
last one that it covers by height and id; since each block names its parent, the id stands for the
whole log up to there (the log matching property, section 5.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from chain import codec
from chain.address import Address
from chain.block import Block
from chain.codec import Hash, Record, Uint
from chain.errors import InvalidEncoding, InvalidProof
from chain.proof import Proof
from consensus.contract import Attestation, Message, Slot

NAME: Final = "raft"

COMMIT: Final = "commit"

ENTRIES_MAX: Final = 64
"""Blocks in one append; their bytes are bounded besides (``log.APPEND_BYTES_MAX``)."""
HINTS_MAX: Final = 8
"""Places that a refusal names: a log differs in few terms, and the last place is always right."""
STATEMENTS_MAX: Final = 256
"""Statements in one message: as many as a leader leaves uncommitted, and what it inherits."""
PROOF_BODY_SIZE_MAX: Final = 1_024
"""Bytes of a commit statement: an id, an address, a signature and two numbers."""

DraftSignature = Annotated[bytes, msgspec.Meta(max_length=64)]
"""64 bytes, or empty in an outgoing message that the signer has yet to fill in."""


class Place(Record, frozen=True):
    """A position in a log: height and block."""

    height: Uint
    block_id: Hash


class Statement(Record, frozen=True):
    """A leader's word that a block is committed. Not proof against liars: nobody else signs it.

    ``leader``: whose word it is, somebody with a vote on the block: the leader of ``term``, or one
    whom it asked for that (consensus.raft.statements).
    """

    height: Uint
    block_id: Hash
    term: Uint
    leader: Address
    signature: DraftSignature = b""

    @property
    def attestation(self) -> Attestation:
        content = codec.encode((COMMIT, self.height, self.term, self.block_id))
        slot = Slot(COMMIT, self.height, self.term)
        return Attestation(self.leader, slot, content, self.signature)

    @property
    def proof(self) -> Proof:
        """The statement as the chain stores it, beside the block."""
        return Proof(NAME, codec.encode(self))


def parse_proof(proof: Proof) -> Statement:
    """The statement in a proof. Raises InvalidProof for another engine's or malformed one."""
    if proof.engine != NAME:
        raise InvalidProof("foreign-proof", f"a proof of {proof.engine!r}, not of {NAME!r}")
    try:
        statement = codec.decode(proof.body, Statement, PROOF_BODY_SIZE_MAX)
    except InvalidEncoding as error:
        raise InvalidProof("malformed-proof", error.sentence) from None
    if len(statement.signature) != 64:
        raise InvalidProof("malformed-proof", "a commit statement has a signature of 64 bytes")
    return statement


class RequestVote(Message, frozen=True, tag=1):
    """A candidate asks for a vote (5.2), or whether it would get one (pre-vote, thesis 9.6).

    ``term``: the candidate's; in a pre-vote the one that it would enter. ``last_height``,
    ``last_id`` and ``last_term``: its log's last entry (5.4.1). ``transfer``: the old leader asked
    for this election, so nobody ignores it for that leader's sake (thesis 4.2.3).
    """

    term: Uint
    last_height: Uint
    last_id: Hash
    last_term: Uint
    pre: bool = False
    transfer: bool = False


class VoteReply(Message, frozen=True, tag=2):
    """``term``: that of the vote granted, also of a pre-vote; of a refusal: the voter's own."""

    term: Uint
    granted: bool
    pre: bool = False


class AppendEntries(Message, frozen=True, tag=3):
    """The leader replicates its log; without new entries it is a heartbeat (section 5.2, 5.3).

    ``previous``: the entry before. ``last``: the last entry that this covers. ``blocks``: those in
    between, lowest first; none where ``last`` is ``previous``, and none where the leader has the
    bodies no more in memory: then the follower fetches them. ``round``: number of the leader's
    round of heartbeats, for reads (thesis 6.4). ``committed``: the latest commit statement.
    """

    term: Uint
    previous: Place
    last: Place
    blocks: Annotated[tuple[Block, ...], msgspec.Meta(max_length=ENTRIES_MAX)]
    round: Uint
    committed: Statement | None = None

    def attestations(self) -> tuple[Attestation, ...]:
        return () if self.committed is None else (self.committed.attestation,)


class AppendReply(Message, frozen=True, tag=4):
    """``height``: up to there the follower's durable log is known to equal the leader's.

    ``success`` False: the entry before is not in the follower's log. ``hints`` are places in its
    log, highest first: its tip, the last entry of each term before, and what is final (section
    5.3, the last paragraphs: one round trip for each term instead of one for each entry).
    """

    term: Uint
    success: bool
    height: Uint
    round: Uint
    hints: Annotated[tuple[Place, ...], msgspec.Meta(max_length=HINTS_MAX)] = ()


class Committed(Message, frozen=True, tag=5):
    """The leader's commit statements, lowest height first; the last one commits them all."""

    statements: Annotated[
        tuple[Statement, ...], msgspec.Meta(min_length=1, max_length=STATEMENTS_MAX)
    ]

    def attestations(self) -> tuple[Attestation, ...]:
        return tuple(statement.attestation for statement in self.statements)

    def signed(self, signatures: Sequence[bytes]) -> Committed:
        return Committed(_signed(self.statements, signatures))


class TimeoutNow(Message, frozen=True, tag=6):
    """The leader asks a follower to stand for election at once (thesis 3.10)."""

    term: Uint


class ReadIndex(Message, frozen=True, tag=7):
    """A follower asks the leader from which height on it may answer a read (thesis 6.4)."""

    term: Uint
    request: Uint


class ReadIndexReply(Message, frozen=True, tag=8):
    """``height``: final there, the read may be answered; None: the leader cannot vouch for it."""

    term: Uint
    request: Uint
    height: Uint | None


class TermRequest(Message, frozen=True, tag=9):
    """A server that lost its record asks the others how far they are."""


class TermReply(Message, frozen=True, tag=10):
    """A server's term and the height of its log; ``lost``: it has lost its own record too."""

    term: Uint
    height: Uint
    lost: bool


class StatementRequest(Message, frozen=True, tag=11):
    """The leader asks a voter for statements on the blocks up to ``last``, which are committed,
    and on which it has no vote itself. ``after``: those above that height."""

    term: Uint
    after: Uint
    last: Place


class StatementReply(Message, frozen=True, tag=12):
    """The sender's own statements, lowest height first, for the leader of ``term``."""

    term: Uint
    statements: Annotated[
        tuple[Statement, ...], msgspec.Meta(min_length=1, max_length=STATEMENTS_MAX)
    ]

    def attestations(self) -> tuple[Attestation, ...]:
        return tuple(statement.attestation for statement in self.statements)

    def signed(self, signatures: Sequence[bytes]) -> StatementReply:
        return StatementReply(self.term, _signed(self.statements, signatures))


def _signed(statements: Sequence[Statement], signatures: Sequence[bytes]) -> tuple[Statement, ...]:
    """The statements, the open ones of them filled in."""
    fresh = iter(signatures)
    return tuple(
        one if one.signature else msgspec.structs.replace(one, signature=next(fresh))
        for one in statements
    )


MESSAGES: Final = (
    RequestVote,
    VoteReply,
    AppendEntries,
    AppendReply,
    Committed,
    TimeoutNow,
    ReadIndex,
    ReadIndexReply,
    TermRequest,
    TermReply,
    StatementRequest,
    StatementReply,
)
