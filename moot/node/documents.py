"""Proofs as JSON documents, made by a node and checked by anyone, offline (``moot verify``).

A document holds all that is needed: the genesis from which the chain's id follows, the block's
head, and what shows it final. What cannot be seen offline is said: which chain is the right one
(compare the chain id), and under proof of work whether a heavier branch exists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import msgspec

from chain import codec
from chain.address import Address
from chain.bech32m import parse_address, show_address
from chain.block import BlockHead
from chain.errors import Invalid, InvalidBlock, InvalidProof
from chain.genesis import Genesis, era_at
from chain.genesis_file import genesis_from_json
from chain.hashing import show_id
from chain.ledger import VerifiedSignatures, check_signatures, genesis_block
from chain.merkle import BRANCH_LENGTH_MAX, root_from_branch
from chain.proof import Proof
from chain.signatures import Verifier
from chain.state.accounts import Account, account_key
from chain.state.proofs import StateProof
from chain.state.tree import verify_state_proof
from chain.transaction import STANDINGS, MembershipVote, Transaction, Transfer, parse_transaction
from chain.validators import ValidatorSet
from consensus import registry
from consensus.contract import Attestation, Rules, WorkRules
from moot.node.gate import check_attestations

DOCUMENT_SIZE_MAX = 16 * 1024 * 1024
CONFIRMATIONS_MAX = 100
"""Heads on top that a document may carry."""

SET_CHANGES_MAX = 5_000
"""Changes of the validator set that a document may lead through: what its bytes have room for."""

HexText = Annotated[str, msgspec.Meta(max_length=DOCUMENT_SIZE_MAX)]


class SetChange(msgspec.Struct, forbid_unknown_fields=True):
    """A final block whose children another set decides; encodings, hex.

    ``proof`` shows ``head`` final under the set before it; ``validators`` is the set after it, to
    which the head commits.
    """

    head: HexText
    proof: HexText
    validators: HexText


class BlockProof(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Shows a block final. ``head``, ``proof``, ``validators``, ``confirmations``: encodings, hex.

    ``confirmations``: heads on top. ``proof`` is of the last of them, and so shows all below it; of
    the block itself where there are none. ``proof`` null: a chain that finalizes nothing; the heads
    on top are all there is to show. ``set_changes``: how the set that decided the proven block
    follows from the genesis set, lowest first; ``validators`` is that set.
    """

    format: Literal["moot-block-proof"] = "moot-block-proof"
    engine: str
    chain_id: str
    genesis: dict[str, Any]
    head: HexText
    proof: HexText | None
    validators: HexText
    confirmations: Annotated[list[HexText], msgspec.Meta(max_length=CONFIRMATIONS_MAX)] = []
    set_changes: Annotated[list[SetChange], msgspec.Meta(max_length=SET_CHANGES_MAX)] = []


class TransactionProof(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Shows that a transaction is in a block (Merkle branch, lowest sibling first, plain hex)."""

    format: Literal["moot-transaction-proof"] = "moot-transaction-proof"
    transaction: HexText
    position: Annotated[int, msgspec.Meta(ge=1, le=2**31)]
    branch: Annotated[list[HexText], msgspec.Meta(max_length=BRANCH_LENGTH_MAX)]
    block: BlockProof


class AccountProof(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Shows an account's balance and nonce (or that there is none) after a block."""

    format: Literal["moot-account-proof"] = "moot-account-proof"
    address: str
    account: dict[str, int] | None
    state_proof: HexText
    block: BlockProof


class Verdict(msgspec.Struct):
    """What a document proves, in plain sentences."""

    chain_id: str
    height: int
    block: str
    proves: list[str]
    assumes: list[str]


def verify_document(raw: bytes, verifier: Verifier) -> Verdict:
    """Checks a proof document. Raises Invalid with a sentence where it proves nothing."""
    if len(raw) > DOCUMENT_SIZE_MAX:
        raise InvalidProof("too-large", f"a document has at most {DOCUMENT_SIZE_MAX} bytes")
    try:
        kind = msgspec.json.decode(raw, type=_Format).format
        checks: dict[str, Callable[[bytes, Verifier], Verdict]] = {
            "moot-block-proof": _verify_block_document,
            "moot-transaction-proof": _verify_transaction_document,
            "moot-account-proof": _verify_account_document,
        }
        if kind not in checks:
            raise InvalidProof("unknown-format", f"no proof document has the format {kind!r}")
        return checks[kind](raw, verifier)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidProof("malformed", f"not a proof document: {error}") from None


class _Format(msgspec.Struct):
    format: str


def _verify_block_document(raw: bytes, verifier: Verifier) -> Verdict:
    return _verify_block(msgspec.json.decode(raw, type=BlockProof), verifier)[0]


def _verify_transaction_document(raw: bytes, verifier: Verifier) -> Verdict:
    document = msgspec.json.decode(raw, type=TransactionProof)
    verdict, head, genesis = _verify_block(document.block, verifier)
    transaction = parse_transaction(_bytes(document.transaction, "transaction"))
    branch = [_bytes(text, "branch") for text in document.branch]
    if any(len(sibling) != 32 for sibling in branch):
        raise InvalidProof("malformed", "a Merkle branch consists of 32-byte hashes")
    if document.position >> len(branch):
        raise InvalidProof("bad-position", "the position does not fit the branch's length")
    if root_from_branch(transaction.id, branch, document.position) != head.header.merkle_root:
        raise InvalidProof("not-in-block", "the transaction is not in the block")
    check_signatures([transaction], genesis_block(genesis).id, verifier, VerifiedSignatures())
    verdict.proves.append(
        f"transaction {show_id(transaction.id)} is number {document.position} in that block: "
        + _describe(transaction, genesis)
    )
    return verdict


def _verify_account_document(raw: bytes, verifier: Verifier) -> Verdict:
    document = msgspec.json.decode(raw, type=AccountProof)
    verdict, head, genesis = _verify_block(document.block, verifier)
    address = parse_address(document.address, genesis.prefix)
    proof = codec.decode(_bytes(document.state_proof, "state_proof"), StateProof)
    value = verify_state_proof(head.manifest.state_root, account_key(address), proof)
    claimed = document.account
    if value is None:
        if claimed is not None:
            raise InvalidProof("other-account", "the proof shows that there is no such account")
        verdict.proves.append(
            f"after that block {document.address} has no account: it owns nothing"
        )
        return verdict
    account = codec.decode(value, Account)
    if claimed != {"nonce": account.nonce, "balance": account.balance}:
        raise InvalidProof("other-account", "the document claims other values than it proves")
    verdict.proves.append(
        f"after that block {document.address} has {account.balance} base units and nonce "
        f"{account.nonce}"
    )
    return verdict


def _verify_block(document: BlockProof, verifier: Verifier) -> tuple[Verdict, BlockHead, Genesis]:
    genesis = genesis_from_json(msgspec.json.encode(document.genesis).decode())
    chain_id = genesis_block(genesis).id
    if show_id(chain_id) != document.chain_id:
        raise InvalidProof("other-chain", "the chain id does not follow from the genesis given")
    head = codec.decode(_bytes(document.head, "head"), BlockHead)
    head.check_branch()
    era = era_at(genesis.eras, head.height)
    if era.engine != document.engine:
        raise InvalidProof("other-engine", f"at that height the chain runs {era.engine}")
    try:
        rules = registry.protocol(era.engine).rules(registry.era_parameters(era))
    except (registry.UnknownEngine, ValueError) as error:
        raise InvalidProof("unknown-engine", str(error)) from None
    verdict = Verdict(
        show_id(chain_id),
        head.height,
        show_id(head.id),
        [],
        [f"that the chain you mean is {show_id(chain_id)}"],
    )
    if head.height == 0:
        if head.id != chain_id:
            raise InvalidProof("other-chain", "not the genesis block of this chain")
        verdict.proves.append("the block is the chain's genesis")
    elif document.proof is None:
        _confirmations(document, head, rules, verdict)
    else:
        _finality(document, head, genesis, rules, chain_id, verifier, verdict)
    return verdict, head, genesis


def _finality(
    document: BlockProof,
    head: BlockHead,
    genesis: Genesis,
    rules: Rules,
    chain_id: bytes,
    verifier: Verifier,
    verdict: Verdict,
) -> None:
    assert document.proof is not None
    check = partial(_check_final, rules, document.engine, chain_id, verifier)
    run = [head, *_heads_above(document, head)]
    top = run[-1]
    if era_at(genesis.eras, top.height).engine != document.engine:
        raise InvalidProof("other-engine", f"at height {top.height} another engine runs")
    validators, below = genesis.validator_set, 0
    for change in document.set_changes:
        changed = _head_of_change(change, below, top.height, genesis, document.engine)
        check(changed, change.proof, validators)
        validators, below = _set_of(change.validators), changed.height
        if validators.hash != changed.manifest.next_validators:
            raise InvalidProof(
                "other-validators", f"the head at height {below} commits to another set"
            )
    if _set_of(document.validators).hash != validators.hash:
        raise InvalidProof(
            "other-validators",
            "nothing shows that the certificate's validators follow from those of the genesis",
        )
    if len(run) > 1 and run[-2].manifest.next_validators != validators.hash:
        raise InvalidProof("other-validators", "the heads on top commit to another set")
    attestations = check(top, document.proof, validators)
    if document.set_changes:
        verdict.proves.append(
            f"its validators follow from those of the genesis by {len(document.set_changes)} "
            "changes, each final under the set before it"
        )
        verdict.assumes.append(
            "that no quorum of a former set has signed for another chain since it left"
        )
    signed = f"{len(attestations)} of {len(validators)} validators signed for "
    if top is head:
        signed += "it"
    else:
        signed += f"block {show_id(top.id)} at height {top.height}, which stands on it"
    verdict.proves.append(f"block {show_id(head.id)} at height {head.height} is final: {signed}")
    verdict.assumes.append(f"that {rules.properties.needs}")


def _check_final(
    rules: Rules,
    engine: str,
    chain_id: bytes,
    verifier: Verifier,
    head: BlockHead,
    text: str,
    validators: ValidatorSet,
) -> Sequence[Attestation]:
    """The attestations of a proof that shows ``head`` final under a set. Raises InvalidProof."""
    proof = codec.decode(_bytes(text, "proof"), Proof)
    if proof.engine != engine:
        raise InvalidProof("other-engine", f"a proof of {proof.engine}, not {engine}")
    attestations = rules.check_proof(chain_id, head, proof, validators)
    if not check_attestations(chain_id, engine, attestations, verifier):
        raise InvalidProof("bad-signature", "a signature in the certificate does not verify")
    return attestations


def _head_of_change(
    change: SetChange, below: int, above: int, genesis: Genesis, engine: str
) -> BlockHead:
    """The head of one change, between the one before and the block. Raises InvalidProof."""
    head = codec.decode(_bytes(change.head, "head"), BlockHead)
    head.check_branch()
    if not below < head.height < above:
        raise InvalidProof(
            "unordered-changes", f"a change at height {head.height} is not in its place"
        )
    if era_at(genesis.eras, head.height).engine != engine:
        raise InvalidProof("other-engine", f"at height {head.height} another engine runs")
    return head


def _set_of(text: str) -> ValidatorSet:
    return codec.decode(_bytes(text, "validators"), ValidatorSet)


def _confirmations(document: BlockProof, head: BlockHead, rules: Rules, verdict: Verdict) -> None:
    if rules.properties.finalizes or not isinstance(rules, WorkRules):
        raise InvalidProof("no-proof", "the document holds no proof that the block is final")
    work = sum(_work(each, rules) for each in [head, *_heads_above(document, head)])
    verdict.proves.append(
        f"block {show_id(head.id)} at height {head.height} has {len(document.confirmations)} "
        f"blocks on top; finding them all takes about {work} hashes"
    )
    verdict.assumes.append(
        "that no heavier branch exists and that its difficulty is the chain's: ask several nodes"
    )


def _heads_above(document: BlockProof, head: BlockHead) -> list[BlockHead]:
    """The heads on top of ``head``, lowest first. Raises Invalid unless each stands on the last."""
    found: list[BlockHead] = []
    for text in document.confirmations:
        above = codec.decode(_bytes(text, "confirmations"), BlockHead)
        if above.previous != head.id or above.height != head.height + 1:
            raise InvalidProof("not-linked", "the confirming heads do not follow from each other")
        above.check_branch()
        found.append(above)
        head = above
    return found


def _work(head: BlockHead, rules: WorkRules) -> int:
    target = rules.target(head.header.bits)
    if int.from_bytes(head.id, "little") > target:
        raise InvalidBlock("high-hash", f"the header at height {head.height} lacks the work")
    return 2**256 // (target + 1)


def _describe(transaction: Transaction, genesis: Genesis) -> str:
    def show(address: Address) -> str:
        return show_address(address, genesis.prefix)

    parts = []
    for action in transaction.actions:
        match action:
            case Transfer():
                parts.append(f"pays {action.amount} base units to {show(action.recipient)}")
            case MembershipVote():
                standing = STANDINGS.get(action.standing, f"standing {action.standing}")
                parts.append(f"votes for {show(action.subject)}: {standing}")
    return f"{show(transaction.sender)} " + ", ".join(parts)


def _bytes(text: str, field: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InvalidProof("malformed", f"{field} is not hexadecimal") from None


__all__ = [
    "DOCUMENT_SIZE_MAX",
    "AccountProof",
    "BlockProof",
    "Invalid",
    "SetChange",
    "TransactionProof",
    "Verdict",
    "verify_document",
]
