"""The server: the table of routes, behind the rules of who may ask and how answers look."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from moot.node.config import ConfigError, read_text
from moot.node.rest import (
    accounts,
    admin,
    basics,
    chain,
    esplora,
    faucet,
    feed,
    members,
    mining,
    monitoring,
    network,
    openapi,
    proofs,
)
from moot.node.rest.context import Context
from moot.node.rest.routes import WAITED_S, Cached, Problem, Refusal, Route
from p2p.limits import TokenBucket

if TYPE_CHECKING:
    from moot.node.runtime import NodeRuntime

logger = logging.getLogger("moot.node")

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]

BODY_SIZE_MAX: Final = 4 * 1024 * 1024
"""Bytes of a request body: a thousand transactions in hex."""
STOP_TIMEOUT_S: Final = 2.0
KEEPALIVE_S: Final = 30.0
"""Seconds that a connection may stay without a whole request (slow headers count as none)."""
RATE, BURST = 50, 200
"""Requests a second of one address, and at once: an eager explorer, not a flood."""
LOCAL_RATE, LOCAL_BURST = 5_000, 20_000
"""The same for programs on this machine: more than one core answers, so that it never bites."""
TOKEN_LENGTH_MIN: Final = 16
"""Characters of the operator's token: nothing that could be guessed."""
TIME_RATE_MS, TIME_BURST_MS = 200, 2_000
"""Milliseconds of the event loop that a stranger's questions may take in a second, and at once:
some cost a hundred times what others do, and consensus runs on the same loop."""
ADDRESSES_MAX: Final = 10_000
"""Addresses whose requests are counted at once; the one longest silent is forgotten."""

TABLES = (
    basics.table,
    accounts.table,
    chain.table,
    network.table,
    members.table,
    admin.table,
    faucet.table,
    mining.table,
    proofs.table,
    feed.table,
    monitoring.table,
    openapi.table,
    *esplora.TABLES,
)
ROUTES: Final[tuple[Route, ...]] = tuple(route for table in TABLES for route in table.routes)


class Budget(NamedTuple):
    """What one address may still ask for: requests, and milliseconds of answering (None: any)."""

    requests: TokenBucket
    time: TokenBucket | None


class RestServer:
    """Serves one node."""

    def __init__(self, runtime: NodeRuntime) -> None:
        self._runtime = runtime
        self._feed = feed.FeedHub()
        self._monitoring = monitoring.Monitoring(runtime, self._feed)
        self.context = Context(runtime, self._feed, self._monitoring)
        self._runner: web.AppRunner | None = None
        self._budgets: OrderedDict[str, Budget] = OrderedDict()
        self._token = ""
        self.port = 0

    async def start(self) -> None:
        """Binds and serves. Raises OSError if the port is taken, ConfigError for a bad token."""
        section = self._runtime.config.rest
        if section.admin_token_file:
            self._token = load_token(Path(section.admin_token_file))
        app = web.Application(client_max_size=BODY_SIZE_MAX, middlewares=[self._guard])
        app[openapi.DOCUMENT] = openapi.Document(ROUTES)
        for route in ROUTES:
            handler = self._handler(route)
            if route.method == "GET":
                app.router.add_get(route.path, handler)
            else:
                app.router.add_route(route.method, route.path, handler)
        for extend in self._runtime.rest_extensions:
            extend(app)
        app.on_shutdown.append(self._stop_feeds)
        self._feed.start(self._runtime.core)
        self.context.waiting.start(self._runtime.core)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=STOP_TIMEOUT_S,
            keepalive_timeout=KEEPALIVE_S,
            handler_cancellation=True,
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, section.host, section.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _stop_feeds(self, app: web.Application) -> None:
        self._feed.stop()
        self.context.waiting.stop()

    def _handler(self, route: Route) -> Answering:
        async def handle(request: web.Request) -> web.StreamResponse:
            began_s = asyncio.get_running_loop().time()
            try:
                if route.admin:
                    self._check_token(request)
                answer = await route.handler(self.context, request)
                response = _unless_known(request, _response(answer, route))
            except Problem as problem:
                response = refusal(problem, route.text_errors)
            if route.at_once:
                seconds = asyncio.get_running_loop().time() - began_s
                seconds -= request.get(WAITED_S, 0.0)
                self._charge(request.remote or "", round(seconds * 1000))
            return response

        return handle

    def _check_token(self, request: web.Request) -> None:
        """Raises Problem 401 or 403."""
        if not self._token:
            sentence = "this node takes no administrative calls: rest.admin_token_file is not set"
            raise Problem(403, "no-token-set", sentence)
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            raise Problem(401, "wrong-token", "this call needs the operator's token")

    # ------------------------------------------------------------------------------ the guard

    @web.middleware
    async def _guard(self, request: web.Request, handler: Answering) -> web.StreamResponse:
        """Who may ask; and that every answer, also to nonsense, has the API's form."""
        began_s = asyncio.get_running_loop().time()
        as_text = request.path.startswith("/api/")
        response: web.StreamResponse
        try:
            self._admit(request)
            if request.method == "OPTIONS":
                response = _preflight()
            else:
                response = await self._answer(request, handler)
        except Problem as problem:
            response = refusal(problem, as_text)
        except web.HTTPException as error:
            response = _of_http(error, as_text)
        if not response.prepared and reads(request):
            response.headers.setdefault("Access-Control-Allow-Origin", "*")
        if not response.prepared:
            response.headers["Server"] = "moot"
            response.headers.setdefault("X-Content-Type-Options", "nosniff")
        seconds = asyncio.get_running_loop().time() - began_s
        self._monitoring.answered(request.method, response.status, seconds)
        return response

    async def _answer(self, request: web.Request, handler: Answering) -> web.StreamResponse:
        mishap = _Mishap(request)
        with mishap:
            return await handler(request)
        raise Problem(500, "our-mistake", "this node made a mistake; its log says which")

    def _admit(self, request: web.Request) -> None:
        """Raises Problem 403, 429 or 503.

        A web page elsewhere must not reach a loopback node through its reader's browser: neither
        under a name of its own (DNS rebinding), nor by a form or a script of another origin.
        """
        if not self._host_is_ours(request):
            raise Problem(403, "foreign-host", "this node has no such name")
        if not reads(request) or is_upgrade(request):
            origin = request.headers.get("Origin")
            foreign = origin is not None and _place_of(origin) != host_of(request).lower()
            site = request.headers.get("Sec-Fetch-Site", "none")
            if foreign or site not in ("none", "same-origin"):
                raise Problem(403, "foreign-origin", "only pages of this node may do that")
        if not self._within_rate(request.remote or ""):
            raise Problem(429, "too-many-requests", "too many requests; wait a second")
        if not reads(request) and self._runtime.stopping:
            raise Problem(503, "stopping", "this node is stopping")

    def _host_is_ours(self, request: web.Request) -> bool:
        name = _host_name(host_of(request))
        section = self._runtime.config.rest
        if name in ("localhost", section.host, *section.names):
            return True
        try:
            if ipaddress.ip_address(name).is_loopback:
                return True
        except ValueError:
            return False
        here = request.get_extra_info("sockname")
        return bool(here) and name == here[0]

    def _within_rate(self, address: str) -> bool:
        now_ms = self._runtime.uptime_ms()
        budget = self._budgets.get(address)
        if budget is None:
            budget = self._budgets[address] = _new_budget(address, now_ms)
            if len(self._budgets) > ADDRESSES_MAX:
                self._budgets.popitem(last=False)
        self._budgets.move_to_end(address)
        in_debt = budget.time is not None and not budget.time.take(0, now_ms)
        return not in_debt and budget.requests.take(1, now_ms)

    def _charge(self, address: str, milliseconds: int) -> None:
        """An answer took so long; whoever asked waits until that is made up for."""
        budget = self._budgets.get(address)
        if budget is not None and budget.time is not None:
            budget.time.spend(milliseconds, self._runtime.uptime_ms())


def _new_budget(address: str, now_ms: int) -> Budget:
    if _is_loopback(address):
        return Budget(TokenBucket(LOCAL_RATE, LOCAL_BURST, now_ms), None)
    time = TokenBucket(TIME_RATE_MS, TIME_BURST_MS, now_ms)
    return Budget(TokenBucket(RATE, BURST, now_ms), time)


class _Mishap:
    """Around a handler: what it raises by mistake is logged, and does not reach the client."""

    def __init__(self, request: web.Request) -> None:
        self._request = request

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        expected = (Problem, web.HTTPException, ConnectionError)
        if not isinstance(error, Exception) or isinstance(error, expected):
            return False
        where = f"{self._request.method} {self._request.path}"
        logger.error("a mistake in answering %s", where, exc_info=error)
        return True


def reads(request: web.Request) -> bool:
    """Whether the request changes nothing."""
    return request.method in ("GET", "HEAD", "OPTIONS")


def host_of(request: web.Request) -> str:
    """The Host header, empty if there is none: aiohttp would ask the resolver then, and wait."""
    return request.headers.get("Host", "")


def is_upgrade(request: web.Request) -> bool:
    """WebSockets are not bound by the same-origin policy: the server has to be."""
    return "upgrade" in request.headers.get("Connection", "").lower()


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _host_name(host: str) -> str:
    """The name in a Host header, without the port; empty if it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _place_of(origin: str) -> str:
    """Host and port of an Origin header; empty if there is none ("null", nonsense)."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _preflight() -> web.Response:
    """To a browser that asks whether a page elsewhere may do more than read: it may read."""
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": "GET, HEAD",
            "Access-Control-Allow-Headers": "Accept",
            "Allow": "GET, HEAD, POST, OPTIONS",
        },
    )


def _of_http(error: web.HTTPException, as_text: bool) -> web.StreamResponse:
    """What aiohttp itself refuses: unknown paths, wrong methods, bodies too large."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        problem = Problem(405, "wrong-method", f"this path takes {allowed}")
        response = refusal(problem, as_text)
        response.headers["Allow"] = allowed
        return response
    if error.status == 404:
        return refusal(Problem(404, "unknown-path", "there is nothing at this path"), as_text)
    if error.status == 413:
        sentence = f"a request's body has at most {BODY_SIZE_MAX} bytes"
        return refusal(Problem(413, "too-large", sentence), as_text)
    if error.status < 400:
        return error
    return refusal(Problem(error.status, "refused", error.reason), as_text)


def _response(answer: Any, route: Route) -> web.StreamResponse:
    seconds = route.cache_seconds
    if isinstance(answer, Cached):
        answer, seconds = answer
    if isinstance(answer, web.StreamResponse):
        return answer
    headers = {"Cache-Control": f"public, max-age={seconds}" if seconds else "no-store"}
    if isinstance(answer, str):
        return web.Response(text=answer, headers=headers)
    if isinstance(answer, bytes):
        return web.Response(body=answer, content_type="application/octet-stream", headers=headers)
    return web.Response(
        body=msgspec.json.encode(answer), content_type="application/json", headers=headers
    )


def _unless_known(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """304 where the client names what it has (RFC 9110, section 13), and it is still the answer."""
    if not isinstance(response, web.Response) or response.status != 200 or not reads(request):
        return response
    body = response.body
    if not isinstance(body, bytes) or response.headers.get("Cache-Control") == "no-store":
        return response
    tag = hashlib.sha256(body).hexdigest()[:16]
    response.etag = tag
    if not any(known.value in ("*", tag) for known in request.if_none_match or ()):
        return response
    headers = {"Cache-Control": response.headers["Cache-Control"], "ETag": f'"{tag}"'}
    return web.Response(status=304, headers=headers)


def load_token(path: Path) -> str:
    """The operator's token. Raises ConfigError."""
    token = read_text(path, 1_024).strip()
    if len(token) < TOKEN_LENGTH_MIN:
        raise ConfigError(f"{path}: a token has {TOKEN_LENGTH_MIN} characters or more")
    return token


def refusal(problem: Problem, as_text: bool) -> web.Response:
    """A problem as an answer: plain text under ``/api``, JSON elsewhere."""
    headers = {"Cache-Control": "no-store"}
    if problem.status == 429:
        headers["Retry-After"] = "1"
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if as_text:
        return web.Response(status=problem.status, text=problem.sentence, headers=headers)
    body = msgspec.json.encode(Refusal(problem.code, problem.sentence))
    return web.Response(
        status=problem.status, body=body, content_type="application/json", headers=headers
    )
