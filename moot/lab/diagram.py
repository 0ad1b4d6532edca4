"""Pictures of a trace: a sequence diagram in the terminal, and one page for the browser.

Nodes are columns. In the terminal a message is drawn where it was sent, with a head at each node
that got it and a cross at each that did not; the page draws it from sending to arrival.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Final, Literal

import msgspec

from moot.lab.trace import Kind, TraceEvent, TraceFile

COLUMN_WIDTH_MAX: Final = 16
COLUMN_WIDTH_MIN: Final = 5
TIME_WIDTH: Final = 9
LABEL_WIDTH: Final = 30

MARKS: Final[Mapping[Kind, str]] = {
    "timer": "⏱",
    "import": "▫",
    "reject": "⊘",
    "persist": "⛁",
    "head": "◆",
    "final": "■",
    "trace": "·",
    "start": "▲",
    "crash": "✖",
    "pause": "❚",
    "resume": "▶",
    "fault": "!",
    "violation": "‼",
}
UP, DOWN, PAUSED = "│", " ", "┆"

Style = Literal["plain", "message", "final", "head", "fault", "violation", "quiet"]
STYLE_OF: Final[Mapping[Kind, Style]] = {
    "send": "message",
    "receive": "message",
    "head": "head",
    "final": "final",
    "start": "fault",
    "crash": "fault",
    "pause": "fault",
    "resume": "fault",
    "cut": "fault",
    "heal": "fault",
    "fault": "fault",
    "reject": "violation",
    "violation": "violation",
    "note": "plain",
}


class Line(msgspec.Struct, frozen=True):
    """One line of the terminal's diagram: time, the columns, and words on the right."""

    time: str
    columns: str
    label: str
    style: Style

    @property
    def text(self) -> str:
        return f"{self.time:>{TIME_WIDTH}} {self.columns}  {self.label}".rstrip()


class Moment(msgspec.Struct):
    """The same thing happening to one or more nodes in one millisecond."""

    event: TraceEvent
    nodes: list[str]


class Sending(msgspec.Struct):
    """One message to one or more receivers at one moment, and who of them got it."""

    event: TraceEvent
    receivers: dict[str, bool]
    label: str


def terminal(trace: TraceFile, width: int = 100) -> list[Line]:
    """The diagram, ``width`` characters wide where that leaves each node a column."""
    drawing = _Drawing(trace, width)
    return [*drawing.head(), *drawing.body()]


class _Drawing:
    def __init__(self, trace: TraceFile, width: int) -> None:
        self._trace = trace
        self._names = trace.header.nodes
        room = (width - TIME_WIDTH - LABEL_WIDTH - 3) // len(self._names)
        self._column = max(COLUMN_WIDTH_MIN, min(COLUMN_WIDTH_MAX, room))
        self._place = {
            name: index * self._column + self._column // 2 for index, name in enumerate(self._names)
        }
        self._life = _first_lives(trace)

    def head(self) -> list[Line]:
        names = "".join(f"{name[: self._column - 1]:^{self._column}}" for name in self._names)
        title = self._trace.header.title
        return [Line("", title, "", "plain"), Line("ms", names, "", "plain")]

    def body(self) -> list[Line]:
        lines: list[Line] = []
        last_ms = -1
        for entry in moments(sendings(self._trace.events)):
            at_ms = entry.event.at_ms
            time = "" if at_ms == last_ms else str(at_ms)
            last_ms = at_ms
            if isinstance(entry, Sending):
                lines.append(Line(time, self._arrows(entry), entry.label, "message"))
            else:
                lines.append(self._line(time, entry))
        return lines

    def _line(self, time: str, moment: Moment) -> Line:
        event = moment.event
        style = STYLE_OF.get(event.kind, "quiet")
        if not event.node:
            words = " ".join(filter(None, [event.kind, event.what, fields_text(event.fields)]))
            rule = f"── {words} "
            return Line(time, rule.ljust(self._column * len(self._names), "─"), "", style)
        after = {"start": UP, "resume": UP, "crash": DOWN, "pause": PAUSED}.get(event.kind)
        if after is not None:
            self._life.update(dict.fromkeys(moment.nodes, after))
        cells = self._lifelines()
        mark = MARKS.get(event.kind, "·")
        words = f"{mark} {_short(event)}"[: self._column - 1]
        for node in moment.nodes:
            _write(cells, self._place[node], words if self._column > 10 else mark)
        label = f"{' '.join(moment.nodes)}: {_long(event)}"
        return Line(time, "".join(cells), label, style)

    def _arrows(self, sending: Sending) -> str:
        cells = self._lifelines()
        start = self._place[sending.event.node]
        ends = {self._place[name]: got for name, got in sending.receivers.items()}
        low, high = min([start, *ends]), max([start, *ends])
        for place in range(low, high + 1):
            crosses = place in self._place.values() and cells[place] != DOWN
            cells[place] = "┼" if crosses else "─"
        cells[start] = "●"
        for place, got in ends.items():
            cells[place] = ("▶" if place > start else "◀") if got else "×"
        return "".join(cells)

    def _lifelines(self) -> list[str]:
        cells = [" "] * (self._column * len(self._names))
        for name, place in self._place.items():
            cells[place] = self._life[name]
        return cells


def moments(entries: Iterable[Sending | TraceEvent]) -> list[Sending | Moment]:
    """Joins what happens alike to several nodes in one millisecond, and a head with its finality.

    What happens to one node keeps its order.
    """
    found: list[Sending | Moment] = []
    for entry in entries:
        if isinstance(entry, Sending):
            found.append(entry)
            continue
        last = found[-1] if found else None
        if isinstance(last, Moment) and entry.node:
            if _alike(last.event, entry) and entry.node not in last.nodes:
                last.nodes.append(entry.node)
                continue
            as_final = msgspec.structs.replace(last.event, kind="final")
            made_final = last.event.kind == "head" and _alike(as_final, entry)
            if made_final and last.nodes == [entry.node]:
                found.pop()
                before = found[-1] if found else None
                if isinstance(before, Moment) and _alike(before.event, entry):
                    before.nodes.append(entry.node)
                    continue
        found.append(Moment(entry, [entry.node]))
    return found


def _alike(one: TraceEvent, other: TraceEvent) -> bool:
    return (one.at_ms, one.kind, one.what, one.fields) == (
        other.at_ms,
        other.kind,
        other.what,
        other.fields,
    )


def sendings(events: Iterable[TraceEvent]) -> list[Sending | TraceEvent]:
    """Events in order, with the sends of one message at one moment drawn together.

    Arrivals are told by the sending; one whose sending is not in the trace stands for itself.
    """
    listed = list(events)
    arrived = {event.cause for event in listed if event.kind == "receive" and event.cause}
    found: list[Sending | TraceEvent] = []
    for event in listed:
        if event.kind == "receive" and event.cause:
            continue
        if event.kind != "send":
            found.append(event)
            continue
        last = found[-1] if found else None
        got = event.number in arrived
        if isinstance(last, Sending) and _same_message(last.event, event):
            last.receivers[event.peer] = got
        else:
            found.append(Sending(event, {event.peer: got}, _long(event)))
    return found


def _same_message(one: TraceEvent, other: TraceEvent) -> bool:
    return (one.at_ms, one.node, one.what, one.fields) == (
        other.at_ms,
        other.node,
        other.what,
        other.fields,
    )


def _first_lives(trace: TraceFile) -> dict[str, str]:
    """A node whose first word is its start was down before; others were up."""
    lives: dict[str, str] = {}
    for event in trace.events:
        if event.node and event.node not in lives:
            lives[event.node] = DOWN if event.kind == "start" else UP
    return {name: lives.get(name, UP) for name in trace.header.nodes}


def _write(cells: list[str], centre: int, words: str) -> None:
    """Puts ``words`` over a lifeline, its first character on the line itself."""
    for offset, character in enumerate(words):
        if centre + offset < len(cells):
            cells[centre + offset] = character


def _short(event: TraceEvent) -> str:
    if event.kind in ("head", "final", "import"):
        return str(event.fields.get("height", event.what))
    return event.what or event.kind


def _long(event: TraceEvent) -> str:
    words = [] if event.kind in ("send", "receive") else [event.kind]
    return " ".join(filter(None, [*words, event.what, fields_text(event.fields)]))


def fields_text(fields: Mapping[str, int | str]) -> str:
    """``view 0, height 3``."""
    return ", ".join(f"{name} {value}" for name, value in fields.items())


# ------------------------------------------------------------------------------------ the page


def page(trace: TraceFile) -> str:
    """One self-contained HTML page: no request leaves it, nothing is loaded."""
    here = files("moot.lab")

    def part(name: str) -> str:
        return here.joinpath(name).read_text(encoding="utf-8")

    data = msgspec.json.encode(
        {
            "header": trace.header,
            "events": [
                (e.number, e.at_ms, e.kind, e.node, e.what, e.peer, e.cause, e.fields)
                for e in trace.events
            ],
        }
    ).decode()
    parts = {
        "__TITLE__": _escaped(trace.header.title),
        "/*STYLE*/": part("diagram.css"),
        "/*SCRIPT*/": part("diagram.js"),
        "__DATA__": _inside_script(data),
    }
    # In one pass, so that nothing in a part is taken for the name of another.
    places = "|".join(re.escape(name) for name in parts)
    return re.sub(places, lambda found: parts[found[0]], part("diagram.html"))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _inside_script(data: str) -> str:
    """JSON that cannot end the script element that holds it."""
    return data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
