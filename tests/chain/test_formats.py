"""The formats as written down: a change of any byte must be meant, and comes with a new file.

``python tests/chain/test_formats.py`` prints the vectors anew.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from chain import codec
from chain.address import POLICY, Address, key_address
from chain.bech32m import parse_address, show_address
from chain.block import Block, BlockHead, parse_block
from chain.genesis import FORMAT, Allocation, Era, Genesis, Limits
from chain.genesis_file import genesis_from_json, genesis_to_json
from chain.hashing import show_id
from chain.header import VERSION, Header, parse_header
from chain.manifest import Manifest
from chain.merkle import merkle_root
from chain.proof import Evidence, Proof
from chain.transaction import (
    ATOMIC,
    BUNDLE,
    LEARNER,
    OUT,
    VOTER,
    WITHDRAWN,
    MembershipVote,
    Transaction,
    Transfer,
    parse_transaction,
)
from chain.validators import Validator, validator_set

VECTORS = Path(__file__).parents[1] / "vectors" / "formats.json"

CHAIN_ID = bytes(range(100, 132))
ANN = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)
BEN = Ed25519PrivateKey.from_private_bytes(bytes([2]) * 32)


def address_of(key: Ed25519PrivateKey) -> Address:
    return key_address(key.public_key().public_bytes_raw())


def sign(transaction: Transaction) -> Transaction:
    signature = ANN.sign(transaction.signing_bytes(CHAIN_ID))
    return msgspec.structs.replace(transaction, witness=(signature,))


SIMPLE = sign(
    Transaction(address_of(ANN), 0, 1_000, 0, ATOMIC, (Transfer(address_of(BEN), 150_000_000),))
)
ELABORATE = sign(
    Transaction(
        address_of(ANN),
        2**40,
        2**63 - 1,
        70_000,
        BUNDLE,
        (
            Transfer(address_of(BEN), 0, "café".encode()),
            Transfer(bytes([POLICY]) + bytes(range(32)), 65_536, bytes(256)),
        ),
    )
)
VOTE = sign(
    Transaction(
        address_of(ANN),
        1,
        2_000,
        0,
        ATOMIC,
        (
            MembershipVote(address_of(BEN), VOTER, 2**32, "ben é"),
            MembershipVote(address_of(ANN), OUT),
            MembershipVote(address_of(BEN), LEARNER),
            MembershipVote(address_of(BEN), WITHDRAWN),
        ),
    )
)
MEMBERS = validator_set(
    [
        Validator(address_of(BEN), 2**32, "ben"),
        Validator(address_of(ANN), 1, "ann"),
    ],
    bytes(range(32)),
)
JOINT = validator_set(
    [Validator(address_of(BEN), 2, "ben"), Validator(bytes(33), 0, "learner")],
    outgoing=[Validator(address_of(ANN), 1, "ann")],
)
MANIFEST = Manifest(
    300,
    1_700_000_000_123,
    address_of(ANN),
    bytes([3]) * 32,
    MEMBERS.hash,
    b"claims",
    5_000_000_000,
    bytes(range(8)),
)
HEADER = Header(
    VERSION,
    bytes(range(32)),
    merkle_root([MANIFEST.leaf, SIMPLE.id, ELABORATE.id]),
    1_700_000_000,
    0x1D00FFFF,
    0xDEADBEEF,
)
BLOCK = Block(HEADER, MANIFEST, (SIMPLE, ELABORATE), b"a seal")
GENESIS = Genesis(
    FORMAT,
    "format vectors",
    "test",
    1_700_000_000_000,
    (
        Era(0, "pbft", (("interval_ms", 1_000), ("label", "é"), ("offset", -5))),
        Era(1_000, "pow", ()),
    ),
    MEMBERS.members,
    (Allocation(address_of(ANN), 2**62),),
    Limits(),
    address_of(BEN),
)


def make() -> dict[str, Any]:
    """Every format, as hex; ids in the order in which they are hashed, and as they are shown."""
    return {
        "address": {
            "key": address_of(ANN).hex(),
            **{prefix: show_address(address_of(ANN), prefix) for prefix in ("moot", "tmoot")},
            "policy_rmoot": show_address(bytes([POLICY]) + bytes(range(32)), "rmoot"),
        },
        "transaction": [
            {
                "raw": transaction.raw.hex(),
                "chain_id": CHAIN_ID.hex(),
                "signing_bytes": transaction.signing_bytes(CHAIN_ID).hex(),
                "id": transaction.id.hex(),
                "shown": show_id(transaction.id),
            }
            for transaction in (SIMPLE, ELABORATE, VOTE)
        ],
        "validator_set": {"raw": codec.encode(MEMBERS).hex(), "hash": MEMBERS.hash.hex()},
        "joint_validator_set": {"raw": codec.encode(JOINT).hex(), "hash": JOINT.hash.hex()},
        "manifest": {"raw": MANIFEST.raw.hex(), "leaf": MANIFEST.leaf.hex()},
        "header": {"raw": HEADER.raw.hex(), "encoded": codec.encode(HEADER).hex()},
        "block": {"raw": BLOCK.raw.hex(), "id": BLOCK.id.hex(), "shown": show_id(BLOCK.id)},
        "block_head": codec.encode(BLOCK.head).hex(),
        "proof": codec.encode(Proof("pbft", b"body")).hex(),
        "evidence": codec.encode(Evidence("pbft", b"one", b"two")).hex(),
        "genesis": {"raw": GENESIS.raw.hex(), "json": genesis_to_json(GENESIS)},
    }


def load() -> dict[str, Any]:
    return json.loads(VECTORS.read_text())


def test_the_formats_are_as_written_down():
    assert make() == load()


def test_what_was_written_down_is_still_read():
    vectors = load()
    for case, transaction in zip(vectors["transaction"], (SIMPLE, ELABORATE, VOTE), strict=True):
        read = parse_transaction(bytes.fromhex(case["raw"]))
        assert read == transaction and read.id.hex() == case["id"]
        ANN.public_key().verify(read.witness[0], bytes.fromhex(case["signing_bytes"]))
    block = parse_block(bytes.fromhex(vectors["block"]["raw"]))
    block.check_body()
    assert block == BLOCK and block.id.hex() == vectors["block"]["id"]
    assert parse_header(bytes.fromhex(vectors["header"]["raw"])) == HEADER
    head = codec.decode(bytes.fromhex(vectors["block_head"]), BlockHead)
    head.check_branch()
    assert head == BLOCK.head
    assert codec.decode(bytes.fromhex(vectors["genesis"]["raw"]), Genesis) == GENESIS
    assert genesis_from_json(vectors["genesis"]["json"]) == GENESIS
    assert parse_address(vectors["address"]["tmoot"], "tmoot") == address_of(ANN)


def test_signing_bytes_are_what_the_documentation_says():
    """The tag's hash twice; then chain id and unsigned encoding, each after its length."""
    tag = hashlib.sha256(b"moot/transaction/1").digest()
    unsigned = msgspec.msgpack.encode(msgspec.structs.replace(SIMPLE, witness=()))
    assert SIMPLE.signing_bytes(CHAIN_ID) == (
        tag + tag + b"\0\0\0\x20" + CHAIN_ID + len(unsigned).to_bytes(4, "big") + unsigned
    )


def test_the_witness_is_in_the_id_and_not_in_the_signing_bytes():
    other = msgspec.structs.replace(SIMPLE, witness=(bytes(64),))
    assert other.id != SIMPLE.id
    assert other.signing_bytes(CHAIN_ID) == SIMPLE.signing_bytes(CHAIN_ID)
    assert SIMPLE.signing_bytes(bytes(32)) != SIMPLE.signing_bytes(CHAIN_ID)


def test_the_extra_nonce_stands_last_in_the_manifest():
    rolled = msgspec.structs.replace(MANIFEST, extra_nonce=b"\xff" * 8)
    assert rolled.raw[:-8] == MANIFEST.raw[:-8] and rolled.raw[-8:] == b"\xff" * 8


def test_the_keys_of_the_vectors_are_ed25519():
    Ed25519PublicKey.from_public_bytes(address_of(ANN)[1:]).verify(ANN.sign(b"m"), b"m")


if __name__ == "__main__":
    print(json.dumps(make(), indent=1, ensure_ascii=False))
