"""Making what a node starts from: a genesis, and a node's folder with its first record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from chain.address import Address
from chain.genesis import FORMAT, Allocation, Era, Genesis, Limits
from chain.genesis_file import genesis_to_json
from chain.storage.leveldb import open_leveldb
from chain.validators import Validator
from chain.verifiers import default_verifier
from consensus.registry import era_parameters, parameter_list, protocol
from moot.node.config import ConfigError, Folder, NodeConfig, save_seed, show_config
from moot.node.eras import EraBook


def make_genesis(
    *,
    name: str,
    network: str,
    engine: str,
    parameters: Mapping[str, int | str],
    devnet_profile: bool,
    validators: Iterable[Validator],
    allocations: Iterable[Allocation],
    faucet: Address | None,
    time_ms: int,
    limits: Limits | None = None,
) -> Genesis:
    """A checked genesis: the engine's defaults, the devnet profile's, then ``parameters``.

    Raises UnknownEngine, ConfigError (a parameter the engine does not have), InvalidEncoding.
    """
    found = protocol(engine)
    known = {field.name for field in msgspec.structs.fields(found.parameters)}
    unknown = sorted(set(parameters) - known)
    if unknown:
        raise ConfigError(
            f"{engine} has no parameter {unknown[0]!r}; it has: {', '.join(sorted(known))}"
        )
    chosen = {**(found.devnet_parameters if devnet_profile else {}), **parameters}
    try:
        typed = msgspec.convert(chosen, found.parameters, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"parameters of {engine}: {error}") from None
    members = sorted(validators, key=lambda member: member.address)
    properties = found.rules(typed).properties
    if properties.has_validators and not members:
        raise ConfigError(f"{engine} needs at least one validator")
    if not properties.has_validators and members:
        raise ConfigError(f"{engine} has no validators; leave them out")
    genesis = Genesis(
        FORMAT,
        name,
        network,
        time_ms,
        (Era(0, engine, parameter_list(typed)),),
        tuple(members),
        tuple(sorted(allocations, key=lambda allocation: allocation.address)),
        limits or Limits(),
        faucet,
    )
    genesis.check()
    era_parameters(genesis.eras[0])
    return genesis


def init_folder(
    folder: Folder,
    genesis: Genesis,
    seed: bytes,
    config: NodeConfig,
    *,
    record_lost: bool = False,
) -> None:
    """Writes a node's folder. Raises ConfigError if there is one already.

    ``record_lost``: this key has voted before and its record is gone; then no first record is
    written, and the node listens only until it is safe to vote again.
    """
    if folder.config.exists() or folder.key.exists() or folder.database.exists():
        raise ConfigError(f"{folder.path} holds a node already")
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.genesis.write_text(genesis_to_json(genesis), encoding="utf-8")
    save_seed(folder.key, seed)
    found = protocol(genesis.eras[0].engine)
    store = open_leveldb(folder.database, create=True)
    try:
        ledger = EraBook().open_ledger(store, genesis, default_verifier())
        if not record_lost:
            ledger.persist(found.first_record(ledger.chain_id), ())
    finally:
        store.close()
    # The configuration comes last: with it the folder counts as complete.
    folder.config.write_text(show_config(config), encoding="utf-8")
