"""The devnet's control channel: loopback, one secret token, and a note where to find it."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from moot.cli.common import Failure
from moot.cli.devnet.faults import Faults, Impossible
from moot.cli.devnet.plan import HOST, is_free
from moot.node.config import ConfigError
from moot.node.rest.control import (
    ControlFile,
    Fault,
    FaultOutcome,
    load_control,
    write_private,
)

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONTROL_FILE: Final = "control.json"
TOKEN_FILE: Final = "admin.token"
BODY_SIZE_MAX: Final = 16 * 1024
DEFAULT_HOME: Final = "~/.moot"


def control_path(directory: Path) -> Path:
    return directory.resolve() / CONTROL_FILE


def token_path(directory: Path) -> Path:
    return directory.resolve() / TOKEN_FILE


def make_token(directory: Path) -> str:
    """A fresh token for the nodes' administrative calls, in a file that only its owner reads."""
    token = secrets.token_hex(32)
    write_private(token_path(directory), token + "\n")
    return token


class Control:
    """Serves ``POST /fault`` and ``GET /state`` while the devnet runs."""

    def __init__(self, directory: Path, faults: Faults) -> None:
        self._directory = directory.resolve()
        self._faults = faults
        self._token = secrets.token_hex(32)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=BODY_SIZE_MAX, middlewares=[self._guard])
        app.router.add_post("/fault", self._fault)
        app.router.add_get("/state", self._state)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        url = f"http://{HOST}:{self._runner.addresses[0][1]}"
        found = ControlFile(url, self._token, os.getpid())
        write_private(control_path(self._directory), msgspec.json.encode(found).decode())
        _advertise(self._directory)

    async def stop(self) -> None:
        if self._runner is None:
            return
        control_path(self._directory).unlink(missing_ok=True)
        token_path(self._directory).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            _note(os.getpid()).unlink(missing_ok=True)
        await self._runner.cleanup()
        self._runner = None

    @web.middleware
    async def _guard(self, request: web.Request, handler: Answering) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            return _refusal(401, "wrong-token", "this devnet is somebody else's")
        return await handler(request)

    async def _fault(self, request: web.Request) -> web.Response:
        try:
            fault = msgspec.json.decode(await request.read(), type=Fault)
        except msgspec.DecodeError as error:
            return _refusal(400, "malformed-json", str(error))
        try:
            return _json(await self._faults.give(fault))
        except Impossible as error:
            return _refusal(409, "impossible", str(error))

    async def _state(self, request: web.Request) -> web.Response:
        return _json(FaultOutcome("", self._faults.states()))


def _json(answer: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


def _refusal(status: int, code: str, sentence: str) -> web.Response:
    body = msgspec.json.encode({"code": code, "error": sentence})
    return web.Response(status=status, body=body, content_type="application/json")


# ------------------------------------------------------------------- finding a running devnet


def _notes() -> Path:
    return Path(os.environ.get("MOOT_HOME", DEFAULT_HOME)).expanduser() / "devnets"


def _note(pid: int) -> Path:
    return _notes() / str(pid)


def _advertise(directory: Path) -> None:
    # A home that cannot be written costs `moot fault` its default only: --dir still finds us.
    with contextlib.suppress(OSError):
        _notes().mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in _notes().iterdir():
            if old.name.isdigit() and not _lives(int(old.name)):
                old.unlink(missing_ok=True)
        write_private(_note(os.getpid()), str(directory))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def check_idle(directory: Path) -> None:
    """Raises ConfigError where a devnet runs in ``directory``: another one would take its token
    and its ports away before it found the databases locked."""
    path = control_path(directory)
    if not path.exists():
        return
    found = load_control(path)
    # One that was killed leaves its note, and its number may be another process's by now.
    if _lives(found.pid) and not is_free(urlsplit(found.url).port or 0):
        raise ConfigError(
            f"a devnet runs in {directory} already (process {found.pid}); stop it first, or "
            "choose another --dir"
        )


def find_control(directory: Path | None) -> ControlFile:
    """The devnet in ``directory``, or the one started last. Raises Failure, ConfigError."""
    if directory is not None:
        return load_control(control_path(directory))
    notes: list[tuple[int, Path]] = []
    with contextlib.suppress(OSError):
        for note in _notes().iterdir():
            if note.name.isdigit() and _lives(int(note.name)):
                notes.append((note.stat().st_mtime_ns, note))
    for _, note in sorted(notes, reverse=True):
        path = control_path(Path(note.read_text(encoding="utf-8")))
        if path.exists():
            return load_control(path)
    raise Failure("no devnet runs; start one with `moot devnet`, or name its folder with --dir")
