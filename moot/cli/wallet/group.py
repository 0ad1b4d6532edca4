"""The ``moot wallet`` group; its commands live in keys, ask, pay, offline and member."""

from __future__ import annotations

import click

from moot.cli.wallet import ask, keys, member, offline, pay


@click.group(name="wallet")
def wallet() -> None:
    """Keys and payments.

    Wallets are encrypted files below MOOT_HOME (~/.moot). Only balance, history, faucet, send,
    broadcast and member speak to a node.

    Example: moot wallet new alice
    """


for command in (
    *(keys.new, keys.import_, keys.list_, keys.address, keys.password, keys.export),
    *(ask.balance, ask.history, ask.faucet),
    *(pay.send, pay.broadcast),
    offline.sign,
    member.member,
):
    wallet.add_command(command)
