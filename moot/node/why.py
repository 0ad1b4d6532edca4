"""Why a node makes no progress, in plain sentences: the first says what, the others what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from chain.address import key_address
from chain.bech32m import show_address
from moot.node.core import NodeCore
from p2p.handshake import SELF_CONNECTION
from p2p.transport import DialFailure

STALLED_MS: Final = 5_000
"""Milliseconds without progress, while some is due, after which the engine is asked for reasons."""
UNLINKED_SHOWN: Final = 5
"""Configured peers of which it is told why they are not linked: as many as a person reads."""


def unready(core: NodeCore) -> list[str]:
    """Reasons why this node should not be asked yet; empty when it may."""
    reasons = []
    if core.sync.syncing:
        reasons.append(_syncing(core))
    lonely = _lonely(core)
    if lonely:
        reasons.append(lonely)
    return reasons


def explain(
    core: NodeCore, now_ms: int, unlinked: Sequence[DialFailure] = ()
) -> tuple[bool, list[str]]:
    """Whether all is well, and what there is to say. ``now_ms``: the steady clock. ``unlinked``:
    configured peers that were dialed in vain (p2p.transport.Transport.unlinked).

    What the engine waits for at any one moment is no complaint: it becomes one once something is
    due and nothing has moved for STALLED_MS. A member that is not linked, or that lost its record
    and may only listen, is told in any case: it uses up the faults that the network can bear.
    """
    sentences = unready(core)
    due = core.mempool.waiting() > 0 or core.rules.properties.mints_when_idle
    engine = core.engine_status()
    stalled = due and now_ms - core.idle_since_ms > STALLED_MS
    if stalled or engine.listening:
        sentences += engine.why
    healthy = not sentences
    if healthy:
        sentences.append(_all_well(core, due))
    standing = _standing(core)
    if standing:
        sentences.append(standing)
    missing = _missing_members(core)
    if missing:
        sentences.append(
            f"Not linked to {len(missing)} of the members: {', '.join(missing)}. "
            "Check that they run and that their addresses stand under p2p.peers."
        )
    return healthy, sentences + _in_vain(unlinked)


def _all_well(core: NodeCore, due: bool) -> str:
    ledger = core.ledger
    height = ledger.height(ledger.head())
    if due:
        return f"All is well: the head is at height {height} and moves on."
    return f"All is well: no transaction waits, so height {height} stays as it is."


def _syncing(core: NodeCore) -> str:
    best = max((height for height, _ in core.sync.claims().values()), default=0)
    own = core.ledger.height(core.ledger.head())
    return f"Catching up: this node is at height {own}, its peers are at {best}. Wait."


def _lonely(core: NodeCore) -> str:
    members = core.roll.sets[0]
    alone = len(members) == 1 and core.me in members
    if core.peers or alone or (not members and core.settings.mining):
        return ""
    return "No peer is linked. Check p2p.peers, and that the others run and are reachable."


def _in_vain(unlinked: Sequence[DialFailure]) -> list[str]:
    """What configured peers said, or the network of them, when they were dialed last."""
    told = [each for each in unlinked if each.reason != SELF_CONNECTION]
    sentences = [
        f"{each.host}:{each.port} is dialed in vain: {each.sentence} ({each.reason})."
        for each in told[:UNLINKED_SHOWN]
    ]
    if len(told) > UNLINKED_SHOWN:
        sentences.append(f"So are {len(told) - UNLINKED_SHOWN} more of p2p.peers.")
    return sentences


def _standing(core: NodeCore) -> str:
    """What this node may do on a chain that has members; empty for one that has a vote."""
    if not core.rules.properties.has_validators:
        return ""
    now, newest = core.roll.sets[0], core.roll.sets[-1]
    leaving = core.me not in newest and core.me in now
    if leaving:
        return "The members have voted this node out: soon it will only follow, as an observer."
    if core.me in now:
        return ""
    if core.me in newest:
        height = core.ledger.height(core.ledger.head()) + core.ledger.genesis.limits.validator_lag
        return f"The members have admitted this node: it votes from height {height} at the latest."
    if core.me in newest.by_address:
        return "This node is a learner: it follows, and has no vote until the members promote it."
    if core.ledger.ever_listed(core.me):
        return (
            "This node is no member any more: the members voted it out, and it goes on following "
            "as an observer. They can take it back (moot wallet member add)."
        )
    return (
        "This node is no member: it follows as an observer. The members can admit it "
        "(moot wallet member add)."
    )


def _missing_members(core: NodeCore) -> list[str]:
    members = core.roll.sets[0].members
    linked = {key_address(key) for key in core.peers} | {core.me}
    return [
        member.name or show_address(member.address, core.ledger.genesis.prefix)
        for member in members
        if member.address not in linked
    ]
