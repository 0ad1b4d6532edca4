"""Nothing is relayed without end: what a peer is known to have is not announced to it again.

In the life of one link a node announces a transaction or a block at most once, and never what
the peer has announced itself, unless it was asked for it. So each announcement crosses each link
once at most, however often what it names comes, goes and comes back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from moot.lab.node import SimulatedNode
from moot.lab.report import Findings
from moot.node.ports import Peer
from p2p.wire import AnnounceBlock, AnnounceTransactions, GetBlocks, PeerMessage

CHECKER: Final = "relaying"


class Relaying:
    """For one node: what it hears and says, link by link, as its core does."""

    def __init__(self, node: SimulatedNode, findings: Findings) -> None:
        self._node = node
        self._findings = findings
        self._known: dict[bytes, set[bytes]] = {}
        """By peer: what it was told of, or told of itself, since the link came up."""
        self._news: list[tuple[bytes, bytes]] = []
        """What was said and heard since the core last did all that it had decided: only what it
        decides from now on can reckon with that."""
        self._asked: set[tuple[bytes, bytes]] = set()
        """Blocks that a peer was asked for: who never sends one may lack it after all."""
        node.started.append(self._begin)
        send = node.send

        def say(key: bytes, message: PeerMessage) -> None:
            if isinstance(message, AnnounceTransactions | AnnounceBlock):
                self._said(key, message)
            elif isinstance(message, GetBlocks):
                self._ask(key, message.ids)
            send(key, message)

        node.send = say  # type: ignore[method-assign]

    def _begin(self, node: SimulatedNode) -> None:
        self._known.clear()
        self._news.clear()
        self._asked.clear()
        core = node.running
        join, hear, pump = core.peer_joined, core.peer_message, core.pump

        def joined(peer: Peer) -> None:
            self._known[peer.key] = set()
            self._news = [(key, each) for key, each in self._news if key != peer.key]
            self._asked = {(key, each) for key, each in self._asked if key != peer.key}
            join(peer)

        def heard(key: bytes, message: PeerMessage) -> None:
            if key in core.peers and isinstance(message, AnnounceTransactions | AnnounceBlock):
                told = [(key, each) for each in _ids(message)]
                self._news += [news for news in told if news not in self._asked]
            hear(key, message)

        def pumped() -> None:
            pump()
            for key, each in self._news:
                self._known[key].add(each)
            self._news.clear()

        core.peer_joined = joined  # type: ignore[method-assign]
        core.peer_message = heard  # type: ignore[method-assign]
        core.pump = pumped  # type: ignore[method-assign]

    def _ask(self, key: bytes, ids: Iterable[bytes]) -> None:
        self._known[key].difference_update(ids)
        self._asked.update((key, each) for each in ids)
        self._news = [news for news in self._news if news not in self._asked]

    def _said(self, key: bytes, message: AnnounceTransactions | AnnounceBlock) -> None:
        for each in _ids(message):
            if each in self._known[key]:
                self._findings.violated(
                    CHECKER,
                    f"{self._node.name} tells a peer of {each.hex()[:8]}, which it knows that the "
                    "peer has",
                    self._node.world.now_ms,
                )
            self._news.append((key, each))


def _ids(message: AnnounceTransactions | AnnounceBlock) -> tuple[bytes, ...]:
    return message.ids if isinstance(message, AnnounceTransactions) else (message.head.id,)
