"""PBFT's rules, certificates, evidence and messages on their own."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest
from msgspec.structs import replace

from chain import codec
from chain.address import key_address
from chain.block import Block
from chain.errors import DamagedStore, InvalidBlock, InvalidMessage, InvalidProof
from chain.hashing import ZERO_HASH, sha256
from chain.header import Header
from chain.proof import Evidence, Proof
from chain.validators import ValidatorSet, quorum_byzantine, validator_set
from chain.verifiers import default_verifier
from consensus.contract import Message
from consensus.pbft import PROTOCOL, PbftParameters, PbftRules
from consensus.pbft.certificates import check_commit_certificate, check_prepared_certificate
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
from consensus.pbft.record import Choice, PbftRecord, Proposal, parse_record
from consensus.pbft.view_change import check_new_view, check_view_change
from consensus.registry import protocol
from moot.node.gate import Gate, Signer
from tests.support.chains import address as key_number
from tests.support.chains import private_key
from tests.support.engine_cluster import (
    CHAIN_ID,
    START_MS,
    Cluster,
    FakeTree,
    make_address,
    make_block,
)

RULES = PbftRules(PbftParameters())
SIGNATURE = bytes(64)
BLOCK = sha256(b"block")


def members_of(n: int) -> ValidatorSet:
    return Cluster(PROTOCOL, n).validators


def commits_of(numbers: list[int], height: int = 1, view: int = 0) -> CommitCertificate:
    signed = tuple(SignedBy(make_address(number), SIGNATURE) for number in numbers)
    return CommitCertificate(view, height, BLOCK, signed)


# ------------------------------------------------------------------------------ certificates


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 10])
def test_commit_certificate_needs_exactly_a_quorum(n: int) -> None:
    members, quorum = members_of(n), quorum_byzantine(n)
    check_commit_certificate(commits_of(list(range(quorum))), members)
    check_commit_certificate(commits_of(list(range(n))), members)
    with pytest.raises(InvalidProof) as caught:
        check_commit_certificate(commits_of(list(range(quorum - 1))), members)
    assert caught.value.code == "no-quorum"


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ([0, 1, 1], "signers-not-sorted"),
        ([0, 0, 0], "signers-not-sorted"),
        ([2, 1, 0], "signers-not-sorted"),
        ([0, 1, 9], "not-a-member"),
        ([0, 1], "no-quorum"),
        ([], "no-quorum"),
    ],
)
def test_forged_commit_certificates_are_refused(numbers: list[int], code: str) -> None:
    """Bug B9: duplicates, strangers, disorder, too few."""
    with pytest.raises(InvalidProof) as caught:
        check_commit_certificate(commits_of(numbers), members_of(4))
    assert caught.value.code == code


def test_random_certificates_pass_only_with_a_quorum_of_distinct_members() -> None:
    """Bug B9 as a fuzz: any list of signers against the definition."""
    rng = random.Random(9)
    for _ in range(3_000):
        n = rng.randint(1, 7)
        numbers = [rng.randint(0, n) for _ in range(rng.randint(0, n + 1))]
        if rng.random() < 0.7:
            numbers = sorted(set(numbers))
        sound = (
            numbers == sorted(set(numbers))
            and all(number < n for number in numbers)
            and len(numbers) >= quorum_byzantine(n)
        )
        try:
            check_commit_certificate(commits_of(numbers), members_of(n))
            passed = True
        except InvalidProof:
            passed = False
        assert passed == sound, (n, numbers)


def prepared_by(primary: int, backups: list[int], view: int = 0) -> PreparedCertificate:
    signed = tuple(SignedBy(make_address(number), SIGNATURE) for number in backups)
    return PreparedCertificate(view, 1, BLOCK, make_address(primary), SIGNATURE, signed)


def test_prepared_certificate_is_the_primary_and_quorum_less_one_backups() -> None:
    members = members_of(4)
    check_prepared_certificate(prepared_by(0, [1, 2]), members)
    check_prepared_certificate(prepared_by(1, [0, 3], view=1), members)
    for wrong, code in (
        (prepared_by(1, [2, 3]), "wrong-primary"),
        (prepared_by(0, [0, 1]), "primary-prepared"),
        (prepared_by(0, [1]), "no-quorum"),
        (prepared_by(0, [1, 1]), "signers-not-sorted"),
        (prepared_by(0, [1, 8]), "not-a-member"),
    ):
        with pytest.raises(InvalidProof) as caught:
            check_prepared_certificate(wrong, members)
        assert caught.value.code == code
    with pytest.raises(InvalidProof):
        check_prepared_certificate(prepared_by(0, [1, 2]), validator_set(()))


def test_proof_is_of_this_block_and_gives_its_signatures() -> None:
    cluster = Cluster(PROTOCOL, 4)
    block = make_block(cluster.genesis.head, make_address(0), cluster.validators, START_MS)
    signed = tuple(SignedBy(make_address(number), SIGNATURE) for number in range(3))
    proof = CommitCertificate(2, 1, block.id, signed).proof
    attested = RULES.check_proof(CHAIN_ID, block.head, proof, cluster.validators)
    assert [one.signer for one in attested] == [make_address(number) for number in range(3)]
    assert {one.slot for one in attested} == {("commit", 1, 2)}
    for wrong, code in (
        (CommitCertificate(2, 1, BLOCK, signed).proof, "another-block"),
        (CommitCertificate(2, 2, block.id, signed).proof, "another-block"),
        (CommitCertificate(2, 1, block.id, signed[:2]).proof, "no-quorum"),
        (Proof("raft", proof.body), "foreign-proof"),
        (Proof("pbft", proof.body + b"\x00"), "malformed-proof"),
    ):
        with pytest.raises(InvalidProof) as caught:
            RULES.check_proof(CHAIN_ID, block.head, wrong, cluster.validators)
        assert caught.value.code == code


# ------------------------------------------------------------------------------ headers


def _with_manifest(block: Block, **changes: object) -> Block:
    manifest = replace(block.manifest, **changes)
    header = replace(block.header, merkle_root=manifest.leaf)
    return replace(block, manifest=manifest, header=header)


def _with_header(block: Block, **changes: int) -> Block:
    header: Header = replace(block.header, **changes)
    return replace(block, header=header)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda block: _with_header(block, bits=1), "work-fields-set"),
        (lambda block: _with_header(block, nonce=1), "work-fields-set"),
        (lambda block: _with_header(block, version=1), "bad-version"),
        (lambda block: _with_header(block, time_s=1), "times-differ"),
        (lambda block: _with_manifest(block, claims=b"\x00"), "claims-not-empty"),
        (lambda block: _with_manifest(block, reward=1), "reward-not-zero"),
        (lambda block: _with_manifest(block, producer=make_address(9)), "not-a-validator"),
        (lambda block: replace(block, seal=b"\x00"), "seal-not-empty"),
    ],
)
def test_header_fields_that_pbft_does_not_use_are_empty(
    spoil: Callable[[Block], Block], code: str
) -> None:
    cluster = Cluster(PROTOCOL, 4)
    tree = FakeTree(cluster.genesis, cluster.validators, "pbft")
    block = make_block(cluster.genesis.head, make_address(0), cluster.validators, START_MS)
    RULES.check_header(block.head, tree)
    with pytest.raises(InvalidBlock) as caught:
        RULES.check_header(spoil(block).head, tree)
    assert caught.value.code == code


# ------------------------------------------------------------------------------ evidence


def _evidence(first: Message, second: Message) -> Evidence:
    return Evidence("pbft", codec.encode(first), codec.encode(second))


def test_two_blocks_in_one_slot_are_evidence() -> None:
    members, guilty = members_of(4), make_address(2)
    for kind in (PrePrepare, Prepare, Commit):
        first = kind(3, 7, BLOCK, guilty, signature=SIGNATURE)
        second = kind(3, 7, ZERO_HASH, guilty, signature=SIGNATURE)
        evidence = _evidence(first, second)
        assert RULES.check_evidence(evidence, members) == guilty
        assert len(RULES.evidence_attestations(evidence)) == 2


def test_what_does_not_contradict_is_no_evidence() -> None:
    members, member = members_of(4), make_address(2)
    vote = Commit(3, 7, BLOCK, member, SIGNATURE)
    body = make_block(Cluster(PROTOCOL, 4).genesis.head, member, members, START_MS)
    for other, code in (
        (vote, "no-contradiction"),
        (Commit(4, 7, ZERO_HASH, member, SIGNATURE), "no-contradiction"),
        (Commit(3, 8, ZERO_HASH, member, SIGNATURE), "no-contradiction"),
        (Commit(3, 7, ZERO_HASH, make_address(1), SIGNATURE), "no-contradiction"),
        (Prepare(3, 7, ZERO_HASH, member, SIGNATURE), "no-contradiction"),
        (PrePrepare(3, 7, ZERO_HASH, member, body, SIGNATURE), "malformed-evidence"),
        (ViewChange(3, 7, ZERO_HASH, None, member, SIGNATURE), "malformed-evidence"),
    ):
        with pytest.raises(InvalidProof) as caught:
            RULES.check_evidence(_evidence(vote, other), members)
        assert caught.value.code == code
    stranger = make_address(9)
    strange = _evidence(
        Commit(3, 7, BLOCK, stranger, SIGNATURE), Commit(3, 7, ZERO_HASH, stranger, SIGNATURE)
    )
    with pytest.raises(InvalidProof) as caught:
        RULES.check_evidence(strange, members)
    assert caught.value.code == "not-a-member"
    with pytest.raises(InvalidProof):
        RULES.check_evidence(Evidence("raft", strange.first, strange.second), members)


# ------------------------------------------------------------------------------ view changes


def change_of(number: int, *, view: int = 1, height: int = 1, **more: object) -> ViewChange:
    fields: dict[str, object] = {"parent": ZERO_HASH, "prepared": None, **more}
    return ViewChange(
        view,
        height,
        sender=make_address(number),
        signature=SIGNATURE,
        **fields,  # type: ignore[arg-type]
    )


def test_view_change_must_prove_what_it_claims() -> None:
    """Bug B2: a claim of having prepared is a certificate of an older view at this height."""
    members = members_of(4)
    check_view_change(change_of(2), members, ZERO_HASH)
    check_view_change(change_of(2, prepared=prepared_by(0, [1, 2])), members, ZERO_HASH)
    for wrong, code in (
        (change_of(2, parent=BLOCK), "wrong-parent"),
        (change_of(2, prepared=prepared_by(1, [0, 2], view=1)), "wrong-prepared"),
        (change_of(2, prepared=replace(prepared_by(0, [1, 2]), height=2)), "wrong-prepared"),
        (change_of(2, prepared=prepared_by(0, [1])), "prepared-no-quorum"),
        (change_of(2, prepared=prepared_by(3, [1, 2])), "prepared-wrong-primary"),
    ):
        with pytest.raises(InvalidMessage) as caught:
            check_view_change(wrong, members, ZERO_HASH)
        assert caught.value.code == code


def test_new_view_is_judged_in_full() -> None:
    """Bug B2: primary, quorum, distinct senders, views, heights, choice, body."""
    members = members_of(4)
    three = (change_of(0), change_of(1), change_of(2))
    good = NewView(1, 1, make_address(1), three)
    check_new_view(good, members, ZERO_HASH)
    older = (change_of(0, height=0), *three[1:])
    check_new_view(replace(good, view_changes=older), members, ZERO_HASH)
    body = make_block(Cluster(PROTOCOL, 4).genesis.head, make_address(1), members, START_MS)
    for wrong, code in (
        (replace(good, sender=make_address(2)), "not-the-primary"),
        (replace(good, view_changes=three[:2]), "no-quorum"),
        (replace(good, view_changes=(three[0], three[0], three[1])), "view-changes-not-sorted"),
        (replace(good, view_changes=(*three[:2], change_of(9))), "not-a-member"),
        (replace(good, view_changes=(*three[:2], change_of(2, view=2))), "foreign-view-change"),
        (replace(good, view_changes=(*three[:2], change_of(2, height=2))), "foreign-view-change"),
        (replace(good, view_changes=(*three[:2], change_of(2, parent=BLOCK))), "wrong-parent"),
        (replace(good, block_id=BLOCK), "wrong-choice"),
        (replace(good, block=body), "another-block"),
        (
            replace(good, view_changes=(*three[:2], change_of(2, prepared=prepared_by(0, [1, 2])))),
            "wrong-choice",
        ),
    ):
        with pytest.raises(InvalidMessage) as caught:
            check_new_view(wrong, members, ZERO_HASH)
        assert caught.value.code == code


# ------------------------------------------------------------------------------ messages, record


def sample_messages(sender: bytes) -> list[Message]:
    """One of each type, unsigned where it is the sender's to sign."""
    certificate = commits_of([0, 1, 2])
    change = ViewChange(2, 1, ZERO_HASH, prepared_by(0, [1, 2]), sender)
    return [
        PrePrepare(0, 1, BLOCK, sender),
        Prepare(0, 1, BLOCK, sender),
        Commit(0, 1, BLOCK, sender),
        change,
        NewView(2, 1, sender, (replace(change, signature=SIGNATURE),), certificate),
        NewView(2, 1, sender, (replace(change, signature=SIGNATURE),), None, BLOCK),
        Decided(certificate),
    ]


@pytest.mark.parametrize("position", range(7))
def test_messages_survive_the_wire_and_are_signed_once(position: int) -> None:
    """Canonical bytes; every open signature is filled by the signer, none is left."""
    me = key_number(0)
    message = sample_messages(me)[position]
    signer = Signer(me, private_key(0).sign, CHAIN_ID, "pbft")
    signed = signer.sign(message)
    assert all(one.signature for one in signed.attestations())
    assert signer.sign(message) == signed, "saying it again signs the same"
    assert codec.decode(codec.encode(signed), type(signed)) == signed
    assert type(signed).__struct_config__.tag == type(message).__struct_config__.tag


def test_the_real_gate_lets_honest_votes_in_and_others_not() -> None:
    """Real Ed25519: another chain's, view's, kind's or key's signature is worth nothing."""
    me, other = key_number(0), key_number(1)
    gate = Gate(PROTOCOL, CHAIN_ID, default_verifier())
    vote = Signer(me, private_key(0).sign, CHAIN_ID, "pbft").sign(Commit(4, 9, BLOCK, me))
    assert isinstance(vote, Commit)
    assert gate.unpack(gate.pack(vote)) == vote
    foreign = Signer(me, private_key(0).sign, sha256(b"elsewhere"), "pbft")
    for forged in (
        replace(vote, view=5),
        replace(vote, height=8),
        replace(vote, block_id=ZERO_HASH),
        replace(vote, sender=other),
        Prepare(4, 9, BLOCK, me, vote.signature),
        PrePrepare(4, 9, BLOCK, me, None, vote.signature),
        foreign.sign(Commit(4, 9, BLOCK, me)),
        Decided(CommitCertificate(4, 9, BLOCK, (SignedBy(other, vote.signature),))),
    ):
        with pytest.raises(InvalidMessage) as caught:
            gate.unpack(gate.pack(forged))
        assert caught.value.code == "bad-signature"


def test_record_round_trip_and_first_record() -> None:
    record = PbftRecord(
        height=9,
        view=4,
        active=False,
        proposal=Proposal(4, BLOCK, make_address(0), SIGNATURE),
        pre_prepare=Choice(4, BLOCK),
        prepare=Choice(3, BLOCK),
        commit=Choice(3, BLOCK),
        prepared=prepared_by(0, [1, 2]),
        decided=commits_of([0, 1, 2]),
        view_change_sent=(9, 4),
        new_view_sent=(8, 2),
    )
    assert parse_record(record.raw) == record
    assert parse_record(PROTOCOL.first_record(CHAIN_ID)) == PbftRecord()
    moved = record.at_height(10, record.decided)
    assert (moved.view, moved.active, moved.view_change_sent) == (4, False, (9, 4))
    assert (moved.proposal, moved.prepared, moved.prepare, moved.commit) == (None,) * 4


def test_record_cut_at_any_byte_is_refused() -> None:
    """Bug B12: a torn record is never read as a shorter one."""
    raw = PbftRecord(height=9, view=4, prepared=prepared_by(0, [1, 2])).raw
    for length in range(len(raw)):
        with pytest.raises(DamagedStore):
            parse_record(raw[:length])


def test_a_heartbeat_mints_when_idle() -> None:
    assert not PbftRules(PbftParameters()).properties.mints_when_idle
    assert PbftRules(PbftParameters(heartbeat_ms=1)).properties.mints_when_idle


def test_protocol_is_registered_and_its_parameters_are_checked() -> None:
    found = protocol("pbft")
    assert type(found).__name__ == "PbftProtocol"
    assert {kind.__struct_config__.tag for kind in found.messages} == set(range(1, 9))
    defaults = msgspec.structs.asdict(PbftParameters())
    msgspec.convert({**defaults, **found.devnet_parameters}, found.parameters)
    for wrong in (
        {"view_timeout_ms": 0},
        {"view_timeout_ms": 5_000, "view_timeout_ms_max": 4_000},
        {"heartbeat_ms": -1},
        {"unknown": 1},
    ):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, PbftParameters)
    assert key_address(bytes(32)) not in members_of(4)
