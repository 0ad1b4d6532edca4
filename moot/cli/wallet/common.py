"""What the wallet's commands share: where wallets lie, how passwords come in, who is meant."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

import click

from chain.address import PREFIXES, Address
from chain.bech32m import parse_address, show_address
from chain.errors import Invalid
from moot.cli.common import Failure, Function, address_of
from wallet.folder import WalletFolder
from wallet.keys import Key
from wallet.keystore import LIGHT, STANDARD

SECRET_SIZE_MAX = 4_096
"""Bytes of a file with a password, a passphrase or a mnemonic."""
DEFAULT_HOME = Path("~/.moot")

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)
"""What can be a wallet's name; an address is longer."""

SECRET_FILE = click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)


def home_option(function: Function) -> Function:
    """``--home``: the folder that holds the wallets' folder."""
    return click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_HOME,
        show_default=True,
        envvar="MOOT_HOME",
        help="Folder of your wallets.",
    )(function)


def password_option(function: Function) -> Function:
    """``--password-file``: instead of the prompt."""
    return click.option(
        "--password-file",
        type=SECRET_FILE,
        envvar="MOOT_PASSWORD_FILE",
        help="File whose first line is the password [default: ask for it].",
    )(function)


def making_options(function: Function) -> Function:
    """What ``new`` and ``import`` share."""
    options = (
        click.option(
            "--network",
            type=click.Choice(sorted(PREFIXES)),
            default="dev",
            show_default=True,
            help="Kind of network that the address is shown for.",
        ),
        click.option(
            "--passphrase-file",
            type=SECRET_FILE,
            help="File with BIP39's extra passphrase; it is needed to restore the wallet.",
        ),
        click.option("--path", help="Derivation path [default: m/44'/1'/0'/0']."),
        click.option(
            "--light", is_flag=True, help="Weak but quick encryption, for tests and small machines."
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def folder_of(home: Path, network: str = "dev", light: bool = False) -> WalletFolder:
    """The wallets below ``home``."""
    cost = LIGHT if light else STANDARD
    return WalletFolder(home.expanduser() / "wallets", PREFIXES[network], cost)


# --- secrets --------------------------------------------------------------------------------------


def read_secret(path: Path) -> str:
    """The first line of a file (``-``: of standard input). Raises Failure."""
    try:
        with click.open_file(str(path), "rb") as file:
            raw: bytes = file.read(SECRET_SIZE_MAX + 1)
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Failure(f"{path} is not text") from None
    if len(raw) > SECRET_SIZE_MAX:
        raise Failure(f"{path} is too long for a secret: at most {SECRET_SIZE_MAX} bytes")
    line = text.partition("\n")[0].removesuffix("\r")
    if not line:
        raise Failure(f"the first line of {path} is empty")
    return line


def password_from(path: Path | None, question: str = "Password", *, confirm: bool = False) -> str:
    """From the file, else from the terminal. Raises Failure where there is neither."""
    if path is not None:
        return read_secret(path)
    return prompt(question, hidden=True, confirm=confirm, instead="--password-file")


def prompt(question: str, *, hidden: bool, confirm: bool = False, instead: str) -> str:
    """What the person at the terminal types. Raises Failure where nobody sits there."""
    if not sys.stdin.isatty():
        raise Failure(f"{question.lower()} needed: give {instead}, or run this in a terminal")
    answer: str = click.prompt(question, hide_input=hidden, confirmation_prompt=confirm, err=True)
    return answer


def passphrase_from(path: Path | None) -> str:
    """BIP39's passphrase; empty where no file is named."""
    return "" if path is None else read_secret(path)


# --- who is meant ---------------------------------------------------------------------------------


class Party(NamedTuple):
    """A wallet of ours (``name``), or an address that was typed (``name`` None)."""

    name: str | None
    address: Address
    prefix: str

    def show(self, prefix: str) -> str:
        """The address under a network's prefix."""
        return show_address(self.address, prefix)


def party(home: Path, text: str) -> Party:
    """The wallet of that name, or the address. Raises BadParameter, WalletError, Failure."""
    if _NAME.fullmatch(text) is None:
        return Party(None, address_of(text, None), text.strip().lower().rpartition("1")[0])
    stored = folder_of(home).address(text)
    if stored is None:
        raise Failure(f"the file of wallet {text} names no address: import its key again")
    return Party(text, parse_address(stored), stored.lower().rpartition("1")[0])


def on_network(who: Party, prefix: str) -> str:
    """The party's address on a node's network. Raises Failure where it belongs elsewhere.

    An address counts as typed. A wallet's key works on any test network, whatever kind it was
    made for; but what holds value and what does not are kept apart.
    """
    if who.name is None:
        try:
            parse_address(who.show(who.prefix), prefix)
        except Invalid as error:
            raise Failure(error.sentence) from None
    elif (who.prefix == PREFIXES["main"]) != (prefix == PREFIXES["main"]):
        raise Failure(
            f"wallet {who.name} was made for networks whose addresses begin with {who.prefix!r}; "
            f"at this node they begin with {prefix!r}"
        )
    return who.show(prefix)


def open_wallet(home: Path, who: Party, password_file: Path | None) -> Key:
    """The key of a wallet, after asking for its password. Raises WalletError, Failure."""
    if who.name is None:
        raise Failure("signing needs a wallet: give its name rather than an address")
    question = f"Password of wallet {who.name}"
    return folder_of(home).load(who.name, password_from(password_file, question))
