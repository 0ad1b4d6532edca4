"""The driver keeps the laws of the contract: order, barrier, group commit, no re-entrance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from consensus import contract
from consensus.contract import Effect, Event, Message, Now, Persist, Send, TimerFired, Trace
from moot.node.driver import Driver, House

NODE = bytes(33)


class Note(Message, frozen=True, tag=1):
    text: str


class ScriptedEngine:
    """Answers each event with what the script says."""

    def __init__(self, script: Callable[[Event], list[Effect]]) -> None:
        self.script = script
        self.heard: list[Event] = []

    def handle(self, event: Event, view: object, now: Now) -> list[Effect]:
        self.heard.append(event)
        return self.script(event)


class RecordingHouse:
    """Writes down every effect that is done; ``echo`` lets a test post events from inside."""

    def __init__(self) -> None:
        self.done: list[Effect] = []
        self.echo: Callable[[Effect], None] = lambda effect: None

    def __getattr__(self, name: str) -> Callable[[Effect], None]:
        def do(effect: Effect) -> None:
            self.done.append(effect)
            self.echo(effect)

        return do


def driver(script: Callable[[Event], list[Effect]]) -> tuple[Driver, RecordingHouse, Any]:
    house, engine = RecordingHouse(), ScriptedEngine(script)
    made = Driver(cast(Any, engine), cast(Any, None), cast(House, house), lambda: Now(1_000, 2_000))
    return made, house, engine


def test_effects_are_done_in_the_order_asked() -> None:
    made, house, _ = driver(lambda event: [Trace("a", {}), Trace("b", {})])
    made.post(TimerFired(("x",)))
    made.run()
    assert [cast(Trace, effect).name for effect in house.done] == ["a", "b"]
    assert made.idle


def test_nothing_is_said_before_it_is_durable_even_across_events() -> None:
    """Two votes wait together: one sync covers both, and neither leaves before it."""

    def script(event: Event) -> list[Effect]:
        number = cast(int, cast(TimerFired, event).key[0])
        return [Persist(bytes([number]), (bytes([number]),)), Send(NODE, Note(str(number)))]

    made, house, _ = driver(script)
    made.post(TimerFired((1,)))
    made.post(TimerFired((2,)))
    made.run()
    assert house.done == [
        Persist(b"\x02", (b"\x01", b"\x02")),
        Send(NODE, Note("1")),
        Send(NODE, Note("2")),
    ]


def test_a_persist_is_not_moved_before_an_import_that_its_bodies_may_need() -> None:
    blocker = contract.SetHead(bytes(32))
    made, house, _ = driver(
        lambda event: [Persist(b"1"), blocker, Persist(b"2", (bytes(32),)), Trace("end", {})]
    )
    made.post(TimerFired(("x",)))
    made.run()
    assert house.done == [
        Persist(b"1"),
        blocker,
        Persist(b"2", (bytes(32),)),
        Trace("end", {}),
    ]


def test_what_an_effect_causes_is_handled_later_never_inside_it() -> None:
    depth = 0

    def script(event: Event) -> list[Effect]:
        nonlocal depth
        assert depth == 0, "the engine was re-entered"
        depth += 1
        effects = [Trace("go", {})] if cast(TimerFired, event).key == ("first",) else []
        depth -= 1
        return cast(list[Effect], effects)

    made, house, engine = driver(script)

    def echo(effect: Effect) -> None:
        made.post(TimerFired(("second",)))
        made.run()

    house.echo = echo
    made.post(TimerFired(("first",)))
    made.run()
    assert engine.heard == [TimerFired(("first",)), TimerFired(("second",))]


def test_observers_see_all_and_may_stop_a_node_between_two_effects() -> None:
    class Crash(Exception):
        pass

    made, house, _ = driver(lambda event: [Persist(b"1"), Send(NODE, Note("vote"))])

    def observe(thing: Event | Effect) -> None:
        if isinstance(thing, Send):
            raise Crash

    made.observers.append(observe)
    made.post(TimerFired(("x",)))
    with pytest.raises(Crash):
        made.run()
    assert house.done == [Persist(b"1")]


def test_every_effect_of_the_contract_has_its_action() -> None:
    made, _, _ = driver(lambda event: [])
    kinds = [kind for kind in Effect.__subclasses__() if kind.__module__ == contract.__name__]
    assert set(kinds) == set(made._actions)
