"""Liars whose lies need no knowledge of the engine: what they change are any engine's messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from chain.hashing import sha256
from consensus.contract import Effect, Message, Send
from moot.lab.liars import HELD_MAX, Liar, liar_kind, spoken
from moot.lab.node import SimulatedNode
from p2p.wire import ConsensusFrame, PeerMessage

if TYPE_CHECKING:
    from moot.lab.run import Laboratory

BYZANTINE = "byzantine"


@liar_kind("silent", BYZANTINE)
class Silent(Liar):
    """Hears all, and says nothing of consensus to anybody else."""

    def rewrite(self, effect: Effect) -> Iterable[Effect]:
        message = spoken(effect)
        if message is not None:
            return (Send(self.me, message),)
        return () if isinstance(effect, Send) else (effect,)


@liar_kind("withholding", BYZANTINE)
class Withholding(Liar):
    """Tells each statement to some only; often to as few as can do harm."""

    def rewrite(self, effect: Effect) -> Iterable[Effect]:
        message = spoken(effect)
        if message is None:
            return (effect,)
        some = self.rng.sample(self.peers, self.rng.randint(0, len(self.peers)))
        return [Send(self.me, message), *self.say(some, message)]


@liar_kind("replaying", BYZANTINE)
class Replaying(Liar):
    """Says what it said, and what others said, again, at any later time."""

    def __init__(self, laboratory: Laboratory, node: SimulatedNode) -> None:
        super().__init__(laboratory, node)
        self._heard: list[PeerMessage] = []

    def _keep(self, message: PeerMessage) -> None:
        if isinstance(message, ConsensusFrame):
            if len(self._heard) >= HELD_MAX:
                del self._heard[self.rng.randrange(HELD_MAX)]
            self._heard.append(message)

    def outgoing(self, key: bytes, message: PeerMessage) -> None:
        super().outgoing(key, message)
        self._keep(message)
        if self._heard and self.rng.random() < 0.3:
            super().outgoing(key, self.rng.choice(self._heard))

    def incoming(self, sender: bytes, message: PeerMessage) -> None:
        self._keep(message)
        super().incoming(sender, message)


@liar_kind("delaying", BYZANTINE)
class Delaying(Liar):
    """Says everything, but late: up to several view time-outs."""

    def outgoing(self, key: bytes, message: PeerMessage) -> None:
        if not isinstance(message, ConsensusFrame) or self.rng.random() < 0.3:
            super().outgoing(key, message)
            return
        send = super().outgoing
        self.world.after(self.rng.randint(50, 5_000), lambda: send(key, message))


@liar_kind("wrong-digest", BYZANTINE)
class WrongDigest(Liar):
    """Speaks for a block that is none, to some or to all."""

    def rewrite(self, effect: Effect) -> Iterable[Effect]:
        message = spoken(effect)
        other = None if message is None else with_another_block(message)
        if message is None or other is None or self.rng.random() < 0.3:
            return (effect,)
        return self.split(message, other)


@liar_kind("equivocating-voter", BYZANTINE)
class EquivocatingVoter(Liar):
    """Votes for what was proposed and for something else, both to everybody, in any order."""

    def rewrite(self, effect: Effect) -> Iterable[Effect]:
        message = spoken(effect)
        other = None if message is None else with_another_block(message)
        if message is None or other is None:
            return (effect,)
        said: list[Effect] = [Send(self.me, message)]
        for peer in self.peers:
            both = [message, other]
            self.rng.shuffle(both)
            for one in both:
                said += self.say([peer], one)
        return said


def with_another_block(message: Message) -> Message | None:
    """A vote's like for a block that does not exist; None where it names no single block."""
    fields = {field.name for field in msgspec.structs.fields(type(message))}
    if "block_id" not in fields or len(message.attestations()) != 1:
        return None
    old: Any = message
    changes: dict[str, Any] = {"block_id": sha256(old.block_id)}
    if getattr(old, "block", None) is not None:
        changes["block"] = None
    changed: Message = msgspec.structs.replace(old, **changes)
    return changed
