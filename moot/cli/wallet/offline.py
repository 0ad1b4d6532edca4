"""``moot wallet sign``: signing on a machine without a network."""

from __future__ import annotations

from pathlib import Path

import click

from chain.hashing import show_id
from chain.transaction import parse_transaction
from moot.cli.common import Failure, json_option, print_facts, print_json
from moot.cli.wallet.common import home_option, open_wallet, party, password_option
from wallet.build import (
    UNSIGNED_FILE_SIZE_MAX,
    SummaryTransfer,
    UnsignedTransaction,
    read_unsigned,
    sign_unsigned,
    summarize,
)


@click.command()
@click.argument("wallet")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the signed transaction here [default: print it].",
)
@home_option
@password_option
@json_option
def sign(
    wallet: str,
    file: Path,
    out: Path | None,
    home: Path,
    password_file: Path | None,
    as_json: bool,
) -> None:
    """Sign a payment that `moot wallet send --unsigned` wrote; speaks to no node.

    Example: moot wallet sign alice payment.json --out signed.hex
    """
    with file.open("rb") as source:
        text = source.read(UNSIGNED_FILE_SIZE_MAX + 1).decode("utf-8", errors="replace")
    unsigned = read_unsigned(text)
    signer = party(home, wallet)
    if unsigned.transaction.sender != signer.address:
        raise Failure(f"the payment in {file} is not wallet {wallet}'s")
    if not as_json:
        _show(unsigned)
    signed = sign_unsigned(text, open_wallet(home, signer, password_file))
    txid = show_id(parse_transaction(bytes.fromhex(signed)).id)
    if out is not None:
        try:
            with out.open("x", encoding="ascii") as target:
                target.write(signed + "\n")
        except FileExistsError:
            raise Failure(f"{out} exists already; choose another name") from None
    if as_json:
        summary = summarize(unsigned.transaction, unsigned.prefix)
        print_json({"txid": txid, "transaction": signed, "summary": summary})
    elif out is None:
        click.echo(signed)
    else:
        click.echo(f"signed, in {out}: transaction {txid}")


def _show(unsigned: UnsignedTransaction) -> None:
    """What is about to be signed; on standard error, since the result may be piped on."""
    summary = summarize(unsigned.transaction, unsigned.prefix)
    lines = [("From", summary.sender)]
    for action in summary.actions:
        if isinstance(action, SummaryTransfer):
            memo = f" ({action.memo})" if action.memo else ""
            lines.append(("Pays", f"{action.amount} to {action.recipient}{memo}"))
        else:
            named = f" ({action.name})" if action.name else ""
            lines.append(("Votes", f"{action.subject}{named}: {action.standing}"))
    lines += [("Fee", summary.fee), ("Nonce", str(summary.nonce))]
    lines += [("Expires", f"after height {summary.expiry}" if summary.expiry else "")]
    lines += [("Chain", show_id(unsigned.chain_id))]
    print_facts(lines, err=True)
