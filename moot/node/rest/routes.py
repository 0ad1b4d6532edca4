"""Routes with types: one table from which both the server and the OpenAPI document are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from moot.node.rest.context import Context

Handler = Callable[["Context", web.Request], Awaitable[Any]]


class Problem(Exception):
    """An answer other than 200: HTTP status, stable code, plain sentence."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence


class Route(msgspec.Struct, frozen=True):
    """One endpoint. ``answer``: type of the JSON body, or str (text) or bytes.

    ``body``: type of the JSON request body; ``query``: name to description.
    """

    method: str
    path: str
    handler: Handler
    answer: Any
    summary: str
    body: Any = None
    query: dict[str, str] = {}
    cache_seconds: int = 0
    text_errors: bool = False
    """Esplora's errors are plain text; all others are JSON."""


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
        query: dict[str, str] | None = None,
        cache_seconds: int = 0,
    ) -> Callable[[Handler], Handler]:
        """Registers a handler; its docstring's first line is the summary."""

        def register(handler: Handler) -> Handler:
            summary = (handler.__doc__ or "").strip().partition("\n")[0]
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
                    self._text_errors,
                )
            )
            return handler

        return register
