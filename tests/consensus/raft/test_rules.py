"""Raft's rules, record, parameters and log: what is accepted, and what is refused, and why."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from chain import codec
from chain.block import Block
from chain.changes import LeaveJoint
from chain.errors import DamagedStore, InvalidBlock, InvalidProof
from chain.header import Header
from chain.proof import Evidence, Proof
from chain.validators import ValidatorSet
from consensus.raft import PROTOCOL, RaftParameters, log
from consensus.raft.log import BODIES_MAX, BODY_BYTES_MAX, Bodies, hints, last_common
from consensus.raft.messages import ENTRIES_MAX, HINTS_MAX, Place, Statement, parse_proof
from consensus.raft.progress import APPENDS_IN_FLIGHT_MAX, BYTES_IN_FLIGHT_MAX, Progress
from consensus.raft.record import RaftRecord, parse_record
from consensus.raft.rules import Claims
from tests.support.engine_cluster import (
    CHAIN_ID,
    START_MS,
    FakeTree,
    make_address,
    make_block,
    make_genesis_block,
)
from tests.support.raft_bench import members

RULES = PROTOCOL.rules(RaftParameters())
OLD = members(0, 1, 2)
JOINT = members(0, 1, 3, old=(0, 1, 2))
GENESIS = make_genesis_block(OLD)


class Chain:
    """A branch of blocks in a tree; the joint set decides from ``joint_from`` on."""

    def __init__(self, joint_from: int = 10**6) -> None:
        self.tree = FakeTree(GENESIS, OLD, "raft")
        self.tree.validator_sets = lambda height: JOINT if height >= joint_from else OLD
        self.tip: Block = GENESIS

    def child(
        self, term: int, producer: int = 0, *, leaves: bool = False, raw: bytes = b""
    ) -> Block:
        claims = raw or Claims(term, leaves).raw
        validators: ValidatorSet = self.tree.validators(self.tip.id)
        return make_block(
            self.tip.head, make_address(producer), validators, START_MS, claims=claims
        )

    def grow(self, term: int, producer: int = 0, *, leaves: bool = False) -> Block:
        self.tip = self.child(term, producer, leaves=leaves)
        RULES.check_header(self.tip.head, self.tree)
        self.tree.insert(self.tip.head)
        return self.tip

    def refused(self, block: Block) -> str:
        with pytest.raises(InvalidBlock) as refusal:
            RULES.check_header(block.head, self.tree)
        return refusal.value.code


def test_terms_begin_with_1_and_never_decrease() -> None:
    chain = Chain()
    assert chain.refused(chain.child(0)) == "term-goes-back"
    chain.grow(3)
    chain.grow(3)
    chain.grow(7, 1)
    assert chain.refused(chain.child(6)) == "term-goes-back"


def test_one_server_leads_in_a_term() -> None:
    chain = Chain()
    chain.grow(2, 1)
    assert chain.refused(chain.child(2, 0)) == "two-leaders"


def test_only_voters_make_blocks() -> None:
    chain = Chain(joint_from=2)
    assert chain.refused(chain.child(1, 3)) == "not-a-validator"
    chain.grow(1, 0)
    chain.grow(2, 3)
    chain.grow(3, 2)  # outgoing, and still a voter
    assert chain.refused(chain.child(4, 5)) == "not-a-validator"


@pytest.mark.parametrize(
    "raw", [b"", b"\x92\x01\xc3\x00", b"\x91\x01", bytes(17), b"\x92\xcc\x01\xc2"]
)
def test_claims_have_one_form(raw: bytes) -> None:
    chain = Chain()
    block = chain.child(1, raw=raw or b"\x90")
    assert chain.refused(block) == "malformed-claims"


def test_a_joint_configuration_is_left_once_and_only_where_it_is() -> None:
    chain = Chain(joint_from=2)
    assert chain.refused(chain.child(1, leaves=True)) == "not-joint"
    chain.grow(1)
    left = chain.grow(1, leaves=True)
    assert RULES.state_changes(left.head, chain.tree) == (LeaveJoint(),)
    assert chain.refused(chain.child(1, leaves=True)) == "not-joint"
    chain.grow(1)
    assert chain.refused(chain.child(1, leaves=True)) == "not-joint"
    assert RULES.state_changes(chain.child(1).head, chain.tree) == ()


def test_fields_that_raft_does_not_use_are_empty() -> None:
    chain = Chain()
    block = chain.child(1)
    header = block.header
    for wrong, code in (
        (
            Header(header.version, header.previous, header.merkle_root, header.time_s, 1, 0),
            "work-fields-set",
        ),
        (Header(9, header.previous, header.merkle_root, header.time_s, 0, 0), "bad-version"),
        (Header(header.version, header.previous, header.merkle_root, 1, 0, 0), "times-differ"),
    ):
        assert chain.refused(Block(wrong, block.manifest, ())) == code
    assert chain.refused(replace(block, seal=b"x")) == "seal-not-empty"
    assert chain.refused(Block(header, replace(block.manifest, reward=1), ())) == "reward-not-zero"


def _statement(block: Block, term: int = 1, leader: int = 0) -> Statement:
    return Statement(block.height, block.id, term, make_address(leader), bytes(64))


def test_a_statement_proves_its_own_block_by_a_voter_of_its_term_or_later() -> None:
    chain = Chain()
    block = chain.grow(3)

    def code(statement: Statement) -> str:
        try:
            RULES.check_proof(CHAIN_ID, block.head, statement.proof, OLD)
        except InvalidProof as refusal:
            return refusal.code
        return ""

    assert code(_statement(block, 3)) == "" and code(_statement(block, 9, 2)) == ""
    assert code(_statement(block, 2)) == "another-term"
    assert code(_statement(block, 3, 4)) == "not-a-member"
    assert code(_statement(GENESIS, 3)) == "another-block"
    assert code(replace(_statement(block, 3), signature=b"")) == "malformed-proof"
    (attestation,) = RULES.check_proof(CHAIN_ID, block.head, _statement(block, 3).proof, OLD)
    assert attestation.signer == make_address(0) and attestation.slot.view == 3


@pytest.mark.parametrize(
    "proof", [Proof("pbft", b""), Proof("raft", b""), Proof("raft", bytes(2_000))]
)
def test_what_is_no_statement_is_refused(proof: Proof) -> None:
    with pytest.raises(InvalidProof):
        parse_proof(proof)


def test_nothing_is_evidence_under_crash_faults() -> None:
    for judge in (
        lambda: RULES.check_evidence(Evidence("raft", b"", b""), OLD),
        lambda: RULES.evidence_attestations(Evidence("raft", b"", b"")),
    ):
        with pytest.raises(InvalidProof, match="no evidence"):
            judge()


def test_a_record_is_read_back_and_a_damaged_one_says_what_to_do() -> None:
    record = RaftRecord(term=7, voted_for=make_address(1), tip=GENESIS.id, height=4)
    assert parse_record(record.raw) == record
    for raw in (
        b"",
        record.raw[:-1],
        record.raw + b"\x00",
        codec.encode((2, 0, None, bytes(32), 0)),
    ):
        with pytest.raises(DamagedStore, match="restore it from a backup"):
            parse_record(raw)


# ------------------------------------------------------------------------------ log and progress


def _branch(chain: Chain, terms: list[int]) -> list[Block]:
    return [chain.grow(term, term % 3) for term in terms]


def test_hints_name_the_tip_each_terms_last_entry_and_what_is_final() -> None:
    chain = Chain()
    blocks = _branch(chain, [1, 1, 2, 2, 2, 5])
    found = hints(chain.tree, blocks[-1].id, GENESIS.id)
    assert [one.height for one in found] == [6, 5, 2, 0]
    found = hints(chain.tree, blocks[-1].id, blocks[3].id)
    assert [one.height for one in found] == [6, 5, 4]
    many = _branch(Chain(), list(range(1, 40)))
    chain = Chain()
    for block in many:
        chain.tree.insert(block.head)
    assert len(hints(chain.tree, many[-1].id, GENESIS.id)) == HINTS_MAX


def test_the_last_common_entry_is_the_highest_hint_on_the_own_log() -> None:
    chain = Chain()
    blocks = _branch(chain, [1, 1, 3])
    tip = Place(3, blocks[2].id)
    foreign = Place(2, bytes(32))
    assert last_common(chain.tree, tip, (foreign, Place(1, blocks[0].id))) == Place(1, blocks[0].id)
    assert last_common(chain.tree, tip, (Place(9, blocks[2].id), foreign)) is None
    assert last_common(chain.tree, Place(1, blocks[0].id), (tip,)) is None


def test_bodies_are_bounded_and_come_in_order_as_far_as_they_are_kept() -> None:
    chain = Chain()
    blocks = _branch(chain, [1] * (BODIES_MAX + 10))
    bodies = Bodies()
    for block in blocks:
        bodies.keep(block)
    assert len(bodies) == BODIES_MAX
    tip = Place(blocks[-1].height, blocks[-1].id)
    found = bodies.between(chain.tree, Place(20, blocks[19].id), tip)
    assert [block.height for block in found] == list(range(21, 21 + ENTRIES_MAX))
    assert bodies.between(chain.tree, Place(3, blocks[2].id), tip) == (), "dropped long ago"
    assert bodies.between(chain.tree, tip, tip) == ()
    assert sum(len(block.raw) for block in blocks) < BODY_BYTES_MAX


def test_one_append_holds_so_many_bytes_or_one_larger_block_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain, bodies = Chain(), Bodies()
    blocks = _branch(chain, [1] * 6)
    for block in blocks:
        bodies.keep(block)
    below, tip = Place(1, blocks[0].id), Place(6, blocks[5].id)

    def held(bytes_max: int) -> list[int]:
        monkeypatch.setattr(log, "APPEND_BYTES_MAX", bytes_max)
        return [block.height for block in bodies.between(chain.tree, below, tip)]

    three = sum(len(block.raw) for block in blocks[1:4])
    assert held(three) == [2, 3, 4]
    assert held(three - 1) == [2, 3]
    assert held(1) == [2]


def test_a_follower_is_probed_one_append_at_a_time_and_then_sent_ahead() -> None:
    progress = Progress(Place(5, bytes(32)), 0)
    progress.sent(Place(6, bytes(32)), 100)
    assert not progress.may_send(), "a probe is out"
    progress.accepted(3)
    assert progress.probing and progress.matched == 3, "that answers something older"
    progress.accepted(6)
    assert not progress.probing and progress.in_flight == 0
    for height in range(7, 7 + APPENDS_IN_FLIGHT_MAX):
        assert progress.may_send()
        progress.sent(Place(height, bytes(32)), 10)
    assert not progress.may_send()
    progress.accepted(8)
    assert progress.may_send() and progress.matched == 8
    progress.refused(Place(8, bytes(32)))
    assert progress.probing and progress.in_flight == 0 and progress.next.height == 8


def test_bytes_in_flight_are_bounded_too() -> None:
    progress = Progress(Place(0, bytes(32)), 0)
    progress.accepted(0)
    progress.sent(Place(1, bytes(32)), BYTES_IN_FLIGHT_MAX)
    assert not progress.may_send()
