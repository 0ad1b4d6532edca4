"""Authority: a rota of known signers, by slots of the wall clock. The smallest engine to read.

After Clique (EIP-225, Péter Szilágyi 2017): each slot has one signer whose turn it is; others may
step in after a while, at half the weight, so that the chain goes on without those that are down. A
signer that has just signed must leave the next blocks to others: a minority alone comes to a halt,
and any run of that many blocks shows a majority of signers, which is what *confirmed* means here.
Nothing is ever final, and signers are trusted to crash rather than to lie.

Where we differ from Clique: turns come by slot, not by height, so that one signer that is down
costs its own slots only; equal weight is decided by the smaller id, not by what was seen first
(Clique networks have come to a standstill over that); the signature lies outside the id, and
signers come and go by membership transactions instead of votes in headers. More in
docs/engines/authority.md.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final

import msgspec

from chain import codec
from chain.address import Address
from chain.block import BlockHead
from chain.changes import StateChange
from chain.codec import Record, Uint
from chain.errors import DamagedStore, InvalidBlock, InvalidEncoding, InvalidProof
from chain.hashing import BlockId, show_id
from chain.proof import EVIDENCE_SIZE_MAX, Evidence, Proof
from chain.validators import ValidatorSet, faults_crash, majority
from chain.view import ChainView
from consensus.contract import (
    Answer,
    Attestation,
    BlockImported,
    BlockRejected,
    Build,
    CancelTimer,
    CommandGiven,
    Effect,
    EngineConfig,
    Event,
    EvidenceSeen,
    Message,
    MessageReceived,
    NodeId,
    Now,
    Persist,
    Properties,
    ReadRequested,
    Report,
    SetHead,
    SetTimer,
    Slot,
    Started,
    Status,
    Stop,
    StopRequested,
    SyncChanged,
    TimerFired,
    TimerKey,
    Trace,
)
from consensus.headers import check_without_work

NAME: Final = "authority"
IN_TURN_WEIGHT: Final = 2
"""EIP-225, DIFF_INTURN: a block by the signer whose turn it is weighs more than any other..."""
OUT_OF_TURN_WEIGHT: Final = 1
"""...EIP-225, DIFF_NOTURN: so that of two branches the one that kept the rota wins."""
SIGNATURE_SIZE: Final = 64
SEEN_MAX: Final = 4_096
"""Blocks remembered by slot and signer, to notice contradictions: hours of a chain's life."""
RESTART_DEPTH: Final = 64
"""Blocks below the head among which a restarted signer looks for a heavier tip. A crash between
Import and SetHead loses the last move or two."""
SLOTS_AFTER_LOSS: Final = 16
"""A signer that lost its record signs nothing for so many slots: what it may have signed lies in
the past of its clock, or a little ahead if the clock was."""
SILENCE_SLOTS: Final = 4
"""Slots without a block after which the status asks who is missing."""


# ------------------------------------------------------------------------------------- parameters


class AuthorityParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of ``authority``. All times are in milliseconds.

    slot_ms: length of a slot; one block a slot, in turn. It should exceed by far the time that a
    block takes to reach all signers, and how far their clocks are apart.
    step_in_ms: how long after the start of a slot another signer may take it. The jitter on top,
    up to half as long, keeps others from doing so at the same moment.
    """

    slot_ms: Annotated[int, msgspec.Meta(ge=20, le=3_600_000)] = 3_000
    step_in_ms: Annotated[int, msgspec.Meta(ge=5, le=3_600_000)] = 1_000

    def __post_init__(self) -> None:
        """Raises ValueError where nobody could step in within the slot."""
        if self.step_in_ms + self.jitter_ms >= self.slot_ms:
            raise ValueError("step_in_ms and half as much again must be less than slot_ms")

    @property
    def jitter_ms(self) -> int:
        return self.step_in_ms // 2

    def slot_of(self, time_ms: int) -> int:
        """The slot in which a moment lies, counted from the Unix epoch."""
        return time_ms // self.slot_ms


# ----------------------------------------------------------------------------------------- claims


class Claims(Record, frozen=True):
    """What a block says of itself, hashed into its id: its slot, and whether it came in turn."""

    slot: Uint
    in_turn: bool


def claims_of(block: BlockHead) -> Claims:
    """The claims of a block. Raises InvalidBlock."""
    try:
        return codec.decode(block.manifest.claims, Claims)
    except InvalidEncoding as error:
        raise InvalidBlock("bad-claims", f"its claims: {error.sentence}") from None


def signers_of(validators: ValidatorSet) -> tuple[Address, ...]:
    """Those who may sign, in the order of the rota (by address). Learners, of weight 0, may not."""
    return tuple(member.address for member in validators.voters)


def is_in_turn(signers: Sequence[Address], slot: int, signer: Address) -> bool:
    return signers[slot % len(signers)] == signer


def signed_recently(
    signers: Sequence[Address], signer: Address, view: ChainView, parent: BlockId
) -> bool:
    """EIP-225, SIGNER_LIMIT: of any floor(n/2) + 1 blocks in a row a signer may sign one."""
    block = view.header(parent)
    for _ in range(len(signers) // 2):
        if block.height == 0:
            return False
        if block.manifest.producer == signer:
            return True
        block = view.header(block.previous)
    return False


# ------------------------------------------------------------------------------------------ rules


PROPERTIES: Final = Properties(
    fault_model="crash",
    synchrony="clocks",
    finality="majority-on-top",
    faults=faults_crash,
    quorum=majority,
    permissioned=True,
    has_validators=True,
    linearizable_reads=False,
    finalizes=False,
    mints_when_idle=True,
    membership="at-once",
    needs=(
        "A majority of the signers are up and connected, none of them lies, and their clocks agree "
        "within a slot."
    ),
    confirmed=(
        "A majority of the signers have built on it. It is taken back only if they leave that "
        "branch for a heavier one, as after a partition or when clocks were apart."
    ),
    ties="smaller-id",
)


class AuthorityRules:
    """What makes a block acceptable. Also SealRules and ConfirmationRules."""

    def __init__(self, parameters: AuthorityParameters) -> None:
        self.parameters = parameters
        self.properties = PROPERTIES

    def check_header(self, block: BlockHead, view: ChainView) -> None:
        """Raises InvalidBlock; the seal's signature is checked by whoever takes the block in."""
        check_without_work(block)
        manifest, signer = block.manifest, block.manifest.producer
        claims = claims_of(block)
        if manifest.reward:
            raise InvalidBlock("reward-not-zero", "a block under authority mints nothing")
        if len(block.seal) != SIGNATURE_SIZE:
            raise InvalidBlock("bad-seal", "its seal is not a signature")
        signers = signers_of(view.validators(block.previous))
        if signer not in signers:
            raise InvalidBlock("not-a-signer", "its producer is no signer at this height")
        if claims.slot != self.parameters.slot_of(manifest.time_ms):
            raise InvalidBlock("wrong-slot", "its time does not lie in the slot that it claims")
        parent = view.header(block.previous)
        if claims.slot <= self.parameters.slot_of(parent.time_ms):
            raise InvalidBlock("slot-not-after-parent", "its slot is not after its parent's")
        if claims.in_turn != is_in_turn(signers, claims.slot, signer):
            raise InvalidBlock("wrong-turn", "it claims a turn that is not its signer's, or none")
        if signed_recently(signers, signer, view, block.previous):
            raise InvalidBlock("signed-recently", "its signer has signed one of the last blocks")

    def earliest_ms(self, block: BlockHead) -> int:
        """The start of its slot: who signs ahead of the clock gains nothing by it."""
        return claims_of(block).slot * self.parameters.slot_ms

    def author(self, block: BlockHead) -> Address:
        return block.manifest.producer

    def weight(self, block: BlockHead) -> int:
        return IN_TURN_WEIGHT if claims_of(block).in_turn else OUT_OF_TURN_WEIGHT

    def state_changes(self, block: BlockHead, view: ChainView) -> tuple[StateChange, ...]:
        return ()

    def confirmed(self, view: ChainView) -> BlockId:
        """The newest block with a majority of today's signers among the blocks on top of it."""
        block = view.header(view.head())
        signers = signers_of(view.validators(block.id))
        on_top: set[Address] = set()
        while block.height > 0 and len(on_top) < majority(len(signers)):
            if block.manifest.producer in signers:
                on_top.add(block.manifest.producer)
            block = view.header(block.previous)
        return block.id

    # ------------------------------------------------------------------------------ signatures

    def seal_attestations(self, block: BlockHead) -> tuple[Attestation, ...]:
        """One key signs one block for a slot, whatever its height."""
        slot = Slot("block", claims_of(block).slot, 0)
        return (Attestation(block.manifest.producer, slot, block.id, block.seal),)

    def seal(self, block: BlockHead, signatures: Sequence[bytes]) -> bytes:
        (signature,) = signatures
        return signature

    def check_proof(
        self, chain_id: bytes, block: BlockHead, proof: Proof, validators: ValidatorSet
    ) -> tuple[Attestation, ...]:
        raise InvalidProof("no-finality", "under authority no block is final; no proof can be")

    def check_evidence(self, evidence: Evidence, validators: ValidatorSet) -> Address:
        """Two blocks of one signer for one slot. Raises InvalidProof otherwise."""
        first, second = _heads_in(evidence)
        guilty = first.manifest.producer
        if first.id == second.id or guilty != second.manifest.producer:
            raise InvalidProof("no-contradiction", "not two blocks of one signer")
        if claims_of(first).slot != claims_of(second).slot:
            raise InvalidProof("no-contradiction", "the two blocks are for different slots")
        if guilty not in validators:
            raise InvalidProof("not-a-member", "their signer is not a member")
        return guilty

    def evidence_attestations(self, evidence: Evidence) -> tuple[Attestation, ...]:
        first, second = _heads_in(evidence)
        return (*self.seal_attestations(first), *self.seal_attestations(second))


def _heads_in(evidence: Evidence) -> tuple[BlockHead, BlockHead]:
    """Raises InvalidProof unless each side is a block's head, whole and with readable claims."""
    if evidence.engine != NAME:
        raise InvalidProof("foreign-evidence", f"evidence of {evidence.engine!r}, not of {NAME!r}")
    return _head_in(evidence.first), _head_in(evidence.second)


def _head_in(side: bytes) -> BlockHead:
    try:
        head = codec.decode(side, BlockHead, EVIDENCE_SIZE_MAX)
        head.check_branch()
        claims_of(head)
    except (InvalidEncoding, InvalidBlock) as error:
        raise InvalidProof("malformed-evidence", error.sentence) from None
    return head


# ----------------------------------------------------------------------------------------- engine


class AuthorityRecord(Record, frozen=True):
    """What a signer must not forget: the last slot for which it signed."""

    last_slot: Uint = 0


def parse_record(raw: bytes) -> AuthorityRecord:
    """Raises DamagedStore: then the signer must not sign as if new."""
    try:
        return codec.decode(raw, AuthorityRecord)
    except InvalidEncoding as error:
        raise DamagedStore(f"the engine's record cannot be read: {error.sentence}") from None


class AuthorityEngine:
    """One event in, effects out. All it remembers durably is the last slot that it signed."""

    def __init__(
        self,
        me: NodeId,
        config: EngineConfig,
        rules: AuthorityRules,
        rng: random.Random,
        record: bytes | None,
    ) -> None:
        self._me = me
        self._rules = rules
        self._parameters = rules.parameters
        self._rng = rng
        self._last_slot = None if record is None else parse_record(record).last_slot
        self._syncing = True
        self._head: BlockId | None = None
        self._timer: TimerKey | None = None
        self._requests = 0
        self._seen: OrderedDict[tuple[int, Address], BlockId] = OrderedDict()
        self._guilty: dict[Address, int] = {}
        self._reorganisations = 0

    def handle(self, event: Event, view: ChainView, now: Now) -> list[Effect]:
        match event:
            case Started(syncing=syncing):
                return self._on_started(syncing, view, now)
            case BlockImported(block=block):
                return [*self._notice(block, view), *self._on_imported(block, view, now)]
            case TimerFired(key=key):
                return self._on_turn(view, now) if key == self._timer else []
            case SyncChanged(syncing=syncing):
                self._syncing = syncing
                return self._arm(view, now)
            case EvidenceSeen(evidence=evidence):
                head, _ = _heads_in(evidence)
                self._guilty[head.manifest.producer] = claims_of(head).slot
                return []
            case BlockRejected(block=block_id, origin="own", reason=reason):
                return [Trace("own-block-rejected", {"block": show_id(block_id), "why": reason})]
            case ReadRequested(request=request):
                sentence = "refused: under authority no block is final, and so no read linearizable"
                return [Answer(request, sentence)]
            case CommandGiven(request=request, name=name):
                return [Answer(request, f"refused: authority knows no command {name!r}")]
            case MessageReceived(sender=sender):
                return [Report(peer=sender, reason="unexpected-message")]
            case StopRequested():
                return [*self._disarm(), Stop()]
            case _:
                return []

    # -------------------------------------------------------------------------- following blocks

    def _on_started(self, syncing: bool, view: ChainView, now: Now) -> list[Effect]:
        self._syncing = syncing
        if self._last_slot is None:  # the record was lost: what was signed lies behind, or close
            self._last_slot = self._parameters.slot_of(now.wall_ms) + SLOTS_AFTER_LOSS
        self._head = self._best_near_head(view)
        moved: list[Effect] = [] if self._head == view.head() else [SetHead(self._head)]
        return [*moved, *self._arm(view, now)]

    def _best_near_head(self, view: ChainView) -> BlockId:
        best = view.head()
        open_ = [view.ancestor(best, max(0, view.height(best) - RESTART_DEPTH))]
        while open_:
            block = open_.pop()
            if self._is_better(block, best, view):
                best = block
            open_.extend(view.children(block))
        return best

    def _is_better(self, block: BlockId, than: BlockId, view: ChainView) -> bool:
        """Heavier; of equals the smaller id, so that all who know both choose the same."""
        weights = view.weight(block), view.weight(than)
        return weights[0] > weights[1] or (weights[0] == weights[1] and block < than)

    def _on_imported(self, block: BlockHead, view: ChainView, now: Now) -> list[Effect]:
        head = self._head or view.head()
        if not self._is_better(block.id, head, view):
            return []
        effects: list[Effect] = [SetHead(block.id)]
        if not view.descends(block.id, head):
            self._reorganisations += 1
            effects.append(Trace("reorganisation", {"to": show_id(block.id)}))
        self._head = block.id
        return [*effects, *self._arm(view, now)]

    def _notice(self, block: BlockHead, view: ChainView) -> list[Effect]:
        """Two blocks of one signer for one slot: never made by a signer that keeps its record."""
        place = (claims_of(block).slot, block.manifest.producer)
        other = self._seen.setdefault(place, block.id)
        while len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        if other == block.id:
            return []
        sides = sorted((codec.encode(view.header(other)), codec.encode(block)))
        return [Report(evidence=Evidence(NAME, sides[0], sides[1]))]

    # ------------------------------------------------------------------------------- own turns

    def _next_turn(self, view: ChainView, now: Now) -> tuple[int, bool] | None:
        """The next slot that this node may sign on its head, and whether in turn; None: none."""
        assert self._head is not None and self._last_slot is not None, "Started comes first"
        signers = signers_of(view.validators(self._head))
        if self._me not in signers or signed_recently(signers, self._me, view, self._head):
            return None
        parent_slot = self._parameters.slot_of(view.header(self._head).time_ms)
        today = self._parameters.slot_of(now.wall_ms)
        slot = max(today, self._last_slot + 1, parent_slot + 1)
        return slot, is_in_turn(signers, slot, self._me)

    def _arm(self, view: ChainView, now: Now) -> list[Effect]:
        """Sets the timer for the next own turn; a move of the head may change all about it."""
        turn = None if self._syncing else self._next_turn(view, now)
        if turn is None:
            return self._disarm()
        slot, in_turn = turn
        at_ms = slot * self._parameters.slot_ms
        if not in_turn:
            at_ms += self._parameters.step_in_ms + self._rng.randrange(self._parameters.jitter_ms)
        # Never longer than a slot: the wall clock may be set meanwhile, the timer would not see it.
        delay_ms = min(max(0, at_ms - now.wall_ms), self._parameters.slot_ms)
        self._timer, old = ("turn", slot, self._head.hex() if self._head else ""), self._timer
        cancel: list[Effect] = [] if old in (None, self._timer) else [CancelTimer(old or ())]
        return [*cancel, SetTimer(self._timer, delay_ms)]

    def _disarm(self) -> list[Effect]:
        old, self._timer = self._timer, None
        return [] if old is None else [CancelTimer(old)]

    def _on_turn(self, view: ChainView, now: Now) -> list[Effect]:
        """Signs, if the time has come: first the record, then the block."""
        turn = None if self._syncing else self._next_turn(view, now)
        assert self._timer is not None and self._head is not None
        if turn is None or turn[0] != self._timer[1]:
            return self._arm(view, now)
        slot, in_turn = turn
        into_slot_ms = now.wall_ms - slot * self._parameters.slot_ms
        if into_slot_ms < (0 if in_turn else self._parameters.step_in_ms):
            return self._arm(view, now)  # the timer ran out early, or the clock was set back
        self._last_slot = slot
        self._requests += 1
        self._timer = None
        build = Build(
            request=self._requests,
            parent=self._head,
            claims=codec.encode(Claims(slot, in_turn)),
            deadline_ms=0,
            may_be_empty=True,
            time_ms=now.wall_ms,
        )
        record = codec.encode(AuthorityRecord(slot))
        return [Persist(record), build, *self._arm(view, now)]

    # --------------------------------------------------------------------------------- for people

    def status(self, view: ChainView, now: Now) -> Status:
        head = view.header(view.head())
        members = view.validators(head.id)
        signers = signers_of(members)
        slot = self._parameters.slot_of(now.wall_ms)
        leader = signers[slot % len(signers)] if signers else None
        facts: dict[str, int | str] = {
            "slot": slot,
            "in turn": _name(members, leader) if leader else "-",
            "role": "signer" if self._me in signers else "observer",
            "signers": len(signers),
            "blocks that a signer must leave to others": len(signers) // 2,
            "last slot signed here": self._last_slot or 0,
            "head's slot": self._parameters.slot_of(head.time_ms),
            "head's weight": view.weight(head.id),
            "confirmed height": view.height(self._rules.confirmed(view)),
            "confirmed by": f"{majority(len(signers))} signers on top",
            "reorganisations": self._reorganisations,
        }
        last = self._last_blocks(signers, head, view)
        rows = tuple(self._row(members, signer, last.get(signer), slot) for signer in signers)
        silent = tuple(signer for signer in signers if signer not in last)
        why = self._why(members, signers, head, slot, silent)
        return Status(facts, {"signers": rows}, why, leader, slot, silent if why else ())

    def _last_blocks(
        self, signers: Sequence[Address], head: BlockHead, view: ChainView
    ) -> dict[Address, BlockHead]:
        """Each signer's newest among the last two rounds of the rota."""
        last: dict[Address, BlockHead] = {}
        for _ in range(2 * len(signers)):
            if head.height == 0:
                break
            last.setdefault(head.manifest.producer, head)
            head = view.header(head.previous)
        return last

    def _row(
        self, members: ValidatorSet, signer: Address, last: BlockHead | None, slot: int
    ) -> dict[str, int | str]:
        signers = signers_of(members)
        return {
            "signer": _name(members, signer),
            "in turn in (slots)": (signers.index(signer) - slot) % len(signers),
            "last height": last.height if last else "-",
            "last in turn": "-" if last is None else "yes" if claims_of(last).in_turn else "no",
            "contradicted itself": "yes" if signer in self._guilty else "-",
        }

    def _why(
        self,
        members: ValidatorSet,
        signers: Sequence[Address],
        head: BlockHead,
        slot: int,
        silent: Sequence[Address],
    ) -> tuple[str, ...]:
        sentences = []
        if self._syncing:
            sentences.append("The node is catching up with its peers; it signs once it has.")
        if self._me in signers and (self._last_slot or 0) > slot + 1:
            sentences.append(
                f"This node signs nothing before slot {(self._last_slot or 0) + 1}: it has signed "
                "up to there, or lost its record. If that is far off, its clock was set back."
            )
        idle_slots = slot - self._parameters.slot_of(head.time_ms)
        if idle_slots >= SILENCE_SLOTS:
            who = ", ".join(_name(members, each) for each in silent) or "nobody in particular"
            sentences.append(
                f"No block for {idle_slots} slots. {majority(len(signers))} of {len(signers)} "
                f"signers must be up and connected; silent of late: {who}."
            )
        for signer, at in sorted(self._guilty.items()):
            sentences.append(
                f"{_name(members, signer)} signed two blocks for slot {at}: is its key in use "
                "twice? Vote to expel it if nobody can say why."
            )
        return tuple(sentences)


def _name(members: ValidatorSet, address: Address) -> str:
    """A member's name, or the first digits of its key."""
    member = members.by_address.get(address)
    return member.name if member is not None and member.name else address[1:5].hex()


class AuthorityProtocol:
    """Everything about ``authority``, for the registry."""

    name: ClassVar[str] = NAME
    summary: ClassVar[str] = (
        "A rota of known signers; confirmed by a majority of them on top, never final."
    )
    parameters: ClassVar[type[msgspec.Struct]] = AuthorityParameters
    devnet_parameters: ClassVar[Mapping[str, int | str]] = {"slot_ms": 500, "step_in_ms": 200}
    messages: ClassVar[tuple[type[Message], ...]] = ()

    def rules(self, parameters: Any) -> AuthorityRules:
        assert isinstance(parameters, AuthorityParameters)
        return AuthorityRules(parameters)

    def engine(
        self, me: NodeId, config: EngineConfig, rng: random.Random, record: bytes | None
    ) -> AuthorityEngine:
        return AuthorityEngine(me, config, self.rules(config.parameters), rng, record)

    def first_record(self, chain_id: bytes) -> bytes:
        return codec.encode(AuthorityRecord())


PROTOCOL = AuthorityProtocol()
