"""What a node's core needs from its shell: asyncio in production, the simulator in tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import msgspec

from chain.header import Header
from consensus.contract import Now
from p2p.wire import Hello, PeerMessage

Level = Literal["debug", "info", "warning", "error"]


class Peer(Protocol):
    """What is known of a linked peer."""

    @property
    def key(self) -> bytes: ...
    @property
    def hello(self) -> Hello: ...


class Network(Protocol):
    """Links to peers, by their 32-byte keys. Nothing here waits."""

    def send(self, key: bytes, message: PeerMessage) -> None: ...
    def disconnect(self, key: bytes, reason: str, sentence: str) -> None: ...
    def misbehaved(self, key: bytes, reason: str) -> None: ...


class Timers(Protocol):
    """Named timers on the steady clock; setting a key again replaces it."""

    def set(self, key: tuple[str | int, ...], delay_ms: int) -> None: ...
    def cancel(self, key: tuple[str | int, ...]) -> None: ...


class Grinder(Protocol):
    """Searches a nonce outside the event loop; one job at a time, a new one replaces it.

    ``found`` receives ``job_id`` and the header that meets the target.
    """

    def start(
        self, job_id: int, header: Header, target: int, found: Callable[[int, Header], None]
    ) -> None: ...
    def cancel(self) -> None: ...
    def hash_rate(self) -> float:
        """Hashes per second over the last few seconds."""
        ...

    def close(self) -> None: ...


class Shell(msgspec.Struct, frozen=True):
    """The ports together.

    ``wake`` asks the shell to call ``NodeCore.pump`` soon. ``log`` takes a level, the name of an
    event, and its fields. ``stopped`` is told that the engine has nothing left to hand over.
    ``reopen`` is told that a fetched snapshot is complete: throw this core away, and make another
    after moot.node.snapshots.install_staged. None: it waits for the next start.
    """

    network: Network
    timers: Timers
    clock: Callable[[], Now]
    wake: Callable[[], None]
    log: Callable[[Level, str, Mapping[str, object]], None]
    stopped: Callable[[], None]
    grinder: Grinder | None = None
    reopen: Callable[[], None] | None = None
