"""Handing leadership over: by an operator's command, and at a graceful stop.

The lease is given back, so that the successor need not wait for its end; whether it then really
leads is seen by its first renewal under a higher ballot.
"""

from __future__ import annotations

import random
from typing import Final, NamedTuple

from chain.address import Address
from consensus.contract import (
    Answer,
    CancelTimer,
    EngineConfig,
    NodeId,
    RequestId,
    SetTimer,
    Trace,
)
from consensus.multipaxos.status import Spokesman
from consensus.paxos.ballot import Ballot
from consensus.paxos.status import name_of

TRANSFER: Final = "transfer"
TRANSFER_TIMER: Final = "transfer"


class Transfer(NamedTuple):
    """An operator waits to hear who leads after ``ballot``, given up for ``successor``."""

    successor: NodeId
    request: RequestId
    ballot: Ballot


class Leaving(Spokesman):
    """Gives the leadership up for another node, and says what came of it."""

    def __init__(
        self, me: NodeId, config: EngineConfig, rng: random.Random, record: bytes | None
    ) -> None:
        super().__init__(me, config, rng, record)
        self._transfer: Transfer | None = None

    def _on_command(self, request: RequestId, name: str, arguments: tuple[str, ...]) -> None:
        """``transfer [MEMBER]``: the leader hands over to a member by name or key."""
        if name != TRANSFER:
            refusal = f"refused: multipaxos knows no {name!r}; it knows {TRANSFER!r}"
            self._emit(Answer(request, refusal))
            return
        if not self._leading:
            leader = self._known_leader()
            who = "nobody" if leader is None else name_of(self._members, leader)
            self._emit(Answer(request, f"refused: this node does not lead; {who} does"))
            return
        successor = self._successor(arguments[0]) if arguments else self._best_successor()
        if successor is None or successor == self._me:
            which = repr(arguments[0]) if arguments else "who is up and has a vote"
            self._emit(Answer(request, f"refused: there is no other member {which}"))
            return
        ballot = self._proposer.ballot
        assert ballot is not None, "a leader has a ballot"
        self._hand_over(successor)
        self._transfer = Transfer(successor, request, ballot)
        self._emit(SetTimer((TRANSFER_TIMER,), self._patience_ms))

    @property
    def _patience_ms(self) -> int:
        """After so long a leader that had died would have been replaced by anybody."""
        return self._parameters.lease_ms + self._parameters.election_ms

    def _hand_over(self, successor: NodeId | None) -> bool:
        raise NotImplementedError

    def _successor(self, wanted: str) -> NodeId | None:
        """The voter of that name, or of that address or public key in hex."""
        for member in self._members.voters:
            if wanted in (member.name, member.address.hex(), member.address[1:].hex()):
                return member.address
        return None

    def _best_successor(self) -> NodeId | None:
        """Of those heard within a lease the one that is furthest; ties go to the lower address."""
        since_ms = self._now.steady_ms - self._parameters.lease_ms
        candidates = [
            one
            for one in self._others()
            if one in self._heights and self._heard_ms.get(one, since_ms) > since_ms
        ]
        return max(candidates, key=lambda one: (self._heights[one], _reversed(one)), default=None)

    # -------------------------------------------------------------------------- what came of it

    def _try_settle_transfer(self) -> bool:
        """Somebody leads under a later ballot: whether it is the one who should.

        An own renewal that was still under way may name this node once more; its ballot is not
        later.
        """
        transfer, leader = self._transfer, self._known_leader()
        if transfer is None or leader is None or self._acceptor.promised <= transfer.ballot:
            return False
        who = name_of(self._members, leader)
        done = leader == transfer.successor
        self._end_transfer(f"{who} leads now" if done else f"refused: {who} was elected instead")
        return True

    def _on_transfer_timer(self) -> None:
        if self._transfer is not None:
            who = name_of(self._members, self._transfer.successor)
            self._end_transfer(f"refused: {who} did not take over within {self._patience_ms} ms")

    def _end_transfer(self, outcome: str) -> None:
        transfer, self._transfer = self._transfer, None
        assert transfer is not None
        self._emit(CancelTimer((TRANSFER_TIMER,)))
        self._emit(Trace("transfer-ended", {"outcome": outcome}))
        self._emit(Answer(transfer.request, outcome))

    def _abandon_transfer(self) -> None:
        """A node that stops does not learn any more who leads."""
        if self._transfer is not None:
            self._end_transfer("refused: this node stops before anybody else leads")


def _reversed(address: Address) -> tuple[int, ...]:
    """Orders addresses the other way round, so that the lower one is greater."""
    return tuple(-byte for byte in address)
