"""Structured logs: one JSON object a line on standard error, or text for people."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import msgspec
from aiohttp.http_exceptions import HttpProcessingError

from moot.node.config import LogSection


class JsonFormatter(logging.Formatter):
    """time (UTC), level, event, node, and the event's own fields."""

    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "node": self._node,
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[0] is not None:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    """``12:00:00.000 info  event  key=value ...``"""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        fields = " ".join(f"{k}={v}" for k, v in getattr(record, "fields", {}).items())
        text = f"{moment} {record.levelname.lower():7} {record.getMessage()}  {fields}".rstrip()
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + self.formatException(record.exc_info)
        return text


class StrangersNoise(logging.Filter):
    """Drops what aiohttp logs, with a traceback, of each request that is no HTTP: anybody could
    fill the disk with them, and such a request has been answered already."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError)


_strangers_noise = StrangersNoise()


def set_up_logs(section: LogSection, node: str) -> None:
    """Sends the node's logs to standard error in the configured form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(node) if section.format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(section.level.upper())
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(_strangers_noise)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
