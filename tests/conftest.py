"""For all tests."""

from __future__ import annotations

import sys

# Some tests read keystores with eth-keyfile themselves. Its dependency py-ecc raises the recursion
# limit when it is first imported, and deep JSON in any other test would then end the interpreter.
_limit = sys.getrecursionlimit()
import eth_keyfile  # noqa: E402, F401

sys.setrecursionlimit(_limit)
