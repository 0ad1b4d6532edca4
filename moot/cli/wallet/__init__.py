"""``moot wallet``: keys and payments."""

from moot.cli.wallet.group import wallet

__all__ = ["wallet"]
