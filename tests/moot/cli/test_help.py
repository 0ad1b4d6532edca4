"""Every command explains itself: an example, and a variable for each option."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from moot.cli.main import main
from tests.moot.cli.conftest import Moot, document


def walk(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Names of all commands below a group, the group's own first."""
    context = click.Context(group)
    yield path
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group):
            yield from walk(command, (*path, name))
        else:
            yield (*path, name)


COMMANDS = list(walk(main, ()))


def test_what_the_command_line_promises_is_there() -> None:
    groups = {
        "wallet": "new import list address balance send history sign broadcast faucet password",
        "chain": "verify export import info",
        "node": "init run status peers why",
        "genesis": "new show check",
        "miner": "run",
    }
    promised = {(group, name) for group, names in groups.items() for name in names.split()}
    promised |= {("devnet",), ("engines",), ("load",), ("verify",)}
    assert promised <= set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_has_an_example_on_one_line_and_names_every_variable(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0
    command: click.Command = main
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    start, lines = " ".join(("moot", *path)), result.stdout.splitlines()
    assert command.help is not None
    examples = re.findall(rf"^(?:Examples?: | +){start} .*$", f"{command.help} ", re.M)
    assert examples, "no example"
    assert all(f"  {example}".rstrip() in lines for example in examples), "an example is broken"
    text = " ".join(result.stdout.split())
    for option in command.params:
        if isinstance(option, click.Option) and option.expose_value:
            auto = "_".join(("MOOT", *path, option.name or "")).upper().replace("-", "_")
            variables = option.envvar or auto
            names = [variables] if isinstance(variables, str) else list(variables)
            assert any(name in text.replace(" ", "") for name in names), (
                option.name,
                result.stdout,
            )
            assert option.help, f"{option.name} is not explained"


def test_a_variable_stands_for_an_option_of_a_command_two_levels_down(moot: Moot) -> None:
    made = moot(
        "wallet",
        "new",
        "a",
        "--json",
        env={"MOOT_WALLET_NEW_WORDS": "24", "MOOT_WALLET_NEW_LIGHT": "1"},
    )
    assert len(document(made)["mnemonic"].split()) == 24
    home = {"MOOT_HOME": "elsewhere"}
    assert document(moot("wallet", "list", "--json", env=home)) == {"wallets": []}


def test_a_flag_beats_its_variable(moot: Moot) -> None:
    environment = {"MOOT_WALLET_NEW_WORDS": "24", "MOOT_JSON": "1"}
    made = moot("wallet", "new", "a", "--words", "12", "--light", env=environment)
    assert len(document(made)["mnemonic"].split()) == 12
