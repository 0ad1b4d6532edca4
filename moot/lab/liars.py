"""Liars: honest nodes whose words are changed on the way out. Honest code knows nothing of them.

A liar wraps the engine of one node and rewrites its effects, or what the node sends to its peers,
or both. It signs for itself, past the signer's guard, and never in the name of others with a
signature that verifies. A run draws kinds from its seed, one for each liar; checkers judge honest
nodes only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from chain.address import Address, key_address
from chain.errors import Invalid
from chain.view import ChainView
from consensus.contract import Broadcast, Effect, Engine, Event, Message, Now, Send, Status
from moot.lab.node import SimulatedNode
from moot.node.gate import attested_bytes
from p2p.wire import PeerMessage

if TYPE_CHECKING:
    from moot.lab.run import Laboratory

HELD_MAX = 256
"""Messages that a liar keeps to say them again, or later."""


class UnknownLiar(Invalid):
    """No kind of liar of that name, or none that could lie under this engine."""


class Liar:
    """One node that lies. Subclasses override what they lie about."""

    def __init__(self, laboratory: Laboratory, node: SimulatedNode) -> None:
        self.laboratory = laboratory
        self.node = node
        self.world = laboratory.world
        self.rng: random.Random = self.world.rng(f"liar/{node.name}")
        node.is_honest = False
        node.wrappers.append(lambda engine: _Lying(engine, self))
        self._send_honestly = node.send
        self._receive_honestly = node.receive
        node.send = self.outgoing  # type: ignore[method-assign]
        node.receive = self.incoming  # type: ignore[method-assign]

    # -------------------------------------------------------------------- what to override

    def rewrite(self, effect: Effect) -> Iterable[Effect]:
        """What is done in the place of one honest effect."""
        return (effect,)

    def outgoing(self, key: bytes, message: PeerMessage) -> None:
        """Each frame that the node would send, consensus or not."""
        self._send_honestly(key, message)

    def incoming(self, sender: bytes, message: PeerMessage) -> None:
        """Each frame that comes."""
        self._receive_honestly(sender, message)

    # ---------------------------------------------------------------------------- its means

    @property
    def me(self) -> Address:
        return self.node.signer.address

    @property
    def peers(self) -> list[Address]:
        return [key_address(key) for key in self.laboratory.network.nodes if key != self.node.key]

    def signed(self, message: Message) -> Message:
        """The message with the own open signatures filled in, past the signer's guard."""
        core = self.node.running
        signatures = [
            self.node.signer.sign(
                attested_bytes(core.ledger.chain_id, core.protocol.name, attestation)
            )
            for attestation in message.attestations()
            if not attestation.signature and attestation.signer == self.me
        ]
        return message.signed(signatures) if signatures else message

    def say(self, peers: Iterable[Address], message: Message) -> list[Effect]:
        """Tells some peers."""
        signed = self.signed(message)
        return [Send(peer, signed) for peer in peers]

    def split(self, first: Message, second: Message) -> list[Effect]:
        """Tells each peer one of two things; and itself the first, as if it were honest."""
        said: list[Effect] = [Send(self.me, first)]
        for peer in self.peers:
            said += self.say([peer], first if self.rng.random() < 0.5 else second)
        return said


class _Lying:
    """An engine whose effects are rewritten."""

    def __init__(self, engine: Engine, liar: Liar) -> None:
        self.inner = engine
        self._liar = liar

    def handle(self, event: Event, view: ChainView, now: Now) -> list[Effect]:
        honest = self.inner.handle(event, view, now)
        return [lie for effect in honest for lie in self._liar.rewrite(effect)]

    def status(self, view: ChainView, now: Now) -> Status:
        return self.inner.status(view, now)


def spoken(effect: Effect) -> Message | None:
    """What an effect says to all."""
    return effect.message if isinstance(effect, Broadcast) else None


Kind = Callable[["Laboratory", SimulatedNode], object]

_KINDS: dict[str, tuple[Kind, frozenset[str]]] = {}


def liar_kind(name: str, *models: str) -> Callable[[Kind], Kind]:
    """Registers a kind of liar; ``models``: engines or fault models under which it can lie."""

    def register(kind: Kind) -> Kind:
        assert name not in _KINDS, name
        _KINDS[name] = (kind, frozenset(models))
        return kind

    return register


def liar_kinds(engine: str, fault_model: str) -> tuple[str, ...]:
    """The kinds that an engine which claims this fault model must bear."""
    from moot.lab import (
        liars_consensus,
        liars_pbft,
        liars_peer,
        liars_pow,
        liars_snapshots,
        liars_twins,
        liars_views,
    )

    assert liars_consensus and liars_pbft and liars_peer and liars_pow and liars_snapshots
    assert liars_twins and liars_views
    return tuple(name for name, (_, models) in _KINDS.items() if models & {engine, fault_model})


def make_liars(laboratory: Laboratory, names: tuple[str, ...] | None, count: int) -> None:
    """Makes ``count`` nodes lie, as ``names`` says or as the seed draws. Raises UnknownLiar."""
    known = _known_kinds(laboratory, count)
    rng = laboratory.world.rng("liars")
    chosen = rng.sample(laboratory.nodes, count)
    first = min(laboratory.nodes, key=lambda node: node.signer.address)
    for number, node in enumerate(chosen):
        name = names[number % len(names)] if names else rng.choice(known)
        if name.endswith("proposer") and first not in chosen and rng.random() < 0.7:
            chosen[number] = node = first  # where the rota begins: there it has most to say
        make_liar(laboratory, node, name, known)


def make_named_liars(laboratory: Laboratory, liars: Iterable[tuple[str, str]]) -> None:
    """Makes the nodes of these names lie, each in its way. Raises UnknownLiar."""
    named = list(liars)
    known = _known_kinds(laboratory, len(named))
    for node_name, kind in named:
        node = laboratory.faults.places.node(node_name)
        if node is None or not node.is_honest:
            raise UnknownLiar("unknown-liar", f"there is no honest node {node_name!r} to lie")
        make_liar(laboratory, node, kind, known)


def make_liar(
    laboratory: Laboratory, node: SimulatedNode, name: str, known: tuple[str, ...]
) -> None:
    """Makes one node lie. Raises UnknownLiar."""
    if name not in known:
        raise UnknownLiar(
            "unknown-liar",
            f"no liar under {laboratory.options.engine} is called {name!r}; known are: "
            f"{', '.join(known) or 'none'}",
        )
    laboratory.findings.exercised[f"liar_{name.replace('-', '_')}"] += 1
    laboratory.liars.append((node.name, name))
    _KINDS[name][0](laboratory, node)


def _known_kinds(laboratory: Laboratory, count: int) -> tuple[str, ...]:
    """The kinds that may lie here. Raises UnknownLiar where that would be too many."""
    engine = laboratory.options.engine
    known = liar_kinds(engine, laboratory.properties.fault_model)
    bearable = laboratory.properties.faults(len(laboratory.nodes))
    if laboratory.is_beyond or not count:
        return known
    if count > bearable or not known:
        raise UnknownLiar(
            "too-many-liars",
            f"{engine} claims to bear {bearable if known else 0} liars among "
            f"{len(laboratory.nodes)} nodes, not {count}",
        )
    return known
