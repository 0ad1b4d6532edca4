"""The words of a scenario's lines: numbers, times, nodes and ways; and each kind of step.

What is refused raises Wrong with half a sentence; moot.lab.scenario_text puts the line's number
before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, get_args

from moot.lab import steps
from moot.lab.disk import WriteFault
from moot.lab.steps import ALL, LEADER, OTHERS, THOUSAND, Step
from moot.lab.ways import MESSAGE, NODE, WAY

HOUR_MS: Final = 3_600_000
"""Steps, durations and whole scenarios last no longer."""
DAYS_MS: Final = 10 * 24 * HOUR_MS
"""A clock is wrong by no more."""
AMOUNT_MAX: Final = 10**12
"""Base units: what each simulated user has at first."""
COUNT_MAX: Final = 1_000_000
WRITES_MAX: Final = 1_000_000
PPM_MAX: Final = 100_000
RATE_MAX: Final = 1_000_000
NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}")
DURATION: Final = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,3}))?(ms|s|m)")
SIGNED_MS: Final = re.compile(r"([+-])([0-9]{1,9}(?:\.[0-9]{1,3})?(?:ms|s|m))")
SPAN: Final = re.compile(r"([0-9]{1,7})\.\.([0-9]{1,7})ms")
THING: Final = re.compile(r"[A-Z][A-Za-z]{0,63}|steps")
NUMBER: Final = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,6})?")
UNITS_MS: Final = {"ms": 1, "s": THOUSAND, "m": 60 * THOUSAND}


class Wrong(Exception):
    """What is wrong with a line, without its number; caught by moot.lab.scenario_text."""


class Words:
    """A line's words, taken one after the other."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._at = 0

    @property
    def is_done(self) -> bool:
        return self._at >= len(self._words)

    @property
    def peek(self) -> str:
        return "" if self.is_done else self._words[self._at]

    def take(self, expected: str) -> str:
        if self.is_done:
            after = f" after {self._words[-1]!r}" if self._words else ""
            raise Wrong(f"{expected} is missing{after}")
        self._at += 1
        return self._words[self._at - 1]

    def took(self, word: str) -> bool:
        """Takes the next word if it is this one."""
        if self.peek != word:
            return False
        self._at += 1
        return True

    def end(self) -> None:
        if not self.is_done:
            raise Wrong(f"{self.peek!r} is one word too many")

    def rest(self, size_max: int) -> str:
        text = " ".join(self._words[self._at :])
        self._at = len(self._words)
        if not text or len(text) > size_max:
            raise Wrong(f"it has {len(text)} characters, not 1 to {size_max}")
        return text

    def matching(self, pattern: re.Pattern[str], expected: str) -> str:
        word = self.take(expected)
        if pattern.fullmatch(word) is None:
            raise Wrong(f"{word!r} is not {expected}")
        return word

    def one_of(self, known: Sequence[str]) -> str:
        choice = " or ".join(known) if len(known) < 4 else f"one of: {', '.join(known)}"
        word = self.take(choice)
        if word not in known:
            raise Wrong(f"{word!r} is not {choice}")
        return word

    def integer(self, expected: str, low: int, high: int, unit: str = "") -> int:
        """Digits and then ``unit``, from ``low`` to ``high``."""
        word = self.take(expected)
        digits = word.removesuffix(unit)
        is_number = digits.isascii() and digits.isdecimal() and len(digits) <= 19
        if not is_number or (unit and not word.endswith(unit)):
            raise Wrong(f"{word!r} is not {expected}" + (f", like 20{unit}" if unit else ""))
        if not low <= int(digits) <= high:
            raise Wrong(f"{expected} is {word}, not from {low} to {high}")
        return int(digits)

    def number(self, expected: str, high: int) -> float:
        word = self.matching(NUMBER, expected)
        if Decimal(word) > high:
            raise Wrong(f"{expected} is {word}, not at most {high}")
        return float(word)

    def duration(self, expected: str, most_ms: int, least_ms: int = 1) -> int:
        """Milliseconds; written 20ms, 1.5s or 2m."""
        return _duration(self.take(expected), expected, least_ms, most_ms)

    def for_ms(self) -> int:
        """``for DURATION``; 0 where nothing is said."""
        return self.duration("how long", HOUR_MS) if self.took("for") else 0

    def span_ms(self) -> tuple[int, int]:
        """``1..5ms``."""
        word = self.take("a span of milliseconds")
        found = SPAN.fullmatch(word)
        if found is None or not int(found[1]) <= int(found[2]) <= HOUR_MS:
            raise Wrong(f"{word!r} is not a span of milliseconds, like 1..20ms")
        return int(found[1]), int(found[2])

    def thousandths(self) -> int:
        return self.integer("a rate", 1, THOUSAND, f"/{THOUSAND}")

    # --------------------------------------------------------------------------------- nodes

    def node(self, nodes: int, roles: Sequence[str] = ()) -> str:
        """A node's name, or one of ``roles``."""
        return check_name(self.take("a node"), nodes, roles)

    def ways(self, nodes: int) -> tuple[str, ...]:
        """One or more: n0>n1, n0-n1, with roles and * in the place of names."""
        found: list[str] = []
        while (split := WAY.fullmatch(self.peek)) is not None and split[0] not in found:
            for name in (split[1], split[3]):
                check_name(name, nodes, (LEADER, OTHERS, ALL))
            found.append(self.take("a way"))
        if not found:
            word = self.take("a way, like n0>n1 or n0-n1,")
            raise Wrong(f"{word!r} is not a way, like n0>n1 (one direction) or n0-n1 (both)")
        return tuple(found)


def check_name(name: str, nodes: int, roles: Sequence[str]) -> str:
    """``name`` where it is a node's or a role. Raises Wrong."""
    found = NODE.fullmatch(name)
    if name not in roles and (found is None or int(found[1]) >= nodes):
        last = f"n0 to n{nodes - 1}" if nodes > 1 else "n0"
        raise Wrong(f"{name!r} is no node; there are {', '.join((last, *roles))}")
    return name


def _duration(word: str, expected: str, least_ms: int, most_ms: int) -> int:
    found = DURATION.fullmatch(word)
    if found is None:
        raise Wrong(f"{word!r} is not {expected}, like 20ms, 1.5s or 2m")
    fraction = (found[2] or "").ljust(3, "0")
    thousandths = int(found[1]) * THOUSAND + int(fraction)
    milliseconds, rest = divmod(thousandths * UNITS_MS[found[3]], THOUSAND)
    if rest:
        raise Wrong(f"{word!r} is less than a millisecond exact")
    if not least_ms <= milliseconds <= most_ms:
        least, most = steps.duration(least_ms), steps.duration(most_ms)
        raise Wrong(f"{expected} is {word}, not from {least} to {most}")
    return milliseconds


# ------------------------------------------------------------------------------------ the steps


def read_step(words: Words, nodes: int, users: int) -> Step:
    """What follows the time. Raises Wrong."""
    return _STEPS[words.one_of(tuple(_STEPS))](words, nodes, users)


def _pay(words: Words, nodes: int, users: int) -> Step:
    names = [f"u{number}" for number in range(users)]
    sender, recipient = words.one_of(names), words.one_of(names)
    if sender == recipient:
        raise Wrong(f"{sender} cannot pay itself")
    amount = words.integer("an amount in base units", 0, AMOUNT_MAX)
    via = words.node(nodes, (LEADER,)) if words.took("via") else ""
    return steps.Pay(names.index(sender), names.index(recipient), amount, via)


def _partition(words: Words, nodes: int, users: int) -> Step:
    groups: list[list[str]] = [[]]
    named: dict[str, None] = {}
    while not words.is_done and words.peek != "for":
        if words.took("|"):
            groups.append([])
            continue
        name = words.node(nodes, (LEADER, OTHERS))
        if name in named:
            raise Wrong(f"{name} is named twice")
        named[name] = None
        groups[-1].append(name)
    if not all(groups):
        raise Wrong("a group without nodes")
    return steps.Partition(tuple(tuple(group) for group in groups), words.for_ms())


def _heal(words: Words, nodes: int, users: int) -> Step:
    return steps.Heal() if words.is_done else steps.Heal(words.ways(nodes))


def _delay(words: Words, nodes: int, users: int) -> Step:
    ways, (low_ms, high_ms) = words.ways(nodes), words.span_ms()
    tail = words.thousandths() if words.took("tail") else 0
    return steps.Delay(ways, low_ms, high_ms, tail, words.for_ms())


def _bandwidth(words: Words, nodes: int, users: int) -> Step:
    ways = words.ways(nodes)
    rate = words.integer("a bandwidth", 1, RATE_MAX, "kB/s")
    return steps.Bandwidth(ways, rate, words.for_ms())


def _rate(name: Any) -> Callable[[Words, int, int], Step]:
    def read(words: Words, nodes: int, users: int) -> Step:
        ways = words.ways(nodes)
        return steps.Rate(name, ways, words.thousandths(), words.for_ms())

    return read


def _intercept(action: Any) -> Callable[[Words, int, int], Step]:
    def read(words: Words, nodes: int, users: int) -> Step:
        count = 0
        if words.one_of(("next", "all")) == "next":
            count = words.integer("how many", 1, COUNT_MAX)
        message = words.matching(MESSAGE, "a message's type, like Status, #7 or *")
        ways = words.ways(nodes)
        by_ms = 0
        if action == "hold":
            if not words.took("by"):
                raise Wrong("'hold' needs 'by' and how much later")
            by_ms = words.duration("how much later", HOUR_MS)
        return steps.Intercept(action, count, message, ways, by_ms, words.for_ms())

    return read


def _crash(words: Words, nodes: int, users: int) -> Step:
    node = words.node(nodes, (LEADER,))
    rotated = words.took("rotated")
    power = rotated or words.took("power")
    moment = _moment(words) if words.peek in ("before", "after") else None
    return steps.Crash(node, power, rotated, moment, words.for_ms())


def _moment(words: Words) -> steps.Moment:
    order: Any = words.one_of(("before", "after"))
    count = words.integer("the how manieth", 0, COUNT_MAX)
    what = words.matching(THING, "an event, effect, message type, or steps")
    if what == "steps" and order == "before":
        raise Wrong("'steps' goes with 'after'")
    if what != "steps" and not count:
        raise Wrong(f"{what} is counted from 1")
    return steps.Moment(order, count, what)


def _isolate(words: Words, nodes: int, users: int) -> Step:
    node = words.node(nodes, (LEADER,))
    return steps.Isolate(node, _moment(words), words.for_ms())


def _disk(words: Words, nodes: int, users: int) -> Step:
    node = words.node(nodes, (LEADER,))
    fault: Any = words.one_of(get_args(WriteFault))
    writes = 0
    if words.took("after"):
        writes = words.integer("how many writes", 0, WRITES_MAX)
        words.one_of(("writes",))
    return steps.Disk(node, fault, writes)


def _slow(part: Any) -> Callable[[Words, int, int], Step]:
    def read(words: Words, nodes: int, users: int) -> Step:
        node = words.node(nodes, (LEADER,))
        return steps.Slow(node, part, words.duration("a cost", HOUR_MS), words.for_ms())

    return read


def _clock(words: Words, nodes: int, users: int) -> Step:
    node = words.node(nodes, (LEADER,))
    word = words.take("a difference")
    found = SIGNED_MS.fullmatch(word)
    if found is None:
        raise Wrong(f"{word!r} is not a difference, like +500ms or -2m")
    difference_ms = _duration(found[2], "a difference", 0, DAYS_MS)
    return steps.Clock(node, -difference_ms if found[1] == "-" else difference_ms)


def _drift(words: Words, nodes: int, users: int) -> Step:
    node = words.node(nodes, (LEADER,))
    sign = words.peek[:1]
    if sign not in ("+", "-"):
        raise Wrong(f"{words.take('a drift')!r} is not a drift, like +200ppm")
    ppm = Words([words.take("a drift")[1:]]).integer("a drift", 0, PPM_MAX, "ppm")
    return steps.Drift(node, -ppm if sign == "-" else ppm)


def _of_node(made: Callable[..., Step], *, lasts: bool) -> Callable[[Words, int, int], Step]:
    def read(words: Words, nodes: int, users: int) -> Step:
        node = words.node(nodes, (LEADER,))
        return made(node, words.for_ms()) if lasts else made(node)

    return read


def _vote(words: Words, nodes: int, users: int) -> Step:
    voter, subject = words.node(nodes, (LEADER,)), words.node(nodes, (LEADER,))
    word = words.one_of(steps.STANDING_NAMES)
    standing = next(name for name in steps.STANDING_NAMES if name == word)
    return steps.Vote(voter, subject, standing)


def _transfer(words: Words, nodes: int, users: int) -> Step:
    node = words.node(nodes, (LEADER,))
    return steps.Transfer(node, words.node(nodes) if words.peek else "")


_STEPS: Final[Mapping[str, Callable[[Words, int, int], Step]]] = {
    "pay": _pay,
    "vote": _vote,
    "cut": lambda words, nodes, users: steps.Cut(words.ways(nodes), words.for_ms()),
    "partition": _partition,
    "heal": _heal,
    "reset": lambda words, nodes, users: steps.Reset(words.ways(nodes)),
    "delay": _delay,
    "loss": _rate("loss"),
    "duplication": _rate("duplication"),
    "reordering": _rate("reordering"),
    "bandwidth": _bandwidth,
    "drop": _intercept("drop"),
    "hold": _intercept("hold"),
    "repeat": _intercept("repeat"),
    "crash": _crash,
    "isolate": _isolate,
    "restart": _of_node(steps.Restart, lasts=False),
    "wipe": _of_node(steps.Wipe, lasts=True),
    "pause": _of_node(steps.Pause, lasts=True),
    "stop": _of_node(steps.Stop, lasts=True),
    "transfer": _transfer,
    "resume": _of_node(steps.Resume, lasts=False),
    "disk": _disk,
    "flip-bit": _of_node(steps.FlipBit, lasts=False),
    "slow-node": _slow("node"),
    "slow-disk": _slow("disk"),
    "clock": _clock,
    "drift": _drift,
    "lose-answers": lambda words, nodes, users: steps.LoseAnswers(
        words.thousandths(), words.for_ms()
    ),
}
