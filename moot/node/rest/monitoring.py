"""``/metrics``: Prometheus's text format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from moot.node.rest.context import Context
from moot.node.rest.routes import Table

if TYPE_CHECKING:
    from moot.node.rest.feed import FeedHub
    from moot.node.runtime import NodeRuntime

table = Table()


class Monitoring:
    """Tells the node's metrics what the API does."""

    def __init__(self, runtime: NodeRuntime, feed: FeedHub) -> None:
        self._metrics = runtime.metrics
        self._metrics.add_feed(lambda: len(feed.clients), lambda: feed.dropped_total)

    def answered(self, method: str, status: int, seconds: float) -> None:
        self._metrics.answered(method, status, seconds)

    def text(self) -> bytes:
        return self._metrics.text()


@table.add("GET", "/metrics", str)
async def metrics(context: Context, request: web.Request) -> web.Response:
    """Counters, gauges and histograms of this node, in Prometheus's text format."""
    return web.Response(
        body=context.monitoring.text(),
        headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, "Cache-Control": "no-store"},
    )
