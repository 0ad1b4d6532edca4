"""The files that the pages are made of, read once from the package, with their tags."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""By ending; said here, because a browser that is told ``nosniff`` runs no module of another type,
and what the operating system believes of ``.js`` differs."""


class Asset(NamedTuple):
    """One static file. ``tag``: the value of its strong ETag (RFC 9110 section 8.8.3)."""

    body: bytes
    media_type: str
    tag: str


def load_assets() -> dict[str, Asset]:
    """All static files by their path below ``static/``. Files of other kinds are not served."""
    found = {}
    for name, entry in _walk(files("moot.explorer").joinpath("static"), ""):
        media_type = MEDIA_TYPES.get("." + name.rpartition(".")[2])
        if media_type is not None:
            body = entry.read_bytes()
            found[name] = Asset(body, media_type, hashlib.sha256(body).hexdigest()[:32])
    return found


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry
