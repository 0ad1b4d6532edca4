"""The rules of the Paxos family: headers, proofs, and what they refuse."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from chain.block import Block
from chain.errors import InvalidBlock, InvalidProof
from chain.proof import Evidence, Proof
from chain.validators import Validator, validator_set
from consensus.multipaxos import PROTOCOL as MULTIPAXOS
from consensus.multipaxos import MultiPaxosParameters
from consensus.paxos import PROTOCOL, PaxosParameters, PaxosRules
from consensus.paxos.ballot import Ballot
from consensus.paxos.messages import Certificate, Signed
from tests.support.fake_chain import (
    CHAIN_ID,
    START_MS,
    FakeTree,
    make_address,
    make_block,
    make_genesis_block,
)

MEMBERS = validator_set(Validator(make_address(number), 1) for number in range(3))
GENESIS = make_genesis_block(MEMBERS)
RULES = PROTOCOL.rules(PaxosParameters())
SIGNATURE = bytes(64)


def tree() -> FakeTree:
    return FakeTree(GENESIS, MEMBERS, "paxos")


def block(producer: int = 0, claims: bytes = b"") -> Block:
    return make_block(GENESIS.head, make_address(producer), MEMBERS, START_MS, claims=claims)


def certificate(of: Block, acceptors: tuple[int, ...] = (0, 1), height: int = 1) -> Certificate:
    accepts = tuple(Signed(make_address(number), SIGNATURE) for number in acceptors)
    return Certificate(height, Ballot(4, make_address(2)), of.id, accepts)


def test_a_plain_block_of_a_member_is_right() -> None:
    RULES.check_header(block().head, tree())
    assert RULES.earliest_ms(block().head) == 0
    assert RULES.weight(block().head) == 1
    assert RULES.author(block(1).head) == make_address(1)
    assert RULES.seal_attestations(block().head) == ()
    assert RULES.state_changes(block().head, tree()) == ()


def with_header(of: Block, **changes: object) -> Block:
    return Block(replace(of.header, **changes), of.manifest, of.transactions)


def with_manifest(of: Block, **changes: object) -> Block:
    return Block(of.header, replace(of.manifest, **changes), of.transactions)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (with_header(block(), bits=1), "work-fields-set"),
        (with_header(block(), nonce=1), "work-fields-set"),
        (with_header(block(), version=1), "bad-version"),
        (with_header(block(), time_s=1), "times-differ"),
        (block(claims=b"x"), "claims-not-empty"),
        (with_manifest(block(), reward=1), "reward-not-zero"),
        (Block(block().header, block().manifest, (), b"seal"), "seal-not-empty"),
        (block(producer=7), "not-a-validator"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_paxos_does_not_use_stays_empty(wrong: Block, code: str) -> None:
    with pytest.raises(InvalidBlock) as refused:
        RULES.check_header(wrong.head, tree())
    assert refused.value.code == code


def test_a_majoritys_acceptances_are_a_proof() -> None:
    one = block()
    attested = RULES.check_proof(CHAIN_ID, one.head, certificate(one).proof("paxos"), MEMBERS)
    assert [each.signer for each in attested] == [make_address(0), make_address(1)]
    (first, second) = attested
    assert first.slot == second.slot
    assert first.content == second.content


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (certificate(block(), (0,)), "no-majority"),
        (certificate(block(), (0, 0)), "not-distinct"),
        (certificate(block(), (1, 0)), "not-distinct"),
        (certificate(block(), (0, 7)), "not-a-member"),
        (certificate(block(1)), "another-block"),
        (certificate(block(), height=2), "another-block"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_prove_is_refused(wrong: Certificate, code: str) -> None:
    with pytest.raises(InvalidProof) as refused:
        RULES.check_proof(CHAIN_ID, block().head, wrong.proof("paxos"), MEMBERS)
    assert refused.value.code == code


def test_foreign_and_malformed_proofs_are_refused() -> None:
    one = block()
    for proof, code in (
        (certificate(one).proof("multipaxos"), "foreign-proof"),
        (Proof("paxos", b""), "malformed-proof"),
        (Proof("paxos", certificate(one).proof("paxos").body + b"\x00"), "malformed-proof"),
    ):
        with pytest.raises(InvalidProof) as refused:
            RULES.check_proof(CHAIN_ID, one.head, proof, MEMBERS)
        assert refused.value.code == code


def test_a_member_without_a_vote_neither_proves_nor_produces() -> None:
    one = block()
    members = validator_set([Validator(make_address(0), 0), *MEMBERS.members[1:]])
    with pytest.raises(InvalidProof, match="no vote"):
        RULES.check_proof(CHAIN_ID, one.head, certificate(one).proof("paxos"), members)
    with pytest.raises(InvalidBlock, match="no vote"):
        RULES.check_header(one.head, FakeTree(GENESIS, members, "paxos"))


def test_nobody_is_accused_of_lying() -> None:
    evidence = Evidence("paxos", b"", b"")
    with pytest.raises(InvalidProof, match="not accused"):
        RULES.check_evidence(evidence, MEMBERS)
    with pytest.raises(InvalidProof, match="not accused"):
        RULES.evidence_attestations(evidence)


@pytest.mark.parametrize("n", range(1, 40))
def test_quorums_meet_and_half_less_one_may_fail(n: int) -> None:
    properties = RULES.properties
    assert 2 * properties.quorum(n) > n
    assert n - properties.faults(n) >= properties.quorum(n)


def test_both_engines_make_the_same_claims() -> None:
    multi = MULTIPAXOS.rules(MultiPaxosParameters())
    assert isinstance(multi, PaxosRules)
    assert multi.properties == msgspec.structs.replace(RULES.properties, leader_stays=True)
    assert (multi.engine, RULES.engine) == ("multipaxos", "paxos")
    assert multi.properties.linearizable_reads and multi.properties.finalizes
    assert PROTOCOL.rules(PaxosParameters(heartbeat_ms=5)).properties.mints_when_idle


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: PaxosParameters(retry_ms=500, retry_ms_max=400),
        lambda: MultiPaxosParameters(lease_ms=200, renew_ms=101),
        lambda: MultiPaxosParameters(election_ms=500, election_ms_max=400),
    ],
)
def test_parameters_that_cannot_work_are_refused(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(ValueError, match="is below"):
        wrong()


def test_pauses_double_up_to_their_ceiling() -> None:
    parameters = PaxosParameters(retry_ms=100, retry_ms_max=350)
    assert [parameters.pause_ms(failures) for failures in (0, 1, 2, 99)] == [100, 200, 350, 350]
    multi = MultiPaxosParameters(election_ms=100, election_ms_max=350)
    assert [multi.pause_ms(failures) for failures in (0, 1, 2, 99)] == [100, 200, 350, 350]
