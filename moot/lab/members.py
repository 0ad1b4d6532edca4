"""The members of a simulated network, as whoever changes them sees it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from chain.state.accounts import get_validators
from moot.lab.clients import Clients
from moot.lab.node import SimulatedNode


class Members(NamedTuple):
    """Names of nodes with a vote, and of learners."""

    voting: frozenset[str]
    learning: frozenset[str]


def newest_members(nodes: Iterable[SimulatedNode], clients: Clients) -> Members | None:
    """As the honest node with the highest head has them; None while a change is under way, or
    while nobody runs who knows of the last vote."""
    nodes = list(nodes)
    up = [node for node in nodes if node.is_honest and node.core is not None]
    if not up or clients.votes_under_way:
        return None
    furthest = max(up, key=_height)
    if _height(furthest) < clients.voted_height:
        return None
    with furthest.store.looked_at():
        newest = get_validators(furthest.running.ledger.state())
    if newest.outgoing:
        return None
    named = {node.signer.address: node.name for node in nodes}
    return Members(
        frozenset(named[each.address] for each in newest.voters),
        frozenset(named[each.address] for each in newest.learners),
    )


def _height(node: SimulatedNode) -> int:
    ledger = node.running.ledger
    return ledger.height(ledger.head())
