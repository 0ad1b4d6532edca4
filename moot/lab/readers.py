"""Simulated readers: they ask for accounts, again where nobody answers, and compare what they hear.

Two kinds of reads. A *linearizable* one goes through the engine (ReadRequested, ServeRead), and
its answer belongs to the clients' history. A *serializable* one is a node's own confirmed state,
which may be old but must be one that the chain went through.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from chain.address import Address
from chain.genesis import Genesis
from chain.hashing import BlockId
from chain.transaction import Transaction
from consensus.contract import Properties, RequestId
from moot.lab.checkers import BookKeeper
from moot.lab.client_history import ClientHistory
from moot.lab.clients import Clients
from moot.lab.linearizability import Verdict
from moot.lab.node import SimulatedNode
from moot.lab.report import Findings
from moot.lab.witness import Misfit
from moot.node.core import NodeCore

MEAN_PAUSE_MS: Final = 1_500
"""Between two reads that no payment gave cause for."""
AFTER_PAYMENT: Final = 0.5
"""How often a client who was told that its payment is final looks at the account at once: that is
when stale answers show."""
TRIES_MAX: Final = 3
"""How often a linearizable read is asked before its client gives up."""
OPEN_MAX: Final = 16
"""Linearizable reads under way: beyond that, nobody answers, and more of them show nothing."""
LOCAL_MAX: Final = 10_000
"""Serializable answers kept for the end; a virtual minute makes some 40."""


class Asked(msgspec.Struct):
    """A linearizable read under way. ``request``: where it was put last, and under what number."""

    number: int
    address: Address
    tries: int = 0
    request: tuple[NodeCore, RequestId] | None = None
    is_last: bool = False
    """It is asked until somebody serves it."""


class Local(NamedTuple):
    """A serializable answer, and the confirmed block that it is said to be of."""

    node: str
    address: Address
    block: BlockId
    height: int
    value: tuple[int, int]
    at_ms: int


class Readers:
    """Hears of payments as a listener of Clients; reads the same users' accounts."""

    def __init__(
        self,
        clients: Clients,
        findings: Findings,
        properties: Properties,
        keeper: BookKeeper,
        payers: Mapping[Address, str],
    ) -> None:
        """``keeper``: of the decided chain, that answers are compared to. ``payers``: names of
        others than users who may pay these, and whose accounts nobody reads."""
        self._world = world = clients.world
        self._nodes = clients.nodes
        self._users = users = clients.users
        self._clients = clients
        self._findings = findings
        self.properties = properties
        self._rng: random.Random = world.rng("readers")
        self._keeper = keeper
        self._local: list[Local] = []
        """Answers of a block that is not in the books yet."""
        self.open: dict[int, Asked] = {}
        names = {user.address: f"u{number}" for number, user in enumerate(users)}
        self.history = ClientHistory(lambda: world.now_ms, {**names, **payers})
        if properties.finalizes:  # elsewhere what was acknowledged may be taken back
            clients.listeners.append(self.history)
        clients.listeners.append(self)

    def start(self) -> None:
        self._world.after(self._pause_ms(), self._now_and_then)

    def _pause_ms(self) -> int:
        return 1 + int(self._rng.expovariate(1 / MEAN_PAUSE_MS))

    def _now_and_then(self) -> None:
        self._world.after(self._pause_ms(), self._now_and_then)
        if self._clients.is_spending:
            self._read(self._users[self._rng.randrange(len(self._users))].address)

    # -------------------------------------------------------------------- clients.Listener

    def submitted(self, transaction: Transaction, node: SimulatedNode, at_ms: int) -> None:
        pass

    def acknowledged(self, transaction: Transaction, height: int, code: str, at_ms: int) -> None:
        if self._rng.random() < AFTER_PAYMENT:
            self._read(transaction.sender)

    # ----------------------------------------------------------------------------- reading

    def _read(self, address: Address) -> None:
        if self._rng.random() < 0.5:
            self._read_locally(address)
        elif len(self.open) < OPEN_MAX:
            self._begin(address, is_last=False)

    def _any_node(self) -> SimulatedNode | None:
        """Any, as a client knows it; None where it does not answer, or need not say the truth."""
        node = self._nodes[self._rng.randrange(len(self._nodes))]
        return node if node.is_honest and node.core is not None and not node.paused else None

    def _read_locally(self, address: Address) -> None:
        node = self._any_node()
        if node is None or len(self._local) >= LOCAL_MAX:
            return
        ledger = node.running.ledger
        with node.store.looked_at():
            block = ledger.confirmed()
            if ledger.state_held(block) is None:
                # After a power failure the head may be the flushed block: what confirms is below.
                self._findings.exercised["reads_refused"] += 1
                return
            found = ledger.account(address, block)
            value, height = (found.nonce, found.balance), ledger.height(block)
        now_ms = self._world.now_ms
        answer = Local(node.name, address, block, height, value, now_ms)
        if self._is_in_books(answer):
            self._check_local(answer)
        else:
            self._local.append(answer)
        self._findings.exercised["reads_serializable"] += 1

    def _begin(self, address: Address, *, is_last: bool) -> None:
        number = self.history.begin_read(address)
        if number is not None:
            self.open[number] = Asked(number, address, is_last=is_last)
            self._ask(self.open[number])

    def _ask(self, asked: Asked) -> None:
        asked.tries += 1
        tries = asked.tries
        self._world.after(self._rng.randint(1_500, 5_000), lambda: self._again(asked, tries))
        node = self._any_node()
        if node is not None:
            core = node.running
            request = node.read(lambda why_not: self._told(asked, node, core, why_not))
            asked.request = None if request is None else (core, request)

    def _told(self, asked: Asked, node: SimulatedNode, core: NodeCore, why_not: str) -> None:
        if asked.number not in self.open:
            return
        if why_not:
            self._findings.exercised["reads_refused"] += 1
            if not self.properties.linearizable_reads:
                self._close(asked)
                self.history.recorder.refuse(asked.number)
        elif self._rng.randrange(1_000) < self._clients.lost_answers:
            self._findings.exercised["lost-answer"] += 1
        else:
            if not self.properties.linearizable_reads:
                message = f"{node.name} served a read that its engine does not promise"
                self._findings.violated("linearizability", message, self._world.now_ms)
            self._close(asked)
            with node.store.looked_at():
                self.history.end_read(asked.number, asked.address, core.ledger)
            self._findings.exercised["reads_linearizable"] += 1

    def _again(self, asked: Asked, tries: int) -> None:
        """Its patience is over: the same question to another node, or none any more."""
        if asked.number not in self.open or asked.tries != tries:
            return
        if asked.request is not None:
            core, request = asked.request
            core.requests.cancel(request)
            asked.request = None
        if asked.tries < TRIES_MAX or asked.is_last:
            self._findings.exercised["reads_repeated"] += 1
            self._ask(asked)
        else:
            self._close(asked)
            self.history.recorder.lose(asked.number)

    def _close(self, asked: Asked) -> None:
        del self.open[asked.number]

    def ask_until_served(self) -> None:
        """After the healing: where reads are promised, one must be served in the end."""
        if self.properties.linearizable_reads:
            self._begin(self._users[0].address, is_last=True)

    # ---------------------------------------------------------------------------- checking

    def check(self, genesis: Genesis) -> None:
        """At the end, against the decided chain."""
        if not self._keeper.is_sound:
            return  # there is nothing to compare to, and that has been said
        for read in self._local:
            if self._is_in_books(read):
                self._check_local(read)
            else:
                # Of a branch that lost; where nothing is taken back, Agreement speaks of it.
                self._findings.exercised["reads_of_lost_branches"] += 1
        if self.properties.finalizes:
            verdict, misfit = self.history.check(genesis, self._keeper.books.blocks)
            self.report(verdict, misfit)

    def _is_in_books(self, read: Local) -> bool:
        return read.height == 0 or self._keeper.books.holds(read.block, read.height)

    def _check_local(self, read: Local) -> None:
        right = self._keeper.books.account(read.address, read.height)
        if read.value != right:
            message = (
                f"at {read.at_ms} ms {read.node} answered {read.value} as (nonce, balance) of "
                f"{read.address.hex()} at height {read.height}, where it was {right}"
            )
            self._findings.violated("serializable-read", message, self._world.now_ms)

    def report(self, verdict: Verdict, misfit: Misfit | None) -> None:
        """Says what the judgement of the history comes to."""
        if misfit is None:
            return
        now_ms = self._world.now_ms
        if verdict.violation is not None:
            self._findings.violated("linearizability", verdict.violation.explain(), now_ms)
        elif verdict.outcome == "undecided":
            # The chain is the only order that the nodes know of. That some other order might do
            # is no comfort, but it must be said that it was not ruled out.
            message = (
                f"the chain's order does not fit: {misfit.explain()}; whether another does was "
                f"given up after {verdict.steps} steps"
            )
            self._findings.violated("linearizability", message, now_ms)
        else:
            self._findings.exercised["orders_unlike_the_chain"] += 1
