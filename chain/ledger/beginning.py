"""The genesis block and its state, made from a Genesis by one rule.

The block commits to everything in the Genesis through its claims, so its id names the chain.
"""

from __future__ import annotations

from chain.address import Address
from chain.block import Block
from chain.execution import Credit
from chain.genesis import GENESIS_PREVIOUS, Genesis
from chain.hashing import sha256d
from chain.header import VERSION, Header
from chain.manifest import EXTRA_NONCE_SIZE, Manifest
from chain.merkle import merkle_root
from chain.state.accounts import (
    ERAS_KEY,
    SUPPLY_KEY,
    VALIDATORS_KEY,
    Account,
    account_key,
    encode_account,
    encode_eras,
    encode_supply,
    encode_validators,
)
from chain.state.tree import EMPTY, StateTree

NOBODY: Address = bytes(33)
"""The producer of the genesis block."""


def genesis_state(genesis: Genesis) -> StateTree:
    """The state after block 0: allocations, supply, eras, validators."""
    entries: dict[bytes, bytes | None] = {
        account_key(allocation.address): encode_account(Account(0, allocation.amount))
        for allocation in genesis.allocations
    }
    entries[ERAS_KEY] = encode_eras(genesis.eras)
    entries[SUPPLY_KEY] = encode_supply(sum(item.amount for item in genesis.allocations))
    entries[VALIDATORS_KEY] = encode_validators(genesis.validator_set)
    return EMPTY.update({key: value for key, value in entries.items() if value is not None})


def genesis_credits(genesis: Genesis) -> tuple[Credit, ...]:
    """The allocations, as what block 0 paid out; none of amount zero."""
    return tuple(
        Credit(allocation.address, allocation.amount)
        for allocation in genesis.allocations
        if allocation.amount
    )


def genesis_block(genesis: Genesis) -> Block:
    """Block 0. Raises InvalidEncoding where ``genesis.check()`` does."""
    genesis.check()
    manifest = Manifest(
        height=0,
        time_ms=genesis.time_ms,
        producer=NOBODY,
        state_root=genesis_state(genesis).root,
        next_validators=genesis.validator_set.hash,
        claims=sha256d(genesis.raw),
        reward=0,
        extra_nonce=bytes(EXTRA_NONCE_SIZE),
    )
    header = Header(
        version=VERSION,
        previous=GENESIS_PREVIOUS,
        merkle_root=merkle_root((manifest.leaf,)),
        time_s=genesis.time_ms // 1000,
        bits=0,
        nonce=0,
    )
    return Block(header, manifest)
