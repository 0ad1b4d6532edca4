"""Proof documents of blocks that later members decided: the way from the genesis set is shown."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from chain.address import Address
from chain.errors import InvalidProof
from chain.transaction import OUT, VOTER, MembershipVote
from moot.lab.cluster import Cluster
from moot.node.documents import BlockProof, verify_document
from moot.node.rest.context import Context, SetChangesSeen
from moot.node.rest.proofs import block_proof


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


def document_of(cluster: Cluster, height: int | None = None) -> BlockProof:
    core = cluster.nodes[3].running
    ledger = core.ledger
    block_id = ledger.finalized() if height is None else ledger.id_at(height)
    assert block_id is not None
    context = SimpleNamespace(core=core, set_changes=SetChangesSeen())
    return asyncio.run(block_proof(cast(Context, context), block_id))


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


def test_hostile_documents_cost_little(changed: Cluster) -> None:
    document = document_of(changed)
    endless = msgspec.structs.replace(document, set_changes=document.set_changes * 1_000)
    refused(changed, endless, "malformed")
    broken = msgspec.structs.replace(document.set_changes[0], head="zz")
    refused(changed, msgspec.structs.replace(document, set_changes=[broken]), "malformed")
