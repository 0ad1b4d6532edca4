"""Histories: what clients asked, when, and what they heard (Herlihy and Wing 1990, section 2).

A history is a list of operations, each with an invocation and, unless the answer was lost, a
response. Two events of one virtual millisecond still have an order, so each event carries its
*position* in the history; the milliseconds are for people. An operation whose answer was lost may
take effect at any time after its invocation, or never.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from chain.errors import Invalid

OPERATIONS_MAX: Final = 100_000
"""Operations in one history: more than any campaign's run makes, and 20 MB as lines."""
LINE_SIZE_MAX: Final = 64 * 1024
"""Characters of one operation as a line."""

Value = str | int | None


class InvalidHistory(Invalid):
    """Lines that are not a history; codes "malformed-history" and "history-too-long"."""


class Call(msgspec.Struct, frozen=True, tag=True):
    """Base of what a client can ask."""


class Read(Call, frozen=True, tag="read"):
    """Answered by the value under ``key``; None: absent."""

    key: str


class Write(Call, frozen=True, tag="write"):
    """Answered by True."""

    key: str
    value: Value


class Delete(Call, frozen=True, tag="delete"):
    """Answered by whether there was anything under ``key``."""

    key: str


class CompareAndSwap(Call, frozen=True, tag="cas"):
    """Answered by whether ``expected`` was found (None: absent) and replaced by ``value``."""

    key: str
    expected: Value
    value: Value


class ReadAccount(Call, frozen=True, tag="account"):
    """Answered by (nonce, balance)."""

    account: str


class Pay(Call, frozen=True, tag="pay"):
    """One transfer, as the ledger executes it. Answered by its receipt's code; "": it was ok."""

    sender: str
    nonce: int
    recipient: str
    amount: int
    fee: int


AnyCall = Read | Write | Delete | CompareAndSwap | ReadAccount | Pay
Answer = bool | int | str | tuple[int, int] | None


class Operation(msgspec.Struct, frozen=True):
    """One call and what became of it.

    ``invoked_at`` and ``returned_at``: positions among all events of the history.
    ``returned_at`` None: the answer was lost, and ``answer`` means nothing.
    """

    number: int
    client: str
    call: AnyCall
    invoked_at: int
    invoked_ms: int
    returned_at: int | None = None
    returned_ms: int | None = None
    answer: Answer = None

    @property
    def lost(self) -> bool:
        """Whether the client never heard what became of it."""
        return self.returned_at is None

    def precedes(self, other: Operation) -> bool:
        """Real-time order: this one had returned before ``other`` was invoked."""
        return self.returned_at is not None and self.returned_at < other.invoked_at


class Recorder:
    """Takes a history down while it happens. ``clock`` gives virtual milliseconds.

    A client asks one thing at a time; one that lost an answer goes on under another name, since
    nobody knows whether its old call is over.
    """

    def __init__(self, clock: Callable[[], int], operations_max: int = OPERATIONS_MAX) -> None:
        self._clock = clock
        self._operations_max = operations_max
        self._operations: dict[int, Operation] = {}
        self._open: dict[str, int] = {}
        self._next_number = 0
        self._position = 0

    @property
    def full(self) -> bool:
        """Whether no further call can be taken down."""
        return self._next_number >= self._operations_max

    def invoke(self, client: str, call: AnyCall) -> int:
        """``client`` asks ``call``; the number under which its answer is to be told."""
        assert client not in self._open, f"{client} still waits for an answer"
        assert not self.full, "the history is full"
        number = self._next_number
        self._next_number += 1
        self._operations[number] = Operation(number, client, call, self._step(), self._clock())
        self._open[client] = number
        return number

    def answer(self, number: int, answer: Answer) -> None:
        """The client heard ``answer``."""
        operation = self._close(number)
        self._operations[number] = msgspec.structs.replace(
            operation, returned_at=self._step(), returned_ms=self._clock(), answer=answer
        )

    def lose(self, number: int) -> None:
        """The client gave up waiting: the call may take effect later, or never."""
        operation = self._operations[number]
        assert self._open.get(operation.client) == number, "it has been answered"
        # The client's name stays taken: its next call must not seem to follow this one.

    def refuse(self, number: int) -> None:
        """The call certainly did not, and will not, take effect; the history forgets it."""
        self._close(number)
        del self._operations[number]

    def operations(self) -> tuple[Operation, ...]:
        """The history so far, in order of invocation; what is open counts as lost."""
        return tuple(self._operations.values())

    def _close(self, number: int) -> Operation:
        operation = self._operations[number]
        assert self._open.pop(operation.client, None) == number, "it has been answered"
        return operation

    def _step(self) -> int:
        self._position += 1
        return self._position


def prefix(operations: Iterable[Operation], position: int) -> tuple[Operation, ...]:
    """The history as of an event: what returned later is open, what came later is absent."""
    found = []
    for operation in operations:
        if operation.invoked_at > position:
            continue
        if operation.returned_at is not None and operation.returned_at > position:
            operation = msgspec.structs.replace(
                operation, returned_at=None, returned_ms=None, answer=None
            )
        found.append(operation)
    return tuple(found)


# -------------------------------------------------------------------------------------- lines


def to_lines(operations: Iterable[Operation]) -> str:
    """One JSON object a line, in the order given."""
    return "".join(msgspec.json.encode(operation).decode() + "\n" for operation in operations)


def from_lines(lines: Iterable[str], operations_max: int = OPERATIONS_MAX) -> list[Operation]:
    """The history in ``lines``. Raises InvalidHistory."""
    decoder = msgspec.json.Decoder(Operation)
    found: list[Operation] = []
    for number, line in enumerate(lines, 1):
        if len(found) >= operations_max or len(line) > LINE_SIZE_MAX:
            raise InvalidHistory("history-too-long", f"line {number} is beyond what is read")
        try:
            found.append(decoder.decode(line))
        except msgspec.DecodeError as error:
            raise InvalidHistory(
                "malformed-history", f"line {number} is not an operation: {error}"
            ) from None
    _check(found)
    return found


def _check(operations: Sequence[Operation]) -> None:
    """Raises InvalidHistory where events share a position or an answer precedes its call."""
    taken: dict[int, int] = {}
    numbers: dict[int, None] = {}
    for operation in operations:
        if operation.number in numbers:
            raise InvalidHistory("malformed-history", f"two operations are {operation.number}")
        numbers[operation.number] = None
        events = [operation.invoked_at]
        if operation.returned_at is not None:
            events.append(operation.returned_at)
            if operation.returned_at <= operation.invoked_at:
                raise InvalidHistory(
                    "malformed-history", f"operation {operation.number} returned before its call"
                )
        for position in events:
            if position in taken:
                raise InvalidHistory(
                    "malformed-history",
                    f"operations {taken[position]} and {operation.number} share one position",
                )
            taken[position] = operation.number


# --------------------------------------------------------------------------------- for people


def describe(operation: Operation) -> str:
    """One operation in one line: ``#3 ann: read k -> 7``."""
    answer = "?" if operation.lost else _shown(operation.answer)
    return f"#{operation.number} {operation.client}: {describe_call(operation.call)} -> {answer}"


def describe_call(call: AnyCall) -> str:
    """What is asked, in a few words."""
    match call:
        case Read(key=key):
            return f"read {key}"
        case Write(key=key, value=value):
            return f"write {key} = {_shown(value)}"
        case Delete(key=key):
            return f"delete {key}"
        case CompareAndSwap(key=key, expected=expected, value=value):
            return f"swap {key}: {_shown(expected)} by {_shown(value)}"
        case ReadAccount(account=account):
            return f"account {account}"
        case Pay(sender=sender, nonce=nonce, recipient=recipient, amount=amount, fee=fee):
            return f"pay {amount} from {sender}/{nonce} to {recipient}, fee {fee}"


def _shown(value: Answer) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return f"nonce {value[0]}, balance {value[1]}"
    return repr(value) if isinstance(value, str) else str(value)


def timeline(operations: Sequence[Operation], width: int = 60) -> str:
    """The operations as bars, one a line, in order of invocation; ``~``: the answer was lost.

    Bars show the order of events, not their distance in time.
    """
    if not operations:
        return ""
    ordered = sorted(operations, key=lambda operation: operation.invoked_at)
    positions = sorted(
        position
        for operation in ordered
        for position in (operation.invoked_at, operation.returned_at)
        if position is not None
    )
    rank = {position: index for index, position in enumerate(positions)}
    columns = min(width, max(2, 3 * len(positions)))
    last = max(1, len(positions) - 1)
    lines = []
    for operation in ordered:
        start = rank[operation.invoked_at] * (columns - 1) // last
        if operation.returned_at is None:
            bar = " " * start + "|" + "~" * (columns - start - 1)
        else:
            end = max(start + 1, rank[operation.returned_at] * (columns - 1) // last)
            bar = " " * start + "|" + "-" * (end - start - 1) + "|"
        lines.append(f"{bar:<{columns}}  {describe(operation)}".rstrip())
    return "\n".join(lines)
