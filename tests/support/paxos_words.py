"""How golden transcripts show the words and records of the Paxos family."""

from __future__ import annotations

from consensus.contract import Message
from consensus.multipaxos.messages import Canvass, Grant, Release, Renewal, Support
from consensus.paxos.ballot import NO_BALLOT, Ballot
from consensus.paxos.messages import (
    Accept,
    Accepted,
    Ask,
    Decided,
    Prepare,
    Promise,
    Refusal,
    Tell,
    Vote,
)
from consensus.paxos.record import parse_record
from tests.support.fake_chain import make_address
from tests.support.transcripts import short

NODES_MAX = 16


def show_ballot(ballot: Ballot) -> str:
    """(round, number of the node)."""
    if ballot == NO_BALLOT:
        return "-"
    numbers = {make_address(number): number for number in range(NODES_MAX)}
    return f"({ballot.round},{numbers[ballot.node]})"


def show_vote(vote: Vote | None) -> str:
    return "nothing" if vote is None else f"{short(vote.block_id)}@{show_ballot(vote.ballot)}"


def show_message(message: Message) -> str:
    """One line, by the papers' words."""
    match message:
        case Prepare():
            return f"prepare {show_ballot(message.ballot)} h{message.height}"
        case Promise():
            ballot, height = show_ballot(message.ballot), message.height
            below = "" if message.decided is None else f", h{message.decided.height} decided"
            return f"promise {ballot} h{height} accepted {show_vote(message.accepted)}{below}"
        case Refusal():
            promised = show_ballot(message.promised)
            return f"refuse {show_ballot(message.ballot)} h{message.height} promised {promised}"
        case Accept():
            body = "" if message.block is not None else " (no body)"
            ballot, block = show_ballot(message.ballot), short(message.block_id)
            return f"accept {ballot} h{message.height} {block}{body}"
        case Accepted():
            ballot, block = show_ballot(message.ballot), short(message.block_id)
            return f"accepted {ballot} h{message.height} {block}"
        case Decided():
            certificate = message.certificate
            return f"decided h{certificate.height} {short(certificate.block_id)}"
        case Ask():
            return f"ask h{message.height}"
        case Tell():
            accepted = " and accepted" if message.has_accepted else ""
            listens = "" if message.is_whole else ", listens only"
            promised = show_ballot(message.promised)
            return f"tell h{message.height}{accepted} promised {promised}{listens}"
        case Canvass():
            return f"canvass {show_ballot(message.ballot)} h{message.height}"
        case Support():
            return f"support {show_ballot(message.ballot)}"
        case Renewal():
            return f"renew {show_ballot(message.ballot)} h{message.height}"
        case Grant():
            return f"grant {show_ballot(message.ballot)} h{message.height}"
        case Release():
            return f"release {show_ballot(message.ballot)}"
    raise AssertionError(type(message).__name__)


def show_record(raw: bytes) -> str:
    record = parse_record(raw)
    accepted = "" if record.accepted is None else f", accepted {show_vote(record.accepted)}"
    return f"h{record.height} promised {show_ballot(record.promised)}{accepted}"
