"""Building and signing transactions, also on a machine without a network.

An *unsigned transaction file* is JSON: the chain's id, the transaction's canonical bytes in hex,
and a summary for people. The summary is made from the bytes, and a file whose summary says
something else is refused, so that nobody signs what they did not read. The signed result is the raw
transaction in hex, as POST /api/tx takes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from chain.address import KEY, POLICY, PREFIXES, Address
from chain.bech32m import show_address
from chain.codec import UINT63_MAX
from chain.errors import InvalidEncoding, InvalidTransaction
from chain.genesis import SUPPLY_MAX
from chain.hashing import parse_id, show_id
from chain.membership import shows
from chain.transaction import (
    ACTIONS_MAX,
    ATOMIC,
    BUNDLE,
    LEARNER,
    MEMO_SIZE_MAX,
    STANDINGS,
    TRANSACTION_SIZE_MAX,
    VOTER,
    Action,
    MembershipVote,
    Transaction,
    Transfer,
    parse_transaction,
)
from chain.validators import NAME_LENGTH_MAX, WEIGHT_MAX
from wallet.amounts import show_amount
from wallet.errors import WalletError
from wallet.keys import Key

UNSIGNED_FORMAT: Final = "moot-unsigned-transaction"
UNSIGNED_FILE_SIZE_MAX: Final = 512 * 1024
"""Bytes of an unsigned transaction file: the largest transaction in hex with its summary."""

_PLACEHOLDER: Final = (bytes(64),)
"""A witness as large as one signature, for computing sizes before signing."""


def minimum_fee(transaction_size: int, fee_per_kilobyte: int) -> int:
    """ceil(size * rate / 1000) base units: ``size`` in bytes, ``rate`` in base units per 1000."""
    return -(-transaction_size * fee_per_kilobyte // 1000)


def signed_size(transaction: Transaction) -> int:
    """Bytes that the transaction will have with the signature of one key."""
    return msgspec.structs.replace(transaction, witness=_PLACEHOLDER).size


def build(
    sender: Address,
    actions: Sequence[Action],
    nonce: int,
    *,
    fee: int | None = None,
    fee_per_kilobyte: int,
    expiry: int = 0,
    mode: int = ATOMIC,
) -> Transaction:
    """An unsigned transaction of one or more actions; ``fee`` None: the least that is enough.

    Amounts and fees are base units, ``expiry`` a height (0: never). Raises InvalidTransaction for
    numbers out of range, too many actions, or a transaction that would be too large.
    """
    if not 1 <= len(actions) <= ACTIONS_MAX:
        raise InvalidTransaction("action-count", f"a transaction has 1 to {ACTIONS_MAX} actions")
    if mode not in (ATOMIC, BUNDLE):
        raise InvalidTransaction("bad-mode", "the mode is 0 (atomic) or 1 (bundle)")
    _check_range("nonce", nonce, UINT63_MAX)
    _check_range("expiry", expiry, UINT63_MAX)
    _check_range("fee-rate", fee_per_kilobyte, SUPPLY_MAX)
    transaction = Transaction(sender, nonce, fee or 0, expiry, mode, tuple(actions))
    if fee is None:
        transaction = _with_least_fee(transaction, fee_per_kilobyte)
    _check_range("fee", transaction.fee, SUPPLY_MAX)
    size = signed_size(transaction)
    if size > TRANSACTION_SIZE_MAX:
        raise InvalidTransaction(
            "transaction-too-large", f"{size} bytes where at most {TRANSACTION_SIZE_MAX} may be"
        )
    return transaction


def _with_least_fee(transaction: Transaction, fee_per_kilobyte: int) -> Transaction:
    # A larger fee may take more bytes and so cost more; each step only grows, and the encoding of
    # an integer grows at most four times.
    while True:
        fee = minimum_fee(signed_size(transaction), fee_per_kilobyte)
        if fee <= transaction.fee:
            return transaction
        _check_range("fee", fee, SUPPLY_MAX)
        transaction = msgspec.structs.replace(transaction, fee=fee)


def _check_range(name: str, value: int, largest: int) -> None:
    if not 0 <= value <= largest:
        raise InvalidTransaction(f"bad-{name}", f"the {name} must be between 0 and {largest}")


def transfer(
    sender: Address,
    recipient: Address,
    amount: int,
    nonce: int,
    *,
    fee: int | None = None,
    fee_per_kilobyte: int,
    expiry: int = 0,
    memo: bytes = b"",
) -> Transaction:
    """An unsigned transfer of ``amount`` base units; see build for the rest."""
    return build(
        sender,
        (payment(recipient, amount, memo),),
        nonce,
        fee=fee,
        fee_per_kilobyte=fee_per_kilobyte,
        expiry=expiry,
    )


def payment(recipient: Address, amount: int, memo: bytes = b"") -> Transfer:
    """One transfer as an action; raises InvalidTransaction for numbers or memos out of range."""
    _check_range("amount", amount, SUPPLY_MAX)
    _check_address(recipient)
    if len(memo) > MEMO_SIZE_MAX:
        raise InvalidTransaction("memo-too-long", f"a memo has at most {MEMO_SIZE_MAX} bytes")
    return Transfer(recipient, amount, memo)


def membership_vote(
    subject: Address, standing: int, weight: int = 0, name: str = ""
) -> MembershipVote:
    """A wish for what ``subject`` should be; raises InvalidTransaction for what cannot count."""
    if len(subject) != 33 or subject[0] != KEY:
        raise InvalidTransaction("bad-subject", "a member's address is that of a key")
    if standing not in STANDINGS:
        raise InvalidTransaction("unknown-standing", "it votes for what Moot does not know")
    if standing == VOTER and not 1 <= weight <= WEIGHT_MAX:
        raise InvalidTransaction("bad-weight", f"a voter's weight is between 1 and {WEIGHT_MAX}")
    if standing != VOTER and weight:
        raise InvalidTransaction("bad-weight", "only a voter has a weight")
    if name and standing not in (LEARNER, VOTER):
        raise InvalidTransaction("bad-name", "only a member has a name")
    if len(name) > NAME_LENGTH_MAX or not shows(name):
        raise InvalidTransaction(
            "bad-name", f"a name has at most {NAME_LENGTH_MAX} characters, and all of them show"
        )
    return MembershipVote(subject, standing, weight, name)


def _check_address(address: Address) -> None:
    if len(address) != 33 or address[0] not in (KEY, POLICY):
        raise InvalidTransaction("bad-address", "an address is of a kind that Moot does not know")


def sign_transaction(transaction: Transaction, key: Key, chain_id: bytes) -> Transaction:
    """The transaction with its sender's signature, bound to one chain.

    Raises InvalidTransaction when ``key`` is not the sender's.
    """
    if transaction.sender != key.address:
        raise InvalidTransaction("wrong-key", "this key is not the sender's")
    signature = key.sign(transaction.signing_bytes(chain_id))
    return msgspec.structs.replace(transaction, witness=(signature,))


# --- offline signing ------------------------------------------------------------------------------


class UnsignedTransaction(NamedTuple):
    """What an unsigned transaction file holds; ``prefix`` is the network's address prefix."""

    transaction: Transaction
    chain_id: bytes
    prefix: str


class SummaryTransfer(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="transfer"):
    """A transfer for people: amounts in coins, memos as text where they are text."""

    recipient: str
    amount: str
    memo: str = ""


class SummaryMembershipVote(
    msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="membership-vote"
):
    """A membership vote for people; ``standing`` is one of STANDINGS' names."""

    subject: str
    standing: str
    weight: int
    name: str


SummaryAction = SummaryTransfer | SummaryMembershipVote


class Summary(msgspec.Struct, forbid_unknown_fields=True):
    """A transaction for people: addresses in bech32m, amounts in coins."""

    sender: str
    nonce: int
    fee: str
    expiry: int
    mode: str
    actions: list[SummaryAction]


class _UnsignedFile(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    version: int
    chain_id: str
    prefix: str
    transaction: str
    summary: Summary


def summarize(transaction: Transaction, prefix: str) -> Summary:
    """What a transaction does, for people. Raises InvalidTransaction for odd addresses."""
    _check_address(transaction.sender)
    return Summary(
        sender=show_address(transaction.sender, prefix),
        nonce=transaction.nonce,
        fee=show_amount(transaction.fee),
        expiry=transaction.expiry,
        mode="atomic" if transaction.mode == ATOMIC else "bundle",
        actions=[_summarize_action(action, prefix) for action in transaction.actions],
    )


def _summarize_action(action: Action, prefix: str) -> SummaryAction:
    if isinstance(action, MembershipVote):
        _check_address(action.subject)
        subject, standing = show_address(action.subject, prefix), STANDINGS.get(action.standing)
        if standing is None:
            raise InvalidTransaction("unknown-standing", "it votes for what Moot does not know")
        return SummaryMembershipVote(subject, standing, action.weight, action.name)
    _check_address(action.recipient)
    return SummaryTransfer(
        recipient=show_address(action.recipient, prefix),
        amount=show_amount(action.amount),
        memo=show_memo(action.memo),
    )


def show_memo(memo: bytes) -> str:
    """The memo as text where it is printable UTF-8, else as 0x and hex."""
    try:
        text = memo.decode()
    except UnicodeDecodeError:
        return "0x" + memo.hex()
    return text if text.isprintable() and not text.startswith("0x") else "0x" + memo.hex()


def write_unsigned(unsigned: UnsignedTransaction) -> str:
    """The text of an unsigned transaction file (JSON, ends with a line feed)."""
    transaction = msgspec.structs.replace(unsigned.transaction, witness=())
    document = _UnsignedFile(
        format=UNSIGNED_FORMAT,
        version=1,
        chain_id=show_id(unsigned.chain_id),
        prefix=unsigned.prefix,
        transaction=transaction.raw.hex(),
        summary=summarize(transaction, unsigned.prefix),
    )
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def read_unsigned(text: str) -> UnsignedTransaction:
    """What an unsigned transaction file holds.

    Raises WalletError for a file of another kind or one whose summary is not the transaction's,
    InvalidEncoding for a transaction that is none, InvalidTransaction for odd addresses in it.
    """
    if len(text) > UNSIGNED_FILE_SIZE_MAX:
        raise WalletError("unsigned-file-too-large", "the file is too large for a transaction")
    try:
        document = msgspec.json.decode(text.encode(), type=_UnsignedFile)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise WalletError(
            "malformed-unsigned-file", f"not an unsigned transaction: {error}"
        ) from None
    if document.format != UNSIGNED_FORMAT or document.version != 1:
        raise WalletError(
            "malformed-unsigned-file", f"not a file of the format {UNSIGNED_FORMAT}, version 1"
        )
    if document.prefix not in PREFIXES.values():
        raise WalletError("unknown-network", f"no network has the prefix {document.prefix!r}")
    transaction = parse_transaction(parse_hex(document.transaction))
    if transaction.witness:
        raise WalletError("already-signed", "the transaction in this file is signed already")
    if document.summary != summarize(transaction, document.prefix):
        raise WalletError(
            "false-summary", "the file's summary does not say what its transaction does"
        )
    return UnsignedTransaction(transaction, parse_id(document.chain_id), document.prefix)


def sign_unsigned(text: str, key: Key) -> str:
    """Raw hex of the signed transaction in an unsigned transaction file.

    Raises what read_unsigned and sign_transaction raise. Show the file's summary first.
    """
    unsigned = read_unsigned(text)
    return sign_transaction(unsigned.transaction, key, unsigned.chain_id).raw.hex()


def parse_hex(text: str) -> bytes:
    """Bytes of hex text without spaces; raises InvalidEncoding."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raise InvalidEncoding(
            "malformed-hex", "not hexadecimal digits, two for each byte"
        ) from None
    if len(raw) * 2 != len(text):
        raise InvalidEncoding("malformed-hex", "hexadecimal digits without spaces, please")
    return raw
