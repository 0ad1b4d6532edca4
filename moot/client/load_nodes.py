"""The load's nodes: which of them answer."""

from __future__ import annotations

from typing import Final

from moot.client.node import NodeClient

REQUEST_TIMEOUT_S: Final = 3.0
"""Seconds after which a node counts as gone: a paused process answers nothing."""
DOWN_S: Final = (0.5, 8.0)
"""Shortest and longest time for which a node that did not answer is left alone."""


class LoadNode:
    """One node as the load sees it."""

    def __init__(self, url: str) -> None:
        self.client = NodeClient(url, timeout_s=REQUEST_TIMEOUT_S)
        self.down_until_s = 0.0
        self.listening = False
        """Its feed is open and tells when its head moves."""
        self._down_for_s = DOWN_S[0]

    def failed(self, now_s: float) -> None:
        """It gave no answer: leave it alone for a while, longer each time."""
        self.down_until_s = now_s + self._down_for_s
        self._down_for_s = min(self._down_for_s * 2, DOWN_S[1])

    def answered(self) -> None:
        """It is there (again)."""
        self.down_until_s = 0.0
        self._down_for_s = DOWN_S[0]
