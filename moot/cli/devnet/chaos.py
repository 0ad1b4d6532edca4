"""``moot devnet --chaos``: random faults, one seed, always mended again.

Most episodes break no more nodes than the engine bears, so that the network goes on; one in six
breaks one more, so that it stands still and has to recover. The seed fixes what is broken, in which
order and for how long; what the processes make of it is theirs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from moot.cli.devnet.faults import Faults, Impossible
from moot.node.rest.control import Action, Fault

UNDO: Final[dict[Action, Action]] = {"kill": "restart", "pause": "resume", "cut": "heal"}
UNDO_ORDER: Final[tuple[Action, ...]] = ("heal", "resume", "restart")
QUIET_S: Final = (0.5, 2.5)
"""Between two episodes: nothing is broken, and a block or two can be made."""
HOLD_S: Final = (0.5, 4.0)
"""How long something stays broken: longer than a view change takes on a devnet, and shorter than
`pow` needs to confirm a block on one side of a cut."""
BEYOND_HOLD_S: Final = (0.5, 2.0)
BEYOND_ONE_IN: Final = 6


class Episode(msgspec.Struct, frozen=True):
    """Wait, break, hold, mend. Times in seconds."""

    quiet_s: float
    faults: tuple[Fault, ...]
    hold_s: float

    def undo(self) -> tuple[Fault, ...]:
        """Links first: a restart takes seconds, and sides that are apart drift further apart."""
        undone = [Fault(UNDO[fault.action], fault.nodes) for fault in self.faults]
        return tuple(sorted(undone, key=lambda fault: UNDO_ORDER.index(fault.action)))


def episodes(rng: random.Random, names: Sequence[str], bearable: int) -> Iterator[Episode]:
    """Without end. ``bearable``: nodes that may fail while the others go on."""
    actions: list[Action] = ["kill", "pause", "cut"] if len(names) > 1 else ["kill", "pause"]
    while True:
        beyond = bearable < len(names) and (bearable == 0 or rng.randrange(BEYOND_ONE_IN) == 0)
        count = bearable + 1 if beyond else rng.randint(1, bearable)
        victims = rng.sample(list(names), count)
        faults = tuple(Fault(rng.choice(actions), (victim,)) for victim in victims)
        hold_s = rng.uniform(*(BEYOND_HOLD_S if beyond else HOLD_S))
        yield Episode(rng.uniform(*QUIET_S), faults, hold_s)


async def run_chaos(
    faults: Faults, plan: Iterator[Episode], note: Callable[[str, dict[str, Any]], None]
) -> None:
    """Until cancelled; whatever is broken then stays so, and is the caller's to mend."""
    for episode in plan:
        await asyncio.sleep(episode.quiet_s)
        await _give(faults, episode.faults, note)
        await asyncio.sleep(episode.hold_s)
        await _give(faults, episode.undo(), note)


async def _give(
    faults: Faults, wanted: Sequence[Fault], note: Callable[[str, dict[str, Any]], None]
) -> None:
    for fault in wanted:
        try:
            await faults.give(fault, by="chaos")
        except Impossible as error:
            # A person at a second terminal may have been quicker.
            note("chaos-skipped", {"action": fault.action, "why": str(error)})
