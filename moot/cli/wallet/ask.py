"""``moot wallet balance/history/faucet``: what a node knows of an account."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple, get_args

import click

from moot.cli.common import (
    Failure,
    json_option,
    node_option,
    print_facts,
    print_json,
    print_table,
)
from moot.cli.network import ask
from moot.cli.wallet.common import Party, folder_of, home_option, on_network, party
from moot.cli.wallet.waiting import Outcome, follow, say_outcome, wait_options
from moot.client.answers import AccountAnswer, EsploraTransaction
from moot.client.node import Consistency, NodeClient
from wallet.amounts import show_amount

HISTORY_COUNT = 25


# --- balance --------------------------------------------------------------------------------------


@click.command()
@click.argument("who", metavar="[WALLET|ADDRESS]...", nargs=-1)
@home_option
@node_option
@click.option(
    "--consistency",
    type=click.Choice(get_args(Consistency)),
    envvar="MOOT_CONSISTENCY",
    help="serializable: the node's last final block, which may be old; linearizable: no older than "
    "anything that was final before, vouched for by a quorum. Default: the node's newest block, "
    "which may not stay.",
)
@json_option
def balance(
    who: tuple[str, ...],
    home: Path,
    node_url: str,
    consistency: Consistency | None,
    as_json: bool,
) -> None:
    """Show what wallets or addresses own (default: all wallets).

    Example: moot wallet balance alice --consistency linearizable
    """
    parties = [party(home, text) for text in who or _all_wallets(home)]
    answers = ask(node_url, lambda node: _accounts(node, parties, consistency))
    if as_json:
        accounts = [
            {
                "wallet": who.name,
                "address": a.address,
                "balance": a.balance,
                "maturing": [{"height": m.height, "amount": m.amount} for m in a.maturing],
                "nonce": a.nonce,
                "pending_nonce": a.pending_nonce,
                "height": a.height,
                "consistency": a.consistency,
            }
            for who, a in zip(parties, answers, strict=True)
        ]
        print_json({"accounts": accounts})
        return
    amounts = _aligned([show_amount(answer.balance) for answer in answers])
    names = [who.name or answer.address for who, answer in zip(parties, answers, strict=True)]
    width = max(map(len, names))
    for name, amount, answer in zip(names, amounts, answers, strict=True):
        click.echo(f"{name.ljust(width)}  {amount}{_notes(answer)}".rstrip())


def _aligned(amounts: list[str]) -> list[str]:
    """With their points below each other."""
    parts = [amount.partition(".") for amount in amounts]
    whole = max(len(before) for before, _, _ in parts)
    rest = max(len(point + after) for _, point, after in parts)
    return [before.rjust(whole) + (point + after).ljust(rest) for before, point, after in parts]


def _all_wallets(home: Path) -> list[str]:
    names = [entry.name for entry in folder_of(home).entries() if entry.address is not None]
    if not names:
        raise Failure("there is no wallet; make one with: moot wallet new NAME")
    return names


async def _accounts(
    node: NodeClient, parties: list[Party], consistency: Consistency | None
) -> list[AccountAnswer]:
    prefix = (await node.status()).prefix
    return [await node.account(on_network(who, prefix), consistency) for who in parties]


def _notes(answer: AccountAnswer) -> str:
    notes = []
    if answer.maturing:
        total = sum(item.amount for item in answer.maturing)
        first, last = answer.maturing[0].height, answer.maturing[-1].height
        span = f"height {first}" if first == last else f"heights {first} to {last}"
        notes.append(f"{show_amount(total)} maturing, spendable from {span}")
    waiting = answer.pending_nonce - answer.nonce
    if waiting:
        notes.append(f"{waiting} of its payments waiting")
    return f"  ({'; '.join(notes)})" if notes else ""


# --- history --------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """One transaction as it touched an account. ``change`` in base units, the fee included."""

    time: str
    height: int | None
    change: int
    fee: int
    other: str
    txid: str


@click.command()
@click.argument("who", metavar="WALLET|ADDRESS")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=HISTORY_COUNT,
    show_default=True,
    help="Entries shown, newest first.",
)
@click.option("--after", metavar="TXID", help="Go on after this transaction, towards older ones.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@home_option
@node_option
@json_option
def history(
    who: str,
    limit: int,
    after: str | None,
    as_csv: bool,
    home: Path,
    node_url: str,
    as_json: bool,
) -> None:
    """Show what an account paid and received, newest first.

    Example: moot wallet history alice --limit 10
    """
    if as_csv and as_json:
        raise click.UsageError("give one of --csv and --json")
    found, more = ask(node_url, lambda node: _history(node, party(home, who), limit, after))
    if as_json:
        print_json({"entries": [entry._asdict() for entry in found], "more": more})
        return
    if as_csv:
        click.echo(_csv(found), nl=False)
        return
    if not found:
        click.echo("nothing yet")
        return
    print_table(
        ("time", "height", "change", "fee", "with", "transaction"),
        [_row(entry) for entry in found],
        left=("time",),
        long=("with", "transaction"),
    )
    if more:
        click.echo(f"older ones: moot wallet history {who} --after {found[-1].txid}")


def _row(entry: Entry) -> tuple[str, ...]:
    height = "waiting" if entry.height is None else str(entry.height)
    change = ("+" if entry.change > 0 else "") + show_amount(entry.change)
    fee = show_amount(entry.fee) if entry.change < 0 else ""
    return (entry.time, height, change, fee, entry.other, entry.txid)


async def _history(
    node: NodeClient, who: Party, limit: int, after: str | None
) -> tuple[list[Entry], bool]:
    address = on_network(who, (await node.status()).prefix)
    found: list[EsploraTransaction] = []
    if after is None:
        async for transaction in node.address_history(address):
            found.append(transaction)
            if len(found) > limit:
                break
    else:
        while len(found) <= limit:
            page = await node.address_txs_chain(address, after)
            found += page
            if not page:
                break
            after = page[-1].txid
    entries = [_entry(transaction, address) for transaction in islice(found, limit)]
    return entries, len(found) > limit


def _entry(transaction: EsploraTransaction, address: str) -> Entry:
    paid = [item.prevout for item in transaction.vin if item.prevout is not None]
    out = sum(item.value for item in paid if item.scriptpubkey_address == address)
    back = sum(o.value for o in transaction.vout if o.scriptpubkey_address == address)
    if out:
        others = [o.scriptpubkey_address for o in transaction.vout]
    else:
        others = [item.scriptpubkey_address for item in paid]
    names = sorted({name for name in others if name is not None and name != address})
    if any(item.is_coinbase for item in transaction.vin):
        other = "reward"
    elif not names:
        other = "itself"
    else:
        other = names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
    status, time = transaction.status, ""
    if status.block_time is not None:
        time = datetime.fromtimestamp(status.block_time, UTC).strftime("%Y-%m-%d %H:%M:%S")
    fee = transaction.fee if out else 0
    return Entry(time, status.block_height, back - out, fee, other, transaction.txid)


def _csv(entries: list[Entry]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["time_utc", "height", "change", "fee", "with", "txid"])
    for entry in entries:
        writer.writerow(
            [
                entry.time,
                "" if entry.height is None else entry.height,
                show_amount(entry.change),
                show_amount(entry.fee),
                entry.other,
                entry.txid,
            ]
        )
    return text.getvalue()


# --- faucet ---------------------------------------------------------------------------------------


@click.command()
@click.argument("who", metavar="WALLET|ADDRESS")
@wait_options
@home_option
@node_option
@json_option
def faucet(who: str, wait: bool, timeout: float, home: Path, node_url: str, as_json: bool) -> None:
    """Ask a test network's faucet for coins.

    Example: moot wallet faucet alice
    """
    recipient = party(home, who)

    async def asked(node: NodeClient) -> tuple[int, Outcome]:
        status = await node.status()
        given = await node.faucet(on_network(recipient, status.prefix))
        return given.amount, await follow(node, given.txid, status, wait, timeout)

    amount, outcome = ask(node_url, asked)
    if as_json:
        print_json({"amount": amount, **outcome.facts()})
    else:
        print_facts([("Faucet", f"gives {show_amount(amount)}"), ("Transaction", outcome.txid)])
    say_outcome(outcome, as_json)
