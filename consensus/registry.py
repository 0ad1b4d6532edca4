"""The only list of engines: the entry-point group ``moot.engines``."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any, cast

import msgspec

from chain.genesis import Era, Parameter
from consensus.contract import EngineProtocol

GROUP = "moot.engines"


class UnknownEngine(LookupError):
    """No engine of that name is installed; the sentence lists those that are."""


@lru_cache(maxsize=1)
def engine_names() -> tuple[str, ...]:
    """Names of the installed engines, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


@lru_cache(maxsize=64)
def protocol(name: str) -> EngineProtocol:
    """The engine of that name. Raises UnknownEngine; there is no default."""
    for point in entry_points(group=GROUP):
        if point.name == name:
            return cast(EngineProtocol, point.load())
    known = ", ".join(engine_names()) or "none"
    raise UnknownEngine(f"no engine is called {name!r}; installed are: {known}")


def era_parameters(era: Era) -> Any:
    """The engine's typed parameters of an era. Raises UnknownEngine or ValueError."""
    kind = protocol(era.engine).parameters
    try:
        return msgspec.convert(dict(era.parameters), kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"parameters of {era.engine}: {error}") from None


def parameter_list(parameters: msgspec.Struct) -> tuple[Parameter, ...]:
    """Typed parameters in the form that genesis holds: (name, value), sorted by name."""
    return tuple(sorted(msgspec.structs.asdict(parameters).items()))
