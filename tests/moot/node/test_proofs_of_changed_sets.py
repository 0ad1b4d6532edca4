"""Proof documents of blocks that later members decided: the way from the genesis set is shown."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from chain.address import Address
from chain.errors import InvalidProof
from chain.ledger.disk import Rows, proof_key
from chain.transaction import OUT, VOTER, MembershipVote
from moot.lab.cluster import Cluster
from moot.node.documents import BlockProof, verify_document
from moot.node.rest.context import Context
from moot.node.rest.proofs import block_proof
from moot.node.rest.routes import Problem


def address_of(cluster: Cluster, number: int) -> Address:
    return cluster.nodes[number].signer.address


def wish(cluster: Cluster, voters: list[int], vote: MembershipVote) -> None:
    for voter in voters:
        cluster.vote(voter, vote)
    cluster.run(3_000)


@pytest.fixture(scope="module")
def changed() -> Cluster:
    """Four PBFT members became one that stayed and three others."""
    cluster = Cluster("pbft", 4, 11, observers=3)
    cluster.start()
    cluster.load(300)
    cluster.run(1_000)
    members = [0, 1, 2, 3]
    for leaving, coming in ((0, 4), (1, 5), (2, 6)):
        wish(cluster, members, MembershipVote(address_of(cluster, coming), VOTER, 1, "new"))
        members = [*members[1:], coming]
        wish(cluster, members, MembershipVote(address_of(cluster, leaving), OUT))
    return cluster


def document_of(cluster: Cluster, height: int | None = None, number: int = 3) -> BlockProof:
    core = cluster.nodes[number].running
    ledger = core.ledger
    block_id = ledger.finalized() if height is None else ledger.id_at(height)
    assert block_id is not None
    context = SimpleNamespace(core=core)
    return block_proof(cast(Context, context), block_id)


def refused(cluster: Cluster, document: BlockProof, code: str) -> None:
    with pytest.raises(InvalidProof) as caught:
        verify_document(msgspec.json.encode(document), cluster.verifier)
    assert caught.value.code == code


def test_a_block_of_a_later_set_is_proven_from_genesis(changed: Cluster) -> None:
    document = document_of(changed)
    assert len(document.set_changes) == 6
    verdict = verify_document(msgspec.json.encode(document), changed.verifier)
    assert any("by 6 changes" in sentence for sentence in verdict.proves)
    assert any("is final" in sentence for sentence in verdict.proves)
    assert any("former set" in sentence for sentence in verdict.assumes)
    early = document_of(changed, 1)
    assert early.set_changes == []
    assert "former" not in str(verify_document(msgspec.json.encode(early), changed.verifier))


def test_every_final_block_has_a_document(changed: Cluster) -> None:
    ledger = changed.nodes[3].running.ledger
    for height in range(1, ledger.height(ledger.finalized()) + 1, 3):
        verify_document(msgspec.json.encode(document_of(changed, height)), changed.verifier)


def test_a_way_with_a_gap_or_a_stranger_proves_nothing(changed: Cluster) -> None:
    document = document_of(changed)
    changes = document.set_changes

    def with_changes(*listed: Any) -> BlockProof:
        return msgspec.structs.replace(document, set_changes=list(listed))

    refused(changed, with_changes(), "other-validators")
    refused(changed, with_changes(*changes[:-1]), "other-validators")
    refused(changed, with_changes(*reversed(changes)), "not-a-member")
    refused(changed, with_changes(*changes, changes[-1]), "unordered-changes")
    other = msgspec.structs.replace(changes[0], validators=changes[1].validators)
    refused(changed, with_changes(other, *changes[1:]), "other-validators")
    # A certificate by those who came in through this very change does not count for it.
    swapped = msgspec.structs.replace(changes[-2], proof=changes[-1].proof)
    with pytest.raises(InvalidProof):
        verify_document(
            msgspec.json.encode(with_changes(*changes[:-2], swapped, changes[-1])),
            changed.verifier,
        )
    late = msgspec.structs.replace(document, validators=changes[0].validators)
    refused(changed, late, "other-validators")


@pytest.fixture
def unproven(changed: Cluster) -> Iterator[tuple[Cluster, list[int]]]:
    """The node holds no proof of some blocks: of three that change nothing, and of one before a
    change of the members. It has learnt of later ones only."""
    disk = changed.nodes[3].running.ledger.disk
    ledger = changed.nodes[3].running.ledger
    changes = [link.head.height for link in disk.links()]
    lacking = [1, 2, 3, changes[2] - 1]
    keys = [proof_key(disk_id) for height in lacking if (disk_id := ledger.id_at(height))]
    before: Rows = {key: disk.store.get(key) for key in keys}
    disk.write(dict.fromkeys(keys), sync=False)
    yield changed, lacking
    disk.write(before, sync=False)


def test_a_block_without_a_proof_of_its_own_is_shown_by_the_next_that_has_one(
    unproven: tuple[Cluster, list[int]],
) -> None:
    cluster, lacking = unproven
    ledger = cluster.nodes[3].running.ledger
    for height, above in zip(lacking, (3, 2, 1, 1), strict=True):
        assert ledger.proof(ledger.id_at(height) or b"") is None
        document = document_of(cluster, height)
        assert len(document.confirmations) == above
        verdict = verify_document(msgspec.json.encode(document), cluster.verifier)
        assert verdict.height == height
        assert any(
            f"at height {height} is final" in each
            and f"at height {height + above}, which stands on it" in each
            for each in verdict.proves
        )
    members = {document_of(cluster, height).validators for height in (lacking[-1], lacking[-1] + 2)}
    assert len(members) == 2, "the run of heads ends where another set begins to decide"


def test_heads_on_top_that_do_not_lead_to_the_proven_block_prove_nothing(
    unproven: tuple[Cluster, list[int]],
) -> None:
    cluster, _ = unproven
    document = document_of(cluster, 1)
    two, three, four = document.confirmations

    def with_heads(*listed: str) -> BlockProof:
        return msgspec.structs.replace(document, confirmations=list(listed))

    refused(cluster, with_heads(two, four), "not-linked")
    refused(cluster, with_heads(three, four), "not-linked")
    other = document_of(cluster, 2)
    refused(cluster, msgspec.structs.replace(document, head=other.head), "not-linked")
    beyond = document_of(cluster, 5)
    for short in (with_heads(two, three), with_heads(), with_heads(two, three, four, beyond.head)):
        with pytest.raises(InvalidProof):
            verify_document(msgspec.json.encode(short), cluster.verifier)
    swapped = msgspec.structs.replace(document, proof=beyond.proof)
    with pytest.raises(InvalidProof):
        verify_document(msgspec.json.encode(swapped), cluster.verifier)


def test_heads_on_top_may_not_pass_over_a_change_of_the_members(changed: Cluster) -> None:
    """Who left the set cannot show a block final that its successors decided."""
    disk = changed.nodes[3].running.ledger.disk
    change = disk.links()[0].head.height
    document = document_of(changed, change)
    after = document_of(changed, change + 1)
    lie = msgspec.structs.replace(
        document,
        confirmations=[after.head],
        proof=after.proof,
        validators=document.validators,
    )
    refused(changed, lie, "other-validators")


def test_a_block_far_below_the_next_proven_one_is_an_error_that_says_so(
    changed: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = changed.nodes[3].running.ledger
    monkeypatch.setattr(ledger, "proven_from", lambda height: None)
    with pytest.raises(Problem) as caught:
        document_of(changed, 5)
    assert (caught.value.status, caught.value.code) == (404, "no-proof")
    assert "far above" in caught.value.sentence


def test_what_was_pruned_takes_no_proof_of_a_change_along(changed: Cluster) -> None:
    ledger = changed.nodes[6].running.ledger
    ledger.flush()
    top = ledger.height(ledger.finalized())
    assert ledger.prune(top - 3) > ledger.disk.links()[-1].head.height
    while ledger.sweep():
        pass
    document = document_of(changed, number=6)
    assert len(document.set_changes) == 6
    verify_document(msgspec.json.encode(document), changed.verifier)


def test_hostile_documents_cost_little(changed: Cluster) -> None:
    document = document_of(changed)
    endless = msgspec.structs.replace(document, set_changes=document.set_changes * 1_000)
    refused(changed, endless, "malformed")
    broken = msgspec.structs.replace(document.set_changes[0], head="zz")
    refused(changed, msgspec.structs.replace(document, set_changes=[broken]), "malformed")
