"""A run as lines of text, short enough to be read and compared: what was done to it, what nodes
said to each other, and what came of it. Made of a trace (moot.lab.trace), and as stable as that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from consensus.registry import protocol
from moot.lab.trace import TraceEvent, TraceFile

TOLD: Final = (
    "send",
    "head",
    "final",
    "trace",
    "start",
    "crash",
    "pause",
    "resume",
    "cut",
    "heal",
    "fault",
    "note",
    "violation",
)
"""Kinds of events that it tells; arrivals follow from what was sent."""
ID: Final = re.compile(r"[0-9a-f]{8}")
"""How a trace shows ids."""


def transcript(trace: TraceFile) -> str:
    """The trace's story, a line for each event; what one node tells several is one line.

    Of messages only the engine's own: what all nodes say besides is gossip. Blocks are numbered as
    they come up, so that a story stays the same when nothing but their ids has changed.
    """
    writer = _Writer([kind.__name__ for kind in protocol(trace.header.engine).messages])
    return "".join(f"{line}\n" for line in writer.lines(trace))


class _Writer:
    def __init__(self, messages: list[str]) -> None:
        self._messages = messages
        self._blocks: dict[str, str] = {}

    def lines(self, trace: TraceFile) -> Iterator[str]:
        yield f"# {trace.header.title}"
        waiting: tuple[TraceEvent, list[str]] | None = None
        for event in trace.events:
            is_send = event.kind == "send"
            if event.kind not in TOLD or (is_send and event.what not in self._messages):
                continue
            if waiting is not None:
                first, peers = waiting
                if is_send and _is_same(first, event):
                    peers.append(event.peer)
                    continue
                yield self._line(first, peers)
                waiting = None
            if is_send:
                waiting = (event, [event.peer])
            else:
                yield self._line(event, [])
        if waiting is not None:
            yield self._line(*waiting)

    def _line(self, event: TraceEvent, peers: list[str]) -> str:
        words = [f"{event.at_ms:6} ms ", event.node or "-", event.kind]
        if event.what:
            words.append(event.what)
        if peers:
            words.append(f"to {' '.join(peers)}")
        if event.fields:
            facts = ", ".join(f"{name} {self._shown(fact)}" for name, fact in event.fields.items())
            words.append(f"({facts})")
        return " ".join(words)

    def _shown(self, fact: int | str) -> int | str:
        if not isinstance(fact, str) or ID.fullmatch(fact) is None:
            return fact
        return self._blocks.setdefault(fact, f"#{len(self._blocks) + 1}")


def _is_same(first: TraceEvent, event: TraceEvent) -> bool:
    return (first.at_ms, first.node, first.what, first.fields) == (
        event.at_ms,
        event.node,
        event.what,
        event.fields,
    )
