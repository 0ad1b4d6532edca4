"""A node's folder and its configuration.

A folder holds ``genesis.json``, ``node.toml``, ``node.key`` (32 bytes in hex, mode 0600), ``db/``
and ``peers.bin``. Every setting has an environment variable, ``MOOT_<SECTION>_<NAME>``, which wins
over the file.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from chain.errors import Invalid
from chain.genesis import Genesis
from chain.genesis_file import genesis_from_json
from moot.node.snapshots import SnapshotSettings

CONFIG_SIZE_MAX = 256 * 1024
GENESIS_SIZE_MAX = 4 * 1024 * 1024
P2P_PORT = 9700
REST_PORT = 9600
"""Default loopback port of the REST API; client commands look there."""

BODIES_MIN = 100
"""Blocks that a pruning node keeps at least: what a peer may be behind, and a branch be deep."""

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class ConfigError(Exception):
    """A folder or setting that a person has to mend; the sentence says how."""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the sections of node.toml."""


class NodeSection(Section, frozen=True, kw_only=True):
    """``name``: for people and logs."""

    name: str = "node"


class P2pSection(Section, frozen=True, kw_only=True):
    """Links to other nodes.

    ``peers``: ``host:port`` or ``key@host:port`` (key: 64 hex digits or an address), dialed and
    never dropped. ``observers``: whether nodes outside the validator set may link, where the engine
    is permissioned. ``allow``: keys that may link besides (addresses).
    """

    host: str = "127.0.0.1"
    port: Port = P2P_PORT
    peers: tuple[str, ...] = ()
    inbound_max: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 64
    outbound: Annotated[int, msgspec.Meta(ge=0, le=100)] = 8
    observers: bool = True
    allow: tuple[str, ...] = ()


class RestSection(Section, frozen=True, kw_only=True):
    """The REST API and explorer. ``names``: host names besides the address that it answers to.

    ``faucet_key``: file with the faucet's key (test networks only). ``admin_token_file``: file
    with the token that administrative calls need; without one they are refused. ``devnet_control``:
    the control file of the `moot devnet` that started this node, which sets it.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = REST_PORT
    names: tuple[str, ...] = ()
    faucet_key: str = ""
    faucet_amount: str = "100"
    admin_token_file: str = ""
    devnet_control: str = ""


class MiningSection(Section, frozen=True, kw_only=True):
    """Whether this node mines (proof of work), for whom, and with how many processes."""

    enabled: bool = False
    payout: str = ""
    processes: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1


class MempoolSection(Section, frozen=True, kw_only=True):
    """``bytes_max``: of all transactions held."""

    bytes_max: Annotated[int, msgspec.Meta(ge=100_000)] = 64 * 1024 * 1024


class SnapshotsSection(Section, frozen=True, kw_only=True):
    """Snapshots of the state, and how much of the chain is kept.

    ``every``: blocks from one snapshot to the next (0: none are made). ``keep``: how many stay on
    disk. ``gap``: a node that is more blocks behind takes a peer's snapshot (0: only where no peer
    has the blocks any more). ``bodies``: how many of the newest blocks are kept with their
    transactions, older ones being pruned (0: all are kept); at least BODIES_MIN.
    """

    every: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 1_000
    keep: Annotated[int, msgspec.Meta(ge=1, le=8)] = 2
    gap: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 5_000
    bodies: Annotated[int, msgspec.Meta(ge=0)] = 0

    def settings(self) -> SnapshotSettings:
        """Raises ConfigError where too few bodies would be kept."""
        if 0 < self.bodies < BODIES_MIN:
            raise ConfigError(
                f"snapshots.bodies is {self.bodies}: keep at least {BODIES_MIN} (or 0: all)"
            )
        return SnapshotSettings(
            every=self.every, keep=self.keep, gap_max=self.gap, bodies=self.bodies
        )


class LogSection(Section, frozen=True, kw_only=True):
    """``format``: json (one object a line) or text."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of node.toml."""

    node: NodeSection = NodeSection()
    p2p: P2pSection = P2pSection()
    rest: RestSection = RestSection()
    mining: MiningSection = MiningSection()
    mempool: MempoolSection = MempoolSection()
    snapshots: SnapshotsSection = SnapshotsSection()
    log: LogSection = LogSection()


class Folder:
    """Where the parts of a node lie."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "node.toml"
        self.genesis = path / "genesis.json"
        self.key = path / "node.key"
        self.database = path / "db"
        self.peers = path / "peers.bin"

    def load_config(self, environment: Mapping[str, str] | None = None) -> NodeConfig:
        """node.toml with the environment's changes. Raises ConfigError."""
        text = read_text(self.config, CONFIG_SIZE_MAX)
        return parse_config(text, os.environ if environment is None else environment, self.config)

    def load_genesis(self) -> Genesis:
        """Raises ConfigError."""
        text = read_text(self.genesis, GENESIS_SIZE_MAX)
        try:
            return genesis_from_json(text)
        except Invalid as error:
            raise ConfigError(f"{self.genesis}: {error.sentence}") from None

    def load_key(self) -> bytes:
        """The 32-byte seed. Raises ConfigError."""
        return load_seed(self.key)


def load_seed(path: Path) -> bytes:
    """A 32-byte seed from a file with 64 hex digits. Raises ConfigError."""
    text = read_text(path, 1_024).strip()
    try:
        seed = bytes.fromhex(text)
    except ValueError:
        seed = b""
    if len(seed) != 32:
        raise ConfigError(f"{path} holds no key: it must be 64 hexadecimal digits")
    return seed


def save_seed(path: Path, seed: bytes) -> None:
    """Writes a key file, readable by its owner only. Raises ConfigError if it exists."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} exists already; a key is never overwritten") from None
    with os.fdopen(handle, "w") as file:
        file.write(seed.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_text(path: Path, size_max: int) -> str:
    """A file of at most ``size_max`` bytes. Raises ConfigError with what to do."""
    try:
        if path.stat().st_size > size_max:
            raise ConfigError(f"{path} is larger than {size_max} bytes")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing; `moot node init` makes a node's folder") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def parse_config(text: str, environment: Mapping[str, str], path: Path) -> NodeConfig:
    """The configuration in ``text``. Raises ConfigError naming the setting that is wrong."""
    try:
        tree: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    _apply_environment(tree, environment)
    try:
        return msgspec.convert(tree, NodeConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}") from None


def _apply_environment(tree: dict[str, Any], environment: Mapping[str, str]) -> None:
    for section in msgspec.structs.fields(NodeConfig):
        assert isinstance(section.default, Section)
        for field in msgspec.structs.fields(type(section.default)):
            name = f"MOOT_{section.name}_{field.name}".upper()
            text = environment.get(name)
            if text is None:
                continue
            tree.setdefault(section.name, {})[field.name] = _from_text(
                name, text, getattr(section.default, field.name)
            )


def _from_text(name: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false", "1", "0"):
            raise ConfigError(f"{name} must be true or false, not {text!r}")
        return text.lower() in ("true", "1")
    if isinstance(default, int):
        try:
            return int(text)
        except ValueError:
            raise ConfigError(f"{name} must be an integer, not {text!r}") from None
    if isinstance(default, tuple):
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def show_config(config: NodeConfig) -> str:
    """node.toml of a configuration, every setting with its environment variable."""
    lines = ["# A Moot node. Each setting can also be given by the variable named beside it."]
    for section in msgspec.structs.fields(NodeConfig):
        lines += ["", f"[{section.name}]"]
        values = getattr(config, section.name)
        for field in msgspec.structs.fields(type(values)):
            variable = f"MOOT_{section.name}_{field.name}".upper()
            value = _toml(getattr(values, field.name))
            lines.append(f"{field.name} = {value}  # {variable}")
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    # JSON's strings and arrays of strings are TOML's.
    return msgspec.json.encode(value).decode()
