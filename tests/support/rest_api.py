"""Requests to a node whose every answer is held against the node's own OpenAPI document."""

from __future__ import annotations

import json
import re
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp
import jsonschema

from moot.node.rest.openapi import document
from moot.node.rest.server import ROUTES

DOCUMENT = document(ROUTES)


class Answer(NamedTuple):
    """Status, headers and body; ``value``: the body as JSON, or as text."""

    status: int
    headers: Any
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def value(self) -> Any:
        return json.loads(self.body)


def operation_of(method: str, path: str) -> dict[str, Any] | None:
    """What the document says of a request; None where it knows no such path."""
    found: dict[str, Any] | None = None
    for template, operations in DOCUMENT["paths"].items():
        pattern = re.sub(r"{\w+}", "[^/]+", template)
        wanted = "get" if method == "HEAD" else method.lower()
        if re.fullmatch(pattern, path) and wanted in operations:
            found = operations[wanted]
            if "{" not in template:
                return found
    return found


def check(method: str, path: str, answer: Answer) -> None:
    """Fails where the answer is not one that the document announces."""
    operation = operation_of(method, path)
    if operation is None:
        assert answer.status in (403, 404, 405, 429), (path, answer.status)
        return
    assert str(answer.status) in operation["responses"], (method, path, answer.status, answer.text)
    content = operation["responses"][str(answer.status)].get("content", {})
    if answer.status == 304:
        return
    kind = answer.headers["Content-Type"].partition(";")[0]
    assert kind in content, (path, kind, list(content))
    if kind == "application/json" and method != "HEAD":
        schema = {**content[kind]["schema"], "components": DOCUMENT["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer.value)


class Api:
    """``async with Api(url) as api: (await api.get("/moot/status")).value``"""

    def __init__(self, url: str) -> None:
        self.url = url

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.session.close()

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        """Any request; its answer is checked against the document."""
        async with self.session.request(method, self.url + path, **options) as response:
            answer = Answer(response.status, response.headers, await response.read())
        if method != "OPTIONS":
            check(method, path.partition("?")[0], answer)
        return answer

    async def get(self, path: str, status: int = 200, **options: Any) -> Answer:
        answer = await self.request("GET", path, **options)
        assert answer.status == status, (path, answer.status, answer.text)
        return answer

    async def post(self, path: str, body: Any, status: int = 200, **options: Any) -> Answer:
        """JSON, or text where ``body`` is a string."""
        given = {"data": body} if isinstance(body, str | bytes) else {"json": body}
        answer = await self.request("POST", path, **given, **options)
        assert answer.status == status, (path, answer.status, answer.text)
        return answer
