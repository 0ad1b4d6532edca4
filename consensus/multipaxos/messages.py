"""What Multi-Paxos says besides Paxos: who may become the leader, and how long it stays so.

Nothing here is durable or signed: leases and canvassing protect the peace, never a decision. What
protects decisions are the promises and acceptances of ``consensus.paxos.messages``.
"""

from __future__ import annotations

from typing import Final

from chain.address import Address
from chain.codec import Uint
from consensus.contract import Message
from consensus.paxos.ballot import Ballot
from consensus.paxos.messages import MESSAGES as PAXOS_MESSAGES


class Canvass(Message, frozen=True, tag=9):
    """Would you promise ``ballot``? Nothing is promised by it, and no ballot used up."""

    ballot: Ballot
    height: Uint


class Support(Message, frozen=True, tag=10):
    """I would: no lease binds me, and I promised nothing higher."""

    ballot: Ballot


class Renewal(Message, frozen=True, tag=11):
    """The leader of ``ballot`` asks to be left alone for another lease.

    ``sent_ms``: its steady clock; it comes back, so that the lease counts from sending.
    ``height``: its open height.
    """

    ballot: Ballot
    sent_ms: Uint
    height: Uint


class Grant(Message, frozen=True, tag=12):
    """Granted: for a lease from the receipt of that renewal nobody else gets a promise."""

    ballot: Ballot
    sent_ms: Uint
    height: Uint


class Release(Message, frozen=True, tag=13):
    """The leader of ``ballot`` gives its lease back; ``successor`` should follow it at once."""

    ballot: Ballot
    successor: Address


MESSAGES: Final = (*PAXOS_MESSAGES, Canvass, Support, Renewal, Grant, Release)
