"""``/moot/members``: who decides, who learns, and what the voters wish."""

from __future__ import annotations

import msgspec
from aiohttp import web

from chain.address import key_address
from chain.membership import open_wishes
from chain.state.accounts import get_validators
from chain.transaction import STANDINGS
from moot.node.rest.context import Context
from moot.node.rest.routes import Table

table = Table()


class MemberFacts(msgspec.Struct):
    """``standing``: voter, learner, or leaving (of the old half of a joint set only).

    ``decides``: has a vote on the next block; it comes some blocks after the change, and goes so.
    ``linked``: this node holds a link with it, or is it. ``finalized_height``: what is final there,
    as it told last; None where it is not linked.
    """

    address: str
    name: str
    weight: int
    standing: str
    decides: bool
    linked: bool
    finalized_height: int | None


class VoteFacts(msgspec.Struct):
    """Who wishes it, and the last height at which that counts."""

    voter: str
    name: str
    until_height: int


class WishFacts(msgspec.Struct):
    """``standing``: out, learner or voter. ``needed``: votes that make it come true."""

    subject: str
    standing: str
    weight: int
    name: str
    votes: list[VoteFacts]
    needed: int


class MembersAnswer(msgspec.Struct):
    """As of the head. ``change``: none, at-once or joint: how a wish of enough takes effect.

    ``joint``: a joint configuration has not been left yet, and no vote is taken. ``lag``: blocks
    between a change and the first block that the new set decides.
    """

    height: int
    change: str
    lag: int
    joint: bool
    quorum: int
    members: list[MemberFacts]
    wishes: list[WishFacts]


@table.add("GET", "/moot/members", MembersAnswer)
async def members(context: Context, request: web.Request) -> MembersAnswer:
    """Voters, learners and open votes, as the newest block leaves them."""
    core = context.core
    ledger, properties = core.ledger, core.rules.properties
    state, height = ledger.state(), ledger.height(ledger.head())
    newest = get_validators(state)
    now = ledger.validators(ledger.head())
    final = {core.me: ledger.height(ledger.confirmed())}
    final |= {key_address(key): final_there for key, (_, final_there) in core.sync.claims().items()}
    linked = {key_address(key) for key in core.peers} | {core.me}
    leaving = [each for each in newest.outgoing if each.address not in newest.by_address]
    listed = [
        *((each, "voter" if each.weight else "learner") for each in newest.members),
        *((each, "leaving") for each in leaving),
    ]
    quorum = properties.quorum(len(newest))
    names = {each.address: each.name for each in newest.members}
    return MembersAnswer(
        height=height,
        change=properties.membership,
        lag=ledger.genesis.limits.validator_lag,
        joint=bool(newest.outgoing),
        quorum=quorum,
        members=[
            MemberFacts(
                context.show(each.address),
                each.name,
                each.weight,
                standing,
                each.address in now or any(each.address == old.address for old in now.outgoing),
                each.address in linked,
                final.get(each.address) if each.address in linked else None,
            )
            for each, standing in listed
        ],
        wishes=[
            WishFacts(
                context.show(wish.subject),
                STANDINGS[wish.standing],
                wish.weight,
                wish.name,
                [VoteFacts(context.show(voter), names[voter], until) for voter, until in holders],
                quorum,
            )
            for wish, holders in open_wishes(state, height + 1)
        ],
    )
