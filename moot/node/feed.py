"""The feed: what happened in a node, published once to whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from chain.block import BlockHead
from chain.hashing import TxId


class HeadMovedTo(msgspec.Struct, frozen=True):
    """The head moved; ``removed`` and ``added`` count blocks left and entered."""

    head: BlockHead
    transactions: int
    removed: int
    added: int


class BecameFinal(msgspec.Struct, frozen=True):
    """A block became final (under engines that never finalize: confirmed)."""

    head: BlockHead
    transactions: int


class TransactionSeen(msgspec.Struct, frozen=True):
    """A transaction entered the mempool."""

    id: TxId


class TransactionDropped(msgspec.Struct, frozen=True):
    """A transaction left the mempool without being included."""

    id: TxId
    code: str


class ConsensusTraced(msgspec.Struct, frozen=True):
    """An engine's Trace."""

    name: str
    fields: Mapping[str, int | str]


class PeerChanged(msgspec.Struct, frozen=True):
    """A link came up or went down."""

    key: bytes
    up: bool
    reason: str


News = (
    HeadMovedTo | BecameFinal | TransactionSeen | TransactionDropped | ConsensusTraced | PeerChanged
)
Listener = Callable[[News], None]


class Feed:
    """Synchronous publish and subscribe; a listener must return at once and not raise."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Calls ``listener`` for all news from now on; returns what ends it."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def publish(self, news: News) -> None:
        for listener in list(self._listeners):
            listener(news)
