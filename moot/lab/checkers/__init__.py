"""What must always hold, whatever the engine and whatever goes wrong. Always on.

Each checker looks on from outside (at events, effects, ledgers) and says what it found to
moot.lab.report.Findings; none of them changes a run.
"""

from __future__ import annotations

from moot.lab.checkers.agreement import Agreement
from moot.lab.checkers.auditor import Auditor
from moot.lab.checkers.books import BookKeeper, Books
from moot.lab.checkers.bounds import Bounds
from moot.lab.checkers.clock import Clock
from moot.lab.checkers.elections import Elections
from moot.lab.checkers.forks import ForkChoice
from moot.lab.checkers.keeping import Keeping
from moot.lab.checkers.promises import FOR_ALL_HEIGHTS, Leases, Promises
from moot.lab.checkers.raft import watch_raft
from moot.lab.checkers.relaying import Relaying
from moot.lab.checkers.returned import Returned, check_indexes
from moot.lab.checkers.speech import Speech
from moot.lab.checkers.views import Views

__all__ = [
    "FOR_ALL_HEIGHTS",
    "Agreement",
    "Auditor",
    "BookKeeper",
    "Books",
    "Bounds",
    "Clock",
    "Elections",
    "ForkChoice",
    "Keeping",
    "Leases",
    "Promises",
    "Relaying",
    "Returned",
    "Speech",
    "Views",
    "check_indexes",
    "watch_raft",
]
