"""Routes with types: one table from which both the server and the OpenAPI document are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from moot.node.rest.context import Context

Handler = Callable[["Context", web.Request], Awaitable[Any]]

ALWAYS: Final = (403, 429, 500)
"""What any route may answer: a foreign name, too many requests, a mistake of ours."""
WRITING: Final = (400, 408, 413, 503)
"""What any route that takes a body may answer besides: malformed, too slow, too large, stopping."""


WAITED_S: Final = web.RequestKey("waited_s", float)
"""Key of a request: seconds that its handler only waited; they are not charged to the client."""


class Problem(Exception):
    """An answer other than 200: HTTP status, stable code, plain sentence."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence


class Refusal(msgspec.Struct):
    """Every answer that is no success, outside ``/api``: a stable code and a plain sentence."""

    code: str
    error: str


class Cached(NamedTuple):
    """An answer that may be kept for so many seconds."""

    answer: Any
    seconds: int


class Text:
    """As a route's ``body``: plain text."""


class Html:
    """As a route's ``answer``: a page."""


class WebSocket:
    """As a route's ``answer``: the connection becomes a WebSocket."""


class Route(msgspec.Struct, frozen=True):
    """One endpoint. ``answer``: type of the JSON body, or str (text), bytes, WebSocket.

    ``body``: type of the JSON request body, or Text; ``query``: name to description; ``errors``:
    the statuses it answers besides ALWAYS and WRITING.
    """

    method: str
    path: str
    handler: Handler
    answer: Any
    summary: str
    body: Any = None
    query: Mapping[str, str] = {}
    cache_seconds: int = 0
    errors: tuple[int, ...] = ()
    text_errors: bool = False
    """Esplora's errors are plain text; all others are JSON."""
    admin: bool = False
    """Only with the operator's token (``Authorization: Bearer ...``)."""
    waits: bool = False
    """The answer may wait for something to happen."""

    @property
    def at_once(self) -> bool:
        """It never waits: the time it takes is the event loop's."""
        return self.method == "GET" and self.answer is not WebSocket and not self.waits

    @property
    def statuses(self) -> tuple[int, ...]:
        """Every status but 200 that this route may answer."""
        writing = WRITING if self.body else ()
        admin = (401,) if self.admin else ()
        return tuple(sorted({*ALWAYS, *writing, *admin, *self.errors}))


class Table:
    """Collects routes by decoration."""

    def __init__(self, *, text_errors: bool = False) -> None:
        self.routes: list[Route] = []
        self._text_errors = text_errors

    def add(
        self,
        method: str,
        path: str,
        answer: Any,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        cache_seconds: int = 0,
        errors: tuple[int, ...] = (),
        admin: bool = False,
        waits: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Registers a handler; its docstring's first line is the summary."""

        def register(handler: Handler) -> Handler:
            summary = (handler.__doc__ or "").strip().partition("\n")[0]
            assert summary, f"{path} says what it does"
            self.routes.append(
                Route(
                    method,
                    path,
                    handler,
                    answer,
                    summary,
                    body,
                    query or {},
                    cache_seconds,
                    errors,
                    self._text_errors,
                    admin,
                    waits,
                )
            )
            return handler

        return register
