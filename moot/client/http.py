"""HTTP with bounds: one request, one bounded answer, plain errors."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import aiohttp
import msgspec
from yarl import URL

from moot.client.errors import BadAnswer, NodeRefused, NodeUnreachable

ANSWER_SIZE_MAX: Final = 32 * 1024 * 1024
"""Bytes of one answer: the largest block in hex, twice over."""
ERROR_SIZE_MAX: Final = 16 * 1024
"""Bytes read of an answer that only says why not."""
SENTENCE_LENGTH_MAX: Final = 500
"""Characters of a refusal that are passed on to people."""

T = TypeVar("T")


class HttpClient:
    """Requests to one node. Use as an async context manager, or call close."""

    def __init__(
        self,
        base_url: str,
        session: aiohttp.ClientSession | None = None,
        *,
        timeout_s: float = 10.0,
        token: str | None = None,
    ) -> None:
        """``base_url`` such as http://127.0.0.1:8645 (http:// may be left out).

        A given ``session`` is used and not closed. ``timeout_s`` bounds one request in seconds.
        ``token`` opens administrative calls. Raises ValueError for a base that is no HTTP URL.
        """
        self.base_url = _check_base(base_url)
        self._session = session
        self._owns_session = session is None
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections, unless they were the caller's."""
        if self._session is not None and self._owns_session:
            await self._session.close()
            self._session = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session, made when first used: aiohttp wants a running loop for it."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session

    def url(self, path: str) -> URL:
        """The URL of a path below the base; ``path`` is percent-encoded already."""
        return URL(self.base_url + path, encoded=True)

    async def request(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        json: Any = None,
        text: str | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """The body of a 200 answer.

        Raises NodeUnreachable, NodeRefused (any other status; redirects are not followed), and
        BadAnswer for one that is too large.
        """
        url = self.url(path)
        if parameters:
            url = url.with_query(parameters)
        headers = dict(self._headers)
        body: bytes | None = None
        if json is not None:
            body = msgspec.json.encode(json)
            headers["Content-Type"] = "application/json"
        elif text is not None:
            body = text.encode()
            headers["Content-Type"] = "text/plain; charset=utf-8"
        timeout = self._timeout if timeout_s is None else aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self.session.request(
                method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise _refusal(response.status, await _read(response, ERROR_SIZE_MAX))
                answer = await _read(response, ANSWER_SIZE_MAX)
        except TimeoutError:
            raise NodeUnreachable(self.base_url, "it did not answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise NodeUnreachable(self.base_url, reason_of(error)) from None
        if len(answer) > ANSWER_SIZE_MAX:
            raise BadAnswer(self.base_url, f"more than {ANSWER_SIZE_MAX} bytes")
        return answer

    async def get(
        self,
        path: str,
        kind: type[T],
        *,
        parameters: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> T:
        """A GET whose JSON answer is a ``kind``; raises what request raises."""
        answer = await self.request("GET", path, parameters=parameters, timeout_s=timeout_s)
        return self.decode(answer, kind)

    async def post(self, path: str, body: Any, kind: type[T]) -> T:
        """A POST of JSON whose JSON answer is a ``kind``; raises what request raises."""
        return self.decode(await self.request("POST", path, json=body), kind)

    async def get_text(self, path: str) -> str:
        """A GET whose answer is plain text; raises what request raises."""
        return self.text(await self.request("GET", path))

    def decode(self, answer: bytes | str, kind: type[T]) -> T:
        """The JSON answer as a ``kind``; raises BadAnswer."""
        try:
            return msgspec.json.decode(answer, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadAnswer(self.base_url, str(error)) from None

    def text(self, answer: bytes) -> str:
        """The plain-text answer; raises BadAnswer."""
        try:
            return answer.decode().strip()
        except UnicodeDecodeError:
            raise BadAnswer(self.base_url, "not text") from None


def _check_base(base_url: str) -> str:
    text = base_url if "://" in base_url else f"http://{base_url}"
    url = URL(text)
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{base_url!r} is not the URL of a node, such as http://127.0.0.1:8645")
    if url.query_string or url.fragment:
        raise ValueError(f"{base_url!r}: a node's URL has no query and no fragment")
    return str(url).rstrip("/")


async def _read(response: aiohttp.ClientResponse, size_max: int) -> bytes:
    """The body; one byte more than ``size_max`` where it is longer."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(64 * 1024):
        body += chunk
        if len(body) > size_max:
            # The rest is not wanted: the connection must not be used again.
            response.close()
            return bytes(body[: size_max + 1])
    return bytes(body)


class _Refusal(msgspec.Struct):
    code: str = ""
    sentence: str | None = None
    error: str | None = None


def _refusal(status: int, body: bytes) -> NodeRefused:
    """From ``{"code", "sentence"}`` (or ``"error"``), or a plain-text sentence."""
    try:
        parsed = msgspec.json.decode(body, type=_Refusal)
        code, sentence = parsed.code, parsed.sentence or parsed.error or ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        code, sentence = "", body.decode(errors="replace")
    # What a stranger sends ends on somebody's terminal: no control characters, no novels.
    clean = "".join(c if c.isprintable() else " " for c in sentence).strip()
    clean = clean[:SENTENCE_LENGTH_MAX] or f"the node refused with HTTP status {status}"
    return NodeRefused(status, code, clean)


def reason_of(error: Exception) -> str:
    """Why nothing came back, in words for people."""
    if isinstance(error, aiohttp.ClientConnectorError):
        if error.os_error.errno == errno.ECONNREFUSED:
            return "nobody listens there"
        return error.os_error.strerror or str(error.os_error)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection"
    return str(error) or type(error).__name__
