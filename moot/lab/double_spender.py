"""A user who pays twice with one nonce, each time through another node.

While all nodes are linked the second payment is refused. Where both sides of a partition write,
both get into blocks, and one of them is displaced when the sides meet. Engines that bear liars have
a double spender among those; this one is for engines that trust their nodes, not their users.
"""

from __future__ import annotations

from typing import Final

import msgspec

from chain.address import key_address
from chain.transaction import Transaction, Transfer
from moot.lab.clients import Clients
from moot.lab.node import SimulatedNode
from moot.lab.report import Findings
from moot.lab.signer import SigningKey
from moot.lab.world import World

PAUSE_MS: Final = 2_000
"""Mean time between two attempts."""
FEE: Final = 2_000
NOBODY: Final = key_address(bytes(31) + b"\2")
"""Who is paid: nobody whose balance another checker looks at."""


class DoubleSpender:
    """Starts with the clients, and spends while they do."""

    def __init__(
        self,
        world: World,
        nodes: list[SimulatedNode],
        user: SigningKey,
        clients: Clients,
        findings: Findings,
    ) -> None:
        """It spends while ``clients`` do."""
        self._world = world
        self._nodes = nodes
        self._user = user
        self._clients = clients
        self._findings = findings
        self._rng = world.rng("double-spender")

    def start(self) -> None:
        self._world.after(1 + int(self._rng.expovariate(1 / PAUSE_MS)), self._spend)

    def _spend(self) -> None:
        if not self._clients.is_spending:
            return
        self.start()
        up = [node for node in self._nodes if node.core is not None and not node.paused]
        if len(up) < 2:
            return
        one, other = self._rng.sample(up, 2)
        with one.store.looked_at():
            nonce = one.running.ledger.account(self._user.address).nonce
            chain_id = one.running.ledger.chain_id
        for amount, node in ((1, one), (2, other)):
            draft = Transaction(self._user.address, nonce, FEE, 0, 0, (Transfer(NOBODY, amount),))
            witness = self._user.sign(draft.signing_bytes(chain_id))
            if node.core is not None:
                node.submit([msgspec.structs.replace(draft, witness=(witness,))])
        self._findings.exercised["double-spends"] += 1
