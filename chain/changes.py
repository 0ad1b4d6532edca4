"""What an engine's claims do to the state, as plain facts that execution applies."""

from __future__ import annotations

from chain.address import Address
from chain.codec import Record, Uint


class StateChange(Record, frozen=True):
    """Mint ``amount`` base units for ``recipient``, spendable from ``mature_height`` on.

    Fees collected by the block are added to the first change; where a block has no change they
    go to its producer at once.
    """

    recipient: Address
    amount: Uint
    mature_height: Uint
