"""Signatures of transactions: what must verify, and what has verified already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from chain.address import KEY
from chain.errors import InvalidTransaction
from chain.hashing import TxId
from chain.signatures import Signed, Verifier
from chain.transaction import ChainId, Transaction

VERIFIED_MAX: Final = 200_000
"""Ids remembered: some minutes of full blocks, at about 100 bytes each."""
SIGNATURE_SIZE: Final = 64


class VerifiedSignatures:
    """Ids of transactions whose signatures were checked on this node: never check them twice.

    The id covers the witness, so that another signature means another id. When full it forgets
    the older half; the price of forgetting is one verification.
    """

    def __init__(self, size_max: int = VERIFIED_MAX) -> None:
        self._half = max(1, size_max // 2)
        self._young: set[TxId] = set()
        self._old: set[TxId] = set()

    def add(self, txid: TxId) -> None:
        if len(self._young) >= self._half:
            self._old, self._young = self._young, set()
        self._young.add(txid)

    def __contains__(self, txid: TxId) -> bool:
        return txid in self._young or txid in self._old

    def __len__(self) -> int:
        return len(self._young | self._old)


def signature_claim(transaction: Transaction, chain_id: ChainId) -> Signed:
    """What must verify for the transaction to be its sender's.

    Raises InvalidTransaction: "bad-sender-kind", "wrong-witness" (not exactly one signature).
    """
    if transaction.sender[0] != KEY:
        raise InvalidTransaction("bad-sender-kind", "only an address that is a key can send")
    witness = transaction.witness
    if len(witness) != 1 or len(witness[0]) != SIGNATURE_SIZE:
        raise InvalidTransaction("wrong-witness", "a key's transaction carries one signature")
    return Signed(transaction.sender[1:], transaction.signing_bytes(chain_id), witness[0])


def check_signatures(
    transactions: Sequence[Transaction],
    chain_id: ChainId,
    verifier: Verifier,
    verified: VerifiedSignatures,
) -> None:
    """One batch for all that were not checked before; the good ones are remembered.

    Raises InvalidTransaction ("wrong-witness", "bad-sender-kind", "bad-signature").
    """
    unknown = [transaction for transaction in transactions if transaction.id not in verified]
    if not unknown:
        return
    answers = verifier.verify([signature_claim(item, chain_id) for item in unknown])
    for transaction, good in zip(unknown, answers, strict=True):
        if good:
            verified.add(transaction.id)
    if not all(answers):
        raise InvalidTransaction("bad-signature", "a signature is not its sender's")
