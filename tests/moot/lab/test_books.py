"""The naive ledger beside the nodes: it agrees with what is right, and names what is not."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from chain.address import Address
from chain.block import Block
from chain.execution import Receipt
from chain.hashing import BlockId
from chain.ledger import Ledger
from chain.state.accounts import Account
from chain.transaction import ATOMIC, Transaction, Transfer
from moot.lab.checkers import BookKeeper, Books
from moot.lab.cluster import Cluster
from moot.lab.mutants import find_mutant
from moot.lab.node import SimulatedNode
from moot.lab.report import Findings
from moot.node.eras import EraBook


def ran(engine: str, milliseconds: int) -> Cluster:
    cluster = Cluster(engine, 3, 4, mean_find_ms=400)
    cluster.start()
    cluster.load(60)
    cluster.run(milliseconds)
    return cluster


@pytest.fixture(scope="module")
def pbft() -> Cluster:
    return ran("pbft", 2_000)


def bodies(ledger: Ledger) -> Iterator[Block]:
    for height in range(1, ledger.height(ledger.confirmed()) + 1):
        block_id = ledger.id_at(height)
        block = None if block_id is None else ledger.block(block_id)
        assert block is not None
        yield block


def kept(cluster: Cluster) -> tuple[BookKeeper, Findings]:
    """The books of what the first node has confirmed."""
    findings, eras = Findings(), EraBook()
    keeper = BookKeeper(cluster.genesis, findings)
    ledger = cluster.nodes[0].running.ledger
    for block in bodies(ledger):
        rules = eras.rules_after(ledger, block.previous)
        keeper.append(block, rules.state_changes(block.head, ledger), 0)
    return keeper, findings


@pytest.mark.parametrize(("engine", "milliseconds"), [("pbft", 2_000), ("pow", 12_000)])
def test_every_nodes_main_chain_agrees_also_above_what_is_decided(
    engine: str, milliseconds: int
) -> None:
    cluster = ran(engine, milliseconds)
    keeper, findings = kept(cluster)
    heads = [node.running.ledger.height(node.running.ledger.head()) for node in cluster.nodes]
    assert keeper.books.height > 5
    assert engine == "pbft" or max(heads) > keeper.books.height, "there is something above"
    for node in cluster.nodes:
        keeper.compare(node)
    assert findings.violations == []


def test_the_past_of_an_account_can_be_looked_up() -> None:
    cluster = ran("pbft", 100)
    ledger = cluster.nodes[0].running.ledger
    seen: dict[int, list[tuple[int, int]]] = {}
    for _ in range(15):
        cluster.run(70)
        accounts = [ledger.account(user.address, ledger.confirmed()) for user in cluster.users]
        height = ledger.height(ledger.confirmed())
        seen[height] = [(account.nonce, account.balance) for account in accounts]
    assert len(seen) > 5
    books = kept(cluster)[0].books
    for height, values in seen.items():
        told = [books.account(user.address, height) for user in cluster.users]
        assert told == values, height
    assert books.account(bytes(33), 3) == (0, 0)


def test_a_copy_of_the_first_heights_is_what_the_books_were_then(pbft: Cluster) -> None:
    books = kept(pbft)[0].books
    copy = books.up_to(4)
    assert copy.height == 4
    for address in books.addresses():
        assert copy.account(address, 4) == books.account(address, 4)


class Told(Ledger):
    """A node's ledger that tells another story in one place."""

    def __init__(self, ledger: Ledger) -> None:
        self.__dict__.update(ledger.__dict__)
        self.true = ledger


class OtherReceipts(Told):
    def receipts(self, block: BlockId) -> tuple[Receipt, ...] | None:
        told = self.true.receipts(block)
        if told is None or block != self.true.id_at(3):
            return told
        return tuple(msgspec.structs.replace(one, code="no") for one in told)


class OtherBalance(Told):
    def account(self, address: Address, at: BlockId | None = None) -> Account:
        found = self.true.account(address, at)
        return msgspec.structs.replace(found, balance=found.balance + 1)


class OtherNonce(Told):
    def account(self, address: Address, at: BlockId | None = None) -> Account:
        found = self.true.account(address, at)
        return msgspec.structs.replace(found, nonce=found.nonce + 1)


@pytest.mark.parametrize(
    ("story", "sentence"),
    [
        (OtherReceipts, "n1, height 3: its receipts are"),
        (OtherBalance, "(nonce, balance) of"),
        (OtherNonce, "(nonce, balance) of"),
    ],
)
def test_a_node_that_tells_another_story_is_named(
    pbft: Cluster, monkeypatch: pytest.MonkeyPatch, story: type[Told], sentence: str
) -> None:
    keeper, findings = kept(pbft)
    node = pbft.nodes[1]
    monkeypatch.setattr(node.running, "ledger", story(node.running.ledger))
    keeper.compare(node)
    assert findings.violations
    assert {each.checker for each in findings.violations} == {"naive-ledger"}
    assert all(sentence in each.message for each in findings.violations)


class Gap(Told):
    """Without one body."""

    def block(self, block: BlockId) -> Block | None:
        return None if block == self.true.id_at(3) else self.true.block(block)


class Pruned(Gap):
    """Without it by right."""

    @property
    def bodies_from(self) -> int:
        return 4


@pytest.mark.parametrize(
    ("story", "told"), [(Gap, ["n1, height 3: its main chain has a gap"]), (Pruned, [])]
)
def test_a_missing_body_is_a_gap_unless_it_was_pruned(
    pbft: Cluster, monkeypatch: pytest.MonkeyPatch, story: type[Told], told: list[str]
) -> None:
    """To books that hold nothing yet, and so cannot tell what stood there."""
    findings = Findings()
    keeper = BookKeeper(pbft.genesis, findings)
    node = pbft.nodes[1]
    monkeypatch.setattr(node.running, "ledger", story(node.running.ledger))
    keeper.compare(node)
    assert [each.message for each in findings.violations] == told


def test_a_transaction_is_in_a_chain_once(pbft: Cluster) -> None:
    books = Books(pbft.genesis)
    first, second, *_ = bodies(pbft.nodes[0].running.ledger)
    books.append(first, ())
    again = msgspec.structs.replace(second, transactions=first.transactions)
    with pytest.raises(ValueError, match="is at height 1 already"):
        books.append(again, ())


def test_a_transaction_is_in_a_block_once(pbft: Cluster) -> None:
    first = next(bodies(pbft.nodes[0].running.ledger))
    ann, bob = pbft.users[0].address, pbft.users[1].address
    payment = Transaction(ann, 0, 10, 0, ATOMIC, (Transfer(bob, 5),))
    twice = msgspec.structs.replace(first, transactions=(payment, payment))
    with pytest.raises(ValueError, match="holds a transaction twice"):
        Books(pbft.genesis).append(twice, ())


def test_what_cannot_be_executed_ends_the_books_with_one_violation(pbft: Cluster) -> None:
    findings = Findings()
    keeper = BookKeeper(pbft.genesis, findings)
    first, second, *_ = bodies(pbft.nodes[0].running.ledger)
    keeper.append(second, (), 7)
    keeper.append(first, (), 8)
    keeper.compare(pbft.nodes[0])
    assert not keeper.is_sound
    (violation,) = findings.violations
    assert (violation.checker, violation.at_ms) == ("naive-ledger", 7)
    assert "does not follow" in violation.message


@pytest.mark.parametrize("name", ["payments-lost", "payments-doubled", "receipts-say-done"])
def test_what_all_nodes_do_wrong_together_is_found(name: str) -> None:
    """No other node, and no production code, would contradict them."""
    with find_mutant(name).apply():
        cluster = Cluster("pbft", 3, 4)
        cluster.start()
        if name == "receipts-say-done":
            pay_nothing(cluster, cluster.nodes[0])
        else:
            cluster.load(60)
        cluster.run(600)
        keeper, findings = kept(cluster)
        keeper.compare(cluster.nodes[0])
    assert {each.checker for each in findings.violations} == {"naive-ledger"}


def pay_nothing(cluster: Cluster, node: SimulatedNode) -> None:
    ann, bob = cluster.users[:2]
    draft = Transaction(ann.address, 0, 2_000, 0, 0, (Transfer(bob.address, 0),))
    witness = ann.sign(draft.signing_bytes(node.running.ledger.chain_id))
    assert node.submit([msgspec.structs.replace(draft, witness=(witness,))]) == [None]
