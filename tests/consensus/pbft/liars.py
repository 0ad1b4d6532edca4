"""Liars: wrappers that rewrite what an honest replica says. Honest code knows nothing of them."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from chain.hashing import ZERO_HASH, sha256
from consensus.contract import Broadcast, Effect, Message, NodeId, Send
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
from tests.support.engine_cluster import Node, make_block

Said = list[tuple[NodeId | None, Message]]


def equivocating_primary(node: Node, effect: Effect) -> Said | None:
    """Proposes one block to some and another one to the rest."""
    message = effect.message if isinstance(effect, Broadcast) else None
    if not isinstance(message, PrePrepare) or message.block is None:
        return None
    parent = node.tree.header(message.block.previous)
    other = make_block(
        parent,
        node.address,
        node.cluster.validators,
        message.block.manifest.time_ms + 1,
        extra=node.cluster.next_extra(),
    )
    second = replace(message, block_id=other.id, block=other)
    said: Said = [(node.address, message)]
    for peer in node.cluster.nodes:
        if peer is not node:
            said.append((peer.address, second if node.cluster.rng.random() < 0.5 else message))
    return said


def double_voter(node: Node, effect: Effect) -> Said | None:
    """Votes for what was proposed, and for something else as well."""
    message = effect.message if isinstance(effect, Broadcast) else None
    if not isinstance(message, Prepare | Commit):
        return None
    other = replace(message, block_id=sha256(message.block_id))
    said: Said = [(node.address, message)]
    for peer in node.cluster.nodes:
        if peer is not node:
            first, second = (
                (message, other) if node.cluster.rng.random() < 0.5 else (other, message)
            )
            said += [(peer.address, first), (peer.address, second)]
    return said


def silent(node: Node, effect: Effect) -> Said | None:
    """Hears all, says nothing to anyone else."""
    if isinstance(effect, Broadcast):
        return [(node.address, effect.message)]
    return [] if isinstance(effect, Send) else None


def hider(node: Node, effect: Effect) -> Said | None:
    """Hides its prepared certificate in view changes; opens views with a block of its own."""
    message = effect.message if isinstance(effect, Broadcast) else None
    if isinstance(message, ViewChange):
        return [(None, replace(message, prepared=None))]
    if isinstance(message, NewView) and not message.is_free:
        parent = node.tree.header(message.view_changes[0].parent)
        block = make_block(
            parent,
            node.address,
            node.cluster.validators,
            node.now().wall_ms,
            extra=node.cluster.next_extra(),
        )
        free = replace(message, block_id=ZERO_HASH, block=None, pre_prepare=b"")
        own = PrePrepare(message.view, message.height, block.id, node.address, block)
        peers = [peer.address for peer in node.cluster.nodes if peer is not node]
        said: Said = [(node.address, message)]
        return said + [(peer, lie) for peer in peers for lie in (free, own)]
    return None


def usurper(node: Node, effect: Effect) -> Said | None:
    """As a new primary it opens its view with nothing prepared, and votes for a fresh block."""
    message = effect.message if isinstance(effect, Broadcast) else None
    if not isinstance(message, NewView) or message.is_free:
        return None
    said = hider(node, effect)
    assert said is not None
    return [(None, lie) for _, lie in said[1:3]]


def view_racer(node: Node, effect: Effect) -> Said | None:
    """Asks for views far ahead, again and again."""
    message = effect.message if isinstance(effect, Broadcast) else None
    if not isinstance(message, Prepare | Commit):
        return None
    far = message.view + node.cluster.rng.randint(1, 40)
    race = ViewChange(far, message.height, node.tree.finalized(), None, node.address)
    said: Said = [(None, message)]
    said += [(peer.address, race) for peer in node.cluster.nodes if peer is not node]
    return said


def forger(node: Node, effect: Effect) -> Said | None:
    """Sends certificates that prove nothing: itself many times, too few, another height."""
    message = effect.message if isinstance(effect, Broadcast) else None
    if not isinstance(message, Prepare | Commit):
        return None
    block = sha256(b"forged")
    height = message.height + node.cluster.rng.randint(0, 2)
    draft = Commit(message.view, height, block, node.address)
    signed = node.cluster.sign(node, draft)
    assert isinstance(signed, Commit)
    own = SignedBy(node.address, signed.signature)
    copies = node.cluster.rng.randint(1, len(node.cluster.nodes))
    forged = Decided(CommitCertificate(message.view, height, block, (own,) * copies))
    said: Said = [(None, message)]
    said += [(peer.address, forged) for peer in node.cluster.nodes if peer is not node]
    return said


LIARS: tuple[Callable[[Node, Effect], Said | None], ...] = (
    equivocating_primary,
    double_voter,
    silent,
    hider,
    view_racer,
    forger,
)
