"""What a Multi-Paxos node knows besides its roles, and what it shows of it to people."""

from __future__ import annotations

import random
from typing import Final

from chain.validators import majority
from chain.view import ChainView
from consensus.contract import EngineConfig, NodeId, Now, Status, TimerKey
from consensus.multipaxos.lease import GrantedLease, LeaderLease
from consensus.multipaxos.parameters import MultiPaxosParameters
from consensus.paxos.ballot import Ballot
from consensus.paxos.participant import Timing
from consensus.paxos.status import Row, Teller, name_of, names, show_ballot, show_vote

NAME: Final = "multipaxos"


class Spokesman(Teller):
    """State of leading and following; explains it to people."""

    def __init__(
        self, me: NodeId, config: EngineConfig, rng: random.Random, record: bytes | None
    ) -> None:
        assert isinstance(config.parameters, MultiPaxosParameters)
        parameters = config.parameters
        timing = Timing(parameters.renew_ms, parameters.heartbeat_ms)
        super().__init__(NAME, me, rng, record, timing, keeps_promises=True)
        self._parameters: MultiPaxosParameters = parameters
        self._granted = GrantedLease()
        self._leader: NodeId | None = None
        """Whom this node takes for the leader; itself where ``_leading``."""
        # As a candidate.
        self._canvass: Ballot | None = None
        self._supporters: dict[NodeId, None] = {}
        self._floor: tuple[NodeId, int] | None = None
        """The candidate that was promised a ballot last, and until when others wait (steady)."""
        self._failures = 0
        """Own ballots in a row that were refused or came to nothing."""
        # As the leader of the proposer's ballot.
        self._leading = False
        self._lease = LeaderLease(0)
        self._heights: dict[NodeId, int] = {}
        """Open heights of those that granted this leader a lease."""
        self._proposed_ms = 0
        # Timers.
        self._timers = 0
        self._election_timer: TimerKey | None = None
        self._renewal_timer: TimerKey | None = None

    def _known_leader(self) -> NodeId | None:
        """The leader; None once its lease has run out unrenewed and a node canvasses."""
        return self._me if self._leading else self._leader

    def _holds_lease(self) -> bool:
        raise NotImplementedError

    # --------------------------------------------------------------------------------- status

    def status(self, view: ChainView, now: Now) -> Status:
        """For people: who leads, under which ballot and lease, and why it waits."""
        members = self._members
        if not len(members):
            return Status(facts={"height": self._height, "phase": "no validators"})
        self._now = now  # a lease is judged at the moment of the question
        leader = self._known_leader()
        phase, have, missing = self._phase()
        quorum = majority(len(members))
        facts: dict[str, int | str] = {
            "height": self._height,
            "phase": phase,
            "role": self._role(),
            "leader": "-" if leader is None else name_of(members, leader),
            "ballot": show_ballot(members, self._proposer.ballot),
            "promised": show_ballot(members, self._acceptor.promised),
            "accepted": show_vote(members, self._acceptor.accepted),
            "members": len(members),
            "majority": quorum,
            "transactions waiting": self._waiting,
            "reads waiting": len(self._reads.reading) + len(self._reads.queued),
            **self._lease_facts(now),
        }
        why = self._silence()
        silent: tuple[NodeId, ...] = ()
        if have is not None and have < quorum and self._can_speak:
            lease_ms = self._parameters.lease_ms
            silent = self._silent(now, missing, lease_ms)
            why += (
                f"Height {self._height}, {phase}: {have} of {quorum} needed answers; "
                f"missing: {names(members, missing)}.",
                *self._advice(silent, lease_ms),
            )
        return Status(
            facts=facts,
            tables={
                "leadership": self._member_rows(now),
                "acceptor": self._acceptor_rows(),
                "learner": self._learner_rows() if self._leading else [],
            },
            why=why,
            leader=leader,
            round=self._acceptor.promised.round,
            missing=silent,
            listening=self._record_lost and self._me in self._members,
        )

    def _role(self) -> str:
        if self._me not in self._members:
            return "observer"
        if self._leading:
            return "leader"
        is_candidate = self._canvass is not None or self._proposer.ballot is not None
        return "candidate" if is_candidate else "follower"

    def _lease_facts(self, now: Now) -> Row:
        facts: Row = {}
        left_ms = self._granted.until_ms - now.steady_ms
        if left_ms > 0:
            holder = self._granted.holder
            whom = "whoever led" if holder is None else name_of(self._members, holder)
            facts["bound by a lease to"] = whom
            facts["bound for (ms)"] = left_ms
        if self._leading:
            since_ms = self._lease.since_ms(self._members)
            held_ms = 0
            if since_ms is not None:
                until_ms = since_ms + self._parameters.leader_lease_ms
                held_ms = max(0, until_ms - now.steady_ms)
            facts["holds the lease for (ms)"] = held_ms
        return facts

    def _phase(self) -> tuple[str, int | None, tuple[NodeId, ...]]:
        """The step under way, how many answered, and who did not."""
        proposer, everyone = self._proposer, [one.address for one in self._members.voters]
        answered: list[NodeId] = []
        if self._canvass is not None:
            phase, answered = "canvassing", [one for one in everyone if one in self._supporters]
        elif proposer.ballot is None:
            return ("no leader" if self._leader is None else "following"), None, ()
        elif not self._leading:
            phase, answered = "preparing", [one for one in everyone if one in proposer.promises]
        elif proposer.proposed is not None:
            phase = "asking to accept"
            answered = self._learner.voters(proposer.ballot, proposer.proposed)
        elif self._height < proposer.open_height():
            return "leading: catching up with what was chosen before", None, ()
        else:
            return "leading", None, ()
        return phase, len(answered), tuple(one for one in everyone if one not in answered)

    def _member_rows(self, now: Now) -> list[Row]:
        """What the leader knows of each member; the others show who leads."""
        rows: list[Row] = []
        for member in self._members.voters:
            address = member.address
            row: Row = {
                "member": name_of(self._members, address),
                "role": "leader" if address == self._known_leader() else "acceptor",
            }
            if self._leading:
                sent_ms = self._lease.sent_ms.get(address)
                row["promised"] = "yes" if address in self._proposer.promises else "-"
                row["open height"] = self._heights.get(address, "-")
                row["lease granted (ms ago)"] = (
                    "-" if sent_ms is None else max(0, now.steady_ms - sent_ms)
                )
            rows.append(row)
        return rows
