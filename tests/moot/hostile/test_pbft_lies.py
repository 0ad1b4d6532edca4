"""Three honest PBFT nodes and a liar who holds the fourth validator's key.

The production core in virtual time. The liar says what it likes, validly signed where that takes
its own key only, and forged where it would take others'. Nothing it says may stop or split the
three, or make them hold more than a bounded amount.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest

from chain import codec
from chain.block import Block
from chain.hashing import ZERO_HASH
from chain.manifest import Manifest
from chain.proof import Evidence, Proof
from chain.validators import quorum_byzantine
from consensus.contract import Message
from consensus.pbft.certificates import primary_of
from consensus.pbft.messages import (
    Commit,
    CommitCertificate,
    Decided,
    NewView,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    SignedBy,
    ViewChange,
)
from moot.lab.cluster import Cluster
from moot.lab.network import Link
from moot.lab.node import SimulatedNode
from moot.lab.signer import CheapKey, cheap_signature
from moot.node.builder import assemble
from moot.node.evidence import EVIDENCE_PER_MEMBER_MAX
from moot.node.gate import attested_bytes
from p2p.wire import (
    ConsensusFrame,
    EvidenceFound,
    FinalityProof,
    PeerMessage,
    decode_frame,
    encode_frame,
)

FAR = 2**62


class Liar:
    """The fourth validator's key in the hands of the test, linked to the three others."""

    def __init__(self, seed: int = 1, member: bool = True, leads: bool = False) -> None:
        """``leads``: the liar is the primary of the first view, which has just begun."""
        self.cluster = Cluster("pbft", 4, seed)
        by_address = sorted(self.cluster.nodes, key=lambda node: node.signer.address)
        silent = by_address[0 if leads else 3]
        self.honest = [node for node in self.cluster.nodes if node is not silent]
        self.keys = [node.signer for node in self.cluster.nodes]
        self.signer = silent.signer if member else CheapKey(666)
        self.me = self.signer.address
        for node in self.honest:
            node.start()
        self.chain_id = self.honest[0].running.ledger.chain_id
        hello = self.honest[0].running.hello(0)
        for node in self.honest:
            node.running.peer_joined(Link(self.signer.public_key, hello))
        self.cluster.load(100)
        self.run(150 if leads else 6_000)

    # ------------------------------------------------------------------------------- looking

    @property
    def first(self) -> SimulatedNode:
        return self.honest[0]

    @property
    def members(self):  # type: ignore[no-untyped-def]
        ledger = self.first.running.ledger
        return ledger.validators(ledger.head())

    @property
    def round(self) -> tuple[int, int]:
        """Height and view that the first node has open."""
        status = self.first.running.engine_status()
        ledger = self.first.running.ledger
        return ledger.height(ledger.finalized()) + 1, status.round

    def run(self, milliseconds: int) -> None:
        self.cluster.run(milliseconds)

    def heights(self) -> list[int]:
        return self.cluster.final_heights()

    def faults(self) -> set[str]:
        """What the three charge the liar with."""
        key = self.signer.public_key
        return {reason for node in self.honest for at, reason in node.misbehaviour if at == key}

    def lives_on(self, blocks: int = 3, within_ms: int = 30_000) -> None:
        """The three go on, and agree."""
        assert self.cluster.wait_final(max(self.heights()) + blocks, within_ms), (
            self.cluster.explain()
        )
        height = min(self.heights())
        assert len({node.running.ledger.id_at(height) for node in self.honest}) == 1
        for node in self.honest:
            others = {key for key, _ in node.misbehaviour} - {self.signer.public_key}
            assert not others, "honest nodes blame each other"

    # ------------------------------------------------------------------------------- speaking

    def sign(self, message: Message, signer: CheapKey | None = None) -> Message:
        """``message`` with its first open attestation signed by ``signer``."""
        key = signer or self.signer
        signatures = [
            key.sign(attested_bytes(self.chain_id, "pbft", one))
            for one in message.attestations()
            if not one.signature
        ]
        return message.signed(signatures)

    def frame(self, message: Message) -> PeerMessage:
        return self.first.running.gate.pack(message)

    def say(self, message: PeerMessage, to: list[SimulatedNode] | None = None) -> None:
        carried = decode_frame(encode_frame(message))
        for node in self.honest if to is None else to:
            node.receive(self.signer.public_key, carried)

    def tell(self, message: Message, to: list[SimulatedNode] | None = None) -> None:
        """Signed with the liar's own key, wherever a signature is open."""
        self.say(self.frame(self.sign(message)), to)

    def statements(self, kind: type, view: int, height: int, block: bytes) -> tuple[SignedBy, ...]:
        """What *all four* signed: the test holds every key, to see what else is judged."""
        made = []
        for key in sorted(self.keys, key=lambda key: key.address):
            message = self.sign(kind(view, height, block, key.address), key)
            made.append(SignedBy(key.address, message.attestations()[0].signature))
        return tuple(made)


@pytest.fixture
def liar() -> Liar:
    return Liar()


def certificate(liar: Liar, view: int, height: int, block: bytes) -> CommitCertificate:
    return CommitCertificate(view, height, block, liar.statements(Commit, view, height, block))


Bad = Callable[[Liar, CommitCertificate], CommitCertificate]
CERTIFICATES: dict[str, Bad] = {
    "too-few": lambda liar, c: replace(c, commits=c.commits[:2]),
    "nobody": lambda liar, c: replace(c, commits=()),
    "one-signer-four-times": lambda liar, c: replace(c, commits=(c.commits[0],) * 4),
    "not-sorted": lambda liar, c: replace(c, commits=c.commits[::-1]),
    "of-another-view": lambda liar, c: replace(c, view=c.view + 1),
    "of-another-height": lambda liar, c: replace(c, height=c.height + 1),
    "of-another-block": lambda liar, c: replace(c, block_id=b"\x77" * 32),
    "a-stranger-among-them": lambda liar, c: replace(
        c, commits=tuple(sorted((*c.commits[:2], stranger(liar, c)), key=lambda s: s.signer))
    ),
    "garbage-signatures": lambda liar, c: replace(
        c, commits=tuple(SignedBy(s.signer, bytes(64)) for s in c.commits)
    ),
    "prepares-as-commits": lambda liar, c: replace(
        c, commits=liar.statements(Prepare, c.view, c.height, c.block_id)
    ),
    "of-a-height-past-all": lambda liar, c: certificate(liar, 0, FAR, b"\x11" * 32),
}


def replace(certificate: CommitCertificate, **changes: object) -> CommitCertificate:
    changed: CommitCertificate = msgspec.structs.replace(certificate, **changes)
    return changed


def stranger(liar: Liar, c: CommitCertificate) -> SignedBy:
    other = CheapKey(4_711)
    vote = liar.sign(Commit(c.view, c.height, c.block_id, other.address), other)
    return SignedBy(other.address, vote.attestations()[0].signature)


@pytest.mark.parametrize("name", CERTIFICATES)
def test_forged_certificates_finalize_nothing(liar: Liar, name: str) -> None:
    """As a message, as a proof pushed by sync, and beside a new view."""
    height, view = liar.round
    block = liar.first.running.ledger.head()
    forged = CERTIFICATES[name](liar, certificate(liar, view, height, block))
    before = liar.heights()
    liar.say(liar.frame(Decided(forged)))
    liar.say(FinalityProof(block, forged.proof))
    liar.say(FinalityProof(forged.block_id, Proof("pbft", b"\xff" * 50)))
    liar.run(1)
    assert liar.heights() == before
    assert bool(liar.faults()) == (name != "of-a-height-past-all"), liar.faults()
    liar.lives_on()


FAR_MESSAGES: list[Callable[[Liar, bytes], Message]] = [
    lambda liar, me: Prepare(0, FAR, bytes(32), me),
    lambda liar, me: Commit(FAR, FAR, b"\x01" * 32, me),
    lambda liar, me: Commit(2**63 - 1, 2**63 - 1, b"\x02" * 32, me),
    lambda liar, me: PrePrepare(3, FAR, b"\x03" * 32, me),
    lambda liar, me: PrePrepare(FAR, liar.round[0], b"\x03" * 32, me),
    lambda liar, me: ViewChange(2**63 - 1, 2**63 - 1, bytes(32), None, me),
    lambda liar, me: ViewChange(
        FAR, liar.round[0], liar.first.running.ledger.finalized(), None, me
    ),
    lambda liar, me: ViewChange(0, liar.round[0], bytes(32), None, me),
    lambda liar, me: NewView(FAR, FAR, me, ()),
    lambda liar, me: NewView(2**63 - 1, liar.round[0], me, ()),
    lambda liar, me: NewView(3, liar.round[0] + 1, me, ()),
]


@pytest.mark.parametrize("number", range(len(FAR_MESSAGES)))
def test_messages_from_the_far_future_move_nothing(liar: Liar, number: int) -> None:
    view = liar.round[1]
    for _ in range(20):
        liar.tell(FAR_MESSAGES[number](liar, liar.me))
        liar.run(10)
    liar.lives_on()
    assert liar.round[1] == view, "one liar alone forces no view change"


def test_a_flood_of_early_and_late_messages_is_bounded(liar: Liar) -> None:
    """Thousands of heights, views and blocks, all validly signed: the books stay small."""
    height, view = liar.round
    for number in range(6_000):
        block = number.to_bytes(32, "big")
        kind = (Prepare, Commit, PrePrepare)[number % 3]
        liar.tell(kind(view + number % 40, height + number % 7, block, liar.me), [liar.first])
        if number % 200 == 0:
            liar.run(5)
    core = liar.first.running
    engine = core.driver.engine
    votes = sum(
        len(place) for places in engine._book._heights.values() for place in places.values()
    )
    assert votes <= 3 * 3 * 17 * 4
    assert len(engine._view_changes) <= 4
    assert len(engine._heard_ms) <= 4
    assert len(core.evidence) <= 1_024
    assert core.sync.counts()["asked"] <= 64, core.sync.counts()
    assert sum(core.sync.counts().values()) < 5_000, core.sync.counts()
    liar.lives_on()


def test_old_views_and_whole_conversations_said_again_change_nothing(liar: Liar) -> None:
    frames: list[bytes] = []
    send = liar.cluster.network.send

    def record(sender: bytes, receiver: bytes, message: PeerMessage) -> None:
        if isinstance(message, ConsensusFrame) and len(frames) < 2_000:
            frames.append(encode_frame(message))
        send(sender, receiver, message)

    liar.cluster.network.send = record  # type: ignore[method-assign]
    liar.lives_on()
    liar.cluster.network.send = send  # type: ignore[method-assign]
    assert len(frames) > 50
    for _ in range(3):
        for frame in frames:
            liar.say(decode_frame(frame))
        liar.run(50)
    liar.lives_on()


def test_a_new_view_with_a_wrong_choice_is_not_entered(liar: Liar) -> None:
    """Every signature is genuine; only the block does not follow from the view changes."""
    height, view = liar.round
    parent = liar.first.running.ledger.finalized()
    target = next(v for v in range(view + 1, view + 9) if primary_of(liar.members, v) == liar.me)
    changes = tuple(
        liar.sign(ViewChange(target, height, parent, None, key.address), key)
        for key in sorted(liar.keys, key=lambda key: key.address)
    )
    for block in (b"\x55" * 32, parent):
        liar.tell(NewView(target, height, liar.me, changes, None, block))  # type: ignore[arg-type]
    short = changes[: quorum_byzantine(4) - 1]
    liar.tell(NewView(target, height, liar.me, short))  # type: ignore[arg-type]
    liar.tell(NewView(target, height, liar.me, (changes[0],) * 4))  # type: ignore[arg-type]
    prepared = PreparedCertificate(
        view, height, b"\x66" * 32, primary_of(liar.members, view), bytes(64), ()
    )
    unproven = liar.sign(ViewChange(target, height, parent, prepared, liar.me))
    mixed = tuple(sorted((*changes[:2], unproven), key=lambda change: change.sender))  # type: ignore[attr-defined]
    liar.tell(NewView(target, height, liar.me, mixed, None, b"\x66" * 32))  # type: ignore[arg-type]
    liar.run(5)
    for node in liar.honest:
        assert node.running.engine_status().round == view
    assert liar.faults()
    liar.lives_on()


def test_a_frame_full_of_signatures_is_refused_quickly(liar: Liar) -> None:
    """One frame with tens of thousands of genuine-looking signatures, from a validator."""
    height, _ = liar.round
    signers = tuple(SignedBy(liar.me, bytes(64)) for _ in range(900))
    changes = tuple(
        ViewChange(
            1,
            height,
            bytes(32),
            PreparedCertificate(n, height, bytes(32), liar.me, bytes(64), signers),
            liar.me,
            bytes(64),
        )
        for n in range(80)
    )
    frame = liar.frame(NewView(1, height, liar.me, changes, None, ZERO_HASH, None, b"", bytes(64)))
    started = time.process_time()
    liar.say(frame, [liar.first])
    assert time.process_time() - started < 4
    assert liar.faults() == {"invalid-consensus-message"}
    liar.lives_on()


OTHERS: list[PeerMessage] = [
    ConsensusFrame("hotstuff", 1, b""),
    ConsensusFrame("", 2**63 - 1, b"\x00" * 100),
    ConsensusFrame("pbft", 1, b"\x90"),
    ConsensusFrame("pbft", 5, b"\xdd\xff\xff\xff\xff"),
    ConsensusFrame("pbft", 2, b"\x91" * 50_000),
    EvidenceFound(Evidence("pbft", b"\x90", b"\x90")),
]


def test_garbage_is_charged(liar: Liar) -> None:
    for message in OTHERS:
        liar.say(message)
    assert liar.faults() == {"invalid-consensus-message", "invalid-evidence"}
    liar.lives_on()


def test_evidence_against_the_innocent_is_refused(liar: Liar) -> None:
    """Made of statements that nobody signed, or that do not contradict each other."""
    height, view = liar.round
    victim = liar.keys[0].address
    one, two = (
        codec.encode(Prepare(view, height, bytes([n]) * 32, victim, bytes(64))) for n in (1, 2)
    )
    own = [
        codec.encode(liar.sign(Prepare(view, height + n, b"\x01" * 32, liar.me))) for n in (0, 1)
    ]
    for first, second in ((one, two), (one, one), (own[0], own[0]), (own[0], own[1])):
        liar.say(EvidenceFound(Evidence("pbft", first, second)))
    assert liar.faults() == {"invalid-evidence"}
    assert all(node.running.evidence == () for node in liar.honest)
    liar.lives_on()


def test_a_member_that_contradicts_itself_everywhere_does_not_fill_the_links(liar: Liar) -> None:
    """Genuine evidence, as much as it likes to make, told to a node and made before its eyes: each
    piece would otherwise be passed on to everybody, ahead of blocks and transactions."""
    network = liar.cluster.network
    height, view = liar.round
    before = network.messages["EvidenceFound"]
    for number in range(300):
        sides = [
            codec.encode(liar.sign(Prepare(number, height, bytes([side]) * 32, liar.me)))
            for side in (1, 2)
        ]
        liar.say(EvidenceFound(Evidence("pbft", sides[0], sides[1])), [liar.first])
    for number in range(48):
        for side in (3, 4):
            vote = Commit(view + number // 3, height + number % 3, bytes([side]) * 32, liar.me)
            liar.tell(vote, [liar.first])
    liar.run(100)
    told = network.messages["EvidenceFound"] - before
    assert len(liar.first.running.evidence) == EVIDENCE_PER_MEMBER_MAX
    assert told <= EVIDENCE_PER_MEMBER_MAX * 2 * 3
    liar.lives_on()


def proposal(liar: Liar, height: int, extra: int) -> Block:
    """A valid child of the final block, made by the liar."""
    ledger = liar.first.running.ledger
    parent = ledger.id_at(height - 1)
    assert parent is not None
    block = liar.first.running.builder.make(
        parent,
        claims=b"",
        bits=0,
        reward=0,
        producer=liar.me,
        wall_ms=liar.first.clock().wall_ms,
        extra_nonce=extra.to_bytes(8, "big"),
    )
    manifest: Manifest = block.manifest
    return assemble(parent, manifest, block.transactions, 0)


@pytest.fixture
def leader() -> Liar:
    liar = Liar(leads=True)
    assert primary_of(liar.members, liar.round[1]) == liar.me
    return liar


def test_an_equivocating_primary_is_found_out_and_the_network_goes_on(leader: Liar) -> None:
    """The liar leads and proposes two blocks: evidence of it reaches everybody's consensus page."""
    height, view = leader.round
    left, right = proposal(leader, height, 1), proposal(leader, height, 2)
    assert left.id != right.id
    for block, to in ((left, leader.honest[:1]), (right, leader.honest[1:])):
        leader.tell(PrePrepare(view, height, block.id, leader.me, block), to)
    leader.run(20)
    for block, to in ((right, leader.honest[:1]), (left, leader.honest[1:])):
        leader.tell(PrePrepare(view, height, block.id, leader.me, block), to)
    leader.run(50)
    assert all(len(node.running.evidence) >= 1 for node in leader.honest)
    leader.lives_on()
    final = leader.first.running.ledger.id_at(height)
    assert {node.running.ledger.id_at(height) for node in leader.honest} == {final}


def test_a_primary_that_sends_a_mutated_body_to_some(leader: Liar) -> None:
    """Same id, other transactions: who got the wrong body must still get the right one."""
    height, view = leader.round
    good = proposal(leader, height, 1)
    bodies = [
        good,
        Block(good.header, good.manifest, (*good.transactions, *good.transactions[-1:])),
        Block(good.header, msgspec.structs.replace(good.manifest, time_ms=1), ()),
    ]
    for node, body in zip(leader.honest, bodies, strict=True):
        leader.tell(PrePrepare(view, height, good.id, leader.me, body), [node])
    leader.run(50)
    leader.lives_on()


def test_an_invalid_proposal_is_not_voted_for(leader: Liar) -> None:
    height, view = leader.round
    good = proposal(leader, height, 1)
    manifest = msgspec.structs.replace(good.manifest, state_root=bytes(32))
    bad = assemble(good.previous, manifest, good.transactions, 0)
    leader.tell(PrePrepare(view, height, bad.id, leader.me, bad))
    leader.run(50)
    leader.lives_on()
    assert all(not node.running.ledger.knows(bad.id) for node in leader.honest)


def test_a_stranger_speaks_to_nobody() -> None:
    stranger = Liar(member=False)
    height, view = stranger.round
    asked = stranger.first.running.gate._verified
    known = len(asked)
    for number in range(500):
        vote = Commit(view, height + number % 3, number.to_bytes(32, "big"), stranger.me)
        stranger.tell(vote, [stranger.first])
    assert len(asked) == known, "no signature of a stranger was checked"
    stranger.lives_on()


def test_the_cheap_signatures_are_checked_here_too() -> None:
    """Else the tests above would prove nothing."""
    key = CheapKey(1)
    assert key.sign(b"a") == cheap_signature(key.public_key, b"a") != key.sign(b"b")
