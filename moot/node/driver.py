"""The driver: takes one event, calls the engine, does each effect in order.

This is the whole path of an event through a node (consensus.contract, laws 1 to 4). What the
effects mean is the house's business: for each effect type it has one method.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from chain.view import ChainView
from consensus import contract
from consensus.contract import Effect, Engine, Event, Now, Persist


class House(Protocol):
    """What the node does for each effect; each method is named after its effect."""

    def persist(self, effect: contract.Persist) -> None: ...
    def send(self, effect: contract.Send) -> None: ...
    def broadcast(self, effect: contract.Broadcast) -> None: ...
    def import_block(self, effect: contract.Import) -> None: ...
    def build(self, effect: contract.Build) -> None: ...
    def grind(self, effect: contract.Grind) -> None: ...
    def set_timer(self, effect: contract.SetTimer) -> None: ...
    def cancel_timer(self, effect: contract.CancelTimer) -> None: ...
    def set_head(self, effect: contract.SetHead) -> None: ...
    def finalize(self, effect: contract.Finalize) -> None: ...
    def serve_read(self, effect: contract.ServeRead) -> None: ...
    def set_producer(self, effect: contract.SetProducer) -> None: ...
    def answer(self, effect: contract.Answer) -> None: ...
    def fetch(self, effect: contract.Fetch) -> None: ...
    def report(self, effect: contract.Report) -> None: ...
    def trace(self, effect: contract.Trace) -> None: ...
    def stop(self, effect: contract.Stop) -> None: ...


Observer = Callable[[Event | Effect], None]
"""Sees each event before it is handled and each effect before it is done. It may raise: that is
how a simulator crashes a node between any two effects."""

_SAFE_TO_OVERTAKE = (
    contract.Send,
    contract.Broadcast,
    contract.SetTimer,
    contract.CancelTimer,
    contract.Trace,
    contract.Report,
)
"""Effects that a later Persist may be moved in front of: being durable earlier harms none of them,
and none of them changes which bodies the later Persist needs."""


class Driver:
    """One engine and its queue. ``post`` from anywhere; ``run`` drains, and never re-enters."""

    def __init__(
        self, engine: Engine, view: ChainView, house: House, clock: Callable[[], Now]
    ) -> None:
        self.engine = engine
        self.observers: list[Observer] = []
        self._view = view
        self._clock = clock
        self._events: deque[Event] = deque()
        self._effects: deque[Effect] = deque()
        self._running = False
        self._actions: dict[type[Effect], Callable[..., None]] = {
            contract.Persist: house.persist,
            contract.Send: house.send,
            contract.Broadcast: house.broadcast,
            contract.Import: house.import_block,
            contract.Build: house.build,
            contract.Grind: house.grind,
            contract.SetTimer: house.set_timer,
            contract.CancelTimer: house.cancel_timer,
            contract.SetHead: house.set_head,
            contract.Finalize: house.finalize,
            contract.ServeRead: house.serve_read,
            contract.SetProducer: house.set_producer,
            contract.Answer: house.answer,
            contract.Fetch: house.fetch,
            contract.Report: house.report,
            contract.Trace: house.trace,
            contract.Stop: house.stop,
        }

    def post(self, event: Event) -> None:
        """Queue an event; it is handled by the next (or the running) ``run``."""
        self._events.append(event)

    @property
    def idle(self) -> bool:
        return not self._events and not self._effects

    def run(self) -> None:
        """Handle all events and do all effects. An exception from the engine passes through."""
        if self._running:
            return
        self._running = True
        try:
            while self._events or self._effects:
                while self._events:
                    self._handle(self._events.popleft())
                if self._effects:
                    self._perform(self._effects.popleft())
        finally:
            self._running = False

    def _handle(self, event: Event) -> None:
        for observe in self.observers:
            observe(event)
        self._effects.extend(self.engine.handle(event, self._view, self._clock()))

    def _perform(self, effect: Effect) -> None:
        if type(effect) is Persist:
            effect = self._joined(effect)
        for observe in self.observers:
            observe(effect)
        self._actions[type(effect)](effect)

    def _joined(self, first: Persist) -> Persist:
        """Group commit: one sync for all Persists that follow with only speech between them."""
        record, blocks = first.record, list(first.blocks)
        kept: list[Effect] = []
        while self._effects and isinstance(self._effects[0], (Persist, *_SAFE_TO_OVERTAKE)):
            effect = self._effects.popleft()
            if isinstance(effect, Persist):
                record = effect.record
                blocks += [block for block in effect.blocks if block not in blocks]
            else:
                kept.append(effect)
        self._effects.extendleft(reversed(kept))
        return Persist(record, tuple(blocks))
