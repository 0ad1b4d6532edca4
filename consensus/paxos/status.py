"""What a node of the Synod shows to people: its three roles apart, and why it waits."""

from __future__ import annotations

from chain.address import Address
from chain.hashing import show_id
from chain.validators import ValidatorSet, majority
from chain.view import ChainView
from consensus.contract import NodeId, Now, Status
from consensus.paxos.ballot import NO_BALLOT, Ballot
from consensus.paxos.conversation import Conversation
from consensus.paxos.messages import Vote

Row = dict[str, int | str]


def name_of(members: ValidatorSet, address: Address) -> str:
    """A member's name, or the first digits of its key."""
    member = members.by_address.get(address)
    return member.name if member is not None and member.name else address[1:5].hex()


def names(members: ValidatorSet, addresses: tuple[Address, ...]) -> str:
    return ", ".join(name_of(members, address) for address in addresses)


def show_ballot(members: ValidatorSet, ballot: Ballot | None) -> str:
    """(round, node), as the papers write it."""
    if ballot is None or ballot == NO_BALLOT:
        return "-"
    return f"({ballot.round}, {name_of(members, ballot.node)})"


def show_vote(members: ValidatorSet, vote: Vote | None) -> str:
    if vote is None:
        return "-"
    return f"{show_id(vote.block_id)[:8]} under {show_ballot(members, vote.ballot)}"


class Teller(Conversation):
    """What both engines of the family show."""

    def _others(self) -> tuple[NodeId, ...]:
        return tuple(one.address for one in self._members.voters if one.address != self._me)

    def _silence(self) -> tuple[str, ...]:
        """Why this node itself says nothing."""
        if self._conflict:
            return (
                "Two certified blocks contradict each other: more disks were lost than the "
                "members bear. Stop this node and compare the chains of several operators.",
            )
        if self._me not in self._members:
            return ()  # an observer: its role says so, and it waits for nothing
        if self._syncing:
            return ("This node is catching up and does not vote until it has.",)
        if self._record_lost:
            return (self._listening(),)
        if self._saved is not None:
            return ("This node re-executes stored blocks before it votes again.",)
        return ()

    def _listening(self) -> str:
        untold = tuple(one for one in self._others() if one not in self._told)
        until = (
            f"height {self._listen_until} is final"
            if self._listen_until is not None
            else f"every other member has said its ballot; missing: {names(self._members, untold)}"
        )
        return f"The record of this node's promises was lost: it listens until {until}."

    def _silent(self, now: Now, missing: tuple[NodeId, ...], for_ms: int) -> tuple[NodeId, ...]:
        """Those of ``missing`` that have not been heard for so long."""
        since_ms = now.steady_ms - for_ms
        return tuple(
            member
            for member in missing
            if member != self._me and self._heard_ms.get(member, self._settled_ms) <= since_ms
        )

    def _advice(self, silent: tuple[NodeId, ...], for_ms: int) -> tuple[str, ...]:
        if not silent:
            return ()
        who = names(self._members, silent)
        return (
            f"Nothing heard for {for_ms / 1000:g} s from: {who}. Check that they run and that "
            "their links are up.",
        )

    def _proposer_rows(self) -> list[Row]:
        """The ballot under way, acceptor by acceptor: what each promise showed."""
        members, proposer = self._members, self._proposer
        if proposer.ballot is None:
            return []
        rows: list[Row] = []
        for member in members.voters:
            promise = proposer.promises.get(member.address)
            shown = "-"
            if promise is not None:
                shown = (
                    "nothing"
                    if promise.accepted is None
                    else (show_vote(members, promise.accepted))
                )
            rows.append(
                {
                    "acceptor": name_of(members, member.address),
                    "promised": "-" if promise is None else "yes",
                    "showed": shown,
                }
            )
        return rows

    def _acceptor_rows(self) -> list[Row]:
        members, acceptor = self._members, self._acceptor
        return [
            {
                "promised": show_ballot(members, acceptor.promised),
                "accepted": show_vote(members, acceptor.accepted),
            }
        ]

    def _learner_rows(self) -> list[Row]:
        """The last acceptance heard of each acceptor at the open height."""
        members = self._members
        rows: list[Row] = []
        for member in members.voters:
            said = self._learner.accepted.get(member.address)
            vote = None if said is None else Vote(said.ballot, said.block_id)
            row: Row = {
                "acceptor": name_of(members, member.address),
                "accepted": show_vote(members, vote),
            }
            rows.append(row)
        return rows


class Spokesman(Teller):
    """Explains the Synod. Code never reads this."""

    _failures: int
    """Own ballots in a row that decided nothing."""

    def _has_reason(self) -> bool:
        raise NotImplementedError

    def status(self, view: ChainView, now: Now) -> Status:
        """For people: each role's state, the step under way, and why it waits."""
        members = self._members
        if not len(members):
            return Status(facts={"height": self._height, "phase": "no validators"})
        quorum = majority(len(members))
        phase, have, missing = self._phase()
        facts: dict[str, int | str] = {
            "height": self._height,
            "phase": phase,
            "role": "member" if self._me in members else "observer",
            "members": len(members),
            "majority": quorum,
            "own ballot": show_ballot(members, self._proposer.ballot),
            "promised": show_ballot(members, self._acceptor.promised),
            "accepted": show_vote(members, self._acceptor.accepted),
            "highest ballot heard": show_ballot(members, self._seen),
            "own ballots failed in a row": self._failures,
            "transactions waiting": self._waiting,
            "reads waiting": len(self._reads.reading) + len(self._reads.queued),
        }
        why = self._silence()
        silent: tuple[NodeId, ...] = ()
        if have is not None and have < quorum and self._can_speak:
            why += (
                f"Height {self._height}, ballot "
                f"{show_ballot(members, self._proposer.ballot)}: {have} of {quorum} needed "
                f"{'acceptances' if self._proposer.proposed else 'promises'}; "
                f"missing: {names(members, missing)}.",
            )
            silent = self._silent(now, missing, 4 * self._timing.resend_ms)
            why += self._advice(silent, 4 * self._timing.resend_ms)
        elif have is None and self._can_speak and self._has_reason() and self._seen.round:
            why += (
                f"Height {self._height}: ballot {show_ballot(members, self._seen)} is under way, "
                "and this node leaves it the floor for a while before it tries a higher one.",
            )
        return Status(
            facts=facts,
            tables={
                "proposer": self._proposer_rows(),
                "acceptor": self._acceptor_rows(),
                "learner": self._learner_rows(),
            },
            why=why,
            leader=None,
            round=self._seen.round,
            missing=silent,
            listening=self._record_lost and self._me in self._members,
        )

    def _phase(self) -> tuple[str, int | None, tuple[NodeId, ...]]:
        """The proposer's step, how many answered, and who did not."""
        proposer = self._proposer
        everyone = [one.address for one in self._members.voters]
        if proposer.ballot is None:
            taken = self._seen.node if self._seen.round else None
            phase = (
                "idle"
                if taken is None
                else (f"leaves the floor to {name_of(self._members, taken)}")
            )
            return phase, None, ()
        if proposer.proposed is None:
            answered = [one for one in everyone if one in proposer.promises]
            phase = "phase 1: preparing"
        else:
            answered = self._learner.voters(proposer.ballot, proposer.proposed)
            phase = "phase 2: asking to accept"
        return phase, len(answered), tuple(one for one in everyone if one not in answered)
