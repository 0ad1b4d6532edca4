"""``/openapi.json``: the OpenAPI 3.1 document, generated from the table of routes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import msgspec
from aiohttp import web

from moot import __version__
from moot.node.rest.context import Context
from moot.node.rest.routes import Html, Refusal, Route, Table, Text, WebSocket

REFERENCE: Final = "#/components/schemas/{name}"

SUMMARY: Final = """\
One node of a Moot network. Amounts are integers of the base unit (1 coin = 100,000,000), ids and
hashes lower-case hex in display order, addresses bech32m, times milliseconds unless a name says
otherwise. `/api` is the Esplora API, with plain-text errors; everywhere else an error is an object
with a stable `code` and a plain sentence."""

REASONS: Final = {
    400: "malformed: an id, a number, a body or a parameter is not what it should be",
    304: "what was asked for with If-None-Match has not changed",
    401: "this call needs the operator's token",
    403: "the Host is not this node's, or another site's page tried to write",
    404: "there is no such thing here",
    405: "the path takes other methods",
    408: "the request's body came too slowly",
    409: "not as things are now: not final yet, or already so",
    410: "That was here, and is pruned now: this node does not keep it any more.",
    413: "the request's body is too large",
    415: "the body must be sent as application/json",
    429: "too many requests",
    500: "a mistake of this node",
    503: "not now: this node is catching up, full, or stopping",
}

_PARAMETER: Final = re.compile(r"{(\w+)}")
_WORDLESS: Final = re.compile(r"\W+")

table = Table()


class Document:
    """The document of a table of routes, made when first asked for."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes

    @cached_property
    def content(self) -> dict[str, Any]:
        return document(self._routes)


DOCUMENT: Final = web.AppKey("openapi", Document)


@table.add("GET", "/openapi.json", dict[str, Any], cache_seconds=60)
async def openapi(context: Context, request: web.Request) -> dict[str, Any]:
    """This document."""
    return request.app[DOCUMENT].content


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The whole document."""
    schemas, components = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Moot node", "version": __version__, "description": SUMMARY},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"operator": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schemas(routes: Sequence[Route]) -> tuple[dict[Any, Any], dict[str, Any]]:
    kinds: list[Any] = [Refusal]
    for route in routes:
        for kind in (route.answer, route.body):
            if kind not in (None, str, bytes, Text, Html, WebSocket) and kind not in kinds:
                kinds.append(kind)
    found, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    # The types of answers are hashable but for unions within Annotated: places are kept instead.
    return dict(zip(map(repr, kinds), found, strict=True)), components


def _operation(route: Route, schemas: dict[Any, Any]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(route.path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in route.query.items()
    ]
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{_WORDLESS.sub('_', route.path).strip('_')}",
        "summary": route.summary,
        "tags": [_tag(route)],
        "responses": _responses(route, schemas),
    }
    if route.admin:
        operation["security"] = [{"operator": []}]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _content(route.body, schemas)}
    return operation


def _tag(route: Route) -> str:
    parts = route.path.strip("/").split("/")
    if parts[0] == "api":
        return "Esplora"
    return parts[1] if parts[0] == "moot" and len(parts) > 1 else "node"


def _responses(route: Route, schemas: dict[Any, Any]) -> dict[str, Any]:
    if route.answer is WebSocket:
        answers: dict[str, Any] = {"101": {"description": "a WebSocket of JSON text frames"}}
    else:
        content = _content(route.answer, schemas)
        answers = {"200": {"description": "the answer", "content": content}}
        if route.method == "GET":
            answers["304"] = {"description": REASONS[304]}
    error = _content(Text if route.text_errors else Refusal, schemas)
    for status in route.statuses:
        answers[str(status)] = {"description": REASONS[status], "content": error}
    return answers


def _content(kind: Any, schemas: dict[Any, Any]) -> dict[str, Any]:
    if kind is str or kind is Text:
        return {"text/plain": {"schema": {"type": "string"}}}
    if kind is Html:
        return {"text/html": {"schema": {"type": "string"}}}
    if kind is bytes:
        return {"application/octet-stream": {}}
    return {"application/json": {"schema": schemas[repr(kind)]}}
