"""Liars below consensus: peers that boast, stall, poison, and clients that spend twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chain.proof import Proof
from chain.transaction import Transaction, Transfer
from moot.lab import liars_blocks
from moot.lab.liars import Liar, liar_kind
from moot.lab.liars_consensus import BYZANTINE
from moot.lab.liars_pow import WORK
from moot.lab.node import SimulatedNode
from p2p.wire import BlockBody, FinalityProof, GetBlocks, GetHeads, PeerMessage, Status

if TYPE_CHECKING:
    from moot.lab.run import Laboratory

BOAST = 10_000
"""Heights that a boaster claims beyond its own: more than a run ever has."""


@liar_kind("boaster", BYZANTINE, WORK)
class Boaster(Liar):
    """Claims a height and a weight that it never shows (CometBFT's CVE-2025-24371)."""

    def outgoing(self, key: bytes, message: PeerMessage) -> None:
        if isinstance(message, Status):
            message = Status(
                self.rng.randbytes(32),
                message.height + BOAST,
                message.finalized_height + BOAST,
                (1 << 200).to_bytes(26, "big"),
            )
        super().outgoing(key, message)

    def incoming(self, sender: bytes, message: PeerMessage) -> None:
        super().incoming(sender, message)
        if self.node.core is not None and self.rng.random() < 0.02:
            self.outgoing(sender, Status(bytes(32), 0, 0, b""))


@liar_kind("stalling-peer", BYZANTINE, WORK)
class StallingPeer(Liar):
    """Never answers who asks for heads or bodies."""

    def incoming(self, sender: bytes, message: PeerMessage) -> None:
        if not isinstance(message, (GetHeads, GetBlocks)):
            super().incoming(sender, message)


@liar_kind("poisoner", BYZANTINE, WORK)
class Poisoner(Liar):
    """Serves bodies that bear a good block's id and are none (CVE-2012-2459)."""

    def outgoing(self, key: bytes, message: PeerMessage) -> None:
        if isinstance(message, BlockBody):
            poisoned = liars_blocks.duplicated_leaf(message.block)
            if poisoned is not None:
                message = BlockBody(poisoned, message.proof)
        super().outgoing(key, message)


@liar_kind("proof-forger", BYZANTINE)
class ProofForger(Liar):
    """Serves blocks with proofs whose signatures are nobody's, and proofs of other blocks."""

    def outgoing(self, key: bytes, message: PeerMessage) -> None:
        if isinstance(message, BlockBody) and message.proof is not None:
            message = BlockBody(message.block, self._forged(message.proof))
        elif isinstance(message, FinalityProof):
            message = FinalityProof(message.block, self._forged(message.proof))
        super().outgoing(key, message)

    def _forged(self, proof: Proof) -> Proof:
        """The proof with some bytes of its end (a signature) changed."""
        body = bytearray(proof.body)
        body[-1 - self.rng.randrange(32)] ^= 1 << self.rng.randrange(8)
        return Proof(proof.engine, bytes(body))


@liar_kind("double-spender", BYZANTINE, WORK)
class DoubleSpender(Liar):
    """Its clients sign two payments of one nonce, more than they have, and for others."""

    def __init__(self, laboratory: Laboratory, node: SimulatedNode) -> None:
        super().__init__(laboratory, node)
        self._user = laboratory.cluster.thief
        self.world.after(self.rng.randint(500, 2_000), self._spend)

    def _spend(self) -> None:
        self.world.after(self.rng.randint(200, 2_000), self._spend)
        up = [one for one in self.laboratory.honest if one.core is not None and not one.paused]
        if not up:
            return
        first = self.rng.choice(up)
        second = self.rng.choice(up)
        ledger = first.running.ledger
        account = ledger.account(self._user.address)
        rich = account.balance // 10 * 9
        self._submit_signed(first, self._pay(account.nonce, rich, 0))
        self._submit_signed(second, self._pay(account.nonce, rich, 1))
        self._submit_signed(second, self._pay(account.nonce + 1, rich, 2))
        victim = self.laboratory.clients.users[0].address
        forged = Transaction(
            victim,
            ledger.account(victim).nonce,
            9_000,
            0,
            0,
            (Transfer(self._user.address, 1),),
            (self.rng.randbytes(64),),
        )
        self._submit(first, forged)

    def _submit_signed(self, node: SimulatedNode, transaction: Transaction) -> None:
        """What may take effect belongs to the clients' history; what is forged does not."""
        self.laboratory.clients.tell_submitted(transaction, node)
        self._submit(node, transaction)

    def _submit(self, node: SimulatedNode, transaction: Transaction) -> None:
        if node.core is not None:
            node.submit([transaction])

    def _pay(self, nonce: int, amount: int, which: int) -> Transaction:
        users = self.laboratory.clients.users
        draft = Transaction(
            self._user.address,
            nonce,
            2_000 + which,
            0,
            0,
            (Transfer(users[which % len(users)].address, amount),),
        )
        witness = self._user.sign(draft.signing_bytes(self.laboratory.chain_id))
        return msgspec.structs.replace(draft, witness=(witness,))
