"""An engine that a checker looks at before and after each event, from inside the same step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chain.view import ChainView
from consensus.contract import Effect, Engine, Event, Now, Status

Before = Callable[[Event, Now], None]
After = Callable[[Event, Sequence[Effect], ChainView, Now], None]


class Watched:
    """Put around an engine (SimulatedNode.wrappers); what the engine does stays as it is."""

    def __init__(self, engine: Engine, after: After, before: Before | None = None) -> None:
        self.inner = engine
        self._after = after
        self._before = before

    def handle(self, event: Event, view: ChainView, now: Now) -> list[Effect]:
        if self._before is not None:
            self._before(event, now)
        effects = self.inner.handle(event, view, now)
        self._after(event, effects, view, now)
        return effects

    def status(self, view: ChainView, now: Now) -> Status:
        return self.inner.status(view, now)
