"""Sequence diagrams for the engines' pages, made from what a simulated network really did."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from moot.lab.cluster import Cluster
from moot.lab.trace import TraceEvent, TraceHeader
from moot.lab.tracer import Tracer


def mermaid(
    nodes: Iterable[str],
    events: Iterable[TraceEvent],
    say: Callable[[TraceEvent], str | None],
) -> str:
    """A Mermaid diagram of ``events``. ``say``: the words for one; None leaves it out.

    A sending becomes an arrow, anything else a note over its node (over all for "").
    """
    names = list(nodes)
    lines = ["sequenceDiagram", *(f"    participant {name}" for name in names)]
    for event in events:
        words = say(event)
        if words is None:
            continue
        if event.kind == "send":
            lines.append(f"    {event.node}->>{event.peer}: {words}")
        elif event.node:
            lines.append(f"    Note over {event.node}: {words}")
        else:
            lines.append(f"    Note over {names[0]},{names[-1]}: {words}")
    return "\n".join(lines)


def transcript(events: Iterable[TraceEvent]) -> str:
    """The same as lines of text, for golden files."""
    lines = []
    for event in events:
        to = f" to {event.peer}" if event.kind == "send" else ""
        fields = ", ".join(f"{name} {value}" for name, value in event.fields.items())
        rest = " ".join(word for word in (event.kind, event.what + to, fields) if word.strip())
        lines.append(f"{event.at_ms:6} ms  {event.node:<3} {rest}".rstrip())
    return "\n".join(lines) + "\n"


def traced(
    engine: str,
    nodes: int,
    course: Callable[[Cluster], None],
    parameters: dict[str, int | str] | None = None,
) -> list[TraceEvent]:
    """What happened in a simulated network of the production node, timers and arrivals left out."""
    cluster = Cluster(engine, nodes, 1, parameters=parameters)
    names = tuple(node.name for node in cluster.nodes)
    header = TraceHeader(1, "golden", engine, 1, names)
    tracer = Tracer(header, cluster.world, cluster.network, cluster.nodes, [])
    course(cluster)
    tracer.finish()
    return [one for one in tracer.log.trace().events if one.kind not in ("timer", "receive")]
