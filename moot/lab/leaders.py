"""Leaders drawn for each view, in the place of an engine's rota, while a run lasts.

In Twins (Bano et al., OPODIS 2021, section 4) a scenario says for each round who leads it. Who
leads a view is a pure function of the view, and no safety may hang on which one: so the function
is exchanged, for all nodes alike, as a mutant's is (moot.lab.planting), and nothing in production
code knows of it.
"""

from __future__ import annotations

import random
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from moot.lab.planting import Rewrite, planted

ROTAS: Final = {"pbft": ("consensus.pbft.certificates:primary_of", "view % len(members)")}
"""For each engine with a rota: the function, and the term in it that says who leads ``view``."""

PRIME: Final = 2_147_483_647
"""A Mersenne prime: squaring modulo it scatters neighbouring views."""


def leaders_drawn(engine: str, rng: random.Random) -> AbstractContextManager[None]:
    """While it lasts, each view's leader is drawn; nothing changes where no rota is known.

    Raises MutantGone where the engine's rota has moved.
    """
    if engine not in ROTAS:
        return nullcontext()
    target, term = ROTAS[engine]
    salt = rng.randrange(1, PRIME)
    drawn = f"pow(view * 7_919 + {salt}, 2, {PRIME}) % len(members)"
    return planted((Rewrite(target, term, drawn),))
