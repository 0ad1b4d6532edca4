"""The contract between a consensus engine and the node. It holds this and nothing else.

Two objects: ``Rules`` judge any block, also one years old; an ``Engine`` is a live participant.
One event goes in, an ordered list of effects comes out.

The laws (each is an assertion in the driver or a checker in the simulator):

1. One at a time. Events in order, each to completion; the effects of all events form one queue,
   executed strictly in order. ``handle`` may run ahead of the queue: the view shows what was
   executed, not what was asked.
2. Write before you speak. ``Persist`` is a barrier: nothing behind it in the queue happens before
   the record and the named bodies are on disk. A crash may fall between any two effects.
3. You hear yourself like everybody else. A broadcast, and a Send to oneself, comes back through
   the queue; an own vote counts only then, durable and signed.
4. A bad message changes nothing. It yields at most a ``Report``. An exception out of ``handle``
   is our bug and stops the node, loudly.
5. Same record, seed, view and events: same effects, byte for byte, in any process.
6. Everything is bounded; each limit is a named constant with its reason.
7. An engine asks for nothing that it could be told; no effect returns a value.
8. ``Started`` restates: timers, the last vote unchanged, finality implied by the record. Every
   effect is safe to repeat.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import msgspec

from chain.address import Address
from chain.block import Block, BlockHead
from chain.changes import StateChange
from chain.hashing import BlockId
from chain.proof import Evidence, Proof
from chain.validators import ValidatorSet
from chain.view import ChainView

NodeId = Address
"""A participant is the address of its Ed25519 key."""

TimerKey = tuple[str | int, ...]
"""Names a timer; carries height, view and step, so that a late one is recognised as stale."""

RequestId = int
"""Numbers an engine's open questions (Build, Grind); chosen by the engine."""

Origin = Literal["own", "proposal", "gossip", "sync", "replay"]
"""Where a block came from. "replay": re-executed from this node's own disk at start."""


class Now(NamedTuple):
    """Both clocks, in milliseconds. Slots use wall; leases and timers use steady."""

    wall_ms: int
    steady_ms: int


class Slot(NamedTuple):
    """What one key may sign only one content for: a kind of statement at a height and view."""

    kind: str
    height: int
    view: int


class Attestation(NamedTuple):
    """One signature inside a message, a seal or a proof.

    ``content`` is what is signed, before the gate adds domain, engine and chain id. A signature of
    ``b""`` in an outgoing message is filled in by the node's signer.
    """

    signer: Address
    slot: Slot
    content: bytes
    signature: bytes


class Message(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, omit_defaults=False
):
    """Base of an engine's messages. Subclasses set an integer ``tag`` and are final."""

    def attestations(self) -> tuple[Attestation, ...]:
        """Every signature inside, those in certificates too.

        Under crash-fault engines only what becomes part of a proof (docs/decisions/0013).
        """
        return ()

    def signed(self, signatures: Sequence[bytes]) -> Message:
        """A copy in which the attestations that had ``b""`` carry ``signatures``, in order."""
        assert not signatures
        return self


# --------------------------------------------------------------------------- what an engine claims

FaultModel = Literal["crash", "byzantine", "honest-work-majority", "none"]
Synchrony = Literal["asynchronous", "partial", "clocks"]
FinalityKind = Literal[
    "immediate", "checkpoint", "irreversible", "depth", "majority-on-top", "none"
]
Membership = Literal["none", "at-once", "joint"]
"""How a change of members that the voters wished takes effect (chain.membership executes it).

"none": no transaction changes the members. "at-once": the state's set changes in that block and
decides ``validator_lag`` blocks later. "joint": the state's set becomes a joint one of old and new
voters, until a later block's claims leave it (LeaveJoint); no second change is taken meanwhile.
"""
TieBreak = Literal["first-seen", "smaller-id"]


class Properties(msgspec.Struct, frozen=True):
    """What an engine claims, for people and for checkers."""

    fault_model: FaultModel
    synchrony: Synchrony
    finality: FinalityKind
    faults: Callable[[int], int]
    """f(n): faults that n members bear."""
    quorum: Callable[[int], int]
    """Members (of n) whose word decides; 0 where no vote is taken."""
    permissioned: bool
    """Only keys that the chain lists may take part."""
    has_validators: bool
    linearizable_reads: bool
    finalizes: bool
    """False: "finalized" means confirmed by policy, and checkers demand convergence instead."""
    mints_when_idle: bool
    """True: blocks come on a schedule, whether or not a transaction waits."""
    membership: Membership
    """Where it is not "none", ``quorum`` of the voters is also what changes the members."""
    needs: str
    """One plain sentence: what must hold for the claims to hold."""
    confirmed: str = ""
    """Where nothing is final: what "confirmed" is worth here, in one sentence for its readers."""
    leader_stays: bool = False
    """True: one member makes all blocks until it fails or hands over."""
    ties: TieBreak = "first-seen"
    """Which of two branches of equal weight is the head, where weight decides."""


# -------------------------------------------------------------------------------------- the rules


class Rules(Protocol):
    """What makes a block acceptable on this chain. Pure: no clock, no memory."""

    @property
    def properties(self) -> Properties: ...

    def check_header(self, block: BlockHead, view: ChainView) -> None:
        """Judges a head by its ancestors only. Raises InvalidBlock.

        The parent is known to ``view``. Height, manifest branch, time after the parent's and the
        commitment to validators are checked by the importer for all engines.
        """
        ...

    def earliest_ms(self, block: BlockHead) -> int:
        """Wall-clock time before which the block is *not yet* (0: at once)."""
        ...

    def author(self, block: BlockHead) -> Address: ...

    def weight(self, block: BlockHead) -> int:
        """What this block adds to its branch."""
        ...

    def check_proof(
        self, chain_id: bytes, block: BlockHead, proof: Proof, validators: ValidatorSet
    ) -> tuple[Attestation, ...]:
        """Checks all but the signatures and returns the attestations that must verify.

        Raises InvalidProof. The caller (gate or offline verifier) checks the signatures.
        """
        ...

    def check_evidence(self, evidence: Evidence, validators: ValidatorSet) -> Address:
        """The guilty. Raises InvalidProof where the two messages do not contradict.

        The caller checks the signatures (``evidence_attestations``).
        """
        ...

    def evidence_attestations(self, evidence: Evidence) -> tuple[Attestation, ...]:
        """The signatures that must verify for the evidence to count. Raises InvalidProof."""
        ...

    def seal_attestations(self, block: BlockHead) -> tuple[Attestation, ...]:
        """The signatures in a block's seal; none where proposals are signed messages."""
        ...

    def state_changes(self, block: BlockHead, view: ChainView) -> tuple[StateChange, ...]: ...


@runtime_checkable
class WorkRules(Protocol):
    """What Rules offer besides, where blocks are found by work (docs/decisions/0005).

    For builders and for miners outside the node, who prepare headers that no engine asked for.
    """

    def next_bits(self, view: ChainView, parent: BlockId, time_s: int) -> int:
        """Compact target of the child of ``parent`` whose header says ``time_s``."""
        ...

    def reward(self, height: int) -> int:
        """Base units that the block at ``height`` mints, fees not counted."""
        ...

    def earliest_time_s(self, view: ChainView, parent: BlockId) -> int:
        """The least header time, in seconds, that a child of ``parent`` may have."""
        ...

    def target(self, bits: int) -> int:
        """The greatest hash that counts under ``bits``. Raises InvalidBlock if they are bad."""
        ...


@runtime_checkable
class SealRules(Protocol):
    """What Rules offer besides, where blocks carry their maker's signature (docs/decisions/0010).

    An unsealed block's ``seal_attestations`` are then the ones to sign, their signatures empty;
    the node signs them after the barrier that stands before the Build.
    """

    def seal(self, block: BlockHead, signatures: Sequence[bytes]) -> bytes:
        """The seal that carries ``signatures``, in the order of ``seal_attestations``."""
        ...


@runtime_checkable
class ConfirmationRules(Protocol):
    """What Rules offer besides, where nothing is final and depth is not what confirms."""

    def confirmed(self, view: ChainView) -> BlockId:
        """The newest block of the head's branch that counts as confirmed; genesis at least."""
        ...


# ------------------------------------------------------------------------- events: what happened


class Event(msgspec.Struct, frozen=True):
    """Base of events."""


class Started(Event, frozen=True):
    """Always first. The engine arms its timers and restates.

    ``rebased``: since the record was written a snapshot took the place of the node's blocks, so
    that the record may name some that are not known any more. They contradict what is final.
    """

    syncing: bool
    rebased: bool = False


class MessageReceived(Event, frozen=True):
    """Every signature inside is already checked; own broadcasts come back here too."""

    sender: NodeId
    message: Message


class BlockImported(Event, frozen=True):
    """Stored, linked to a known parent, checked and executed."""

    block: BlockHead
    origin: Origin


class BlockRejected(Event, frozen=True):
    """Answers Import; the proposal carrying it gets no vote."""

    block: BlockId
    origin: Origin
    reason: str


class BlockBuilt(Event, frozen=True):
    """Answers Build: executed and sealed; None: nothing to include.

    Imported as own already, unless its work is still to be found.
    """

    request: RequestId
    block: Block | None


class WorkFound(Event, frozen=True):
    """Answers Grind."""

    request: RequestId
    block: Block


class TimerFired(Event, frozen=True):
    key: TimerKey


class TransactionsWaiting(Event, frozen=True):
    """What a child of the head could include turned from none to some or back.

    Comes again after each SetHead that leaves some. ``count`` 0: none.
    """

    count: int


class ReadRequested(Event, frozen=True):
    request: RequestId


class ProofSeen(Event, frozen=True):
    """A finality proof of an imported block, its signatures checked."""

    block: BlockId
    proof: Proof


class EvidenceSeen(Event, frozen=True):
    evidence: Evidence


class SyncChanged(Event, frozen=True):
    """A syncing engine listens but does not speak."""

    syncing: bool


class CommandGiven(Event, frozen=True):
    """An operator's wish; answered by Answer under ``request``."""

    request: RequestId
    name: str
    arguments: tuple[str, ...]


class StopRequested(Event, frozen=True):
    """Hand over what can be handed over, then Stop; at ``deadline_ms`` (steady) it ends anyway."""

    deadline_ms: int


# ------------------------------------------------------------------------- effects: what to do


class Effect(msgspec.Struct, frozen=True):
    """Base of effects."""


class Persist(Effect, frozen=True):
    """Barrier: one atomic synced write of the record and of the named bodies.

    The driver adds every ancestor's body that is not yet synced. If it fails the node stops.
    """

    record: bytes
    blocks: tuple[BlockId, ...] = ()


class Send(Effect, frozen=True):
    to: NodeId
    message: Message


class Broadcast(Effect, frozen=True):
    """Signed, sent to all, and delivered to ourselves as a later event."""

    message: Message


class Import(Effect, frozen=True):
    """Always answered by BlockImported or BlockRejected, also for a known block.

    Where the parent is missing the node fetches it first.
    """

    block: Block
    origin: Origin


class Build(Effect, frozen=True):
    """Answered as soon as something can be included on ``parent``, else after ``deadline_ms``.

    At the deadline (a delay from now) by an empty block if ``may_be_empty``, else by None;
    ``deadline_ms`` None: wait for as long as it takes. A new Build under the same request number
    replaces the old one; a Build is dropped unanswered when its parent is pruned. ``time_ms``: the
    block's time, for engines whose rules tie it to a slot; None: the clock's, after the parent's.
    """

    request: RequestId
    parent: BlockId
    claims: bytes
    deadline_ms: int | None
    may_be_empty: bool
    bits: int = 0
    reward: int = 0
    time_ms: int | None = None


class Grind(Effect, frozen=True):
    """Search a nonce outside the event loop; ``block`` None cancels the search."""

    request: RequestId
    block: Block | None
    target: int


class SetTimer(Effect, frozen=True):
    """Setting a key again replaces it."""

    key: TimerKey
    delay_ms: int


class CancelTimer(Effect, frozen=True):
    key: TimerKey


class SetHead(Effect, frozen=True):
    """Move the tentative tip; asserted to descend from finalized."""

    block: BlockId


class Finalize(Effect, frozen=True):
    """Irreversible; asserted to descend from the previous one; prunes siblings."""

    block: BlockId
    proof: Proof | None


class ServeRead(Effect, frozen=True):
    """The read may be answered once ``height`` is final here."""

    request: RequestId
    height: int


class SetProducer(Effect, frozen=True):
    """A hint: push waiting transactions straight to ``node``."""

    node: NodeId | None


class Answer(Effect, frozen=True):
    """A refused read, a command's result."""

    request: RequestId
    outcome: str


class Fetch(Effect, frozen=True):
    """Bring these blocks and their ancestors; ``hint`` is who seems to have them."""

    blocks: tuple[BlockId, ...]
    hint: NodeId | None


class Report(Effect, frozen=True):
    """Evidence is stored and spread; a fault (peer, reason) lowers a peer's score."""

    evidence: Evidence | None = None
    peer: NodeId | None = None
    reason: str = ""


class Trace(Effect, frozen=True):
    """One line in the log, one in the simulator's transcript. Fields are integers and strings."""

    name: str
    fields: Mapping[str, int | str]


class Stop(Effect, frozen=True):
    """Nothing left to hand over."""


# ------------------------------------------------------------------------------------ the engine


class Status(msgspec.Struct, frozen=True):
    """For people; never read by code.

    ``facts``: the protocol's own words (view, leader, lock, last vote) to values. ``tables``: name
    to rows of equal keys (votes by member, say). ``why``: plain sentences that say what the engine
    waits for, who is missing, what threshold, what to do; empty when it waits for nothing.
    ``leader``: who produces next, if that is known. ``round``: view, round or term, for metrics.
    ``listening``: a member that lost its record and takes no part until it may; ``why`` says when.
    """

    facts: Mapping[str, int | str]
    tables: Mapping[str, Sequence[Mapping[str, int | str]]] = {}
    why: tuple[str, ...] = ()
    leader: NodeId | None = None
    round: int = 0
    missing: tuple[NodeId, ...] = ()
    listening: bool = False


class Engine(Protocol):
    """A live participant: one event in, an ordered list of effects out."""

    def handle(self, event: Event, view: ChainView, now: Now) -> list[Effect]: ...

    def status(self, view: ChainView, now: Now) -> Status: ...


class EngineConfig(msgspec.Struct, frozen=True):
    """What an engine is told at birth besides who it is.

    ``parameters`` is an instance of the protocol's ``parameters`` type. ``mining``: whether this
    node should produce blocks where the engine lets anyone do so; ``payout`` then receives them.
    """

    chain_id: bytes
    parameters: Any
    mining: bool = False
    payout: Address | None = None


class EngineProtocol(Protocol):
    """What the entry-point group ``moot.engines`` names: everything about one engine."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for `moot engines`."""
    parameters: ClassVar[type[msgspec.Struct]]
    """Fields are int or str, with defaults; documented one by one in its docstring."""
    devnet_parameters: ClassVar[Mapping[str, int | str]]
    """What the devnet profile sets otherwise."""
    messages: ClassVar[tuple[type[Message], ...]]
    """All message types, each with its own integer tag."""

    def rules(self, parameters: Any) -> Rules: ...

    def engine(
        self, me: NodeId, config: EngineConfig, rng: random.Random, record: bytes | None
    ) -> Engine:
        """``record`` None: it was lost. A new node's first record is ``first_record``."""
        ...

    def first_record(self, chain_id: bytes) -> bytes:
        """What `moot node init` writes, so that a missing record is always a lost one."""
        ...
