"""Traces: what happened in a run, event by event, with what caused it.

A trace is a line about the run and a line for each event, JSON all. Events are numbered from 1 in
the order in which they happened; ``cause`` names an earlier one, after Lamport's "happened before":
the cause of a message's arrival is its sending, the cause of a sending is what the node was
handling. A reader needs nothing else: the diagrams (moot.lab.diagram) are drawn from these lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from chain.errors import Invalid

FORMAT: Final = 1
EVENTS_MAX: Final = 200_000
"""Events that are read; a browser still shows so many."""
RECORDED_MAX: Final = 50_000
"""Events that are recorded by default: some minutes of virtual time."""
NODES_MAX: Final = 200
LINE_SIZE_MAX: Final = 64 * 1024
"""Characters of one line."""

Kind = Literal[
    "send",
    "receive",
    "timer",
    "import",
    "reject",
    "persist",
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
    "violation",
    "note",
]
"""send, receive: a message; import, reject: a block judged; persist: a synced write; head, final:
the node moved its head, or finality; trace: the engine's own word; start, crash, pause, resume: of
a node; cut, heal: of the network; fault: another fault put in; violation: a checker's; note."""


class InvalidTrace(Invalid):
    """Lines that are no trace; codes "malformed-trace" and "trace-too-long"."""


class TraceHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line. ``nodes``: their names, in the order of the columns."""

    moot_trace: Literal[1]
    title: Annotated[str, msgspec.Meta(max_length=200)]
    engine: Annotated[str, msgspec.Meta(max_length=64)]
    seed: int
    nodes: Annotated[
        tuple[Annotated[str, msgspec.Meta(max_length=32)], ...],
        msgspec.Meta(min_length=1, max_length=NODES_MAX),
    ]
    replay: str = ""
    """The command that makes this run again."""


class TraceEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line. ``at_ms``: virtual time. ``node``: "" for what concerns the whole network.

    ``what``: the message's type, or a word for what happened. ``peer``: of a send the receiver, of
    a receive the sender. ``cause``: number of an earlier event, 0: none.
    """

    number: int
    at_ms: int
    kind: Kind
    node: str = ""
    what: str = ""
    peer: str = ""
    cause: int = 0
    fields: Mapping[str, int | str] = {}


class TraceFile(msgspec.Struct, frozen=True):
    """A whole trace."""

    header: TraceHeader
    events: tuple[TraceEvent, ...]


class TraceLog:
    """Takes down the events of a span of virtual time (both ends included), while there is room."""

    def __init__(
        self,
        header: TraceHeader,
        events_max: int = RECORDED_MAX,
        from_ms: int = 0,
        to_ms: int | None = None,
    ) -> None:
        self.header = header
        self.from_ms = from_ms
        self.to_ms = to_ms
        self.dropped = 0
        """Events that found no room."""
        self._events: list[TraceEvent] = []
        self._events_max = events_max

    def add(
        self,
        at_ms: int,
        kind: Kind,
        node: str = "",
        what: str = "",
        *,
        peer: str = "",
        cause: int = 0,
        fields: Mapping[str, int | str] | None = None,
    ) -> int:
        """The event's number; 0 where it is not kept, which as a cause means none."""
        if at_ms < self.from_ms or (self.to_ms is not None and at_ms > self.to_ms):
            return 0
        if len(self._events) >= self._events_max:
            self.dropped += 1
            return 0
        number = len(self._events) + 1
        event = TraceEvent(number, at_ms, kind, node, what, peer, cause, fields or {})
        self._events.append(event)
        return number

    def trace(self) -> TraceFile:
        """The trace so far; its last event says how much is missing, if any."""
        events = list(self._events)
        if self.dropped:
            last = events[-1]
            note = f"the recorder was full: {self.dropped} later events are not shown"
            events.append(TraceEvent(last.number + 1, last.at_ms, "note", what=note))
        return TraceFile(self.header, tuple(events))


def write_lines(trace: TraceFile) -> Iterator[str]:
    """The trace as lines, each with its newline."""
    yield msgspec.json.encode(trace.header).decode() + "\n"
    for event in trace.events:
        yield msgspec.json.encode(event).decode() + "\n"


def read_lines(lines: Iterable[str], events_max: int = EVENTS_MAX) -> TraceFile:
    """The trace in ``lines``. Raises InvalidTrace."""
    numbered = enumerate(lines, 1)
    first = next(numbered, None)
    if first is None:
        raise InvalidTrace("malformed-trace", "an empty file is no trace")
    header = _decode(first[1], 1, TraceHeader)
    known = {"": None, **dict.fromkeys(header.nodes)}
    events: list[TraceEvent] = []
    for number, line in numbered:
        if len(events) >= events_max:
            raise InvalidTrace("trace-too-long", f"more than {events_max} events")
        event = _decode(line, number, TraceEvent)
        last_ms = events[-1].at_ms if events else event.at_ms
        if event.number != len(events) + 1 or not 0 <= event.cause < event.number:
            raise InvalidTrace("malformed-trace", f"line {number} is out of order")
        if event.node not in known or event.at_ms < last_ms:
            raise InvalidTrace(
                "malformed-trace", f"line {number} names an unknown node, or an earlier time"
            )
        events.append(event)
    return TraceFile(header, tuple(events))


def window(trace: TraceFile, from_ms: int, to_ms: int) -> TraceFile:
    """The events of a span of virtual time (both ends included), numbered anew.

    What was caused before the span has no cause in it.
    """
    kept = [event for event in trace.events if from_ms <= event.at_ms <= to_ms]
    return TraceFile(trace.header, _renumbered(kept))


def without(trace: TraceFile, kinds: Iterable[Kind], messages: Iterable[str] = ()) -> TraceFile:
    """The trace less some kinds of events, and less messages of some types."""
    left_out, types = tuple(kinds), tuple(messages)
    kept = [
        event
        for event in trace.events
        if event.kind not in left_out
        and not (event.kind in ("send", "receive") and event.what in types)
    ]
    return TraceFile(trace.header, _renumbered(kept))


def _renumbered(events: Iterable[TraceEvent]) -> tuple[TraceEvent, ...]:
    number_of: dict[int, int] = {}
    kept: list[TraceEvent] = []
    for event in events:
        number_of[event.number] = len(kept) + 1
        kept.append(
            msgspec.structs.replace(
                event, number=len(kept) + 1, cause=number_of.get(event.cause, 0)
            )
        )
    return tuple(kept)


def _decode(line: str, number: int, kind: type[Any]) -> Any:
    if len(line) > LINE_SIZE_MAX:
        raise InvalidTrace("trace-too-long", f"line {number} has {len(line)} characters")
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError as error:
        raise InvalidTrace("malformed-trace", f"line {number}: {error}") from None
