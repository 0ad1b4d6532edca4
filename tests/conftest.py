"""What all tests share."""

from __future__ import annotations

import sys

RECURSION_LIMIT = sys.getrecursionlimit()


def pytest_collection_finish() -> None:
    """Puts the recursion limit back that py-ecc (an import of eth-keyfile's) raises to 100,000.

    With it, input nested 100,000 deep overruns the interpreter's stack in whatever test comes
    next, instead of raising RecursionError as it does in a node.
    """
    sys.setrecursionlimit(RECURSION_LIMIT)
