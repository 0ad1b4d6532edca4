"""The ``moot`` command: one click group, and what happens to errors."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from types import TracebackType
from typing import Any

import click

from chain.errors import DamagedStore, ForeignStore, Invalid, StoreFailure, StoreLocked
from consensus.registry import UnknownEngine
from moot import __version__
from moot.cli.common import document
from moot.node.config import ConfigError

EXPECTED = (
    Invalid,
    ConfigError,
    UnknownEngine,
    DamagedStore,
    ForeignStore,
    StoreLocked,
    StoreFailure,
    OSError,
)
"""Errors whose sentence is enough: the user's, a peer's or the machine's fault."""

COMMANDS = {
    "chain": "moot.cli.chain_keeping:chain",
    "devnet": "moot.cli.devnet:devnet",
    "engines": "moot.cli.engines:engines",
    "fault": "moot.cli.fault:fault",
    "genesis": "moot.cli.genesis:genesis",
    "lab": "moot.cli.laboratory:lab",
    "load": "moot.cli.load:load",
    "miner": "moot.cli.miner:miner",
    "node": "moot.cli.node:node",
    "verify": "moot.cli.verify:verify",
    "wallet": "moot.cli.wallet:wallet",
}
"""Where each command is. Loaded when called: a command waits only for what it needs itself."""

DEBUG = "--debug"


class MootGroup(click.Group):
    """Turns every failure into one clear sentence on standard error and exit status 1."""

    debug = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in COMMANDS:
            module, _, attribute = COMMANDS[cmd_name].partition(":")
            found = getattr(importlib.import_module(module), attribute)
            assert isinstance(found, click.Command)
            self.add_command(found, cmd_name)
        if found is not None:
            document(found)
        return found

    def main(self, *positional: Any, **options: Any) -> Any:
        given = positional[0] if positional else options.pop("args", None)
        arguments = list(sys.argv[1:] if given is None else given)
        # Wherever it stands: who adds it to a line that failed adds it at the end.
        self.debug = DEBUG in arguments or os.environ.get("MOOT_DEBUG", "") in ("1", "true")
        arguments = [argument for argument in arguments if argument != DEBUG]
        options |= {"standalone_mode": False, "prog_name": "moot"}
        sys.excepthook = self._unexpected
        try:
            sys.exit(super().main(arguments, **options) or 0)
        except click.exceptions.Abort:
            click.echo("interrupted", err=True)
            sys.exit(130)
        except click.ClickException as error:
            self._trace()
            error.show()
            sys.exit(error.exit_code)
        except EXPECTED as error:
            self._trace()
            click.echo(f"Error: {_sentence(error)}", err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)

    def _trace(self) -> None:
        if self.debug:
            traceback.print_exc()

    def _unexpected(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """A bug of ours: short for the user, whole for whoever asks."""
        if self.debug:
            sys.__excepthook__(kind, error, trace)
            return
        click.echo(f"Error: this is a bug in Moot ({kind.__name__}: {error}).", err=True)
        click.echo("Run it again with --debug and report what it prints.", err=True)


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename is not None else ""
        return place + error.strerror
    return str(error) or type(error).__name__


@click.group(
    cls=MootGroup,
    context_settings={"auto_envvar_prefix": "MOOT", "help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="moot")
@click.option(DEBUG, is_flag=True, help="Show tracebacks.")
def main(debug: bool) -> None:
    """A blockchain node whose consensus is up for debate.

    Example: moot devnet
    """


document(main)
