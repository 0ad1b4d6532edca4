"""What honest nodes say: nothing that contradicts what they said before, nothing not yet durable.

Both over restarts: a slot that a key has spoken for is remembered for the whole run.
"""

from __future__ import annotations

from typing import NamedTuple

from chain.block import Block
from chain.ledger.disk import RECORD_KEY
from chain.storage import Changes
from chain.view import ChainView
from consensus.contract import (
    Broadcast,
    Build,
    Effect,
    Engine,
    Event,
    Message,
    Now,
    Persist,
    Rules,
    SealRules,
    Send,
    Slot,
    Status,
)
from moot.lab.checkers.promises import FOR_ALL_HEIGHTS
from moot.lab.node import SimulatedNode
from moot.lab.planting import judged_honestly
from moot.lab.report import Findings


class _Said(NamedTuple):
    """The content of a slot, and the number of the record that must be on disk before it leaves."""

    content: bytes
    record: int


class Speech:
    """For one node. Its engine is watched as it decides, its driver as it speaks."""

    def __init__(self, node: SimulatedNode, findings: Findings) -> None:
        self._node = node
        self._findings = findings
        self._decided: dict[Slot, _Said] = {}
        self._spoken: dict[Slot, bytes] = {}
        self._records = 0
        self._number_of: dict[bytes, int] = {}
        self._on_disk = 0
        self._sealing = 0  # the number of the record that stood before the last Build
        node.started.append(self._begin)
        node.wrappers.append(lambda engine: _Watched(engine, self))
        node.observe(self._performing, Broadcast, Send)
        before = node.store.on_write

        def written(changes: Changes, sync: bool) -> None:
            if before is not None:
                before(changes, sync)
            self._written(changes, sync)

        node.store.on_write = written

    def decided(self, event: Event, effects: list[Effect]) -> None:
        """What ``handle`` returned: a new statement stands behind a Persist of the same event."""
        persisted = False
        for effect in effects:
            if isinstance(effect, Persist):
                persisted = True
                self._records += 1
                self._number_of[effect.record] = self._records
                while len(self._number_of) > 1_024:
                    del self._number_of[next(iter(self._number_of))]
            elif isinstance(effect, (Broadcast, Send)):
                for slot, content in _own(effect.message):
                    if slot in self._decided:
                        continue
                    self._decided[slot] = _Said(content, self._records)
                    if not persisted and self._signs_votes:
                        self._violated(
                            "durable-before-speaking",
                            f"decided on {_show(slot)} at {type(event).__name__} and persists "
                            "nothing before it says so",
                        )
            elif isinstance(effect, Build) and isinstance(self._node.running.rules, SealRules):
                self._sealing = self._records
                if not persisted:
                    self._violated(
                        "durable-before-speaking",
                        f"asks for a block to sign at {type(event).__name__} and persists nothing "
                        "before it",
                    )

    def _begin(self, node: SimulatedNode) -> None:
        """A seal is signed by the node itself: so it is watched where it signs."""
        signer = node.running.signer
        sign = signer.seal

        def seal(rules: Rules, block: Block) -> Block:
            self._sealed(rules, block)
            return sign(rules, block)

        signer.seal = seal  # type: ignore[method-assign]

    @judged_honestly
    def _sealed(self, rules: Rules, block: Block) -> None:
        for one in rules.seal_attestations(block.head):
            if self._spoken.setdefault(one.slot, one.content) != one.content:
                self._violated("contradiction", f"signs a second block for {_show(one.slot)}")
            if self._sealing > self._on_disk:
                self._violated(
                    "durable-before-speaking",
                    f"signs {_show(one.slot)} while the disk holds an older record",
                )

    @property
    def _signs_votes(self) -> bool:
        """Whether what is signed promises something. Under crash faults votes are not signed, and
        what is says only what others made durable: a commit, for strangers. In Paxos it is an
        acceptance, which is both."""
        running = self._node.running
        is_paxos = running.protocol.name in FOR_ALL_HEIGHTS
        return is_paxos or running.rules.properties.fault_model != "crash"

    def _written(self, changes: Changes, sync: bool) -> None:
        for key, value in changes:
            if key == RECORD_KEY and value is not None and sync:
                self._on_disk = self._number_of.get(value, self._on_disk)

    def _performing(self, thing: Event | Effect) -> None:
        if not isinstance(thing, (Broadcast, Send)):
            return
        for slot, content in _own(thing.message):
            before = self._spoken.setdefault(slot, content)
            if before != content:
                self._violated("contradiction", f"signs a second content for {_show(slot)}")
            said = self._decided.get(slot)
            if said is not None and said.record > self._on_disk:
                self._violated(
                    "durable-before-speaking",
                    f"says {_show(slot)} while the disk holds an older record",
                )

    def _violated(self, checker: str, what: str) -> None:
        self._findings.violated(checker, f"{self._node.name} {what}", self._node.world.now_ms)


class _Watched:
    """An engine that is listened to."""

    def __init__(self, engine: Engine, speech: Speech) -> None:
        self.inner = engine
        self._speech = speech

    def handle(self, event: Event, view: ChainView, now: Now) -> list[Effect]:
        effects = self.inner.handle(event, view, now)
        if effects:
            self._speech.decided(event, effects)
        return effects

    def status(self, view: ChainView, now: Now) -> Status:
        return self.inner.status(view, now)


def _own(message: Message) -> list[tuple[Slot, bytes]]:
    """The statements that are still to be signed: the node's own."""
    return [(one.slot, one.content) for one in message.attestations() if not one.signature]


def _show(slot: Slot) -> str:
    return f"{slot.kind} at height {slot.height}, view {slot.view}"
