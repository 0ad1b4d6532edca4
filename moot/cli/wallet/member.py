"""``moot wallet member``: the members of a chain, and votes on who shall be one."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple, TypedDict, Unpack

import click

from chain.bech32m import show_address
from chain.errors import Invalid
from chain.hashing import parse_id
from chain.transaction import LEARNER, OUT, STANDINGS, VOTER, WITHDRAWN, MembershipVote, Transaction
from chain.validators import WEIGHT_MAX
from moot.cli.common import (
    Failure,
    Function,
    json_option,
    node_option,
    print_facts,
    print_json,
    print_table,
)
from moot.cli.network import ask
from moot.cli.wallet.common import (
    Party,
    home_option,
    on_network,
    open_wallet,
    party,
    password_option,
)
from moot.cli.wallet.pay import hand_in
from moot.cli.wallet.waiting import Outcome, say_outcome, wait_options
from moot.client.answers import MemberAnswer, MembersAnswer, NodeStatus
from moot.client.node import NodeClient
from moot.node.config import Folder, load_seed
from wallet.build import build, membership_vote, sign_transaction
from wallet.keys import Key

WORDS = {OUT: "out", LEARNER: "a learner", VOTER: "a voter", WITHDRAWN: "nobody's wish any more"}


BEHIND_MAX: Final = 100
"""Blocks that a learner may be behind when it is promoted: seconds of catching up."""
ANY_NETWORK = ""
"""In the place of the prefix of a key that was read from a file: it is of no network."""


class Vote(NamedTuple):
    """What is voted, before the node was asked what it needs to know. ``name`` None: as it is.
    ``is_checked``: a learner that has not caught up gets no vote."""

    subject: Party
    standing: int
    weight: int = 0
    name: str | None = ""
    is_checked: bool = False


@click.group(name="member")
def member() -> None:
    """Who decides on this chain, and votes to change that.

    A vote is a transaction of a member: sign with its node's key (--as FOLDER of the node, or its
    key file) or with a wallet of that key. As soon as a quorum of the voters wishes the same, it
    takes effect.

    Example: moot wallet member add tmoot1... --as net/node1
    """


class Ways(TypedDict):
    """Who votes, and how that is sent: what ``voting_options`` hands in."""

    voter: str
    wait: bool
    timeout: float
    home: Path
    password_file: Path | None
    node_url: str
    as_json: bool


def voting_options(function: Function) -> Function:
    """What all votes share."""
    options = (
        click.option(
            "--as",
            "voter",
            required=True,
            metavar="WALLET|NODE|KEYFILE",
            help="Who votes: a wallet's name, a node's folder, or a file with its key.",
        ),
        wait_options,
        home_option,
        password_option,
        node_option,
        json_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


@member.command(name="list")
@node_option
@json_option
def list_(node_url: str, as_json: bool) -> None:
    """Show voters, learners and open votes.

    Example: moot wallet member list
    """
    found = ask(node_url, lambda node: node.members())
    if as_json:
        print_json(found)
        return
    if not found.members:
        click.echo("This chain has no members: whoever likes takes part.")
        return
    print_table(
        ["name", "standing", "weight", "decides", "address"],
        [
            [
                each.name,
                each.standing,
                str(each.weight),
                "yes" if each.decides else "no",
                each.address,
            ]
            for each in found.members
        ],
    )
    if found.change == "none":
        click.echo("No vote changes the members of this chain.")
    elif found.joint:
        click.echo("A change is being carried out: no vote is taken until that is done.")
    for wish in found.wishes:
        who = ", ".join(vote.name or vote.voter for vote in wish.votes)
        named = f" ({wish.name})" if wish.name else ""
        click.echo(
            f"{len(wish.votes)} of {wish.needed} needed votes that {wish.subject}{named} be "
            f"{wish.standing}: {who}"
        )


@member.command()
@click.argument("subject", metavar="ADDRESS|WALLET|NODE|KEYFILE")
@click.option("--name", default="", help="A name for people, at most 64 characters.")
@click.option(
    "--weight",
    type=click.IntRange(1, WEIGHT_MAX),
    default=1,
    show_default=True,
    help="What its vote weighs, under engines that weigh votes.",
)
@click.option("--learner", is_flag=True, help="It shall follow without a vote.")
@voting_options
def add(subject: str, name: str, weight: int, learner: bool, **ways: Unpack[Ways]) -> None:
    """Vote that somebody become a member.

    Example: moot wallet member add rmoot1... --name node5 --as net/node1
    """
    who = _subject(ways["home"], subject)
    vote = Vote(who, LEARNER, 0, name) if learner else Vote(who, VOTER, weight, name)
    _cast(vote, **ways)


@member.command()
@click.argument("subject", metavar="ADDRESS|WALLET|NODE|KEYFILE")
@click.option(
    "--weight",
    type=click.IntRange(1, WEIGHT_MAX),
    default=1,
    show_default=True,
    help="What its vote weighs, under engines that weigh votes.",
)
@click.option("--force", is_flag=True, help="Also one that is not linked, or has not caught up.")
@voting_options
def promote(subject: str, weight: int, force: bool, **ways: Unpack[Ways]) -> None:
    """Vote that a learner become a voter, under the name that it has.

    It has to have caught up, and to be linked to the node that is asked: a voter that is not there
    uses up one of the faults that the others can bear.

    Example: moot wallet member promote rmoot1... --as net/node1
    """
    who = _subject(ways["home"], subject)
    _cast(Vote(who, VOTER, weight, None, is_checked=not force), **ways)


@member.command()
@click.argument("subject", metavar="ADDRESS|WALLET|NODE|KEYFILE")
@voting_options
def remove(subject: str, **ways: Unpack[Ways]) -> None:
    """Vote that a member leave. Its node goes on following, as an observer.

    Example: moot wallet member remove rmoot1... --as net/node1
    """
    _cast(Vote(_subject(ways["home"], subject), OUT), **ways)


@member.command()
@click.argument("subject", metavar="ADDRESS|WALLET|NODE|KEYFILE")
@voting_options
def withdraw(subject: str, **ways: Unpack[Ways]) -> None:
    """Take back the open vote on somebody.

    Example: moot wallet member withdraw rmoot1... --as net/node1
    """
    _cast(Vote(_subject(ways["home"], subject), WITHDRAWN), **ways)


def _cast(vote: Vote, **ways: Unpack[Ways]) -> None:
    node_url, as_json = ways["node_url"], ways["as_json"]
    key = _key_of(ways["voter"], ways["home"], ways["password_file"])

    async def sent(node: NodeClient) -> tuple[NodeStatus, Outcome, MembersAnswer]:
        status, known = await node.status(), await node.members()
        action = _action(vote, status.prefix, known)
        signed = await _signed(node, status, key, action)
        chain = parse_id(status.chain_id)
        outcome = await hand_in(node, signed, chain, ways["wait"], ways["timeout"])
        return status, outcome, await node.members()

    status, outcome, after = ask(node_url, sent)
    shown = show_address(vote.subject.address, status.prefix)
    if as_json:
        wish = {"subject": shown, "standing": STANDINGS[vote.standing], "members": after}
        print_json(outcome.facts() | wish)
    else:
        print_facts(
            [
                ("Voter", show_address(key.address, status.prefix)),
                ("Wish", f"{shown} be {WORDS[vote.standing]}"),
                ("Sent", outcome.txid),
            ]
        )
    say_outcome(outcome, as_json)
    if not as_json and outcome.state == "final":
        click.echo(_what_came(vote, shown, after))


def _subject(home: Path, text: str) -> Party:
    """Who is meant: the key of a node's folder or file where that is, else as in payments."""
    key = _key_at(text)
    return party(home, text) if key is None else Party(text, key.address, ANY_NETWORK)


def _key_at(text: str) -> Key | None:
    place = Path(text)
    if place.is_dir():
        return Key.from_seed(Folder(place).load_key())
    return Key.from_seed(load_seed(place)) if place.is_file() else None


def _key_of(voter: str, home: Path, password_file: Path | None) -> Key:
    """A node's key where a folder or file of that name is, else a wallet's."""
    key = _key_at(voter)
    if key is not None:
        return key
    return open_wallet(home, party(home, voter), password_file)


def _action(vote: Vote, prefix: str, known: MembersAnswer) -> MembershipVote:
    """The vote under the name that is meant. Raises Failure where it could not count."""
    subject = vote.subject
    is_key = subject.prefix == ANY_NETWORK
    shown = subject.show(prefix) if is_key else on_network(subject, prefix)
    if known.change == "none":
        raise Failure("no vote changes the members of this chain")
    now = next((each for each in known.members if each.address == shown), None)
    name = vote.name if vote.name is not None else _name_of_learner(now, shown)
    if vote.standing == OUT and now is None:
        raise Failure(f"{shown} is no member")
    if vote.is_checked and now is not None:
        _check_caught_up(now, known.height)
    try:
        return membership_vote(vote.subject.address, vote.standing, vote.weight, name)
    except Invalid as error:
        raise Failure(f"{error.sentence} ({error.code})") from None


def _name_of_learner(now: MemberAnswer | None, shown: str) -> str:
    if now is None or now.standing != "learner":
        raise Failure(f"{shown} is no learner; add it first: moot wallet member add --learner")
    return now.name


def _check_caught_up(learner: MemberAnswer, height: int) -> None:
    """Raises Failure. ``height``: of the head of the node that is asked."""
    who = learner.name or learner.address
    if learner.finalized_height is None:
        raise Failure(
            f"{who} is not linked to the node that was asked, so that nobody knows how far it is; "
            "ask another node, or vote for it all the same with --force"
        )
    behind = height - learner.finalized_height
    if behind > BEHIND_MAX:
        raise Failure(
            f"{who} is {behind} blocks behind; wait until it has caught up, or vote for it all the "
            "same with --force"
        )


async def _signed(
    node: NodeClient, status: NodeStatus, key: Key, action: MembershipVote
) -> Transaction:
    account = await node.account(show_address(key.address, status.prefix))
    rate = status.fee_per_kilobyte_min
    draft = build(key.address, [action], account.pending_nonce, fee_per_kilobyte=rate)
    if account.balance < draft.fee:
        raise Failure(
            f"{account.address} has no coins for the fee of its vote; send it some, or on a test "
            f"network ask its faucet: moot wallet faucet {account.address}"
        )
    return sign_transaction(draft, key, parse_id(status.chain_id))


def _what_came(vote: Vote, shown: str, after: MembersAnswer) -> str:
    for wish in after.wishes:
        if wish.subject == shown and vote.standing != WITHDRAWN:
            return f"{len(wish.votes)} of {wish.needed} needed votes"
    if vote.standing == WITHDRAWN:
        return "the vote is withdrawn"
    change = "the change has begun" if after.joint else "the change is made"
    return f"enough members wish it: {change}, and decides from {after.lag} blocks later on"
