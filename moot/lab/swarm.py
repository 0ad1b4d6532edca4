"""What a seed does to a network: which kinds of faults come, how often, and each step of them.

A run's *swarm* is the subset of kinds that its seed chose, and how often each comes: runs that
differ in what they leave out find more than runs in which everything happens a little (Groce et
al., "Swarm Testing", ISSTA 2012).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Literal

from moot.lab import steps
from moot.lab.clients import Clients
from moot.lab.disk import WriteFault
from moot.lab.fault_kinds import NAMED_ONLY, OPERATORS
from moot.lab.faults import STEP_MS, Faults
from moot.lab.members import newest_members
from moot.lab.node import SimulatedNode
from moot.lab.steps import StandingName, Step
from moot.lab.world import STEP, World

BASE_DELAYS_MS: Final = ((1, 3), (1, 10), (2, 20), (5, 50))
"""Link delays of a run: one machine room, one city, one continent, and worse."""
JUMP_MS: Final = 3_600_000
"""The largest step of a clock that few enough nodes may make: somebody set it wrong."""
TAGS_MAX: Final = 8
"""Engines number their messages from 1, and have few."""
EVERYWHERE: Final = ("*>*",)


class Swarm:
    """Draws steps, one kind after the other and again, and has them done until it is stopped.

    ``kinds``: those that come. ``calm``: how much longer than usual the pauses are.
    """

    def __init__(
        self,
        world: World,
        nodes: list[SimulatedNode],
        faults: Faults,
        clients: Clients,
        kinds: tuple[str, ...],
        rng: random.Random,
        calm: float,
    ) -> None:
        self.kinds = kinds
        self._world = world
        self._nodes = nodes
        self._names = [node.name for node in nodes]
        self._faults = faults
        self._clients = clients
        self._rng = rng
        self._doings = world.rng("operators/doings")
        self._calm = calm
        self._messages = {tag: name for name, tag in faults.places.tags.items()}
        self._phase_rng = world.rng("faults/cut-at-phase/steps")
        self._draw = self._drawings()

    def start(self) -> None:
        """From now on each chosen kind comes again and again."""
        for kind in self.kinds:
            chance = self._rng
            if kind in OPERATORS:
                chance = self._doings
            elif kind in NAMED_ONLY:
                chance = self._phase_rng
            mean_ms = int(1_000 * self._calm * 2 ** chance.uniform(1.0, 4.5))
            self._later(kind, mean_ms, self._world.rng(f"faults/{kind}"))

    def _later(self, kind: str, mean_ms: int, pace: random.Random) -> None:
        def strike() -> None:
            if self._faults.active:
                for step in self._draw[kind]():
                    self._faults.do(step)
                self._later(kind, mean_ms, pace)

        self._world.after(1 + int(pace.expovariate(1 / mean_ms)), strike, STEP)

    def _drawings(self) -> Mapping[str, Callable[[], list[Step]]]:
        """How the steps of each kind are drawn; none where the kind cannot strike just now."""
        return {
            "delay": self._delay,
            "loss": lambda: self._rate("loss"),
            "selective-loss": self._lose_a_kind,
            "duplication": lambda: self._rate("duplication"),
            "reordering": lambda: self._rate("reordering"),
            "bandwidth": self._bandwidth,
            "one-way-cut": lambda: [steps.Cut(self._some_ways(1), self._for_ms())],
            "partition": self._partition,
            "partial-partition": self._partial_partition,
            "flapping": self._flap,
            "kill": lambda: self._crash(power=False),
            "power-failure": lambda: self._crash(power=True),
            "kill-all": self._kill_all,
            "crash-at-effect": self._crash_at_effect,
            "crash-at-write": lambda: self._disk(("crash-before", "crash-after")),
            "torn-write": lambda: self._disk(("torn",)),
            "full-disk": lambda: self._disk(("full",)),
            "failing-sync": lambda: self._disk(("sync-fails",)),
            "flipped-bit": lambda: [steps.FlipBit(name) for name in self._up()],
            "wiped-disk": lambda: [
                steps.Wipe(name, self._rng.randint(1, 3_000)) for name in self._up()
            ],
            "pause": lambda: [steps.Pause(name, self._for_ms()) for name in self._up()],
            "slow-node": lambda: self._slow("node", (2, 5, 20)),
            "slow-disk": lambda: self._slow("disk", (5, 20, 100)),
            "clock-skew": lambda: self._clock(STEP_MS // 10),
            "clock-drift": lambda: [
                steps.Drift(self._rng.choice(self._names), self._rng.randint(-500, 500))
            ],
            "clock-jump": self._jump,
            "membership": self._vote,
            "transfer": self._transfer,
            "graceful-stop": self._stop,
            "lost-answer": lambda: [steps.LoseAnswers(self._rng.randint(100, 900), self._for_ms())],
            "cut-at-phase": self._cut_at_phase,
        }

    def _for_ms(self, rng: random.Random | None = None) -> int:
        return int(300 * 2 ** (rng or self._rng).uniform(0, 5))

    def _vote(self) -> list[Step]:
        """The operators agree to let one go or be a learner, or to take the one back that is.

        One wish at a time, and never with more than one voter less than at the beginning: the run
        breaks no more than so many bear. Now and then somebody forgets to vote.
        """
        members = newest_members(self._nodes, self._clients)
        if members is None:
            return []
        voters = [name for name in self._names if name in members.voting]
        missing = [name for name in self._names if name not in members.voting]
        if not missing:
            subject = self._rng.choice(self._names)
            standing: StandingName = self._rng.choice(("out", "out", "learner"))
        else:
            subject = missing[0]
            other: StandingName = "out" if subject in members.learning else "learner"
            standing = self._rng.choice(("voter", "voter", "voter", other))
        return [steps.Vote(name, subject, standing) for name in voters if self._rng.random() < 0.95]

    def _whom(self) -> str:
        """The leader, most of the time."""
        mostly = self._doings.random() < 0.7
        return steps.LEADER if mostly else self._doings.choice(self._names)

    def _transfer(self) -> list[Step]:
        to = self._doings.choice(self._names) if self._doings.random() < 0.7 else ""
        return [steps.Transfer(self._whom(), to)]

    def _stop(self) -> list[Step]:
        return [steps.Stop(self._whom(), self._for_ms(self._doings))]

    def _up(self) -> list[str]:
        """One node that runs, if any does."""
        up = [node.name for node in self._nodes if node.core is not None]
        return [self._rng.choice(up)] if up else []

    # ------------------------------------------------------------------------------ the links

    def _some_ways(self, count: int) -> tuple[str, ...]:
        ways = [f"{one}>{other}" for one in self._names for other in self._names if one != other]
        return tuple(self._rng.sample(ways, min(count, len(ways))))

    def _some_weather(self) -> tuple[str, ...]:
        """Where it is bad: on some ways, or on all."""
        count = len(self._names) * (len(self._names) - 1)
        chosen = self._rng.choice((1, 2, max(1, count // 3), count))
        return EVERYWHERE if chosen >= count else self._some_ways(chosen)

    def _delay(self) -> list[Step]:
        low_ms = self._rng.randint(1, 100)
        high_ms = low_ms + self._rng.randint(1, 400)
        tail = self._rng.randint(10, 300)
        return [steps.Delay(self._some_weather(), low_ms, high_ms, tail, self._for_ms())]

    def _rate(self, name: Literal["loss", "duplication", "reordering"]) -> list[Step]:
        thousandths = self._rng.randint(5, 500)
        return [steps.Rate(name, self._some_weather(), thousandths, self._for_ms())]

    def _bandwidth(self) -> list[Step]:
        return [steps.Bandwidth(self._some_weather(), self._rng.randint(2, 50), self._for_ms())]

    def _lose_a_kind(self) -> list[Step]:
        """What an adversary in the network would do: only a few get one kind of message, and
        often enough those few are not heard themselves."""
        tag = self._rng.randrange(1, TAGS_MAX)
        message = self._messages.get(tag, f"#{tag}")
        spared = self._rng.sample(self._names, self._rng.randint(0, len(self._names) - 1))
        deprived = [name for name in self._names if name not in spared]
        for_ms = self._for_ms()
        ways = tuple(f"*>{name}" for name in deprived)
        drawn: list[Step] = [steps.Intercept("drop", 0, message, ways, for_ms=for_ms)]
        if spared and self._rng.random() < 0.5:
            unheard = tuple(f"{one}>{other}" for one in spared for other in deprived)
            drawn.append(steps.Cut(unheard, for_ms))
        return drawn

    def _partition(self) -> list[Step]:
        size = self._rng.randint(1, max(1, len(self._names) - 1))
        group = tuple(self._rng.sample(self._names, size))
        return [steps.Partition((group,), self._for_ms())]

    def _partial_partition(self) -> list[Step]:
        """One link only, both ways: everybody still reaches everybody by a detour."""
        return [steps.Cut((way.replace(">", "-"),), self._for_ms()) for way in self._some_ways(1)]

    def _flap(self) -> list[Step]:
        """A link goes down, and up again by itself, some times in a row."""
        for way in self._some_ways(1):
            for _ in range(self._rng.randint(2, 6)):
                step = steps.Reset((way.replace(">", "-"),))
                self._later_do(self._rng.randint(1, 2_000), step)
        return []

    def _cut_at_phase(self) -> list[Step]:
        """One node after the other alone hears what all should, and is cut off as it answers. Then
        they are all back, and for a while nobody hears it.

        So each knows, from another round, what nobody else does: that something was prepared, or
        accepted, or voted for. What is decided next must reckon with all that any of them knows.
        """
        rng = self._phase_rng
        tags = sorted(self._messages)
        if not tags or len(self._names) < 2:
            return []
        # Engines number first what their rounds consist of.
        heard = min(rng.randrange(len(tags)), rng.randrange(len(tags)))
        message = self._messages[tags[heard]]
        answer = self._messages[tags[min(heard + rng.choice((0, 1, 1, 2)), len(tags) - 1)]]
        moment = steps.Moment(rng.choice(("before", "after")), 1, answer)
        most = len(self._names) // 2
        knowing = rng.sample(self._names, rng.choice((1, most, most)))
        turn_ms = self._for_ms(rng)
        for number, name in enumerate(knowing):
            left_ms = (len(knowing) - number) * turn_ms
            deaf = tuple(f"*>{other}" for other in self._names if other != name)
            self._later_do(number * turn_ms, steps.Isolate(name, moment, left_ms))
            self._later_do(number * turn_ms, self._drop_all(message, deaf, turn_ms))
        self._later_do(len(knowing) * turn_ms, self._drop_all(message, EVERYWHERE, turn_ms))
        return []

    @staticmethod
    def _drop_all(message: str, ways: tuple[str, ...], for_ms: int) -> Step:
        return steps.Intercept("drop", 0, message, ways, for_ms=for_ms)

    def _later_do(self, delay_ms: int, step: Step) -> None:
        self._world.after(delay_ms, partial(self._faults.do, step), STEP)

    # -------------------------------------------------------------------------------- the nodes

    def _crash(self, *, power: bool) -> list[Step]:
        rotated = power and self._rng.random() < 0.5
        for_ms = self._rng.randint(1, 6_000)
        return [steps.Crash(name, power, rotated, for_ms=for_ms) for name in self._up()]

    def _kill_all(self) -> list[Step]:
        """A power failure of the house; they come back in any order."""
        power = self._rng.random() < 0.5
        self._faults.injected["kill-all"] += 1
        return [
            steps.Crash(node.name, power, for_ms=self._rng.randint(1, 3_000))
            for node in self._nodes
            if node.core is not None
        ]

    def _crash_at_effect(self) -> list[Step]:
        power = self._rng.random() < 0.5
        rotated = power and self._rng.random() < 0.5
        moment = steps.Moment("after", self._rng.randint(1, 200), "steps")
        for_ms = self._rng.randint(1, 4_000)
        return [steps.Crash(name, power, rotated, moment, for_ms) for name in self._up()]

    def _disk(self, faults: tuple[WriteFault, ...]) -> list[Step]:
        fault, writes = self._rng.choice(faults), self._rng.randint(0, 40)
        return [steps.Disk(name, fault, writes) for name in self._up()]

    def _slow(self, part: Literal["node", "disk"], costs_ms: tuple[int, ...]) -> list[Step]:
        cost_ms = self._rng.choice(costs_ms)
        return [steps.Slow(name, part, cost_ms, self._for_ms()) for name in self._up()]

    def _clock(self, span_ms: int) -> list[Step]:
        name = self._rng.choice(self._names)
        return [steps.Clock(name, self._rng.randint(-span_ms, span_ms))]

    def _jump(self) -> list[Step]:
        name = self._rng.choice(self._names)
        span_ms = JUMP_MS if self._faults.may_be_off(name) else STEP_MS
        return [steps.Clock(name, self._rng.randint(-span_ms, span_ms))]
