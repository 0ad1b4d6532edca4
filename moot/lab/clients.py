"""Simulated clients: they pay in bursts, and say a payment again until they are told it is final.

Each user signs one transaction for each nonce, ever. So whatever a client repeats, and wherever,
there is one content that may be applied, once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from chain.address import Address
from chain.block import Block
from chain.hashing import BlockId, TxId, show_id
from chain.ledger import Ledger
from chain.transaction import (
    LEARNER,
    OUT,
    VOTER,
    Action,
    MembershipVote,
    Transaction,
    Transfer,
)
from moot.lab.node import SimulatedNode
from moot.lab.report import Findings
from moot.lab.signer import SigningKey
from moot.lab.steps import Pay, StandingName, Vote
from moot.lab.ways import Places
from moot.lab.world import STEP, World

LOOK_MS = 400
"""Pause between two questions whether a payment is final."""
WINDOW = 12
"""Payments that a user has under way at most."""
BURST_MAX = 8
FEE = 2_000
REFUSED_EVERY = 16
"""Of so many payments of a user one is of nothing: it pays its fee, is final, and has failed."""


STANDINGS_BY_NAME: Final[Mapping[StandingName, int]] = {
    "voter": VOTER,
    "learner": LEARNER,
    "out": OUT,
}


class Payment(msgspec.Struct):
    """A transaction under way. ``repeat_ms``: when it is said again. ``rng``: its client's."""

    transaction: Transaction
    sent_ms: int
    repeat_ms: int
    rng: random.Random
    tries: int = 1


def _patience_ms(rng: random.Random) -> int:
    return rng.randint(1_500, 5_000)


class Listener(Protocol):
    """Hears what clients did, for histories: all times are virtual milliseconds. ``code``: why
    a final payment failed; "": it went well."""

    def submitted(self, transaction: Transaction, node: SimulatedNode, at_ms: int) -> None: ...
    def acknowledged(
        self, transaction: Transaction, height: int, code: str, at_ms: int
    ) -> None: ...


class Clients:
    """``load_tps``: payments a second, on average, in bursts; ``lost_answers`` in thousandths."""

    def __init__(
        self,
        world: World,
        nodes: list[SimulatedNode],
        users: Sequence[SigningKey],
        chain_id: bytes,
        findings: Findings,
        load_tps: float,
    ) -> None:
        self.world = world
        self.nodes = nodes
        self.users = users
        self._chain_id = chain_id
        self.acknowledged: dict[TxId, tuple[Transaction, int]] = {}
        """With the height at which each was reported final, or by which it was (``_used_up``)."""
        self.open: dict[TxId, Payment] = {}
        self.listeners: list[Listener] = []
        self.lost_answers = 0
        self.is_spending = True
        self._findings = findings
        self._tps = load_tps
        self._rng: random.Random = world.rng("clients")
        """Draws payments; what a client does about one of them is drawn for that one."""
        self._looks: random.Random = world.rng("clients/looks")
        self._era = 0
        self._signed: dict[Address, list[Transaction]] = {}
        """Each user's, and each voting node's, transactions by nonce."""

        self.do: Callable[[Pay], bool] = lambda step: self.pay(step, None)
        """Has a drawn payment made; whoever records steps puts itself here."""

    def start(self) -> None:
        self.world.after(LOOK_MS, self._look)
        self._spend(self._tps)

    def recover(self, load_tps: float) -> None:
        """Spends anew, as drawn from here on: what was drawn before has no part in it."""
        self._rng = self.world.rng("clients/recovery")
        self.do = lambda step: self.pay(step, None)
        self._spend(load_tps)

    def _spend(self, load_tps: float) -> None:
        self._era += 1
        self._tps = load_tps
        if load_tps > 0:
            era = self._era
            self.world.after(self._pause_ms(), lambda: self._burst(era), STEP)

    def _pause_ms(self) -> int:
        """Bursts have (1 + BURST_MAX) / 2 payments on average."""
        mean_ms = 1_000 * (1 + BURST_MAX) / 2 / self._tps
        return 1 + int(self._rng.expovariate(1 / mean_ms))

    def _burst(self, era: int) -> None:
        if era != self._era:
            return
        self.world.after(self._pause_ms(), lambda: self._burst(era), STEP)
        if self.is_spending:
            for _ in range(self._rng.randint(1, BURST_MAX)):
                sender = self._rng.randrange(len(self.users))
                others = [number for number in range(len(self.users)) if number != sender]
                recipient, amount = self._rng.choice(others), self._rng.randrange(1, 99)
                paid = len(self._signed.get(self.users[sender].address, ()))
                if paid % REFUSED_EVERY == REFUSED_EVERY - 1:
                    amount = 0
                self.do(Pay(sender, recipient, amount))

    def pay(self, step: Pay, via: SimulatedNode | None) -> bool:
        """A user signs a payment and says it to a node; False where too many are under way."""
        user = self.users[step.sender]
        if sum(1 for one in self.open.values() if one.transaction.sender == user.address) >= WINDOW:
            return False
        transfer = Transfer(self.users[step.recipient].address, step.amount)
        self._say(user, transfer, f"clients/{step.sender}", via)
        return True

    def vote(self, step: Vote, places: Places) -> bool:
        """A node's operator casts a membership vote with its key; False where one is under way."""
        voter, subject, standing = places.node(step.node), places.node(step.subject), step.standing
        if voter is None or subject is None:
            return False
        key = voter.signer
        if any(one.transaction.sender == key.address for one in self.open.values()):
            return False
        wished, name = STANDINGS_BY_NAME[standing], "" if standing == "out" else subject.name
        action = MembershipVote(subject.signer.address, wished, int(wished == VOTER), name)
        self._say(key, action, f"clients/{voter.name}", None)
        return True

    @property
    def votes_under_way(self) -> bool:
        return any(not one.transaction.transfers for one in self.open.values())

    @property
    def voted_height(self) -> int:
        """The highest block in which a membership vote took effect, as far as was answered."""
        heights = (height for one, height in self.acknowledged.values() if not one.transfers)
        return max(heights, default=0)

    def _say(self, key: SigningKey, action: Action, who: str, via: SimulatedNode | None) -> None:
        signed = self._signed.setdefault(key.address, [])
        draft = Transaction(key.address, len(signed), FEE, 0, 0, (action,))
        witness = key.sign(draft.signing_bytes(self._chain_id))
        transaction = msgspec.structs.replace(draft, witness=(witness,))
        signed.append(transaction)
        now_ms = self.world.now_ms
        rng = self.world.rng(f"{who}/{draft.nonce}")
        payment = Payment(transaction, now_ms, now_ms + _patience_ms(rng), rng)
        self.open[transaction.id] = payment
        self._send(payment, via)

    def hear_all(self) -> None:
        """No answer is lost any more."""
        self.lost_answers = 0

    def _any_node(self, rng: random.Random) -> SimulatedNode | None:
        """A client knows an address, not whether the node behind it works."""
        node = self.nodes[rng.randrange(len(self.nodes))]
        return node if node.core is not None and not node.paused else None

    def _send(self, payment: Payment, via: SimulatedNode | None = None) -> None:
        node = via if via is not None else self._any_node(payment.rng)
        if node is None or node.core is None or node.paused:
            return
        self.tell_submitted(payment.transaction, node)
        node.submit([payment.transaction])

    def tell_submitted(self, transaction: Transaction, node: SimulatedNode) -> None:
        """Tells the listeners what is about to be said to ``node``. Liars who pay users tell it
        too, since what they pay shows in balances."""
        for listener in self._listeners_of(transaction):
            listener.submitted(transaction, node, self.world.now_ms)

    def _listeners_of(self, transaction: Transaction) -> list[Listener]:
        """Histories are of payments."""
        return self.listeners if transaction.transfers else []

    def _look(self) -> None:
        self.world.after(LOOK_MS, self._look)
        if not self.open:
            return
        node = self._any_node(self._looks)
        lost = self.lost_answers and self._looks.randrange(1_000) < self.lost_answers
        if lost:
            self._findings.exercised["lost-answer"] += 1
        elif node is not None and node.is_honest:
            with node.store.looked_at():
                self._hear(node)
        for payment in list(self.open.values()):
            if payment.repeat_ms <= self.world.now_ms:
                payment.repeat_ms = self.world.now_ms + _patience_ms(payment.rng)
                payment.tries += 1
                self._findings.exercised["retries"] += 1
                self._send(payment)

    def _hear(self, node: SimulatedNode) -> None:
        ledger = node.running.ledger
        final = ledger.height(ledger.confirmed())
        if not ledger.finalizes:
            self._reopen(node)
        for txid, payment in list(self.open.items()):
            located = ledger.transaction(txid)
            if located is None and self._used_up(payment.transaction, ledger):
                del self.open[txid]
                self.acknowledged[txid] = (payment.transaction, final)
                self._findings.exercised["acknowledged_by_nonce"] += 1
                continue
            if located is None or located.height > final:
                continue
            del self.open[txid]
            self.acknowledged[txid] = (payment.transaction, located.height)
            if payment.transaction.transfers == ():
                self._findings.exercised["membership_votes"] += 1
            for listener in self._listeners_of(payment.transaction):
                code = "" if located.receipt is None else located.receipt.code
                listener.acknowledged(payment.transaction, located.height, code, self.world.now_ms)

    @staticmethod
    def _used_up(transaction: Transaction, ledger: Ledger) -> bool:
        """Whether a node that has pruned, and so may know the transaction no more, says by the
        sender's final nonce that it took effect: nothing else was signed for that nonce. When and
        how is not said. Where nothing is final some nodes prune nothing, and are asked in time."""
        if not ledger.finalizes or ledger.bodies_from <= 1:
            return False
        return ledger.account(transaction.sender, ledger.confirmed()).nonce > transaction.nonce

    def _reopen(self, node: SimulatedNode) -> None:
        """A deep reorganisation took a confirmed payment back: its nonce is free again, and later
        ones wait for it. So it is said again, like one that was never acknowledged."""
        now_ms = self.world.now_ms
        for address, signed in self._signed.items():
            for transaction in signed[node.running.ledger.account(address).nonce :]:
                if self.acknowledged.pop(transaction.id, None) is not None:
                    self._findings.exercised["acknowledged_then_reverted"] += 1
                    rng = self.world.rng(f"clients/{show_id(transaction.id)}/{now_ms}")
                    self.open[transaction.id] = Payment(transaction, now_ms, now_ms, rng)

    # ---------------------------------------------------------------------------- checking

    def check(
        self,
        node: SimulatedNode,
        body: Callable[[BlockId], Block | None] = lambda block: None,
        *,
        may_be_reverted: bool,
    ) -> None:
        """At the end, on one node's chain: what was acknowledged is there, and nothing twice.

        ``body``: of blocks that the node may have pruned.
        """
        ledger = node.running.ledger
        applied: dict[TxId, int] = {}
        blocks: list[Block] = []
        at = ledger.head()
        while at != ledger.chain_id:
            block = ledger.block(at) or body(at)
            assert block is not None, "nobody has a block of the head's branch"
            blocks.append(block)
            at = block.previous
        for block in reversed(blocks):
            height = block.height
            for transaction in block.transactions:
                if transaction.id in applied:
                    self._violated("applied-twice", transaction, node)
                applied[transaction.id] = height
        for txid, (transaction, _) in self.acknowledged.items():
            if txid not in applied:
                if may_be_reverted:
                    self._findings.exercised["acknowledged_then_reverted"] += 1
                else:
                    self._violated("acknowledged-lost", transaction, node)

    def _violated(self, checker: str, transaction: Transaction, node: SimulatedNode) -> None:
        what = f"{show_id(transaction.id)} (nonce {transaction.nonce}) in the chain of {node.name}"
        self._findings.violated(checker, what, self.world.now_ms)
