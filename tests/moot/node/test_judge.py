"""Judging a chain offline: the same blocks stand or fall as in a node, proofs decide finality."""

from __future__ import annotations

import msgspec
import pytest

from chain.block import Block
from chain.errors import InvalidBlock, InvalidProof
from chain.genesis import Genesis
from chain.hashing import sha256
from chain.proof import Proof
from chain.storage import Store
from chain.storage.memory import MemoryStore
from chain.verifiers import default_verifier
from consensus.pow import PowParameters
from consensus.registry import parameter_list
from moot.node.judge import ChainJudge, block_at
from tests.support.chains import START_MS, address, make_block, make_genesis, transfer

NOW_MS = START_MS + 3_600_000
EASY = parameter_list(
    PowParameters(
        target_spacing_ms=1_000,
        initial_bits=0x207F_FFFF,
        pow_limit_bits=0x207F_FFFF,
        fixed_difficulty=1,
    )
)
PBFT = make_genesis(validators=1, engine="pbft")
POW = make_genesis(engine="pow", parameters=EASY)


def judge(genesis: Genesis = PBFT, store: Store | None = None) -> ChainJudge:
    return ChainJudge(store or MemoryStore(), genesis, default_verifier())


def next_block(judge: ChainJudge, parent: bytes, *, signed: bool = True, tag: int = 0) -> Block:
    """A PBFT child of ``parent`` with one payment, made by the only validator."""
    ledger = judge.ledger
    payment = transfer(ledger.chain_id, 2, 3, 5, ledger.height(parent), signed=signed)
    return make_block(ledger, parent, [payment], producer=address(0), tag=tag)


def mined(judge: ChainJudge, parent: bytes, producer: int = 0) -> Block:
    """A proof-of-work child of ``parent``: the easiest target, a few tries."""
    from chain.changes import Mint

    ledger = judge.ledger
    height = ledger.height(parent) + 1
    change = Mint(address(producer), 50 * 10**8, height + 100)
    block = make_block(ledger, parent, changes=(change,), producer=address(producer))
    header = msgspec.structs.replace(block.header, bits=0x207F_FFFF)
    for nonce in range(1_000):
        candidate = msgspec.structs.replace(header, nonce=nonce)
        if int.from_bytes(candidate.id, "little") <= 0x7F_FFFF << 232:
            return Block(candidate, block.manifest, block.transactions)
    raise AssertionError("no work found")


def test_a_block_without_a_proof_is_executed_but_not_final() -> None:
    court = judge()
    block = next_block(court, court.ledger.head())
    assert court.take(block, None, NOW_MS)
    assert not court.take(block, None, NOW_MS), "known by now"
    assert court.top() == 0 and court.ledger.knows(block.id)


def test_a_proof_that_proves_nothing_is_refused_and_the_block_named() -> None:
    court = judge()
    block = next_block(court, court.ledger.head())
    with pytest.raises(InvalidProof, match="at height 1: its proof: "):
        court.take(block, Proof("pbft", b"nonsense"), NOW_MS)
    with pytest.raises(InvalidProof, match="a proof of pow, not pbft"):
        court.take(block, Proof("pow", b""), NOW_MS)
    assert court.top() == 0


def test_what_a_node_refuses_is_refused() -> None:
    court = judge()
    head = court.ledger.head()
    forged = next_block(court, head, signed=False)
    with pytest.raises(InvalidBlock, match="at height 1") as caught:
        court.take(forged, None, NOW_MS)
    assert caught.value.code == "bad-signature"
    stranger = make_block(court.ledger, head, producer=address(9))
    with pytest.raises(InvalidBlock) as caught:
        court.take(stranger, None, NOW_MS)
    assert caught.value.code == "not-a-validator"
    good = next_block(court, head)
    wrong = msgspec.structs.replace(good.manifest, state_root=sha256(b"another"))
    from tests.support.chains import assemble

    with pytest.raises(InvalidBlock) as caught:
        court.take(assemble(wrong, head, good.transactions), None, NOW_MS)
    assert caught.value.code == "wrong-state-root"
    unlinked = next_block(court, head)
    header = msgspec.structs.replace(unlinked.header, previous=sha256(b"nowhere"))
    with pytest.raises(InvalidBlock) as caught:
        court.take(Block(header, unlinked.manifest, unlinked.transactions), None, NOW_MS)
    assert caught.value.code == "unknown-parent"


def test_where_nothing_is_final_the_heaviest_branch_is_the_head() -> None:
    court = judge(POW)
    genesis = court.ledger.head()
    short = mined(court, genesis)
    assert court.take(short, None, NOW_MS) and court.top() == 1
    first = mined(court, genesis, producer=1)
    assert court.take(first, None, NOW_MS)
    assert court.ledger.head() == short.id, "no heavier than what came first"
    second = mined(court, first.id, producer=1)
    assert court.take(second, None, NOW_MS)
    assert court.ledger.head() == second.id and court.top() == 2


def test_work_and_time_are_judged_too() -> None:
    court = judge(POW)
    block = mined(court, court.ledger.head())
    lazy = msgspec.structs.replace(block.header, bits=0x1D00_FFFF)
    with pytest.raises(InvalidBlock) as caught:
        court.take(Block(lazy, block.manifest), None, NOW_MS)
    assert caught.value.code == "insufficient-work"
    early = judge(POW)
    with pytest.raises(InvalidBlock) as caught:
        early.take(block, None, START_MS - 86_400_000)
    assert caught.value.code == "from-the-future"


def test_a_restart_takes_up_what_the_store_holds() -> None:
    store = MemoryStore()
    court = judge(POW, store)
    parent = court.ledger.head()
    for _ in range(3):
        block = mined(court, parent)
        court.take(block, None, NOW_MS)
        parent = block.id
    again = judge(POW, store.reopen())
    assert again.top() == 0
    again.restore(NOW_MS)
    assert again.ledger.head() == parent and again.top() == 3
    assert block_at(again.ledger, 3) == (block, None)
    with pytest.raises(KeyError):
        block_at(again.ledger, 4)
