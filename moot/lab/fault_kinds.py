"""The kinds of faults, and what operators do: by their names, and which of them a seed draws."""

from __future__ import annotations

import random
from collections.abc import Iterable

from chain.errors import Invalid

MEMBERSHIP = "membership"
KINDS = (
    "delay",
    "loss",
    "selective-loss",
    "duplication",
    "reordering",
    "bandwidth",
    "one-way-cut",
    "partition",
    "partial-partition",
    "flapping",
    "kill",
    "power-failure",
    "kill-all",
    "crash-at-effect",
    "crash-at-write",
    "torn-write",
    "full-disk",
    "failing-sync",
    "flipped-bit",
    "wiped-disk",
    "pause",
    "slow-node",
    "slow-disk",
    "clock-skew",
    "clock-drift",
    "clock-jump",
    "lost-answer",
    MEMBERSHIP,
    "cut-at-phase",
)
"""All kinds of faults, by the names that ``--faults`` takes; one of them is no fault: the members
are changed by votes, where the engine allows that."""
NAMED_ONLY = ("cut-at-phase",)
"""Those that no seed draws by itself: they strike so often where it hurts that little is decided
meanwhile, and what a seed has drawn so far it goes on drawing."""
DRAWN = tuple(kind for kind in KINDS if kind not in NAMED_ONLY)
"""Those that seeds draw, where the engine allows them."""

OPERATORS = ("transfer", "graceful-stop")
"""What operators do without any fault, by the names that ``--faults`` takes too: a leader is told
to hand over, a process is asked to end. Counted among what was exercised."""


class UnknownFault(Invalid):
    """No fault of that name."""


def check_kinds(names: Iterable[str]) -> tuple[str, ...]:
    """``names`` in the order of KINDS. Raises UnknownFault."""
    wanted = list(names)
    for name in wanted:
        if name not in KINDS + OPERATORS:
            raise UnknownFault(
                "unknown-fault",
                f"no fault is called {name!r}; known are: {', '.join(KINDS + OPERATORS)}",
            )
    return tuple(kind for kind in KINDS + OPERATORS if kind in wanted)


def chosen_kinds(names: Iterable[str] | None, rng: random.Random) -> tuple[str, ...]:
    """``names`` in the order of KINDS; None: about half of all. Raises UnknownFault.

    Whether members change is drawn elsewhere, since it has a say in how much may be broken.
    """
    if names is None:
        return tuple(kind for kind in DRAWN if kind != MEMBERSHIP and rng.random() < 0.5)
    return check_kinds(names)
