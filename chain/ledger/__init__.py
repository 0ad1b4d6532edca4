"""The ledger: the block tree, its states, and the disk. See chain.ledger.ledger."""

from chain.ledger.beginning import genesis_block, genesis_state
from chain.ledger.disk import AddressStats
from chain.ledger.ledger import HeadMoved, Ledger
from chain.ledger.reading import CONFIRMATION_DEPTH, Located
from chain.ledger.touches import REWARD_POSITION
from chain.ledger.verified import VerifiedSignatures, check_signatures, signature_claim

__all__ = [
    "CONFIRMATION_DEPTH",
    "REWARD_POSITION",
    "AddressStats",
    "HeadMoved",
    "Ledger",
    "Located",
    "VerifiedSignatures",
    "check_signatures",
    "genesis_block",
    "genesis_state",
    "signature_claim",
]
