"""``moot wallet send/broadcast``: payments, and transactions that were signed elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import click

from chain.bech32m import show_address
from chain.genesis import Limits
from chain.hashing import parse_id, show_id
from chain.transaction import TRANSACTION_SIZE_MAX, Transaction, parse_transaction
from moot.cli.common import Failure, coins, json_option, node_option, print_facts, print_json
from moot.cli.network import ask
from moot.cli.wallet.common import (
    Party,
    home_option,
    on_network,
    open_wallet,
    party,
    password_option,
)
from moot.cli.wallet.waiting import Outcome, follow, say_outcome, wait_options
from moot.client.answers import AccountAnswer, NodeStatus
from moot.client.node import NodeClient
from wallet.amounts import show_amount
from wallet.build import (
    UnsignedTransaction,
    parse_hex,
    show_memo,
    sign_transaction,
    summarize,
    transfer,
    write_unsigned,
)


class Terms(NamedTuple):
    """What a payment needs to know of the chain. ``balance`` None: nobody was asked."""

    prefix: str
    chain_id: bytes
    nonce: int
    fee_rate: int
    balance: int | None
    chain: str


class Wish(NamedTuple):
    """What was asked for. Amounts in base units."""

    sender: Party
    recipient: Party
    amount: int
    fee: int | None
    memo: bytes
    expiry: int


@click.command()
@click.argument("wallet")
@click.argument("to", metavar="TO")
@click.argument("amount", type=coins)
@click.option("--fee", type=coins, default=None, help="Coins for the fee [default: the least].")
@click.option("--memo", default="", help="Text that everyone can read, at most 256 bytes.")
@click.option(
    "--expiry", type=click.IntRange(0), default=0, help="Last height that may include it."
)
@wait_options
@click.option("--dry-run", is_flag=True, help="Show the payment and send nothing.")
@click.option(
    "--unsigned",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it unsigned into this file, for `moot wallet sign` elsewhere.",
)
@click.option("--offline", is_flag=True, help="With --unsigned: ask no node.")
@click.option("--nonce", type=click.IntRange(0), default=None, help="The wallet's next nonce.")
@click.option("--chain-id", default=None, help="Id of the chain; see `moot genesis show`.")
@home_option
@password_option
@node_option
@json_option
def send(
    wallet: str,
    to: str,
    amount: int,
    fee: int | None,
    memo: str,
    expiry: int,
    wait: bool,
    timeout: float,
    dry_run: bool,
    unsigned: Path | None,
    offline: bool,
    nonce: int | None,
    chain_id: str | None,
    home: Path,
    password_file: Path | None,
    node_url: str,
    as_json: bool,
) -> None:
    """Pay AMOUNT coins from WALLET to TO (a wallet or an address), and wait until that is final.

    Example: moot wallet send alice bob 1.5 --memo "for lunch"
    """
    wish = Wish(party(home, wallet), party(home, to), amount, fee, memo.encode(), expiry)
    if offline:
        if unsigned is None or nonce is None or chain_id is None:
            raise click.UsageError("--offline needs --unsigned, --nonce and --chain-id")
        terms = _offline_terms(wish, nonce, chain_id)
    else:
        terms = _terms(node_url, wish, nonce, chain_id)
    payment = _payment(wish, terms)
    if not as_json:
        _show(payment, wish, terms)
    facts = _facts(payment, terms)
    if unsigned is not None:
        text = write_unsigned(UnsignedTransaction(payment, terms.chain_id, terms.prefix))
        _write_new(unsigned, text)
        _say(as_json, facts | {"file": str(unsigned)}, f"written, unsigned, to {unsigned}")
        return
    _check_means(payment, wish, terms)
    if dry_run:
        _say(as_json, facts | {"state": "dry-run"}, "dry run: nothing was sent")
        return
    key = open_wallet(home, wish.sender, password_file)
    signed = sign_transaction(payment, key, terms.chain_id)
    outcome = ask(node_url, lambda node: hand_in(node, signed, terms.chain_id, wait, timeout))
    if as_json:
        print_json(facts | outcome.facts())
    else:
        print_facts([("Sent  ", outcome.txid)])
    say_outcome(outcome, as_json)


@click.command()
@click.argument(
    "file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)
)
@wait_options
@node_option
@json_option
def broadcast(file: Path, wait: bool, timeout: float, node_url: str, as_json: bool) -> None:
    """Hand a signed transaction (hex, from `moot wallet sign`) to a node.

    Example: moot wallet broadcast signed.hex
    """
    with click.open_file(str(file), "rb") as source:
        raw = source.read(2 * TRANSACTION_SIZE_MAX + 2)
    text = raw.decode("ascii", errors="replace").strip()
    transaction = parse_transaction(parse_hex(text))
    outcome = ask(node_url, lambda node: hand_in(node, transaction, None, wait, timeout))
    if as_json:
        print_json(outcome.facts())
    else:
        print_facts([("Sent", outcome.txid)])
    say_outcome(outcome, as_json)


async def hand_in(
    node: NodeClient, transaction: Transaction, chain_id: bytes | None, wait: bool, timeout_s: float
) -> Outcome:
    """Submits and follows a signed transaction. Raises Failure with the node's code and sentence.

    ``chain_id``: what it was signed for; None: whatever the node's is.
    """
    status = await node.status()
    if chain_id is not None and parse_id(status.chain_id) != chain_id:
        raise Failure(f"the node follows another chain by now: {status.chain_id}")
    result = (await node.submit([transaction.raw]))[0]
    if result.code and not await _known(node, transaction):
        raise Failure(f"the node refuses it: {result.sentence} ({result.code})")
    return await follow(node, show_id(transaction.id), status, wait, timeout_s)


async def _known(node: NodeClient, transaction: Transaction) -> bool:
    """Handed in before: then it is only to be followed."""
    seen = await node.transaction_statuses([show_id(transaction.id)])
    return seen[0].state != "unknown"


# --- terms ----------------------------------------------------------------------------------------


def _terms(node_url: str, wish: Wish, nonce: int | None, chain_id: str | None) -> Terms:
    async def asked(node: NodeClient) -> tuple[NodeStatus, AccountAnswer]:
        status = await node.status()
        on_network(wish.recipient, status.prefix)
        return status, await node.account(on_network(wish.sender, status.prefix))

    status, account = ask(node_url, asked)
    if chain_id is not None and chain_id.lower() != status.chain_id:
        raise Failure(f"the node follows chain {status.chain_id}, not the one asked for")
    return Terms(
        status.prefix,
        parse_id(status.chain_id),
        account.pending_nonce if nonce is None else nonce,
        status.fee_per_kilobyte_min,
        account.balance,
        f"{status.name} ({status.engine})",
    )


def _offline_terms(wish: Wish, nonce: int, chain_id: str) -> Terms:
    on_network(wish.sender, wish.recipient.prefix)
    rate = Limits().fee_per_kilobyte_min
    return Terms(wish.recipient.prefix, parse_id(chain_id), nonce, rate, None, chain_id)


def _payment(wish: Wish, terms: Terms) -> Transaction:
    return transfer(
        wish.sender.address,
        wish.recipient.address,
        wish.amount,
        terms.nonce,
        fee=wish.fee,
        fee_per_kilobyte=terms.fee_rate,
        expiry=wish.expiry,
        memo=wish.memo,
    )


def _check_means(payment: Transaction, wish: Wish, terms: Terms) -> None:
    needed = wish.amount + payment.fee
    if terms.balance is not None and terms.balance < needed:
        raise Failure(
            f"{wish.sender.name or 'the sender'} has {show_amount(terms.balance)} coins and needs "
            f"{show_amount(needed)}, the fee included (insufficient-balance)"
        )


def _show(payment: Transaction, wish: Wish, terms: Terms) -> None:
    def shown(who: Party) -> str:
        text = show_address(who.address, terms.prefix)
        return text if who.name is None else f"{text} ({who.name})"

    print_facts(
        [
            ("From", shown(wish.sender)),
            ("To", shown(wish.recipient)),
            ("Amount", show_amount(wish.amount)),
            ("Fee", show_amount(payment.fee)),
            ("Memo", show_memo(wish.memo) if wish.memo else ""),
            ("Expires", f"after height {payment.expiry}" if payment.expiry else ""),
            ("Nonce", payment.nonce),
            ("Chain", terms.chain),
        ]
    )


def _facts(payment: Transaction, terms: Terms) -> dict[str, Any]:
    summary = summarize(payment, terms.prefix)
    (transfer,) = payment.transfers
    return {
        "chain_id": show_id(terms.chain_id),
        "from": summary.sender,
        "to": show_address(transfer.recipient, terms.prefix),
        "amount": transfer.amount,
        "fee": payment.fee,
        "nonce": payment.nonce,
        "expiry": payment.expiry,
        "memo": show_memo(transfer.memo),
    }


def _say(as_json: bool, facts: dict[str, Any], sentence: str) -> None:
    if as_json:
        print_json(facts)
    else:
        click.echo(sentence)


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Failure(f"{path} exists already; choose another name") from None
