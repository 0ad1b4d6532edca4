"""The server: middlewares (host, origin, errors, cache rules) around the table of routes."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from moot.node.rest import basics, esplora, faucet, mining, network, proofs
from moot.node.rest.context import Context
from moot.node.rest.routes import Problem, Route

if TYPE_CHECKING:
    from moot.node.runtime import NodeRuntime

BODY_SIZE_MAX = 4 * 1024 * 1024
"""Bytes of a request body: a thousand transactions in hex."""
STOP_TIMEOUT_S = 2.0

TABLES = (basics.table, network.table, faucet.table, mining.table, proofs.table, esplora.table)


class RestServer:
    """Serves one node."""

    def __init__(self, runtime: NodeRuntime) -> None:
        self._runtime = runtime
        self.context = Context(runtime)
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        """Binds and serves. Raises OSError if the port is taken."""
        section = self._runtime.config.rest
        app = web.Application(client_max_size=BODY_SIZE_MAX, middlewares=[self._guard])
        for table in TABLES:
            for route in table.routes:
                app.router.add_route(route.method, route.path, self._handler(route))
        for extend in self._runtime.rest_extensions:
            extend(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_TIMEOUT_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, section.host, section.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                answer = await route.handler(self.context, request)
            except Problem as problem:
                return _problem(problem, route.text_errors)
            return _response(answer, route)

        return handle

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """A web page elsewhere must not reach a loopback node through its reader's browser."""
        if not self._host_is_ours(request.host):
            return _problem(Problem(403, "foreign-host", "this node has no such name"), False)
        origin = request.headers.get("Origin")
        writes = request.method not in ("GET", "HEAD", "OPTIONS")
        if writes and origin and not self._host_is_ours(urlsplit(origin).netloc):
            return _problem(Problem(403, "foreign-origin", "only pages of this node write"), False)
        response = await handler(request)
        if not writes and not response.prepared:
            response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    def _host_is_ours(self, host: str) -> bool:
        name = urlsplit(f"//{host}").hostname or ""
        if name == "localhost" or name in self._runtime.config.rest.names:
            return True
        if name == self._runtime.config.rest.host:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False


def _response(answer: Any, route: Route) -> web.StreamResponse:
    if isinstance(answer, web.StreamResponse):
        return answer
    headers = {"Cache-Control": f"public, max-age={route.cache_seconds}"}
    if route.cache_seconds == 0:
        headers = {"Cache-Control": "no-store"}
    if isinstance(answer, str):
        return web.Response(text=answer, headers=headers)
    if isinstance(answer, bytes):
        return web.Response(body=answer, content_type="application/octet-stream", headers=headers)
    return web.Response(
        body=msgspec.json.encode(answer), content_type="application/json", headers=headers
    )


def _problem(problem: Problem, as_text: bool) -> web.Response:
    if as_text:
        return web.Response(status=problem.status, text=problem.sentence)
    body = msgspec.json.encode({"code": problem.code, "error": problem.sentence})
    return web.Response(status=problem.status, body=body, content_type="application/json")
