"""What clients and operators ask the engine: reads and commands, open until they are answered."""

from __future__ import annotations

from collections.abc import Callable

from chain.ledger import Ledger
from consensus import contract
from consensus.contract import Event, RequestId

REQUESTS_MAX = 1_024
"""Open reads and commands; more are refused at once."""

TOO_MANY = "too many requests are open"
"""The outcome of what is refused at once."""

Done = Callable[[str], None]
"""Hears the outcome; of a read: "" once local state may answer, else why not."""


class Requests:
    """``post`` gives an event to the engine."""

    def __init__(self, ledger: Ledger, post: Callable[[Event], None]) -> None:
        self._ledger = ledger
        self._post = post
        self._open: dict[RequestId, Done] = {}
        self._due: dict[RequestId, int] = {}
        """Reads that the engine allowed, and the height that must be final first."""
        self._last: RequestId = 0

    def read(self, done: Done) -> RequestId | None:
        """A linearizable read: ``done("")`` once the confirmed state may answer, else why not.

        Its number, for ``cancel``; None: it was refused at once.
        """
        request = self._opened(done)
        if request is not None:
            self._post(contract.ReadRequested(request))
        return request

    def cancel(self, request: RequestId) -> None:
        """Nobody waits for it any more."""
        self._open.pop(request, None)
        self._due.pop(request, None)

    def command(self, name: str, arguments: tuple[str, ...], done: Done) -> None:
        """An operator's command to the engine; ``done`` hears the outcome."""
        request = self._opened(done)
        if request is not None:
            self._post(contract.CommandGiven(request, name, arguments))

    def may_be_served(self, request: RequestId, height: int) -> None:
        """The engine allows the read once ``height`` is final here."""
        if request in self._open:
            self._due[request] = height
            self.finalized()

    def answered(self, request: RequestId, outcome: str) -> None:
        """The engine refuses a read, or tells what came of a command."""
        self._due.pop(request, None)
        done = self._open.pop(request, None)
        if done is not None:
            done(outcome)

    def finalized(self) -> None:
        """More is final: answers the reads that waited for it."""
        final = self._ledger.height(self._ledger.confirmed())
        for request in [one for one, height in self._due.items() if height <= final]:
            self._due.pop(request, None)
            done = self._open.pop(request, None)
            if done is not None:  # an earlier one's answer may have cancelled it
                done("")

    def _opened(self, done: Done) -> RequestId | None:
        if len(self._open) >= REQUESTS_MAX:
            done(TOO_MANY)
            return None
        self._last += 1
        self._open[self._last] = done
        return self._last
