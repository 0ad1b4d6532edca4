"""What names of nodes, roles, ways and messages stand for in one cluster."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from consensus.contract import EngineProtocol
from moot.lab.network import Pair
from moot.lab.node import SimulatedNode
from moot.lab.steps import ALL, LEADER, OTHERS, Step

NODE: Final = re.compile(r"n(0|[1-9][0-9]{0,2})")
WAY: Final = re.compile(r"([^\s>-]+)([>-])([^\s>-]+)")
MESSAGE: Final = re.compile(r"[A-Z][A-Za-z]{0,63}|#[0-9]{1,9}|\*")
"""A message type's name, a tag, or all."""


def message_tags(protocol: EngineProtocol) -> dict[str, int]:
    """An engine's message types by name."""
    tags: dict[str, int] = {}
    for kind in protocol.messages:
        tag = kind.__struct_config__.tag
        assert isinstance(tag, int)
        tags[kind.__name__] = tag
    return tags


class Places:
    """The nodes of a cluster by their names. ``tags``: message types of its engine."""

    def __init__(self, nodes: Sequence[SimulatedNode]) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._names = {node.key: node.name for node in nodes}
        self.tags: dict[str, int] = {}

    def node(self, name: str) -> SimulatedNode | None:
        return self._nodes.get(name)

    def name_of(self, key: bytes) -> str | None:
        return self._names.get(key)

    def expand(self, name: str) -> tuple[str, ...]:
        """A node's name, or those of all."""
        return tuple(self._nodes) if name == ALL else (name,)

    def pairs(self, ways: Iterable[str]) -> list[Pair]:
        """Every direction that ``ways`` name, each once; none from a node to itself."""
        found: dict[Pair, None] = {}
        for way in ways:
            split = WAY.fullmatch(way)
            assert split is not None, way
            for one in self.expand(split[1]):
                for other in self.expand(split[3]):
                    self._add(found, one, other)
                    if split[2] == "-":
                        self._add(found, other, one)
        return list(found)

    def _add(self, found: dict[Pair, None], one: str, other: str) -> None:
        first, second = self._nodes.get(one), self._nodes.get(other)
        if first is not None and second is not None and first is not second:
            found[(first.key, second.key)] = None

    def between(self, groups: Sequence[Sequence[str]]) -> list[Pair]:
        """The directions between nodes of different groups; those not named are one more."""
        group_of = {
            each: number
            for number, group in enumerate(groups)
            for name in group
            for each in self.expand(name)
        }
        return [
            (one.key, other.key)
            for one in self._nodes.values()
            for other in self._nodes.values()
            if group_of.get(one.name) != group_of.get(other.name)
        ]

    def message_kind(self, name: str) -> int | str | None:
        """What moot.lab.network.Interception is told."""
        if name == ALL:
            return None
        if name.startswith("#"):
            return int(name[1:])
        return self.tags.get(name, name)

    # -------------------------------------------------------------------------------- roles

    def resolved(self, step: Step, leader: Callable[[], str | None]) -> Step | None:
        """The step with nodes in the place of roles; None: nobody leads just now."""
        if LEADER not in step.words and OTHERS not in step.words:
            return step
        led_by = leader()
        if led_by is None:
            return None
        others = tuple(name for name in self._nodes if name != led_by)
        return with_names(step, lambda name: _role(name, led_by, others))


def _role(name: str, leader: str, others: tuple[str, ...]) -> tuple[str, ...]:
    return (leader,) if name == LEADER else others if name == OTHERS else (name,)


def with_names(step: Step, named: Callable[[str], tuple[str, ...]]) -> Step | None:
    """The step with other names in it; None where a node, a way or all groups are left empty.

    ``named``: the names that take a name's place; none: whatever it stood for is left out.
    """
    changes: dict[str, Any] = {}
    for field in ("node", "subject", "via", "to"):
        name: str = getattr(step, field, "")
        if name:
            changes[field] = next(iter(named(name)), "")
            if field not in ("via", "to") and not changes[field]:
                return None
    for field, old in (("ways", getattr(step, "ways", ())),):
        if old:
            changes[field] = tuple(dict.fromkeys(new for way in old for new in _ways(way, named)))
            if not changes[field]:
                return None
    if getattr(step, "groups", ()):
        groups: tuple[tuple[str, ...], ...] = step.groups  # type: ignore[attr-defined]
        new_groups = [tuple(new for name in group for new in named(name)) for group in groups]
        changes["groups"] = tuple(group for group in new_groups if group)
        if not changes["groups"]:
            return None
    return msgspec.structs.replace(step, **changes)


def _ways(way: str, named: Callable[[str], tuple[str, ...]]) -> list[str]:
    split = WAY.fullmatch(way)
    assert split is not None, way
    return [
        f"{one}{split[2]}{other}"
        for one in named(split[1])
        for other in named(split[3])
        if one != other or one == ALL
    ]
