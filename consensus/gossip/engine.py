"""The live node: extends its head whenever it likes, and tells the others what it holds.

The availability end of the CAP theorem (Gilbert and Lynch 2002) on a live ledger. The blocks that a
node holds are a set that only grows, and its head is a function of that set alone: the greatest
height, of equals the smaller id. Whoever holds the same blocks therefore follows the same head, in
whatever order they came (a state-based CRDT, Shapiro et al. 2011, section 2). Anti-entropy sees to
it that all come to hold the same: each round a node sends a digest of its branches to some peers
drawn by chance, asks for what theirs names and it lacks, and answers with its own (push-pull,
Demers et al. 1987, section 1.3). The blocks themselves travel by the node's own sync.

What a node forgets hurts nobody, so there is no durable record. What the losing branch alone held
goes back to the mempool; what no longer applies is listed as displaced, by the node.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from typing import Final

from chain.address import Address
from chain.block import Block, BlockHead
from chain.hashing import BlockId, show_id
from chain.view import ChainView
from consensus.contract import (
    Answer,
    BlockBuilt,
    BlockImported,
    BlockRejected,
    Broadcast,
    Build,
    CancelTimer,
    CommandGiven,
    Effect,
    EngineConfig,
    Event,
    Fetch,
    MessageReceived,
    NodeId,
    Now,
    ReadRequested,
    Report,
    Send,
    SetHead,
    SetTimer,
    Started,
    Status,
    Stop,
    StopRequested,
    SyncChanged,
    TimerFired,
    TimerKey,
    Trace,
    TransactionsWaiting,
)
from consensus.gossip.messages import RANGES_MAX, TIPS_MAX, Digest, Point
from consensus.gossip.parameters import GossipParameters
from consensus.gossip.peers import Peers, PeerView

TIP_DEPTH: Final = 1_000
"""Blocks below the head down to which a branch's tip is told to others: what a partition of some
minutes leaves. A longer one is told from above: the winner's head is fetched with its ancestors."""
RESTART_DEPTH: Final = 1_000
"""Blocks below the head among which a restarted node looks for tips."""
BROADCAST_EVERY: Final = 8
"""Each so many rounds the digest goes to all links, so that new peers become known."""
FETCH_AGAIN_MS: Final = 2_000
"""Pause before the same block is asked for again: sync has its own, shorter patience."""
FETCHED_MAX: Final = 256
"""Blocks asked for that are remembered."""

TURN: Final[TimerKey] = ("turn",)
ROUND: Final[TimerKey] = ("digest",)


class GossipEngine:
    """One event in, effects out."""

    def __init__(
        self, me: NodeId, config: EngineConfig, parameters: GossipParameters, rng: random.Random
    ) -> None:
        self._me = me
        self._parameters = parameters
        self._rng = rng
        self._writes = config.mining
        self._syncing = True
        self._head: BlockId | None = None
        self._tips: dict[BlockId, int] = {}
        self._peers = Peers(rng, parameters.digest_ms)
        self._waiting = 0
        self._requests = 0
        self._rounds = 0
        self._fetched: OrderedDict[BlockId, int] = OrderedDict()
        self._has_turn = False
        self._made = self._reorganisations = self._deepest = 0
        self._sent = self._useful = self._redundant = 0

    def handle(self, event: Event, view: ChainView, now: Now) -> list[Effect]:
        match event:
            case BlockImported(block=block):
                return self._on_imported(block, view, now)
            case TransactionsWaiting(count=count):
                self._waiting = count
                return self._take_turn_later(view)
            case TimerFired(key=key) if key == TURN:
                return self._on_turn(view)
            case TimerFired(key=key) if key == ROUND:
                return self._on_round(view, now)
            case MessageReceived(sender=sender, message=Digest() as digest):
                return [] if sender == self._me else self._on_digest(sender, digest, view, now)
            case MessageReceived(sender=sender):
                return [Report(peer=sender, reason="unexpected-message")]
            case BlockBuilt(block=block):
                return self._on_built(block, view)
            case Started(syncing=syncing):
                return self._on_started(syncing, view)
            case SyncChanged(syncing=syncing):
                self._syncing = syncing
                return self._rest() if syncing else self._take_turn_later(view)
            case BlockRejected(block=block_id, origin="own", reason=reason):
                return [Trace("own-block-rejected", {"block": show_id(block_id), "why": reason})]
            case CommandGiven():
                return self._on_command(event, view)
            case ReadRequested(request=request):
                sentence = "refused: under gossip nobody agrees on anything before it is read"
                return [Answer(request, sentence)]
            case StopRequested():
                return [*self._rest(), CancelTimer(ROUND), Stop()]
            case _:
                return []

    def _on_started(self, syncing: bool, view: ChainView) -> list[Effect]:
        self._syncing = syncing
        self._head = view.head()
        floor = max(0, view.height(self._head) - RESTART_DEPTH)
        open_ = [view.ancestor(self._head, floor)]
        while open_:
            block = open_.pop()
            children = view.children(block)
            if not children:
                self._keep_tip(block, view)
            open_.extend(children)
        best = max(self._tips, key=lambda tip: _rank(tip, view))
        moved: list[Effect] = [] if best == self._head else [SetHead(best)]
        self._head = best
        greeting = Broadcast(self._digest(view, answer=True))
        self._sent += 1
        return [*moved, greeting, self._next_round(), *self._take_turn_later(view)]

    # ------------------------------------------------------------------------- the tree, the head

    def _on_imported(self, block: BlockHead, view: ChainView, now: Now) -> list[Effect]:
        if self._head is None:
            self._head = view.head()
        self._tips.pop(block.previous, None)
        if not view.children(block.id):
            self._keep_tip(block.id, view)
        effects: list[Effect] = []
        if _rank(block.id, view) > _rank(self._head, view):
            effects = [SetHead(block.id), *self._note_reorganisation(self._head, block, view)]
            self._head = block.id
            effects += self._take_turn_later(view)
        return [*effects, *self._look_at_peers(view, now)]

    def _keep_tip(self, block: BlockId, view: ChainView) -> None:
        """Remembers the end of a branch; the lowest, and those far below, are forgotten."""
        self._tips[block] = view.height(block)
        floor = max(self._tips.values()) - TIP_DEPTH
        ranked = sorted(self._tips, key=lambda tip: _rank(tip, view), reverse=True)
        self._tips = {tip: self._tips[tip] for tip in ranked[:TIPS_MAX] if self._tips[tip] >= floor}

    def _note_reorganisation(self, old: BlockId, block: BlockHead, view: ChainView) -> list[Effect]:
        """Counts a move that takes blocks back."""
        depth = view.height(old) - self._fork_height(old, block.id, view)
        if depth == 0:
            return []
        self._reorganisations += 1
        self._deepest = max(self._deepest, depth)
        return [Trace("reorganisation", {"depth": depth, "to": show_id(block.id)})]

    def _fork_height(self, one: BlockId, other: BlockId, view: ChainView) -> int:
        """Height of the last common block, found by halving."""
        low, high = 0, min(view.height(one), view.height(other))
        while low < high:
            middle = (low + high + 1) // 2
            if view.ancestor(one, middle) == view.ancestor(other, middle):
                low = middle
            else:
                high = middle - 1
        return low

    # --------------------------------------------------------------------------------- own turns

    def _wants_block(self, view: ChainView) -> bool:
        return self._writes and not self._syncing and bool(self._waiting or self._unsettled(view))

    def _unsettled(self, view: ChainView) -> bool:
        """Whether a block with transactions lies less deep than what counts as confirmed: then
        empty blocks follow, so that the last payment before a silence is confirmed as well."""
        assert self._head is not None
        block = view.header(self._head)
        for _ in range(self._parameters.confirmation_depth):
            if block.height == 0:
                return False
            if block.branch:  # a manifest alone has no siblings in its Merkle tree
                return True
            block = view.header(block.previous)
        return False

    def _take_turn_later(self, view: ChainView) -> list[Effect]:
        """Anew with every move of the head: whoever draws the shortest wait writes next."""
        if self._head is None or not self._wants_block(view):
            return self._rest()
        low, high = self._parameters.turn_ms_min, self._parameters.turn_ms_max
        self._has_turn = True
        return [SetTimer(TURN, self._rng.randint(low, high))]

    def _rest(self) -> list[Effect]:
        had, self._has_turn = self._has_turn, False
        return [CancelTimer(TURN)] if had else []

    def _on_turn(self, view: ChainView) -> list[Effect]:
        self._has_turn = False
        if not self._wants_block(view):
            return []
        assert self._head is not None
        self._requests += 1
        # Empty only where a block below is to be confirmed; else there is something to include.
        may_be_empty = self._unsettled(view)
        return [Build(self._requests, self._head, b"", 0, may_be_empty)]

    def _on_built(self, block: Block | None, view: ChainView) -> list[Effect]:
        """An own block came in through BlockImported; without one the turn comes again."""
        if block is None:
            return self._take_turn_later(view)
        self._made += 1
        return []

    def _on_command(self, event: CommandGiven, view: ChainView) -> list[Effect]:
        if event.name == "start-mining":
            self._writes = True
            return [*self._take_turn_later(view), Answer(event.request, "ok: writing")]
        if event.name == "stop-mining":
            self._writes = False
            return [*self._rest(), Answer(event.request, "ok: only listening")]
        known = "start-mining, stop-mining"
        return [Answer(event.request, f"refused: gossip knows {known}, not {event.name!r}")]

    # ------------------------------------------------------------------------------- anti-entropy

    def _digest(self, view: ChainView, *, answer: bool) -> Digest:
        assert self._head is not None
        height = view.height(self._head)
        others = [tip for tip in self._tips if tip != self._head][: TIPS_MAX - 1]
        tips = [Point(view.height(tip), tip) for tip in (self._head, *others)]
        ranges: list[Point] = []
        distance = 1
        while distance < height and len(ranges) < RANGES_MAX - 1:
            at = height - distance
            ranges.append(Point(at, view.ancestor(self._head, at)))
            distance *= 2
        if height:
            ranges.append(Point(0, view.ancestor(self._head, 0)))
        return Digest(tuple(tips), tuple(ranges), answer)

    def _next_round(self) -> Effect:
        pause_ms = self._parameters.digest_ms
        return SetTimer(ROUND, max(1, pause_ms - self._rng.randrange(pause_ms // 4 + 1)))

    def _on_round(self, view: ChainView, now: Now) -> list[Effect]:
        self._rounds += 1
        digest = self._digest(view, answer=True)
        chosen = self._peers.some(self._parameters.fan_out)
        effects: list[Effect]
        if len(chosen) < self._parameters.fan_out or self._rounds % BROADCAST_EVERY == 0:
            self._sent += 1
            effects = [Broadcast(digest)]
        else:
            self._sent += len(chosen)
            effects = [Send(peer, digest) for peer in chosen]
        return [*effects, *self._look_at_peers(view, now), self._next_round()]

    def _on_digest(self, sender: NodeId, digest: Digest, view: ChainView, now: Now) -> list[Effect]:
        if digest.fault:
            return [Report(peer=sender, reason="bad-digest")]
        if self._head is None:
            return []
        common = max(
            (p.height for p in (digest.head, *digest.ranges) if view.knows(p.block_id)), default=0
        )
        self._peers.heard(sender, PeerView(digest.head, common, False, now.steady_ms))
        unknown = [tip.block_id for tip in digest.tips if not view.knows(tip.block_id)]
        if unknown:
            self._useful += 1
        else:
            self._redundant += 1
        effects: list[Effect] = []
        wanted = tuple(block for block in unknown if self._may_fetch(block, now))
        if wanted:
            effects.append(Fetch(wanted, sender))
        if digest.answer:
            self._sent += 1
            effects.append(Send(sender, self._digest(view, answer=False)))
        return [*effects, *self._look_at_peers(view, now)]

    def _may_fetch(self, block: BlockId, now: Now) -> bool:
        """Not again and again: a block that nobody has must not be asked for in every round."""
        asked_ms = self._fetched.get(block)
        if asked_ms is not None and now.steady_ms - asked_ms < FETCH_AGAIN_MS:
            return False
        self._fetched[block] = now.steady_ms
        self._fetched.move_to_end(block)
        while len(self._fetched) > FETCHED_MAX:
            self._fetched.popitem(last=False)
        return True

    def _look_at_peers(self, view: ChainView, now: Now) -> list[Effect]:
        def is_apart(peer: PeerView) -> bool:
            assert self._head is not None
            head = peer.head.block_id
            if not view.knows(head):
                return True
            return not view.descends(self._head, head) and not view.descends(head, self._head)

        took_ms = self._peers.look(is_apart, now.steady_ms)
        return [] if took_ms is None else [Trace("converged", {"after_ms": took_ms})]

    # -------------------------------------------------------------------------------- for people

    def status(self, view: ChainView, now: Now) -> Status:
        head = view.header(view.head())
        reachable = self._peers.reachable(now.steady_ms)
        apart = [peer for peer, seen in reachable.items() if seen.apart]
        last = self._peers.last_convergence_ms
        facts: dict[str, int | str] = {
            "writes": "yes" if self._writes and not self._syncing else "no",
            "height": head.height,
            "peers heard": len(reachable),
            "peers on another branch": len(apart),
            "tips known": len(self._tips),
            "converged": "no" if apart else "yes",
            "last convergence (ms)": "-" if last is None else last,
            "longest convergence (ms)": self._peers.longest_convergence_ms,
            "digests sent": self._sent,
            "digests that brought news": self._useful,
            "digests that brought none": self._redundant,
            "blocks written here": self._made,
            "reorganisations": self._reorganisations,
            "deepest reorganisation": self._deepest,
            "called confirmed at depth": self._parameters.confirmation_depth,
        }
        rows = tuple(
            {
                "peer": _name(peer),
                "height": seen.head.height,
                "shared up to": seen.common,
                "branch": "another" if seen.apart else "ours",
                "heard (ms ago)": now.steady_ms - seen.heard_ms,
            }
            for peer, seen in sorted(self._peers.all().items())
        )
        return Status(facts, {"peers": rows}, self._why(apart, now), None, 0, tuple(apart))

    def _why(self, apart: list[NodeId], now: Now) -> tuple[str, ...]:
        sentences = []
        if self._syncing:
            sentences.append("The node is catching up with its peers; it writes once it has.")
        since_ms = self._peers.apart_since_ms
        if apart and since_ms is not None:
            who = ", ".join(_name(peer) for peer in sorted(apart))
            sentences.append(
                f"On another branch for {now.steady_ms - since_ms} ms: {who}. The higher branch "
                "wins; its blocks are being fetched."
            )
        return tuple(sentences)


def _rank(block: BlockId, view: ChainView) -> tuple[int, bytes]:
    """Greater is better: the height, and of equal heights the smaller id."""
    return view.height(block), bytes(255 - byte for byte in block)


def _name(node: Address) -> str:
    return node[1:5].hex()
