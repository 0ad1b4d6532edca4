"""Liars that speak PBFT: equivocating primaries, forged certificates, view changes that hide."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from chain.block import Block
from chain.hashing import ZERO_HASH, BlockId
from consensus.contract import Effect, Event, MessageReceived, Send
from consensus.pbft.messages import (
    Commit,
    CommitCertificate,
    Decided,
    NewView,
    Prepare,
    PrePrepare,
    SignedBy,
    ViewChange,
)
from moot.lab import liars_blocks
from moot.lab.liars import HELD_MAX, Liar, liar_kind, spoken
from moot.lab.liars_blocks import Forge
from moot.lab.node import SimulatedNode
from p2p.wire import BlockBody, GetBlocks, PeerMessage

if TYPE_CHECKING:
    from moot.lab.run import Laboratory

PBFT = "pbft"
FAR_VIEWS = 40


@liar_kind("equivocating-proposer", PBFT)
class EquivocatingProposer(Liar):
    """As primary it proposes two good blocks; and it votes for both, whoever proposed them."""

    both = False
    """Whether each peer is told both, or one of them."""

    def __init__(self, laboratory: Laboratory, node: SimulatedNode) -> None:
        super().__init__(laboratory, node)
        self._twins: dict[BlockId, Block] = {}

    def rewrite(self, effect: Effect) -> Iterable[Effect]:
        message = spoken(effect)
        if isinstance(message, PrePrepare) and message.block is not None:
            twin = liars_blocks.twin_of(self.node.running, message.block, self.rng)
            if len(self._twins) >= 64:
                del self._twins[next(iter(self._twins))]
            self._twins[message.block_id] = self._twins[twin.id] = twin
            second = replace(message, block_id=twin.id, block=twin)
            if not self.both:
                return self.split(message, second)
            return [
                Send(self.me, message),
                *self.say(self.peers, message),
                *self.say(self.peers, second),
            ]
        if isinstance(message, (PrePrepare, Prepare, Commit)):
            twin_of_it = self._twins.get(message.block_id)
            if twin_of_it is not None:
                vote = replace(message, block_id=twin_of_it.id)
                return [
                    Send(self.me, message),
                    *self.say(self.peers, message),
                    *self.say(self.peers, vote),
                ]
        return (effect,)

    def incoming(self, sender: bytes, message: PeerMessage) -> None:
        if isinstance(message, GetBlocks):
            known = [self._twins[block] for block in message.ids if block in self._twins]
            for block in known:
                super().outgoing(sender, BlockBody(block, None))
        super().incoming(sender, message)


@liar_kind("two-faced-proposer", PBFT)
class TwoFacedProposer(EquivocatingProposer):
    """Tells everybody both of its proposals, one after the other."""

    both = True


@liar_kind("invalid-proposer", PBFT)
class InvalidProposer(Liar):
    """Proposes blocks with one thing wrong."""

    forges: tuple[Forge, ...] = (
        liars_blocks.wrong_state,
        liars_blocks.bad_signature,
        liars_blocks.replayed,
        liars_blocks.from_the_future,
    )

    def rewrite(self, effect: Effect) -> Iterable[Effect]:
        message = spoken(effect)
        if not isinstance(message, PrePrepare) or message.block is None:
            return (effect,)
        bad = self.rng.choice(self.forges)(self.node.running, message.block, self.rng)
        if bad is None or self.rng.random() < 0.3:
            return (effect,)
        second = replace(message, block_id=bad.id, block=bad)
        votes = Commit(message.view, message.height, bad.id, self.me)
        return [
            Send(self.me, message),
            *self.say(self.peers, second),
            *self.say(self.peers, votes),
        ]


@liar_kind("double-spending-proposer", PBFT)
class DoubleSpendingProposer(InvalidProposer):
    """Proposes to pay again what was paid before."""

    forges = (liars_blocks.replayed,)


@liar_kind("forging-proposer", PBFT)
class ForgingProposer(InvalidProposer):
    """Proposes payments that their senders did not sign."""

    forges = (liars_blocks.bad_signature,)


@liar_kind("poisoning-proposer", PBFT)
class BodyPoisoner(Liar):
    """Sends some a body that bears the good block's id and is not its body (CVE-2012-2459)."""

    def rewrite(self, effect: Effect) -> Iterable[Effect]:
        message = spoken(effect)
        if not isinstance(message, PrePrepare) or message.block is None:
            return (effect,)
        poisoned = liars_blocks.duplicated_leaf(message.block)
        if poisoned is None:
            return (effect,)
        victim = self.rng.choice(self.peers)
        others = [peer for peer in self.peers if peer != victim]
        return [
            Send(self.me, message),
            *self.say(others, message),
            *self.say([victim], replace(message, block=poisoned)),
        ]


@liar_kind("stale-view-change", PBFT)
class StaleViewChange(Liar):
    """Hides what it prepared in view changes, and opens its views with a block of its own."""

    def rewrite(self, effect: Effect) -> Iterable[Effect]:
        message = spoken(effect)
        if isinstance(message, ViewChange) and message.prepared is not None:
            hidden = replace(message, prepared=None)
            return [Send(self.me, message), *self.say(self.peers, hidden)]
        if isinstance(message, NewView) and not message.is_free:
            free = replace(message, block_id=ZERO_HASH, block=None, pre_prepare=b"")
            return [Send(self.me, message), *self.say(self.peers, free)]
        return (effect,)


@liar_kind("usurper", PBFT)
class Usurper(Liar):
    """Lets one peer decide, and opens a view of its own to the others, with another block in it."""

    def rewrite(self, effect: Effect) -> Iterable[Effect]:
        message = spoken(effect)
        if not isinstance(message, Commit):
            return (effect,)
        members = self.node.running.ledger.validators(self.node.running.ledger.head())
        view = message.view + 1
        while members.voters[view % len(members)].address != self.me:
            view += 1
        some = self.rng.sample(self.peers, len(self.peers) - 1)
        others = [peer for peer in self.peers if peer not in some]
        opened = NewView(view, message.height, self.me, ())
        said = [Send(self.me, message), *self.say(others, message), *self.say(some, opened)]
        core = self.node.running
        block = core.ledger.block(message.block_id)
        if block is not None and core.ledger.can_extend(block.previous):
            mine = replace(block.manifest, producer=self.me)
            own = liars_blocks.executed(core, replace(block, manifest=mine))
            said += self.say(some, PrePrepare(view, message.height, own.id, self.me, own))
            said += self.say(some, Commit(view, message.height, own.id, self.me))
        return said


@liar_kind("view-racer", PBFT)
class ViewRacer(Liar):
    """Asks for views far ahead, again and again."""

    def rewrite(self, effect: Effect) -> Iterable[Effect]:
        message = spoken(effect)
        if not isinstance(message, (Prepare, Commit, ViewChange, PrePrepare)):
            return (effect,)
        far = message.view + self.rng.randint(1, FAR_VIEWS)
        parent = self.node.running.ledger.finalized()
        race = ViewChange(far, message.height, parent, None, self.me)
        return [effect, *self.say(self.peers, race)]


@liar_kind("forger", PBFT)
class Forger(Liar):
    """Sends certificates that prove nothing: itself many times, strangers, another height."""

    def rewrite(self, effect: Effect) -> Iterable[Effect]:
        message = spoken(effect)
        if not isinstance(message, (PrePrepare, Prepare, Commit)):
            return (effect,)
        block = message.block_id
        height = message.height
        view = message.view
        match self.rng.randrange(4):
            case 0:
                view += self.rng.randint(1, 3)
            case 1:
                height += 1
            case _:
                pass
        own = self.signed(Commit(view, height, block, self.me))
        assert isinstance(own, Commit)
        copies = self.rng.randint(1, len(self.peers) + 1)
        signatures = (SignedBy(self.me, own.signature),) * copies
        forged = Decided(CommitCertificate(view, height, block, signatures))
        return [effect, *(Send(peer, forged) for peer in self.peers)]


@liar_kind("lone-voice", PBFT)
class LoneVoice(Liar):
    """Asks for the view after each that it hears of, as soon as it hears of it."""

    def __init__(self, laboratory: Laboratory, node: SimulatedNode) -> None:
        super().__init__(laboratory, node)
        self._heard: PrePrepare | NewView | ViewChange | None = None
        node.observe(self._hear, MessageReceived)

    def _hear(self, thing: Event | Effect) -> None:
        if not isinstance(thing, MessageReceived) or thing.sender == self.me:
            return
        if isinstance(thing.message, (PrePrepare, NewView, ViewChange)):
            self._heard = thing.message

    def rewrite(self, effect: Effect) -> Iterable[Effect]:
        heard, self._heard = self._heard, None
        if heard is None:
            return (effect,)
        parent = self.node.running.ledger.finalized()
        asked = ViewChange(heard.view + 1, heard.height, parent, None, self.me)
        return [*self.say(self.peers, asked), effect]


@liar_kind("phase-shifter", PBFT)
class PhaseShifter(Liar):
    """Passes the others' prepares on as their commits, under the signatures that they gave."""

    def __init__(self, laboratory: Laboratory, node: SimulatedNode) -> None:
        super().__init__(laboratory, node)
        self._shifted: list[Commit] = []
        node.observe(self._hear, MessageReceived)

    def _hear(self, thing: Event | Effect) -> None:
        if isinstance(thing, MessageReceived) and isinstance(thing.message, Prepare):
            said = thing.message
            if said.sender != self.me and len(self._shifted) < HELD_MAX:
                self._shifted.append(
                    Commit(said.view, said.height, said.block_id, said.sender, said.signature)
                )

    def rewrite(self, effect: Effect) -> Iterable[Effect]:
        shifted, self._shifted = self._shifted, []
        return [effect, *(Send(peer, commit) for commit in shifted for peer in self.peers)]


@liar_kind("impersonator", PBFT)
class Impersonator(Liar):
    """Speaks in the names of all others, under signatures that are nobody's."""

    def rewrite(self, effect: Effect) -> Iterable[Effect]:
        message = spoken(effect)
        if not isinstance(message, (PrePrepare, Prepare, Commit)):
            return (effect,)
        said: list[Effect] = [effect]
        make: tuple[Callable[..., Prepare | Commit], ...] = (Prepare, Commit)
        for other in self.peers:
            for kind in make:
                fake = kind(
                    message.view, message.height, message.block_id, other, self.rng.randbytes(64)
                )
                said += [Send(peer, fake) for peer in self.peers]
        return said
