"""What a devnet is made of: its folder, its genesis, its nodes' folders and ports."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import msgspec

from chain.genesis import COIN, Allocation, Genesis
from chain.validators import Validator
from consensus.contract import Properties
from consensus.registry import era_parameters, protocol
from moot.node.config import (
    REST_PORT,
    ConfigError,
    Folder,
    LogSection,
    MiningSection,
    NodeConfig,
    NodeSection,
    P2pSection,
    RestSection,
    read_text,
    save_seed,
    show_config,
)
from moot.node.founding import init_folder, make_genesis
from wallet.development import development_key
from wallet.keys import Key

NODES_MAX = 32
"""Nodes on one machine; each is a process with a database of its own."""
ACCOUNTS = 10
"""Funded test accounts, from the well-known development mnemonic."""
ACCOUNT_COINS = 1_000_000
FAUCET_COINS = 10_000_000
MEMBER_COINS = 100
"""Coins of each validator's own account: millions of membership votes."""
PLAN_SIZE_MAX = 64 * 1024
HOST = "127.0.0.1"


class PlannedNode(msgspec.Struct):
    """One node's place on this machine."""

    name: str
    p2p_port: int
    rest_port: int


class Plan(msgspec.Struct):
    """``devnet.json`` in the devnet's folder."""

    engine: str
    nodes: list[PlannedNode]

    def urls(self) -> list[str]:
        return [f"http://{HOST}:{node.rest_port}" for node in self.nodes]


def folder_of(directory: Path, node: PlannedNode) -> Folder:
    return Folder(directory / node.name)


def open_or_make(
    directory: Path,
    engine: str | None,
    nodes: int | None,
    parameters: dict[str, int | str],
    *,
    first_port: int | None = None,
) -> Plan:
    """Resumes the devnet in ``directory``, or makes one there. Raises ConfigError.

    ``engine`` and ``nodes`` None: whatever is there, else pbft and 4. The first node's REST API
    listens on ``first_port`` if that is free; 0: anywhere; None: where it did, else on REST_PORT.
    """
    path = directory / "devnet.json"
    if path.exists():
        plan = _read(path)
        if engine not in (None, plan.engine) or nodes not in (None, len(plan.nodes)):
            raise ConfigError(
                f"{directory} holds a network of {len(plan.nodes)} {plan.engine} nodes; "
                "resume it as it is, or choose another --dir"
            )
        _check_parameters(directory, plan, parameters)
        _give_ports(directory, plan, first_port)
    else:
        port = REST_PORT if first_port is None else first_port
        plan = _make(directory, engine or "pbft", nodes or 4, parameters, port)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(plan), indent=2))
    return plan


def _read(path: Path) -> Plan:
    try:
        return msgspec.json.decode(read_text(path, PLAN_SIZE_MAX), type=Plan)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is damaged: {error}") from None


def _make(
    directory: Path,
    engine: str,
    count: int,
    parameters: dict[str, int | str],
    first_port: int,
) -> Plan:
    if directory.exists() and any(directory.iterdir()):
        raise ConfigError(f"{directory} is not empty and holds no devnet")
    properties = protocol(engine).rules(protocol(engine).parameters()).properties
    names = [f"node{number}" for number in range(1, count + 1)]
    seeds = {name: os.urandom(32) for name in names}
    faucet = os.urandom(32)
    members = [Validator(Key.from_seed(seed).address, 1, name) for name, seed in seeds.items()]
    accounts = [development_key(index).address for index in range(ACCOUNTS)]
    faucet_address = Key.from_seed(faucet).address
    genesis = make_genesis(
        name="devnet",
        network="dev",
        engine=engine,
        parameters=parameters,
        devnet_profile=True,
        validators=members if properties.has_validators else (),
        allocations=[
            *(Allocation(address, ACCOUNT_COINS * COIN) for address in accounts),
            Allocation(faucet_address, FAUCET_COINS * COIN),
            *(
                Allocation(member.address, MEMBER_COINS * COIN)
                for member in members
                if properties.has_validators
            ),
        ],
        faucet=faucet_address,
        time_ms=time.time_ns() // 1_000_000,
    )
    directory.mkdir(parents=True, exist_ok=True)
    save_seed(directory / "faucet.key", faucet)
    ports = free_ports(2 * count)
    plan = Plan(
        engine,
        [PlannedNode(name, ports[2 * i], ports[2 * i + 1]) for i, name in enumerate(names)],
    )
    if first_port and is_free(first_port):
        plan.nodes[0].rest_port = first_port
    for node in plan.nodes:
        config = _config(directory, plan, node, genesis)
        init_folder(folder_of(directory, node), genesis, seeds[node.name], config)
    return plan


def _check_parameters(directory: Path, plan: Plan, parameters: dict[str, int | str]) -> None:
    """Raises ConfigError where the genesis says otherwise than what is asked for now."""
    fixed = dict(folder_of(directory, plan.nodes[0]).load_genesis().eras[0].parameters)
    for name, value in parameters.items():
        if fixed.get(name) != value:
            found = f"its {name} is {fixed[name]}" if name in fixed else f"it has no {name}"
            raise ConfigError(
                f"{directory} holds a network whose parameters its genesis has fixed: {found}; "
                "resume it as it is, or choose another --dir"
            )


def _give_ports(directory: Path, plan: Plan, first_port: int | None) -> None:
    """Other programs may hold the old ports by now: moves whoever has to."""
    moved = [n for n in plan.nodes if not (is_free(n.p2p_port) and is_free(n.rest_port))]
    fresh = iter(free_ports(2 * len(moved)))
    for node in moved:
        node.p2p_port, node.rest_port = next(fresh), next(fresh)
    first = plan.nodes[0]
    if first_port and first_port != first.rest_port and is_free(first_port):
        first.rest_port = first_port
        moved.append(first)
    if not moved:
        return
    genesis = folder_of(directory, plan.nodes[0]).load_genesis()
    for node in plan.nodes:
        config = _config(directory, plan, node, genesis)
        folder_of(directory, node).config.write_text(show_config(config), encoding="utf-8")


def _config(directory: Path, plan: Plan, node: PlannedNode, genesis: Genesis) -> NodeConfig:
    era = genesis.eras[0]
    rules = protocol(era.engine).rules(era_parameters(era))
    return NodeConfig(
        node=NodeSection(name=node.name),
        p2p=P2pSection(
            port=node.p2p_port,
            peers=tuple(f"{HOST}:{other.p2p_port}" for other in plan.nodes if other != node),
        ),
        rest=RestSection(port=node.rest_port, faucet_key=str((directory / "faucet.key").resolve())),
        mining=MiningSection(enabled=not rules.properties.has_validators),
        log=LogSection(level="info"),
    )


def properties_of(plan: Plan, directory: Path) -> Properties:
    """What the plan's engine promises, with the parameters of its genesis."""
    era = folder_of(directory, plan.nodes[0]).load_genesis().eras[0]
    return protocol(era.engine).rules(era_parameters(era)).properties


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Ports that nobody holds now (all held at once, so that they differ)."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
