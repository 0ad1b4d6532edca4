"""Whose fault an exception is: ours stops the node, theirs costs them."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType


class OurPart:
    """Around code whose exceptions are bugs of ours: ``fail`` hears of them.

    ``theirs``: exceptions that others cause, which pass unheard. ``swallow``: whether the
    exception ends here, for callers (an event loop) that would only log it.
    """

    def __init__(
        self,
        fail: Callable[[BaseException], None],
        theirs: tuple[type[BaseException], ...] = (),
        *,
        swallow: bool = False,
    ) -> None:
        self._fail = fail
        self._theirs = theirs
        self._swallow = swallow

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None or isinstance(error, self._theirs):
            return False
        self._fail(error)
        return self._swallow
