"""Keys, genesis files, signed transactions and executed blocks for the tests of every package.

Everything is made from small numbers: ``address(3)`` is the same address in every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chain.address import Address, key_address
from chain.block import Block
from chain.changes import StateChange
from chain.genesis import COIN, FORMAT, Allocation, Era, Genesis, Limits, Parameter
from chain.hashing import BlockId, sha256
from chain.header import VERSION, Header
from chain.ledger import Ledger
from chain.manifest import EXTRA_NONCE_SIZE, Manifest
from chain.membership import FIXED, MembershipRules
from chain.merkle import merkle_root
from chain.signatures import Signed, Verifier
from chain.storage import Store
from chain.storage.memory import MemoryStore
from chain.transaction import ATOMIC, Action, Transaction, Transfer
from chain.validators import Validator

START_MS = 1_700_000_000_000
"""Time of the genesis blocks made here: 2023-11-14, a whole second."""
FEE = 1_000
"""Base units that pay for any small transaction under the default limits."""


class TrustingVerifier:
    """Finds every signature good and counts how many it was asked about."""

    def __init__(self) -> None:
        self.asked = 0

    def verify(self, claims: Sequence[Signed]) -> list[bool]:
        self.asked += len(claims)
        return [True] * len(claims)


@lru_cache(maxsize=4_096)
def private_key(number: int) -> Ed25519PrivateKey:
    """The same key for the same number, always."""
    return Ed25519PrivateKey.from_private_bytes(sha256(b"test key %d" % number))


@lru_cache(maxsize=4_096)
def address(number: int) -> Address:
    return key_address(private_key(number).public_key().public_bytes_raw())


def make_genesis(
    *,
    accounts: int = 4,
    balance: int = 1_000 * COIN,
    validators: int = 0,
    engine: str = "test",
    parameters: tuple[Parameter, ...] = (),
    limits: Limits | None = None,
    name: str = "test chain",
) -> Genesis:
    """A development chain: addresses 0.. own ``balance`` each; the first ones are validators."""
    return Genesis(
        FORMAT,
        name,
        "dev",
        START_MS,
        (Era(0, engine, parameters),),
        tuple(Validator(address(n), 1, f"v{n}") for n in range(validators)),
        tuple(Allocation(address(n), balance) for n in range(accounts)),
        limits or Limits(),
    )


def open_ledger(
    genesis: Genesis | None = None,
    store: Store | None = None,
    *,
    finalizes: bool = True,
    verifier: Verifier | None = None,
    flush_depth: int = 64,
    flush_blocks: int = 16,
    membership: MembershipRules = FIXED,
) -> Ledger:
    """A ledger, by default over a fresh MemoryStore with signatures taken on trust."""
    return Ledger(
        MemoryStore() if store is None else store,
        genesis or make_genesis(),
        verifier or TrustingVerifier(),
        finalizes,
        lambda era: membership,
        flush_depth,
        flush_blocks,
    )


def make_transaction(
    chain_id: bytes,
    sender: int,
    nonce: int,
    actions: Sequence[Action],
    *,
    fee: int = FEE,
    expiry: int = 0,
    mode: int = ATOMIC,
    signed: bool = True,
) -> Transaction:
    """A transaction of key ``sender``; unsigned ones carry 64 zero bytes as signature."""
    bare = Transaction(address(sender), nonce, fee, expiry, mode, tuple(actions))
    signature = private_key(sender).sign(bare.signing_bytes(chain_id)) if signed else bytes(64)
    return msgspec.structs.replace(bare, witness=(signature,))


def transfer(
    chain_id: bytes,
    sender: int,
    recipient: int,
    amount: int,
    nonce: int,
    *,
    fee: int = FEE,
    expiry: int = 0,
    signed: bool = True,
) -> Transaction:
    """One transfer between numbered keys."""
    actions = (Transfer(address(recipient), amount),)
    return make_transaction(chain_id, sender, nonce, actions, fee=fee, expiry=expiry, signed=signed)


def assemble(
    manifest: Manifest,
    previous: BlockId,
    transactions: Sequence[Transaction] = (),
    *,
    bits: int = 0,
    nonce: int = 0,
    seal: bytes = b"",
) -> Block:
    """Header and Merkle root around a manifest that is taken as it is (also a wrong one)."""
    leaves = (manifest.leaf, *(transaction.id for transaction in transactions))
    time_s = manifest.time_ms // 1000
    header = Header(VERSION, previous, merkle_root(leaves), time_s, bits, nonce)
    return Block(header, manifest, tuple(transactions), seal)


def make_block(
    ledger: Ledger,
    parent: BlockId,
    transactions: Sequence[Transaction] = (),
    *,
    changes: tuple[StateChange, ...] = (),
    time_ms: int | None = None,
    producer: Address | None = None,
    claims: bytes = b"",
    bits: int = 0,
    tag: int = 0,
) -> Block:
    """A valid child of ``parent``, executed but not inserted.

    ``time_ms``: default one second after the parent. ``tag`` goes into the extra-nonce, so that
    siblings with equal contents get different ids. Raises InvalidTransaction.
    """
    header = ledger.header(parent)
    time_ms = header.time_ms + 1_000 if time_ms is None else time_ms
    producer = address(1_000) if producer is None else producer
    execution = ledger.execution(parent, time_ms=time_ms, producer=producer)
    for transaction in transactions:
        execution.apply(transaction)
    executed = execution.finish(changes)
    manifest = Manifest(
        header.height + 1,
        time_ms,
        producer,
        executed.state.root,
        ledger.next_validators(parent).hash,
        claims,
        executed.reward,
        tag.to_bytes(EXTRA_NONCE_SIZE, "big"),
    )
    return assemble(manifest, parent, transactions, bits=bits)


def grow(
    ledger: Ledger,
    parent: BlockId,
    transactions: Sequence[Transaction] = (),
    *,
    changes: tuple[StateChange, ...] = (),
    weight: int = 1,
    tag: int = 0,
) -> Block:
    """Makes a child of ``parent`` and inserts it; the head stays where it is."""
    block = make_block(ledger, parent, transactions, changes=changes, tag=tag)
    ledger.insert(block, weight, changes)
    return block


def extend(ledger: Ledger, count: int, *, tag: int = 0) -> list[Block]:
    """``count`` empty blocks on the head, each made the head."""
    blocks = []
    for _ in range(count):
        block = grow(ledger, ledger.head(), tag=tag)
        ledger.set_head(block.id)
        blocks.append(block)
    return blocks
