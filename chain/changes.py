"""What an engine's claims do to the state, as plain facts that execution applies.

The union is closed. A block's changes are applied in their order, after its transactions.
"""

from __future__ import annotations

from chain.address import Address
from chain.codec import Record, Uint


class Mint(Record, frozen=True):
    """Mint ``amount`` base units for ``recipient``, spendable from ``mature_height`` on.

    Fees collected by the block are added to its first mint; where a block has none they go to its
    producer at once.
    """

    recipient: Address
    amount: Uint
    mature_height: Uint


class LeaveJoint(Record, frozen=True):
    """The state's validator set leaves its joint configuration: ``outgoing`` becomes empty.

    The claim of a leader whose engine changes members through joint sets (Properties.membership
    "joint"); its rules see to it that a block decided under the joint set is final by then.
    """


StateChange = Mint | LeaveJoint
