"""The importer: every block, wherever it comes from, enters the ledger through here.

Order of checks: known, known bad, parent missing (kept as an orphan and fetched), header rules,
ahead of the clock (held back, unless it is replayed from this node's own disk), execution. The
outcome is told to the engine as BlockImported or BlockRejected, and to the sync service.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from chain.block import Block, BlockHead
from chain.errors import InvalidBlock, NotYet
from chain.hashing import BlockId
from chain.header import VERSION
from chain.ledger import Ledger
from chain.view import ChainView
from consensus.contract import Attestation, Origin, Rules, WorkRules
from moot.node.eras import EraBook

ORPHANS_MAX = 256
"""Blocks without a parent kept in memory; older ones are dropped and can be fetched again."""
ORPHAN_BYTES_MAX = 32 * 1024 * 1024
"""Their bytes: with blocks of several megabytes the count alone would bound nothing."""
BAD_BLOCKS_MAX = 4_096
"""Ids remembered as invalid, so that each costs its check once."""
HELD_MAX = 64
"""Blocks ahead of the clock that are kept until they are due."""
HELD_BYTES_MAX = 32 * 1024 * 1024
"""Their bytes, as for orphans."""

UNSAFE_TO_REMEMBER = frozenset(
    {"mutated-merkle-tree", "bad-merkle-root", "bad-seal", "unexpected-seal"}
)
"""Faults of a body or a seal, which lie outside the id: an honest block with the same id may exist
(CVE-2012-2459)."""

Outcome = Literal["imported", "known", "rejected", "held", "orphaned"]


class Arrival(NamedTuple):
    """A block that came: from where, and from which peer (None: from ourselves)."""

    block: Block
    origin: Origin
    peer: bytes | None


class Result(NamedTuple):
    """What became of an arrival. ``code`` and ``sentence`` say why it was rejected."""

    outcome: Outcome
    code: str = ""
    sentence: str = ""


def check_common(head: BlockHead, parent: BlockHead, rules: Rules) -> None:
    """What every engine's headers must keep. Raises InvalidBlock."""
    if head.height != parent.height + 1:
        raise InvalidBlock("wrong-height", f"height {head.height} on a parent at {parent.height}")
    if head.time_ms <= parent.time_ms:
        raise InvalidBlock("time-not-after-parent", "its time is not after its parent's")
    if isinstance(rules, WorkRules):
        return
    if head.header.time_s != head.time_ms // 1000:
        raise InvalidBlock("header-time", "header time and manifest time disagree")
    if head.header.version != VERSION or head.header.bits or head.header.nonce:
        raise InvalidBlock("header-fields", "version, bits and nonce are fixed on this chain")


class Importer:
    """Keeps orphans and held-back blocks, bounded; everything else goes straight through."""

    def __init__(
        self,
        ledger: Ledger,
        eras: EraBook,
        done: Callable[[Arrival, Result], None],
        fetch: Callable[[tuple[BlockId, ...], bytes | None], None],
        hold: Callable[[int], None],
        verified: Callable[[Sequence[Attestation]], bool],
    ) -> None:
        """``verified`` checks a seal's signatures; ``done`` hears each final outcome; ``fetch``
        is asked for missing parents; ``hold`` for a call of ``release`` at a wall-clock time in
        milliseconds."""
        self._ledger = ledger
        self._eras = eras
        self._done = done
        self._fetch = fetch
        self._hold = hold
        self._verified = verified
        self._orphans: OrderedDict[BlockId, Arrival] = OrderedDict()
        self._orphan_bytes = 0
        self._bad: OrderedDict[BlockId, tuple[str, str]] = OrderedDict()
        self._held: OrderedDict[BlockId, tuple[int, Arrival]] = OrderedDict()

    @property
    def orphans(self) -> int:
        return len(self._orphans)

    @property
    def held(self) -> int:
        """Blocks that wait for the clock."""
        return len(self._held)

    def check_head(self, head: BlockHead, view: ChainView, rules: Rules, wall_ms: int) -> None:
        """Judges a head whose parent ``view`` knows. Raises InvalidBlock or NotYet."""
        head.check_branch()
        check_common(head, view.header(head.previous), rules)
        rules.check_header(head, view)
        seal = rules.seal_attestations(head)
        if seal and not self._verified(seal):
            raise InvalidBlock("bad-seal", "a signature in the block's seal does not verify")
        earliest_ms = rules.earliest_ms(head)
        if earliest_ms > wall_ms:
            raise NotYet(earliest_ms)

    def known_bad(self, block: BlockId) -> bool:
        return block in self._bad

    def offer(self, arrival: Arrival, wall_ms: int) -> Result:
        """Takes a block in, and then the orphans that waited for it."""
        result = self._one(arrival, wall_ms)
        settled = [arrival.block.id] if result.outcome == "imported" else []
        if result.outcome == "rejected":
            self._drop_children(arrival.block.id, result)
        while settled:
            parent = settled.pop()
            for orphan in [a for a in self._orphans.values() if a.block.previous == parent]:
                self._forget_orphan(orphan.block.id)
                if self._one(orphan, wall_ms).outcome == "imported":
                    settled.append(orphan.block.id)
        return result

    def release(self, wall_ms: int) -> None:
        """Looks again at the blocks that were ahead of the clock."""
        due = [arrival for until_ms, arrival in self._held.values() if until_ms <= wall_ms]
        for arrival in due:
            del self._held[arrival.block.id]
        for arrival in due:
            self.offer(arrival, wall_ms)
        if self._held:
            self._hold(min(until_ms for until_ms, _ in self._held.values()))

    def _one(self, arrival: Arrival, wall_ms: int) -> Result:
        block = arrival.block
        if self._ledger.knows(block.id):
            return self._settle(arrival, Result("known"))
        bad = self._bad.get(block.id)
        if bad is not None:
            return self._settle(arrival, Result("rejected", *bad))
        if block.previous in self._bad:
            # It came after its parent was refused: nothing would ever free it as an orphan.
            _, sentence = self._bad[block.previous]
            self._remember_bad(block.id, "invalid-ancestor", sentence)
            return self._settle(arrival, Result("rejected", "invalid-ancestor", sentence))
        if not self._ledger.knows(block.previous):
            return self._keep_orphan(arrival)
        try:
            self._insert(block, wall_ms, arrival.origin == "replay")
        except NotYet as not_yet:
            return self._keep_held(arrival, not_yet.until_ms)
        except InvalidBlock as error:
            if error.code not in UNSAFE_TO_REMEMBER:
                self._remember_bad(block.id, error.code, error.sentence)
            return self._settle(arrival, Result("rejected", error.code, error.sentence))
        return self._settle(arrival, Result("imported"))

    def _insert(self, block: Block, wall_ms: int, replaying: bool) -> None:
        block.check_body()
        rules = self._eras.rules_after(self._ledger, block.previous)
        try:
            self.check_head(block.head, self._ledger, rules, wall_ms)
        except NotYet:
            # What is replayed was due when it was stored. Held back now, since the clock was set
            # back, it would be deleted from the disk as refused, with all that stands on it.
            if not replaying:
                raise
        self._ledger.insert(
            block,
            rules.weight(block.head),
            rules.state_changes(block.head, self._ledger),
            replaying=replaying,
        )

    def _settle(self, arrival: Arrival, result: Result) -> Result:
        self._done(arrival, result)
        return result

    def _keep_orphan(self, arrival: Arrival) -> Result:
        block = arrival.block
        if block.id not in self._orphans:
            self._orphans[block.id] = arrival
            self._orphan_bytes += len(block.raw)
            while len(self._orphans) > ORPHANS_MAX or self._orphan_bytes > ORPHAN_BYTES_MAX:
                self._forget_orphan(next(iter(self._orphans)))
        self._fetch((block.previous,), arrival.peer)
        return Result("orphaned")

    def _forget_orphan(self, block: BlockId) -> None:
        self._orphan_bytes -= len(self._orphans.pop(block).block.raw)

    def _drop_children(self, parent: BlockId, why: Result) -> None:
        if parent not in self._bad:
            return
        doomed = [parent]
        while doomed:
            bad = doomed.pop()
            for orphan in [a for a in self._orphans.values() if a.block.previous == bad]:
                self._forget_orphan(orphan.block.id)
                self._remember_bad(orphan.block.id, "invalid-ancestor", why.sentence)
                self._settle(orphan, Result("rejected", "invalid-ancestor", why.sentence))
                doomed.append(orphan.block.id)

    def _keep_held(self, arrival: Arrival, until_ms: int) -> Result:
        self._held[arrival.block.id] = (until_ms, arrival)
        held_bytes = sum(len(kept.block.raw) for _, kept in self._held.values())
        while len(self._held) > HELD_MAX or held_bytes > HELD_BYTES_MAX:
            # What is furthest ahead is the likeliest lie.
            furthest = max(self._held, key=lambda block: self._held[block][0])
            held_bytes -= len(self._held.pop(furthest)[1].block.raw)
        if self._held:
            self._hold(min(due_ms for due_ms, _ in self._held.values()))
        return Result("held")

    def _remember_bad(self, block: BlockId, code: str, sentence: str) -> None:
        self._bad[block] = (code, sentence)
        while len(self._bad) > BAD_BLOCKS_MAX:
            self._bad.popitem(last=False)
