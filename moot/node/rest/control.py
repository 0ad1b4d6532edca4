"""How a running devnet is reached: its control file, and one request to it.

``moot devnet`` writes the file, readable by its owner only; ``moot fault`` and the devnet's own
nodes (for the buttons on their pages) read it each time, since a new run has a new token.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final, Literal, TypeVar

import aiohttp
import msgspec

from moot.node.config import ConfigError, read_text

T = TypeVar("T")

CONTROL_SIZE_MAX: Final = 4_096
ANSWER_SIZE_MAX: Final = 64 * 1024
TIMEOUT_S: Final = 60.0
"""Seconds for one fault: a node that starts again has to open its database."""

Action = Literal["kill", "pause", "resume", "restart", "cut", "heal"]
ACTIONS: Final[tuple[Action, ...]] = ("kill", "pause", "resume", "restart", "cut", "heal")


class ControlFile(msgspec.Struct, frozen=True):
    """Where the devnet listens (loopback), the token that it wants, and its process."""

    url: str
    token: str
    pid: int


class Fault(msgspec.Struct, frozen=True):
    """What is to be done to whom: nodes by name, number from 1, or the word ``leader``.

    ``cut``: the first from the others named, or from all. ``heal``: of none named, all links.
    """

    action: Action
    nodes: tuple[str, ...]


class NodeState(msgspec.Struct, frozen=True):
    """One node of a devnet: ``state`` running, paused or killed; ``cut``: from whom."""

    name: str
    url: str
    state: str
    cut: tuple[str, ...]


class FaultOutcome(msgspec.Struct, frozen=True):
    """What was done, in a sentence, and how all nodes are now."""

    sentence: str
    nodes: tuple[NodeState, ...]


class ControlRefused(Exception):
    """The devnet said no; the sentence says why."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class _Refusal(msgspec.Struct):
    code: str
    error: str


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, in place of an older one."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)


def load_control(path: Path) -> ControlFile:
    """Raises ConfigError where no devnet runs there."""
    if not path.exists():
        raise ConfigError(f"no devnet runs in {path.parent}")
    try:
        return msgspec.json.decode(read_text(path, CONTROL_SIZE_MAX), type=ControlFile)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is damaged: {error}") from None


async def give_fault(control: ControlFile, fault: Fault) -> FaultOutcome:
    """Raises ControlRefused, also where the devnet does not answer."""
    return await _ask(control, "POST", "/fault", msgspec.json.encode(fault))


async def ask_state(control: ControlFile) -> FaultOutcome:
    """The nodes as they are. Raises ControlRefused, also where the devnet does not answer."""
    return await _ask(control, "GET", "/state", None)


async def _ask(control: ControlFile, method: str, path: str, body: bytes | None) -> FaultOutcome:
    headers = {"Authorization": f"Bearer {control.token}", "Content-Type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, control.url + path, data=body, headers=headers) as response,
        ):
            text = await response.content.read(ANSWER_SIZE_MAX)
            status = response.status
    except (aiohttp.ClientError, OSError, TimeoutError):
        raise ControlRefused("devnet-gone", "the devnet does not answer") from None
    if status == 200:
        return _decode(text, FaultOutcome)
    refusal = _decode(text, _Refusal)
    raise ControlRefused(refusal.code, refusal.error)


def _decode(text: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError:
        raise ControlRefused("devnet-gone", "what answers there is no devnet") from None
