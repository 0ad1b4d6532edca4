"""``moot wallet new/import/list/address/password/export``: keys, without any network."""

from __future__ import annotations

from pathlib import Path

import click
from rich.columns import Columns
from rich.panel import Panel
from rich.text import Text

from chain.address import PREFIXES
from chain.bech32m import parse_address, show_address
from moot.cli.common import Failure, console, json_option, print_facts, print_json
from moot.cli.wallet.common import (
    SECRET_FILE,
    folder_of,
    home_option,
    making_options,
    passphrase_from,
    password_from,
    password_option,
    prompt,
    read_secret,
)
from moot.node.config import load_seed, save_seed
from wallet.development import development_key
from wallet.folder import WalletFolder
from wallet.keys import Key

WARNING = (
    "Whoever has these words owns the wallet's coins, without any password. They are shown only "
    "now and stored nowhere: write them on paper. If the file or the password is lost, they are "
    "the only way back."
)


@click.command()
@click.argument("name")
@click.option(
    "--words",
    type=click.Choice(["12", "24"]),
    default="12",
    show_default=True,
    help="How many words restore it.",
)
@making_options
@home_option
@password_option
@json_option
def new(
    name: str,
    words: str,
    network: str,
    passphrase_file: Path | None,
    path: str | None,
    light: bool,
    home: Path,
    password_file: Path | None,
    as_json: bool,
) -> None:
    """Make a wallet, and show the words that restore it.

    Example: moot wallet new alice
    """
    folder = folder_of(home, network, light)
    _refuse_taken(folder, name)
    passphrase = passphrase_from(passphrase_file)
    password = password_from(password_file, f"New password for wallet {name}", confirm=True)
    made = folder.new(name, password, words=int(words), passphrase=passphrase, path=path)
    address = show_address(made.key.address, folder.prefix)
    if as_json:
        print_json(_facts(folder, name, address) | {"path": made.path, "mnemonic": made.mnemonic})
        return
    print_facts([("Wallet", name), ("Address", address), ("File", folder.path_of(name))])
    numbered = [Text(f"{i:2} {word}") for i, word in enumerate(made.mnemonic.split(), 1)]
    screen = console()
    screen.print()
    screen.print(
        Panel(
            Columns(numbered, width=14, column_first=False),
            title="WRITE THESE WORDS DOWN",
            width=70,
            padding=(1, 2),
            style="bold",
        ),
        soft_wrap=False,
    )
    screen.print(Text(WARNING, style="bold red"), width=76, soft_wrap=False)


@click.command(name="import")
@click.argument("name")
@click.option("--mnemonic-file", type=SECRET_FILE, help="File with 12 to 24 words on one line.")
@click.option("--seed-file", type=SECRET_FILE, help="File with a key: 64 hexadecimal digits.")
@click.option(
    "--development",
    type=click.IntRange(0, 9),
    default=None,
    help="A devnet's test account, 0 to 9. Its key is public knowledge.",
)
@making_options
@home_option
@password_option
@json_option
def import_(
    name: str,
    mnemonic_file: Path | None,
    seed_file: Path | None,
    development: int | None,
    network: str,
    passphrase_file: Path | None,
    path: str | None,
    light: bool,
    home: Path,
    password_file: Path | None,
    as_json: bool,
) -> None:
    """Make a wallet from words (asked for, or in a file), a key file, or a devnet's account.

    Example: moot wallet import bank --development 0
    """
    if sum(source is not None for source in (mnemonic_file, seed_file, development)) > 1:
        raise click.UsageError("give one of --mnemonic-file, --seed-file and --development")
    folder = folder_of(home, network, light)
    _refuse_taken(folder, name)
    if development is not None and network == "main":
        raise Failure("a devnet's accounts are public knowledge: anyone could spend what they hold")
    if seed_file is not None or development is not None:
        if path is not None or passphrase_file is not None:
            raise click.UsageError("--path and --passphrase-file go with words only")
        key = (
            Key.from_seed(load_seed(seed_file)) if seed_file else development_key(development or 0)
        )
        folder.import_key(name, key, _new_password(password_file, name))
    else:
        words = (
            read_secret(mnemonic_file)
            if mnemonic_file is not None
            else prompt("The wallet's words", hidden=False, instead="--mnemonic-file")
        )
        passphrase = passphrase_from(passphrase_file)
        password = _new_password(password_file, name)
        key = folder.import_mnemonic(name, words, password, passphrase=passphrase, path=path)
    address = show_address(key.address, folder.prefix)
    if as_json:
        print_json(_facts(folder, name, address))
        return
    print_facts([("Wallet", name), ("Address", address), ("File", folder.path_of(name))])


@click.command(name="list")
@home_option
@json_option
def list_(home: Path, as_json: bool) -> None:
    """List the wallets.

    Example: moot wallet list
    """
    folder = folder_of(home)
    entries = folder.entries()
    if as_json:
        print_json({"wallets": [entry._asdict() for entry in entries]})
        return
    if not entries:
        click.echo(f"no wallets in {folder.folder}; make one with: moot wallet new NAME")
    print_facts([(e.name, e.address or e.problem or "names no address") for e in entries])


@click.command()
@click.argument("name")
@click.option("--network", type=click.Choice(sorted(PREFIXES)), help="Show it for another network.")
@home_option
@json_option
def address(name: str, network: str | None, home: Path, as_json: bool) -> None:
    """Show a wallet's address.

    Example: moot wallet address alice
    """
    folder = folder_of(home)
    text = folder.address(name)
    if text is None:
        raise Failure(f"the file of wallet {name} names no address")
    if network is not None:
        text = show_address(parse_address(text), PREFIXES[network])
    if as_json:
        print_json(_facts(folder, name, text))
        return
    click.echo(text)


@click.command()
@click.argument("name")
@click.option(
    "--new-password-file", type=SECRET_FILE, help="File with the new password [default: ask]."
)
@click.option("--light", is_flag=True, help="Weak but quick encryption, for tests.")
@home_option
@password_option
def password(
    name: str,
    new_password_file: Path | None,
    light: bool,
    home: Path,
    password_file: Path | None,
) -> None:
    """Change a wallet's password.

    Example: moot wallet password alice
    """
    folder = folder_of(home, light=light)
    old = password_from(password_file, f"Password of wallet {name}")
    if new_password_file is None:
        folder.load(name, old)  # a wrong one is said before a new one is asked for
    changed = password_from(new_password_file, "New password", confirm=True)
    folder.change_password(name, old, changed)
    click.echo(f"the password of wallet {name} is changed")


@click.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@home_option
@password_option
def export(name: str, file: Path, home: Path, password_file: Path | None) -> None:
    """Write a wallet's key, UNENCRYPTED, as a key file such as `moot node init --key` takes.

    Example: moot wallet export alice alice.key
    """
    key = folder_of(home).load(name, password_from(password_file, f"Password of wallet {name}"))
    save_seed(file, key.seed)
    click.echo(f"{file}: the unencrypted key of wallet {name}; whoever reads it owns its coins")


def _new_password(file: Path | None, name: str) -> str:
    return password_from(file, f"New password for wallet {name}", confirm=True)


def _refuse_taken(folder: WalletFolder, name: str) -> None:
    """Before anything is asked: a taken name would be refused only after the passwords."""
    if folder.path_of(name).exists():
        raise Failure(f"there is a wallet {name} already; a key is never overwritten")


def _facts(folder: WalletFolder, name: str, text: str) -> dict[str, str]:
    return {"name": name, "address": text, "file": str(folder.path_of(name))}
