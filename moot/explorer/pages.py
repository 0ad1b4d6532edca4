"""Routes of the pages: a shell for each kind of page, and the static files.

At the root the paths are those of Esplora's web pages: ``/api/block/X`` and ``/block/X`` speak
of the same thing. A shell holds no facts: its modules ask the API for them.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from moot.explorer.assets import Asset, load_assets

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

STATIC_PATH: Final = "/static/explorer/"
SUBJECT_LENGTH_MAX: Final = 200
"""Characters of an id, address or search; the longest real one has fewer than a hundred."""

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; font-src 'none'; object-src 'none'; frame-src 'none'; "
        "worker-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""The policy lets a page run and load what its own node serves, and nothing else: a memo that were
ever taken for markup could neither run nor phone home."""


class Page(NamedTuple):
    """One kind of page. ``subject``: the pattern that its subject has to match, if it has one."""

    path: str
    name: str
    title: str
    section: str
    subject: re.Pattern[str] | None = None


ID: Final = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)
ADDRESS: Final = re.compile(r"[a-z0-9]{8,120}", re.IGNORECASE)
HEIGHT: Final = re.compile(r"[0-9]{1,18}")

PAGES: Final = (
    Page("/", "home", "Chain", "chain"),
    Page("/block/{subject}", "block", "Block", "chain", ID),
    Page("/block-height/{subject}", "height", "Block", "chain", HEIGHT),
    Page("/tx/{subject}", "transaction", "Transaction", "chain", ID),
    Page("/address/{subject}", "address", "Address", "chain", ADDRESS),
    Page("/mempool", "mempool", "Mempool", "mempool"),
    Page("/peers", "peers", "Peers", "peers"),
    Page("/consensus", "consensus", "Consensus", "consensus"),
    Page("/search", "search", "Search", "chain"),
)

SECTIONS: Final = (
    ("/", "chain", "Chain"),
    ("/mempool", "mempool", "Mempool"),
    ("/peers", "peers", "Peers"),
    ("/consensus", "consensus", "Consensus"),
)
"""The navigation: path, section, label."""


def add_pages(app: web.Application) -> None:
    """Adds the explorer's routes to a node's REST application."""
    environment = Environment(
        loader=PackageLoader("moot.explorer"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shell = environment.get_template("shell.html")

    def render(page: Page, subject: str, status: int) -> web.Response:
        text = shell.render(page=page, subject=subject, sections=SECTIONS, static=STATIC_PATH)
        return web.Response(
            text=text,
            status=status,
            content_type="text/html",
            headers={**SECURITY_HEADERS, "Cache-Control": "no-cache"},
        )

    for page in PAGES:
        app.router.add_get(page.path, _page_handler(page, render))
    assets = load_assets()
    app.router.add_get(STATIC_PATH + "{name:.+}", _asset_handler(assets))
    app.router.add_get("/favicon.ico", _asset_handler(assets, "mark.svg"))


def _page_handler(page: Page, render: Callable[[Page, str, int], web.Response]) -> Handler:
    missing = page._replace(name="missing", title="Not found")

    async def handle(request: web.Request) -> web.Response:
        subject = request.match_info.get("subject", "")
        if page.name == "search":
            subject = request.query.get("q", "").strip()[:SUBJECT_LENGTH_MAX]
        if page.subject is not None and page.subject.fullmatch(subject) is None:
            return render(missing, subject[:SUBJECT_LENGTH_MAX], 404)
        return render(page, subject, 200)

    return handle


def _asset_handler(assets: dict[str, Asset], fixed: str = "") -> Handler:
    async def handle(request: web.Request) -> web.Response:
        asset = assets.get(fixed or request.match_info["name"])
        if asset is None:
            raise web.HTTPNotFound(text="no such file")
        # Always asked again, and cheaply answered: after an update no old module meets a new one.
        headers = {**SECURITY_HEADERS, "Cache-Control": "no-cache", "ETag": f'"{asset.tag}"'}
        # Weakly compared (RFC 9110 section 13.1.2): a proxy that compresses weakens tags.
        if any(tag.value in (asset.tag, "*") for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=asset.body, headers={**headers, "Content-Type": asset.media_type})

    return handle
