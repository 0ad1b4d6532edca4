"""``moot devnet``: a whole network of real nodes on this machine."""

from moot.cli.devnet.command import devnet

__all__ = ["devnet"]
