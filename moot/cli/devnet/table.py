"""The live table: heights, finality, throughput."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from moot.cli.devnet.plan import Plan
from moot.client.answers import NodeStatus
from moot.node.rest.control import NodeState


def network_table(
    plan: Plan,
    statuses: list[NodeStatus | None],
    load: dict[str, Any] | None,
    elapsed_ms: int,
    states: Sequence[NodeState],
) -> RenderableType:
    """One row a node; under them the load's figures, if there is one."""
    known = next((status for status in statuses if status is not None), None)
    word = known.finality if known else "final"
    table = Table(title=f"{plan.engine}, {elapsed_ms / 1000:.0f} s", title_justify="left")
    for column in ("node", "head", "height", word, "peers", "waiting", "REST"):
        table.add_column(column, justify="right" if column in ("height", word) else "left")
    for node, status, state in zip(plan.nodes, statuses, states, strict=True):
        if status is None or state.state != "running":
            word_now = "no answer" if state.state == "running" else state.state
            table.add_row(node.name, f"[red]{word_now}[/red]", "", "", "", "", str(node.rest_port))
            continue
        table.add_row(
            node.name + (" [red](cut)[/red]" if state.cut else ""),
            status.head.id[:16],
            str(status.head.height),
            str(status.finalized.height),
            str(status.peers),
            str(status.mempool.count),
            str(node.rest_port),
        )
    if load is None:
        return table
    latency = load["latency_ms"] or {}
    figures = (
        f"submitted {load['submitted']}  {word} {load['finalized']}  failed {load['failed']}  "
        f"open {load['pending']}  {load['tps']:.0f} a second"
    )
    if latency:
        figures += f"  p50 {latency['p50']:.0f} ms  p99 {latency['p99']:.0f} ms"
    return Group(table, Text(figures))
