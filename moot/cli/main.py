"""The ``moot`` command: one click group, and what happens to errors."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import click

from chain.errors import DamagedStore, ForeignStore, Invalid, StoreFailure, StoreLocked
from consensus.registry import UnknownEngine
from moot import __version__
from moot.cli.devnet import devnet
from moot.cli.engines import engines
from moot.cli.genesis import genesis
from moot.cli.node import node
from moot.cli.verify import verify
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


class MootGroup(click.Group):
    """Turns every failure into one clear sentence on standard error and exit status 1."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        options["standalone_mode"] = False
        try:
            sys.exit(super().main(*arguments, **options) or 0)
        except click.exceptions.Abort:
            click.echo("interrupted", err=True)
            sys.exit(130)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except EXPECTED as error:
            self._say(str(error) or type(error).__name__)
        except KeyboardInterrupt:
            sys.exit(130)

    def _say(self, sentence: str) -> None:
        if "--debug" in sys.argv:
            traceback.print_exc()
        click.echo(f"Error: {sentence}", err=True)
        sys.exit(1)


@click.group(
    cls=MootGroup,
    context_settings={"auto_envvar_prefix": "MOOT", "help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="moot")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def main(debug: bool) -> None:
    """A blockchain node whose consensus is up for debate.

    Start with: moot devnet
    """


main.add_command(devnet)
main.add_command(engines)
main.add_command(genesis)
main.add_command(node)
main.add_command(verify)
