"""Bitcoin's Merkle tree against a naive model and python-bitcoinlib; and its two known flaws."""

from __future__ import annotations

import pytest
from bitcoin.core import CBlock
from hypothesis import given
from hypothesis import strategies as st

from chain.address import key_address
from chain.block import Block, BlockHead
from chain.errors import InvalidBlock
from chain.hashing import sha256d
from chain.header import Header
from chain.manifest import Manifest
from chain.merkle import merkle_branch, merkle_root, root_from_branch
from chain.transaction import Transaction, Transfer

A = key_address(b"a" * 32)
MANIFEST = Manifest(7, 8, A, b"s" * 32, b"v" * 32, b"", 9, bytes(8))
leaves = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40, unique=True)


def naive_root(hashes: list[bytes]) -> bytes:
    """The definition, by recursion over halves of a power of two, short sides repeated."""
    if len(hashes) == 1:
        return hashes[0]
    if len(hashes) % 2:
        hashes = [*hashes, hashes[-1]]
    return naive_root(
        [sha256d(left + right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)]
    )


@given(leaves)
def test_root_is_the_models_and_bitcoinlibs(hashes):
    root = merkle_root(hashes)
    assert root == naive_root(hashes)
    assert root == CBlock.build_merkle_tree_from_txids(hashes)[-1]


@given(leaves, st.data())
def test_every_branch_leads_to_the_root(hashes, data):
    position = data.draw(st.integers(0, len(hashes) - 1))
    branch = merkle_branch(hashes, position)
    root = merkle_root(hashes)
    assert root_from_branch(hashes[position], branch, position) == root
    assert len(branch) == (len(hashes) - 1).bit_length()
    other = data.draw(st.binary(min_size=32, max_size=32).filter(lambda h: h != hashes[position]))
    assert root_from_branch(other, branch, position) != root
    if branch:
        level = data.draw(st.integers(0, len(branch) - 1))
        spoilt = (*branch[:level], sha256d(branch[level]), *branch[level + 1 :])
        assert root_from_branch(hashes[position], spoilt, position) != root


@given(leaves)
def test_a_repeated_tail_is_refused_although_the_root_is_the_same(hashes):
    """CVE-2012-2459: such a list must not pass for the honest one with the same root."""
    size = len(hashes) & -len(hashes)
    doubled = hashes + hashes[-size:]
    if len(hashes) == size:
        # A whole power of two repeated makes a higher tree with another root.
        assert naive_root(doubled) != naive_root(hashes)
    else:
        assert naive_root(doubled) == naive_root(hashes)
    with pytest.raises(InvalidBlock) as caught:
        merkle_root(doubled)
    assert caught.value.code == "mutated-merkle-tree"


def test_equal_leaves_that_are_no_pair_are_allowed():
    one, two = b"1" * 32, b"2" * 32
    assert merkle_root([one, two, two, one]) == naive_root([one, two, two, one])


def block(count: int) -> Block:
    transactions = tuple(
        Transaction(A, nonce, 0, 0, 0, (Transfer(A, 1),), (bytes(64),)) for nonce in range(count)
    )
    bare = Block(Header(0, bytes(32), bytes(32), 0, 0, 0), MANIFEST, transactions)
    header = Header(0, bytes(32), merkle_root(bare.leaves), 0, 0, 0)
    return Block(header, MANIFEST, transactions, b"seal")


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8])
def test_a_blocks_head_ties_its_manifest_to_its_header(count):
    made = block(count)
    made.check_body()
    head = made.head
    head.check_branch()
    assert (head.id, head.previous, head.height, head.time_ms, head.seal) == (
        made.id,
        made.previous,
        made.height,
        8,
        b"seal",
    )
    for spoilt in (
        BlockHead(head.header, Manifest(8, 8, A, b"s" * 32, b"v" * 32, b"", 9, bytes(8))),
        BlockHead(head.header, MANIFEST, (*head.branch, bytes(32))),
        BlockHead(Header(0, bytes(32), bytes(32), 0, 0, 0), MANIFEST, head.branch),
    ):
        with pytest.raises(InvalidBlock) as caught:
            spoilt.check_branch()
        assert caught.value.code == "manifest-not-in-block"


def test_another_body_is_refused():
    made = block(3)
    for transactions in (made.transactions[:2], made.transactions[::-1], ()):
        with pytest.raises(InvalidBlock) as caught:
            Block(made.header, made.manifest, transactions).check_body()
        assert caught.value.code == "bad-merkle-root"


def test_a_body_with_a_repeated_transaction_has_a_code_of_its_own():
    made = block(2)
    repeated = Block(made.header, MANIFEST, (*made.transactions, made.transactions[-1]))
    assert repeated.id == made.id
    with pytest.raises(InvalidBlock) as caught:
        repeated.check_body()
    assert caught.value.code == "mutated-merkle-tree"


def test_no_leaf_is_64_bytes_long():
    """CVE-2017-12842: an inner node, 64 bytes, must not pass for a transaction or a manifest."""
    least = Transaction(A, 0, 0, 0, 0, (Transfer(A, 0),), ())
    assert len(least.raw) > 64 and len(MANIFEST.raw) > 64


def test_the_seal_is_outside_the_id():
    made = block(1)
    other = Block(made.header, made.manifest, made.transactions, b"another seal")
    assert other.id == made.id and other.raw != made.raw
