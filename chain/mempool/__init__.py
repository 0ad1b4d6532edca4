"""The mempool: transactions that wait for a block. Policy, not consensus.

Two nodes may hold different mempools and agree on every block. What is refused here may still be
valid in a block, unless execution says otherwise.

======================  ===================================================================
code                    when
======================  ===================================================================
already-known           this very transaction waits here already
too-large               more bytes than this chain allows
too-many-actions        none, or more than ACTIONS_MAX
bad-sender-kind         the sender is no single key (policies cannot sign yet)
wrong-witness           the witness is not exactly one signature of 64 bytes
expired                 its expiry height is not above the head's height
fee-below-minimum       below the chain's floor, or the rolling one of a mempool under pressure
wrong-nonce-low         the sender has already used this nonce
nonce-gap-too-large     too many of the sender's transactions before it are missing
insufficient-balance    the balance does not cover it and what the sender queued before it
replacement-underpriced same sender and nonce as one that waits, for too little more
too-many-from-sender    this sender's share of the mempool is used up
mempool-full            full of transactions that pay no less
bad-signature           the signature is not the sender's, or for another chain
======================  ===================================================================

The checks run in the table's order, cheap ones first; the signature, a hundred times dearer than
all others together, comes last and is checked once. (Whether a large one is worth all that would
have to go for it is worked out after that: a forged one must not ask for that work.)
"""

from chain.mempool.lanes import AccountReader, AccountState
from chain.mempool.policy import MempoolLimits, VerifiedSignatures, cost_of, fee_min, fee_rate
from chain.mempool.pool import Execution, Mempool, Moved
from chain.mempool.views import AddressStats

__all__ = [
    "AccountReader",
    "AccountState",
    "AddressStats",
    "Execution",
    "Mempool",
    "MempoolLimits",
    "Moved",
    "VerifiedSignatures",
    "cost_of",
    "fee_min",
    "fee_rate",
]
