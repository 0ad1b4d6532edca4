"""The live miner: follows the branch with the most work and, if asked to, extends it.

Nakamoto, "Bitcoin: A Peer-to-Peer Electronic Cash System" (2008), sections 4 to 6 and 11.

There are no messages: blocks spread by the node's own gossip, and the only vote is work. There is
no durable record either: a miner that forgets everything has forgotten nothing that could hurt
others. Where we differ from the paper: "longest chain" (section 5) is the branch with the most
cumulative *work*, as in every Bitcoin release since 0.3.3; equal work keeps the branch seen first.
"""

from __future__ import annotations

from fractions import Fraction

from chain.block import Block, BlockHead
from chain.hashing import BlockId, show_id
from chain.view import ChainView
from consensus.contract import (
    Answer,
    BlockBuilt,
    BlockImported,
    BlockRejected,
    Build,
    CancelTimer,
    CommandGiven,
    Effect,
    EngineConfig,
    Event,
    Grind,
    Import,
    MessageReceived,
    NodeId,
    Now,
    ReadRequested,
    Report,
    RequestId,
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
    WorkFound,
)
from consensus.pow.rules import PowRules
from consensus.pow.target import work

REFRESH_MS_MAX = 5_000
"""A template older than this is rebuilt: it takes in new fees and keeps the header's time fresh."""
REFRESH_MS_MIN = 500
"""Not more often than this, however short the spacing: a rebuild executes a whole block."""
PATIENCE_MS_MAX = 1_000
"""How long to wait for the clock when the next header would have to be ahead of it.

More than six blocks in a second drive the median time past the clock; a short wait lets the clock
catch up, and its bound keeps headers that liars set in the future from stopping honest miners.
"""
RESTART_DEPTH = 288
"""Blocks below the head among which a restarted node looks for a heavier tip. A crash between
Import and SetHead loses the last move or two, so this is far more than is needed."""
RATE_SPAN = 30
"""Blocks over which the network's hash rate is estimated for people."""
SILENCE_SPACINGS = 10
"""Spacings without a block after which the status asks whether anybody mines: with honest power
at work this happens once in e**10, about 22,000, blocks."""


class PowEngine:
    """One event in, effects out; see consensus.contract."""

    def __init__(self, me: NodeId, config: EngineConfig, rules: PowRules) -> None:
        self._me = me
        self._rules = rules
        self._mining = config.mining
        self._syncing = True
        self._best: BlockId | None = None
        self._requests = 0
        self._building: RequestId | None = None
        self._template: Block | None = None
        self._grinding: RequestId | None = None
        self._timer: TimerKey | None = None
        self._found = self._stale = 0
        self._reorganisations = self._deepest = 0

    # ------------------------------------------------------------------------------------- events

    def handle(self, event: Event, view: ChainView, now: Now) -> list[Effect]:
        match event:
            case BlockImported(block=block):
                return self._on_imported(block, view, now)
            case BlockBuilt(request=request, block=block):
                return self._on_built(request, block)
            case WorkFound(block=block):
                return self._on_found(block)
            case TransactionsWaiting(count=count):
                idle = self._template is not None and not self._template.transactions
                return self._build(view, now) if count and idle and self._works() else []
            case TimerFired(key=key):
                return self._build(view, now) if key == self._timer and self._works() else []
            case Started(syncing=syncing):
                return self._on_started(syncing, view, now)
            case SyncChanged(syncing=syncing):
                self._syncing = syncing
                return self._rest() if syncing else self._resume(view, now)
            case BlockRejected(block=block_id, origin="own", reason=reason):
                # The next template comes with the timer, not at once: should the cause last,
                # this must not become a loop.
                self._stale += 1
                return [Trace("own-block-rejected", {"block": show_id(block_id), "why": reason})]
            case CommandGiven():
                return self._on_command(event, view, now)
            case ReadRequested(request=request):
                return [
                    Answer(
                        request, "refused: under pow no block is final, and so no read linearizable"
                    )
                ]
            case MessageReceived(sender=sender):
                return [Report(peer=sender, reason="unexpected-message")]
            case StopRequested():
                return [*self._rest(), Stop()]
            case _:
                return []

    def _on_started(self, syncing: bool, view: ChainView, now: Now) -> list[Effect]:
        self._syncing = syncing
        self._best = view.head()
        heaviest = self._heaviest(view)
        effects: list[Effect] = []
        if heaviest != self._best:
            self._best = heaviest
            effects.append(SetHead(heaviest))
        return effects + self._resume(view, now)

    def _heaviest(self, view: ChainView) -> BlockId:
        """The tip with the most work near the head; the head itself where none has more."""
        head = best = view.head()
        height = view.height(head)
        floor = max(view.height(view.finalized()), height - RESTART_DEPTH)
        open_ = [view.ancestor(head, floor)]
        while open_:
            block = open_.pop()
            if view.weight(block) > view.weight(best):
                best = block
            open_.extend(reversed(view.children(block)))
        return best

    def _on_imported(self, block: BlockHead, view: ChainView, now: Now) -> list[Effect]:
        if self._best is None:
            self._best = view.head()
        if view.weight(block.id) <= view.weight(self._best):  # a tie keeps what was seen first
            return []
        effects: list[Effect] = []
        if block.previous != self._best:
            effects.extend(self._note_reorganisation(self._best, block, view))
        self._best = block.id
        effects.append(SetHead(block.id))
        if self._works():
            effects += [*self._cancel_grind(), *self._build(view, now)]
        return effects

    def _note_reorganisation(self, old: BlockId, block: BlockHead, view: ChainView) -> list[Effect]:
        """Counts a move that takes blocks back (catching up with a longer branch takes none)."""
        fork_height = min(view.height(old), block.height)
        while view.ancestor(old, fork_height) != view.ancestor(block.id, fork_height):
            fork_height -= 1
        depth = view.height(old) - fork_height
        if depth == 0:
            return []
        self._reorganisations += 1
        self._deepest = max(self._deepest, depth)
        return [Trace("reorganisation", {"depth": depth, "to": show_id(block.id)})]

    def _on_built(self, request: RequestId, block: Block | None) -> list[Effect]:
        if request != self._building:  # an answer for an older head, or for an older template
            return []
        self._building = None
        if block is None:
            return []
        assert block.previous == self._best, "each move of the head asks anew"
        cancel = self._cancel_grind()
        self._template, self._grinding = block, request
        return [*cancel, Grind(request, block, self._rules.target(block.header.bits))]

    def _on_found(self, block: Block) -> list[Effect]:
        """A late find counts while it extends the head, whichever template it came from."""
        if block.previous != self._best:
            self._stale += 1
            return [Trace("stale-work", {"block": show_id(block.id)})]
        self._found += 1
        return [Import(block, "own")]

    def _on_command(self, event: CommandGiven, view: ChainView, now: Now) -> list[Effect]:
        if event.name == "start-mining":
            already, self._mining = self._mining, True
            effects = [] if already else self._resume(view, now)
            return [*effects, Answer(event.request, "ok: mining")]
        if event.name == "stop-mining":
            self._mining = False
            return [*self._rest(), Answer(event.request, "ok: not mining")]
        known = "start-mining, stop-mining"
        return [Answer(event.request, f"refused: pow knows {known}, not {event.name!r}")]

    # ------------------------------------------------------------------------------------- mining

    def _works(self) -> bool:
        return self._mining and not self._syncing

    def _resume(self, view: ChainView, now: Now) -> list[Effect]:
        return self._build(view, now) if self._works() else []

    def _rest(self) -> list[Effect]:
        """Stops mining: nothing built, nothing searched, no timer."""
        effects = self._cancel_grind()
        self._building = None
        if self._timer is not None:
            effects.append(CancelTimer(self._timer))
            self._timer = None
        return effects

    def _cancel_grind(self) -> list[Effect]:
        self._template = None
        if self._grinding is None:
            return []
        request, self._grinding = self._grinding, None
        return [Grind(request, None, 0)]

    def _build(self, view: ChainView, now: Now) -> list[Effect]:
        """Asks for a template on the best block, now or as soon as the clock allows one.

        The old template, if it is on the same parent, is searched on until the new one is there.
        """
        assert self._best is not None, "Started comes first"
        parent = self._best
        earliest_s = self._rules.earliest_time_s(view, parent)
        ahead_ms = earliest_s * 1_000 - now.wall_ms
        waited = self._timer is not None and self._timer[:2] == ("patience", parent.hex())
        if ahead_ms > 0 and not waited:
            self._building = None
            return self._arm(("patience", parent.hex()), min(ahead_ms, PATIENCE_MS_MAX))
        self._requests += 1
        self._building = self._requests
        spacing_ms = self._rules.parameters.target_spacing_ms
        refresh_ms = min(max(spacing_ms // 2, REFRESH_MS_MIN), REFRESH_MS_MAX)
        build = Build(
            request=self._requests,
            parent=parent,
            claims=b"",
            deadline_ms=0,
            may_be_empty=True,
            bits=self._rules.next_bits(view, parent, max(earliest_s, now.wall_ms // 1_000)),
            reward=self._rules.reward(view.height(parent) + 1),
        )
        return [build, *self._arm(("template", self._requests), refresh_ms)]

    def _arm(self, key: TimerKey, delay_ms: int) -> list[Effect]:
        """One timer at a time: the new one replaces the old, which has another key."""
        old, self._timer = self._timer, key
        cancel: list[Effect] = [] if old is None or old == key else [CancelTimer(old)]
        return [*cancel, SetTimer(key, delay_ms)]

    # ------------------------------------------------------------------------------------- status

    def status(self, view: ChainView, now: Now) -> Status:
        head = view.header(view.head())
        parameters = self._rules.parameters
        bits = self._rules.next_bits(view, head.id, now.wall_ms // 1_000)
        target = self._rules.target(bits)
        rate = self._network_rate(view, head, now)
        facts: dict[str, int | str] = {
            "mining": "yes" if self._works() else "no",
            "height": head.height,
            "chain work": hex(view.weight(head.id)),
            "next bits": f"{bits:08x}",
            "next target": f"{target:064x}",
            "hashes per block": work(target),
            "difficulty (first block = 1)": _decimal(
                Fraction(self._rules.target(parameters.initial_bits), target)
            ),
            "expected interval (ms)": parameters.target_spacing_ms,
            "network hash rate (1/s)": rate,
            "template height": self._template.height if self._template else 0,
            "template transactions": len(self._template.transactions) if self._template else 0,
            "blocks found": self._found,
            "stale finds": self._stale,
            "reorganisations": self._reorganisations,
            "deepest reorganisation": self._deepest,
            "confirmed at depth": parameters.confirmation_depth,
        }
        return Status(facts=facts, why=self._why(head, now))

    def _network_rate(self, view: ChainView, head: BlockHead, now: Now) -> int:
        """Hashes a second behind the last blocks: their work over the time since before them."""
        first = view.header(view.ancestor(head.id, max(0, head.height - RATE_SPAN)))
        span_ms = max(now.wall_ms - first.time_ms, 1)
        return (view.weight(head.id) - view.weight(first.id)) * 1_000 // span_ms

    def _why(self, head: BlockHead, now: Now) -> tuple[str, ...]:
        sentences = []
        if self._syncing:
            sentences.append("The node is catching up with its peers; it mines once it has.")
        spacing_ms = self._rules.parameters.target_spacing_ms
        silence_ms = now.wall_ms - head.time_ms
        if silence_ms >= SILENCE_SPACINGS * spacing_ms:
            sentences.append(
                f"No block for {silence_ms // 1_000} s, though one is expected every "
                f"{_decimal(Fraction(spacing_ms, 1_000))} s: is any miner running and connected?"
            )
        if self._timer is not None and self._timer[0] == "patience":
            sentences.append(
                "The last blocks' times are ahead of this node's clock; the next template waits a "
                "moment for the clock. If this lasts, check the clocks."
            )
        return tuple(sentences)


def _decimal(value: Fraction) -> str:
    """A fraction as people read it, to three decimals at most."""
    thousandths = round(value * 1_000)
    return f"{thousandths // 1_000}.{thousandths % 1_000:03}".rstrip("0").rstrip(".")
