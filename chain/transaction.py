"""Transactions: who pays, what is to happen, and the signature that says so.

A transaction holds one or more actions. ATOMIC: all of them or none (the fee is charged either
way). BUNDLE: each by itself, with a result of its own.

The action union is closed and tagged by a small integer; tags are never reused:

====  ==============  =====================================
tag   action          since
====  ==============  =====================================
0     Transfer        genesis format 1
1     MembershipVote  genesis format 2
====  ==============  =====================================
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Final

import msgspec

from chain import codec
from chain.address import Address
from chain.codec import Record, Uint
from chain.hashing import TxId, sha256d, tagged
from chain.validators import NAME_LENGTH_MAX, WEIGHT_MAX

ATOMIC: Final = 0
BUNDLE: Final = 1

ACTIONS_MAX = 100
"""Actions in one transaction: enough for a payroll, few enough to bound one execution step."""
MEMO_SIZE_MAX = 256
"""Bytes of a transfer's memo: a reference, not a file."""
TRANSACTION_SIZE_MAX = 64 * 1024
"""Bytes of one encoded transaction; genesis may set less."""
WITNESSES_MAX = 33
"""Entries of the witness: one signature, or a policy with up to 32 signatures."""
SIGNING_DOMAIN = "moot/transaction/1"

ChainId = bytes


class Transfer(Record, frozen=True, tag=0):
    """Move ``amount`` base units (1 coin = 100,000,000) from the sender to ``recipient``."""

    recipient: Address
    amount: Uint
    memo: Annotated[bytes, msgspec.Meta(max_length=MEMO_SIZE_MAX)] = b""


OUT: Final = 0
"""No member."""
LEARNER: Final = 1
"""A member without a vote: it receives everything."""
VOTER: Final = 2
"""A member with a vote."""
WITHDRAWN: Final = 3
"""No wish at all: takes back the sender's open vote on the subject."""
STANDINGS: Final = {OUT: "out", LEARNER: "learner", VOTER: "voter", WITHDRAWN: "withdrawn"}
"""Their names, for people."""


class MembershipVote(Record, frozen=True, tag=1):
    """The sender, a voter, wishes that ``subject`` be what ``standing`` says (chain.membership).

    ``weight`` is above 0 for a VOTER and 0 else; ``name`` is for people. A standing that is not
    known is refused by execution, not by the encoding, so that it has a result.
    """

    subject: Address
    standing: Annotated[int, msgspec.Meta(ge=0, le=255)]
    weight: Annotated[int, msgspec.Meta(ge=0, le=WEIGHT_MAX)] = 0
    name: Annotated[str, msgspec.Meta(max_length=NAME_LENGTH_MAX)] = ""


Action = Transfer | MembershipVote
"""The union of all actions; it grows by members, each with a tag of its own."""


class Transaction(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True
):
    """sender, nonce, fee, expiry, mode, actions, witness.

    ``nonce`` counts the sender's transactions from 0. ``fee`` is in base units. ``expiry`` is the
    last block height that may include it; 0: it never expires. ``witness`` is ``(signature,)`` for
    an address that is a key.
    """

    sender: Address
    nonce: Uint
    fee: Uint
    expiry: Uint
    mode: Annotated[int, msgspec.Meta(ge=0, le=1)]
    actions: Annotated[tuple[Action, ...], msgspec.Meta(min_length=1, max_length=ACTIONS_MAX)]
    witness: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=WITNESSES_MAX)] = ()

    @cached_property
    def raw(self) -> bytes:
        """The canonical encoding."""
        return codec.encode(self)

    @cached_property
    def id(self) -> TxId:
        """sha256d of the whole, witness included: also its leaf in the block's Merkle tree."""
        return sha256d(self.raw)

    @property
    def transfers(self) -> tuple[Transfer, ...]:
        """Those of its actions that move coins."""
        return tuple(action for action in self.actions if isinstance(action, Transfer))

    @property
    def size(self) -> int:
        """Bytes of the canonical encoding."""
        return len(self.raw)

    def signing_bytes(self, chain_id: ChainId) -> bytes:
        """What the sender signs: the transaction without its witness, bound to one chain."""
        return tagged(
            SIGNING_DOMAIN, chain_id, codec.encode(msgspec.structs.replace(self, witness=()))
        )


def parse_transaction(raw: bytes, size_max: int = TRANSACTION_SIZE_MAX) -> Transaction:
    """The transaction whose canonical encoding is ``raw``; raises InvalidEncoding."""
    transaction = codec.decode(raw, Transaction, size_max)
    transaction.__dict__["raw"] = raw
    return transaction
