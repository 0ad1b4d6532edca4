"""``moot genesis``: make, read and check a genesis file."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from chain.address import PREFIXES
from chain.bech32m import show_address
from chain.errors import Invalid
from chain.genesis import COIN, Allocation, Genesis
from chain.genesis_file import genesis_from_json, genesis_to_json
from chain.hashing import show_id
from chain.ledger import genesis_block
from chain.validators import Validator
from consensus.registry import era_parameters
from moot.cli.common import (
    address_of,
    coins,
    engine_option,
    json_option,
    parameters_of,
    print_facts,
    print_json,
)
from moot.node.config import GENESIS_SIZE_MAX, ConfigError, read_text, save_seed
from moot.node.founding import make_genesis
from wallet.amounts import show_amount
from wallet.keys import Key

VALIDATORS_MADE_MAX = 100


def read_genesis(path: Path) -> Genesis:
    """A genesis file. Raises ConfigError naming the file."""
    text = read_text(path, GENESIS_SIZE_MAX)
    try:
        return genesis_from_json(text)
    except Invalid as error:
        raise ConfigError(f"{path}: {error.sentence}") from None


@click.group(name="genesis")
def genesis() -> None:
    """Make, show and check genesis files.

    Example: moot genesis show net/genesis.json
    """


@genesis.command()
@engine_option
@click.option("--name", default="moot", show_default=True, help="Name of the network.")
@click.option(
    "--network",
    type=click.Choice(sorted(PREFIXES)),
    default="test",
    show_default=True,
    help="Kind of network; it sets the addresses' prefix.",
)
@click.option(
    "--validators",
    type=click.IntRange(0, VALIDATORS_MADE_MAX),
    default=0,
    help="Make this many validator keys, as OUT/keys/node1.key and so on.",
)
@click.option(
    "--validator",
    "listed",
    multiple=True,
    metavar="NAME=ADDRESS",
    help="List a validator whose key exists already (repeatable).",
)
@click.option(
    "--allocate",
    multiple=True,
    metavar="ADDRESS=COINS",
    help="Give an address coins at height 0 (repeatable).",
)
@click.option("--faucet", "faucet_coins", type=coins, default=None, help="Fund a faucet.")
@click.option(
    "--member-coins",
    type=coins,
    default=None,
    help="Coins of each validator's own account, for the fees of its membership votes "
    "[default: 1; on a network of value 0].",
)
@click.option(
    "--param", "pairs", multiple=True, metavar="KEY=VALUE", help="Set an engine's parameter."
)
@click.option("--quick", is_flag=True, help="Use the engine's quick devnet parameters.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for genesis.json and keys.",
)
@json_option
def new(
    engine: str,
    name: str,
    network: str,
    validators: int,
    listed: tuple[str, ...],
    allocate: tuple[str, ...],
    faucet_coins: int | None,
    member_coins: int | None,
    pairs: tuple[str, ...],
    quick: bool,
    out: Path,
    as_json: bool,
) -> None:
    """Write OUT/genesis.json, and the keys it needs.

    Example: moot genesis new --engine pbft --validators 3 --faucet 1000000 --out net
    """
    prefix = PREFIXES[network]
    if (out / "genesis.json").exists():
        raise ConfigError(f"{out / 'genesis.json'} exists already")
    if faucet_coins and network == "main":
        raise ConfigError("a network of value has no faucet")
    members = [_listed(text, prefix) for text in listed]
    keys = {f"node{number}": os.urandom(32) for number in range(1, validators + 1)}
    members += [Validator(Key.from_seed(seed).address, 1, n) for n, seed in keys.items()]
    allocations = [_allocation(text, prefix) for text in allocate]
    faucet = None
    if faucet_coins:
        keys["faucet"] = os.urandom(32)
        faucet = Key.from_seed(keys["faucet"]).address
        allocations.append(Allocation(faucet, faucet_coins))
    if member_coins is None:
        member_coins = 0 if network == "main" else COIN
    if member_coins:
        owners = {allocation.address for allocation in allocations}
        allocations += [
            Allocation(each.address, member_coins) for each in members if each.address not in owners
        ]
    made = make_genesis(
        name=name,
        network=network,
        engine=engine,
        parameters=parameters_of(pairs),
        devnet_profile=quick,
        validators=members,
        allocations=allocations,
        faucet=faucet,
        time_ms=time.time_ns() // 1_000_000,
    )
    (out / "keys").mkdir(parents=True, exist_ok=True)
    for key_name, seed in keys.items():
        save_seed(out / "keys" / f"{key_name}.key", seed)
    (out / "genesis.json").write_text(genesis_to_json(made), encoding="utf-8")
    chain_id = show_id(genesis_block(made).id)
    files = [out / "keys" / f"{key_name}.key" for key_name in keys]
    if as_json:
        genesis_file = str(out / "genesis.json")
        print_json({"file": genesis_file, "chain_id": chain_id, "keys": [str(f) for f in files]})
        return
    print_facts(
        [("Chain", chain_id), ("Genesis", out / "genesis.json"), *(("Key", file) for file in files)]
    )


def _listed(text: str, prefix: str) -> Validator:
    name, equals, address = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not NAME=ADDRESS")
    return Validator(address_of(address, prefix), 1, name)


def _allocation(text: str, prefix: str) -> Allocation:
    address, equals, amount = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not ADDRESS=COINS")
    return Allocation(address_of(address, prefix), coins(amount))


@genesis.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@json_option
def show(file: Path, as_json: bool) -> None:
    """Show a genesis file and the chain id that follows from it.

    Example: moot genesis show net/genesis.json
    """
    found = read_genesis(file)
    supply = sum(allocation.amount for allocation in found.allocations)
    facts = {
        "chain_id": show_id(genesis_block(found).id),
        "name": found.name,
        "network": found.network,
        "eras": [
            {"from_height": e.from_height, "engine": e.engine, "parameters": dict(e.parameters)}
            for e in found.eras
        ],
        "validators": [
            {"name": v.name, "address": show_address(v.address, found.prefix), "weight": v.weight}
            for v in found.validators
        ],
        "supply": supply,
    }
    if as_json:
        print_json(facts)
        return
    lines: list[tuple[str, object]] = [
        ("Chain", facts["chain_id"]),
        ("Network", f"{found.name} ({found.network})"),
        ("Supply", show_amount(supply)),
    ]
    for era in found.eras:
        parameters = " ".join(f"{name}={value}" for name, value in era.parameters)
        lines.append(("Engine", f"{era.engine} from height {era.from_height}  {parameters}"))
    for member in found.validators:
        name = f"  ({member.name})" if member.name else ""
        lines.append(("Validator", f"{show_address(member.address, found.prefix)}{name}"))
    print_facts(lines)


@genesis.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@json_option
def check(file: Path, as_json: bool) -> None:
    """Check a genesis file; exit status 1 and a sentence where it is wrong.

    Example: moot genesis check net/genesis.json
    """
    found = read_genesis(file)
    for era in found.eras:
        try:
            era_parameters(era)
        except ValueError as error:
            raise ConfigError(str(error)) from None
    chain_id = show_id(genesis_block(found).id)
    if as_json:
        print_json({"ok": True, "chain_id": chain_id})
        return
    click.echo(f"{file}: sound; chain {chain_id}")
