"""Steps: what is done to a network from outside, one at a time, as values with a text.

A swarm draws them from a seed, a scenario file lists them, a shrinker leaves some out: all three
mean the same steps, and moot.lab.faults carries them out. Nodes are named n0, n1, ...; ``leader``
is whoever leads when the step comes, ``others`` all but it, ``*`` all. A *way* is a direction of a
link, ``n0>n1``, or both, ``n0-n1``. Times are virtual milliseconds; ``for_ms`` 0: until something
ends it.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import msgspec

from moot.lab.disk import WriteFault

LEADER: Final = "leader"
OTHERS: Final = "others"
ALL: Final = "*"
THOUSAND: Final = 1_000


class Step(msgspec.Struct, frozen=True):
    """Base of all steps. ``kind``: under which name of ``faults.KINDS`` it counts, if any."""

    kind: ClassVar[str] = ""

    @property
    def words(self) -> str:
        """Its text, without what all steps share."""
        raise NotImplementedError

    @property
    def text(self) -> str:
        """Its line in a scenario file, less the time."""
        for_ms: int = getattr(self, "for_ms", 0)
        return f"{self.words} for {duration(for_ms)}" if for_ms else self.words


class Pay(Step, frozen=True):
    """A client signs a payment and says it to ``via`` ("": to any node), until it is final.

    ``sender``, ``recipient``: numbers of users. ``amount``: base units.
    """

    sender: int
    recipient: int
    amount: int
    via: str = ""

    @property
    def words(self) -> str:
        via = f" via {self.via}" if self.via else ""
        return f"pay u{self.sender} u{self.recipient} {self.amount}{via}"


StandingName = Literal["voter", "learner", "out"]
STANDING_NAMES: Final[tuple[StandingName, ...]] = ("voter", "learner", "out")


class Vote(Step, frozen=True):
    """The operator of ``node`` votes on what ``subject`` shall be, until the vote is final."""

    kind: ClassVar[str] = "membership"
    node: str
    subject: str
    standing: StandingName

    @property
    def words(self) -> str:
        return f"vote {self.node} {self.subject} {self.standing}"


class Cut(Step, frozen=True):
    """Nothing passes on these ways."""

    ways: tuple[str, ...]
    for_ms: int = 0

    @property
    def words(self) -> str:
        return f"cut {' '.join(self.ways)}"


class Partition(Step, frozen=True):
    """Only nodes of one group hear each other; those that are not named are a group too."""

    kind: ClassVar[str] = "partition"
    groups: tuple[tuple[str, ...], ...]
    for_ms: int = 0

    @property
    def words(self) -> str:
        return "partition " + " | ".join(" ".join(group) for group in self.groups)


class Heal(Step, frozen=True):
    """These ways are whole again; none named: all of them, with all that was done to links."""

    ways: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        return " ".join(("heal", *self.ways))


class Reset(Step, frozen=True):
    """These links close, what was on its way is lost, and they are dialed again."""

    kind: ClassVar[str] = "flapping"
    ways: tuple[str, ...]

    @property
    def words(self) -> str:
        return f"reset {' '.join(self.ways)}"


class Delay(Step, frozen=True):
    """Messages take ``low_ms`` to ``high_ms``; ``tail`` thousandths up to ten times that."""

    ways: tuple[str, ...]
    low_ms: int
    high_ms: int
    tail: int = 0
    for_ms: int = 0

    @property
    def words(self) -> str:
        tail = f" tail {self.tail}/1000" if self.tail else ""
        return f"delay {' '.join(self.ways)} {self.low_ms}..{self.high_ms}ms{tail}"


class Rate(Step, frozen=True):
    """So many of a thousand consensus messages are lost, doubled or overtaken."""

    name: Literal["loss", "duplication", "reordering"]
    ways: tuple[str, ...]
    thousandths: int
    for_ms: int = 0

    @property
    def words(self) -> str:
        return f"{self.name} {' '.join(self.ways)} {self.thousandths}/1000"


class Bandwidth(Step, frozen=True):
    """So many bytes a millisecond pass."""

    kind: ClassVar[str] = "bandwidth"
    ways: tuple[str, ...]
    bytes_per_ms: int
    for_ms: int = 0

    @property
    def words(self) -> str:
        return f"bandwidth {' '.join(self.ways)} {self.bytes_per_ms}kB/s"


class Intercept(Step, frozen=True):
    """What becomes of the next ``count`` messages of a type (0: of all of them) on some ways.

    ``message``: the name of its type, ``#7`` for a consensus message by its tag, or ``*``. Both
    held and repeated ones arrive; a held one ``by_ms`` later than it would have.
    """

    action: Literal["drop", "hold", "repeat"]
    count: int
    message: str
    ways: tuple[str, ...]
    by_ms: int = 0
    for_ms: int = 0

    @property
    def words(self) -> str:
        which = f"next {self.count}" if self.count else "all"
        by = f" by {duration(self.by_ms)}" if self.by_ms else ""
        return f"{self.action} {which} {self.message} {' '.join(self.ways)}{by}"


class Moment(msgspec.Struct, frozen=True):
    """A point between two things that a node does: before or after the ``count``-th of a kind.

    ``what``: an effect's or event's name, the type of a message that it says, or ``steps``: any.
    """

    order: Literal["before", "after"]
    count: int
    what: str

    @property
    def text(self) -> str:
        return f"{self.order} {self.count} {self.what}"


class Crash(Step, frozen=True):
    """The process dies, now or at a moment; with ``power``, what was not synced is lost too,
    ``rotated``: also what was written unsynced before the last sync may be. Starts again after
    ``for_ms``."""

    node: str
    power: bool = False
    rotated: bool = False
    moment: Moment | None = None
    for_ms: int = 0

    @property
    def words(self) -> str:
        how = " rotated" if self.rotated else " power" if self.power else ""
        moment = f" {self.moment.text}" if self.moment else ""
        return f"crash {self.node}{how}{moment}"


class Isolate(Step, frozen=True):
    """Nothing passes on any link of the node from a moment of its own on, which must come within
    ``for_ms``; after that the links are whole again, whenever the moment came."""

    node: str
    moment: Moment
    for_ms: int = 0

    @property
    def words(self) -> str:
        return f"isolate {self.node} {self.moment.text}"


class Restart(Step, frozen=True):
    """A process that is down starts."""

    node: str

    @property
    def words(self) -> str:
        return f"restart {self.node}"


class Wipe(Step, frozen=True):
    """The process dies and its disk is lost; only the key is kept."""

    kind: ClassVar[str] = "wiped-disk"
    node: str
    for_ms: int = 0

    @property
    def words(self) -> str:
        return f"wipe {self.node}"


class Pause(Step, frozen=True):
    """The process is stopped; what comes meanwhile waits."""

    kind: ClassVar[str] = "pause"
    node: str
    for_ms: int = 0

    @property
    def words(self) -> str:
        return f"pause {self.node}"


class Resume(Step, frozen=True):
    """A stopped process goes on."""

    node: str

    @property
    def words(self) -> str:
        return f"resume {self.node}"


class Disk(Step, frozen=True):
    """A write fails: the one that follows ``writes`` more."""

    node: str
    fault: WriteFault
    writes: int = 0

    @property
    def words(self) -> str:
        return f"disk {self.node} {self.fault} after {self.writes} writes"


class Stop(Step, frozen=True):
    """The operator stops the process, which may hand over first; starts again after ``for_ms``."""

    node: str
    for_ms: int = 0

    @property
    def words(self) -> str:
        return f"stop {self.node}"


class Transfer(Step, frozen=True):
    """The operator of ``node`` tells it to hand leadership over, ``to`` one or ("") to any."""

    node: str
    to: str = ""

    @property
    def words(self) -> str:
        return f"transfer {self.node} {self.to}".rstrip()


class FlipBit(Step, frozen=True):
    """Some stored keys cannot be read until they are written again."""

    node: str

    @property
    def words(self) -> str:
        return f"flip-bit {self.node}"


class Slow(Step, frozen=True):
    """Each input, or each synced write, costs up to so many milliseconds."""

    node: str
    part: Literal["node", "disk"]
    cost_ms: int
    for_ms: int = 0

    @property
    def words(self) -> str:
        return f"slow-{self.part} {self.node} {self.cost_ms}ms"


class Clock(Step, frozen=True):
    """The wall clock steps to so much before (less than 0) or behind the world's."""

    node: str
    skew_ms: int

    @property
    def words(self) -> str:
        return f"clock {self.node} {self.skew_ms:+d}ms"


class Drift(Step, frozen=True):
    """Both clocks run so many millionths faster than the world."""

    kind: ClassVar[str] = "clock-drift"
    node: str
    ppm: int

    @property
    def words(self) -> str:
        return f"drift {self.node} {self.ppm:+d}ppm"


class LoseAnswers(Step, frozen=True):
    """So many of a thousand answers to clients are lost."""

    thousandths: int
    for_ms: int = 0

    @property
    def words(self) -> str:
        return f"lose-answers {self.thousandths}/1000"


class Timed(msgspec.Struct, frozen=True):
    """A step and when it comes."""

    at_ms: int
    step: Step

    @property
    def text(self) -> str:
        return f"at {duration(self.at_ms)} {self.step.text}"


Healing = Literal["all", "quorum", "none"]
"""Who runs once the steps are over: all, no more than a quorum, or it ends there and then."""


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """All that is done to a run, in the place of what its seed would draw.

    ``lasts_ms``: when the healing begins, or the end. ``liars``: nodes and how they lie.
    ``delay_ms``: of a message on a link with which nothing is wrong, least and most. ``load_tps``:
    payments a second that the seed draws beside the steps; ``recovery_tps``: during the healing.
    ``is_beyond``: more may be broken than the engine claims to bear.
    """

    lasts_ms: int
    steps: tuple[Timed, ...] = ()
    liars: tuple[tuple[str, str], ...] = ()
    delay_ms: tuple[int, int] = (1, 5)
    healing: Healing = "all"
    load_tps: float = 0.0
    recovery_tps: float = 2.0
    is_beyond: bool = False

    @property
    def events(self) -> int:
        """What happens from outside: faults and payments, and every liar."""
        return len(self.steps) + len(self.liars)


def duration(milliseconds: int) -> str:
    """1500 is "1.5s", 20 is "20ms"."""
    if milliseconds < THOUSAND:
        return f"{milliseconds}ms"
    whole, rest = divmod(milliseconds, THOUSAND)
    return f"{whole}.{rest:03d}".rstrip("0").rstrip(".") + "s" if rest else f"{whole}s"
