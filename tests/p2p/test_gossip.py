"""Transaction gossip: every body once, pushed to a producer only, everything bounded."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.hashing import TxId
from chain.transaction import Transaction, Transfer
from p2p import gossip as rules
from p2p.actions import Action, Misbehaved, PeerKey, SendTo, TransactionsReceived
from p2p.gossip import TransactionGossip
from p2p.wire import (
    INVENTORY_MAX,
    KILOBYTE,
    AnnounceTransactions,
    GetTransactions,
    PeerMessage,
    PushTransactions,
    Transactions,
    encode_frame,
)

A, B, C = (name * 32 for name in (b"a", b"b", b"c"))


def transaction(number: int, memos: int = 0) -> Transaction:
    actions = tuple(Transfer(bytes(33), number, b"m" * 250) for _ in range(max(memos, 1)))
    return Transaction(bytes(33), number, 1_000, 0, 0, actions, (bytes(64),))


class Node:
    """Gossip with a pool that accepts whatever comes, or (``refuse``) nothing."""

    def __init__(self, net: Net, key: PeerKey) -> None:
        self.net = net
        self.key = key
        self.pool: dict[TxId, Transaction] = {}
        self.refuse: Callable[[Transaction], bool] = lambda transaction: False
        self.bodies: Counter[TxId] = Counter()
        self.reported: dict[PeerKey, list[str]] = defaultdict(list)
        self.gossip = TransactionGossip(self.pool.__contains__, self._raw, lambda: list(self.pool))

    def _raw(self, identifier: TxId) -> bytes | None:
        found = self.pool.get(identifier)
        return None if found is None else found.raw

    def submit(self, *transactions: Transaction) -> None:
        for each in transactions:
            self.pool[each.id] = each
        self.do(self.gossip.announce([each.id for each in transactions], self.net.now_ms))

    def do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case SendTo(peer, message):
                    self.net.send(self.key, peer, message)
                case Misbehaved(peer, reason):
                    self.reported[peer].append(reason)
                case TransactionsReceived(peer, transactions):
                    taken = [each for each in transactions if not self.refuse(each)]
                    for each in taken:
                        self.pool[each.id] = each
                    self.do(
                        self.gossip.announce([t.id for t in taken], self.net.now_ms, source=peer)
                    )

    def receive(self, sender: PeerKey, message: PeerMessage) -> None:
        now = self.net.now_ms
        match message:
            case AnnounceTransactions():
                self.do(self.gossip.on_announce(sender, message, now))
            case GetTransactions():
                self.do(self.gossip.on_get(sender, message, now))
            case Transactions():
                self.do(self.gossip.on_transactions(sender, message, now))
            case PushTransactions():
                self.do(self.gossip.on_push(sender, message, now))


class Net:
    """Links with delay and jitter; counts what crosses them."""

    def __init__(self, seed: int = 1, delay_ms: int = 10, jitter_ms: int = 1) -> None:
        self.now_ms = 0
        self.rng = random.Random(seed)
        self.delay_ms = delay_ms
        self.jitter_ms = jitter_ms
        self.nodes: dict[PeerKey, Node] = {}
        self.links: dict[tuple[PeerKey, PeerKey], None] = {}
        self.mute: dict[PeerKey, type[PeerMessage]] = {}
        self.loss = 0.0
        self.bodies: Counter[tuple[PeerKey, PeerKey, TxId]] = Counter()
        self.announced = 0
        self.largest_frame = 0
        self._queue: list[tuple[int, int, PeerKey, PeerKey, PeerMessage]] = []
        self._count = itertools.count()

    def node(self, key: PeerKey) -> Node:
        node = self.nodes[key] = Node(self, key)
        return node

    def link(self, left: Node, right: Node) -> None:
        self.links[(left.key, right.key)] = self.links[(right.key, left.key)] = None
        left.do(left.gossip.joined(right.key, self.now_ms))
        right.do(right.gossip.joined(left.key, self.now_ms))

    def unlink(self, left: Node, right: Node) -> None:
        for one, other in ((left, right), (right, left)):
            del self.links[(one.key, other.key)]
            one.do(one.gossip.left(other.key, self.now_ms))

    def send(self, sender: PeerKey, to: PeerKey, message: PeerMessage) -> None:
        muted = self.mute.get(sender)
        if (muted is not None and isinstance(message, muted)) or (sender, to) not in self.links:
            return
        self.largest_frame = max(self.largest_frame, len(encode_frame(message)))
        if self.rng.random() < self.loss:
            return
        due_ms = self.now_ms + self.delay_ms + self.rng.randrange(self.jitter_ms)
        heapq.heappush(self._queue, (due_ms, next(self._count), sender, to, message))

    def run(self, milliseconds: int) -> None:
        for _ in range(milliseconds // 20):
            end_ms = self.now_ms + 20
            while self._queue and self._queue[0][0] <= end_ms:
                self.now_ms, _, sender, to, message = heapq.heappop(self._queue)
                if (sender, to) not in self.links:
                    continue
                if isinstance(message, AnnounceTransactions):
                    self.announced += len(message.ids)
                if isinstance(message, (Transactions, PushTransactions)):
                    for raw in message.bodies:
                        identifier = rules.parse_transaction(raw).id
                        self.bodies[(sender, to, identifier)] += 1
                        self.nodes[to].bodies[identifier] += 1
                self.nodes[to].receive(sender, message)
            self.now_ms = end_ms
            for node in self.nodes.values():
                node.do(node.gossip.tick(self.now_ms))


def graph(net: Net, count: int, degree: int) -> list[Node]:
    """Connected at random: each node links to up to ``degree`` earlier ones."""
    nodes = [net.node(bytes([65 + index]) * 32) for index in range(count)]
    for index, node in enumerate(nodes):
        for other in net.rng.sample(nodes[:index], min(index, degree)):
            net.link(node, other)
    return nodes


def test_each_node_receives_each_body_exactly_once() -> None:
    net = Net(seed=7, jitter_ms=40)
    nodes = graph(net, 10, 3)
    sent = [transaction(number) for number in range(600)]
    for start in range(0, 600, 6):
        nodes[net.rng.randrange(10)].submit(*sent[start : start + 6])
        net.run(20)
    net.run(2_000)
    for node in nodes:
        assert len(node.pool) == 600 and node.reported == {}
        assert all(count == 1 for count in node.bodies.values())
        counts = node.gossip.counts()
        assert counts["wanted"] == counts["in_flight"] == counts["outbox"] == 0
    assert sum(net.bodies.values()) == 600 * 9, "one body for each node that lacked it"
    assert max(net.bodies.values()) == 1, "never twice to one peer"
    links = len(net.links) // 2
    assert net.announced <= 600 * 2 * links, "an id crosses a link once in each direction at most"


def test_an_idle_link_announces_at_once_and_a_busy_one_in_batches() -> None:
    left = TransactionGossip(lambda i: False, lambda i: b"here")
    left.joined(B, 0)
    ids = [bytes([n]) * 32 for n in range(250)]
    assert left.announce(ids[:1], 100) == [SendTo(B, AnnounceTransactions((ids[0],)))]
    assert left.announce(ids[1:2], 101) == []
    assert left.announce(ids[2:3], 110) == []
    assert left.tick(119) == []
    assert left.tick(120) == [SendTo(B, AnnounceTransactions((ids[1], ids[2])))]
    assert left.announce(ids[3:202], 121) == []
    flushed = left.announce(ids[202:203], 122)  # the 200th does not wait
    assert flushed == [SendTo(B, AnnounceTransactions(tuple(ids[3:203])))]
    assert left.announce(ids[:203], 500) == []  # known by now


def test_what_a_block_took_meanwhile_is_announced_only_once_it_is_given_back() -> None:
    pool = {bytes([n]) * 32: b"here" for n in range(4)}
    first, *others = pool
    left = TransactionGossip(lambda i: True, pool.get)
    left.joined(B, 0)
    left.announce([first], 100)
    assert left.announce(others, 101) == [], "they wait for the next batch"
    raw = pool.pop(others[1])
    assert left.tick(120) == [SendTo(B, AnnounceTransactions((others[0], others[2])))]
    pool[others[1]] = raw  # the block lost to another branch
    assert left.announce([others[1]], 200) == [SendTo(B, AnnounceTransactions((others[1],)))]
    assert left.announce(others, 300) == [], "now the peer knows all"


def test_a_peer_that_joins_is_told_what_the_pool_holds() -> None:
    net = Net()
    left, right = net.node(A), net.node(B)
    left.submit(*[transaction(number) for number in range(2_500)])
    net.link(left, right)
    net.run(1_000)
    assert len(right.pool) == 2_500
    assert left.reported == {} and right.reported == {}


def test_no_frame_of_bodies_reaches_256_kilobytes() -> None:
    net = Net()
    left, right = net.node(A), net.node(B)
    large = [transaction(number, memos=90) for number in range(300)]
    left.submit(*large, *[transaction(number) for number in range(1_000, 1_900)])
    net.link(left, right)
    net.run(100)
    gone = [each.id for each in large[:50]]  # mined meanwhile
    for identifier in gone:
        left.pool.pop(identifier)
    net.run(4_000)
    assert len(right.pool) >= 1_150
    assert net.largest_frame < 256 * KILOBYTE


def test_a_large_answer_is_spread_over_ticks() -> None:
    body = transaction(1, memos=90).raw
    left = TransactionGossip(lambda i: True, lambda i: body)
    left.joined(B, 0)
    ids = tuple(number.to_bytes(32, "big") for number in range(1_000))
    sent = sum(
        len(raw)
        for action in left.on_get(B, GetTransactions(ids), 0)
        if isinstance(action, SendTo) and isinstance(action.message, Transactions)
        for raw in action.message.bodies
    )
    assert rules.SERVE_BURST_BYTES <= sent <= rules.SERVE_BURST_BYTES + len(body)
    assert left.tick(20) != []
    more = tuple(number.to_bytes(32, "big") for number in range(1_000, 2_000))
    assert Misbehaved(B, "too-many-requests") in left.on_get(B, GetTransactions(more), 21) + (
        left.on_get(B, GetTransactions(more), 22)
    )


def test_a_body_is_not_sent_twice_to_one_peer() -> None:
    one = transaction(1)
    left = TransactionGossip(lambda i: True, lambda i: one.raw)
    left.joined(B, 0)
    ask = GetTransactions((one.id,))
    assert left.on_get(B, ask, 0) == [SendTo(B, Transactions((one.raw,)))]
    assert left.on_get(B, ask, 9) == [SendTo(B, Transactions((), (one.id,)))]
    left.joined(B, 20)  # a new link, a new life
    assert left.on_get(B, ask, 30) == [SendTo(B, Transactions((one.raw,)))]


def test_a_silent_announcer_is_replaced_after_the_timeout() -> None:
    net = Net()
    left, silent, good = net.node(A), net.node(B), net.node(C)
    net.mute[silent.key] = Transactions
    net.link(left, silent)
    net.link(left, good)
    one = transaction(1)
    silent.submit(one)
    net.run(100)
    good.submit(one)
    net.run(1_500)
    assert one.id not in left.pool
    net.run(1_000)
    assert one.id in left.pool and left.reported == {}


def test_an_announcer_that_leaves_is_replaced_at_once() -> None:
    net = Net()
    left, silent, good = net.node(A), net.node(B), net.node(C)
    net.mute[silent.key] = Transactions
    net.link(left, silent)
    net.link(left, good)
    one = transaction(1)
    silent.submit(one)
    net.run(100)
    good.submit(one)
    net.run(100)
    net.unlink(left, silent)
    net.run(60)
    assert one.id in left.pool


def test_a_peer_that_announces_and_never_delivers_is_reported() -> None:
    net = Net()
    left, silent = net.node(A), net.node(B)
    net.mute[silent.key] = Transactions
    net.link(left, silent)
    for number in range(10):
        silent.submit(transaction(number))
        net.run(1_000)
    assert left.reported[silent.key] == ["undelivered"]
    net.run(3_000)
    assert left.gossip.counts()["in_flight"] == 0


def test_a_peer_that_announces_what_it_has_not_is_reported() -> None:
    left = TransactionGossip(lambda i: False, lambda i: None)
    left.joined(B, 0)
    reports: list[Action] = []
    for turn in range(5):
        ids = tuple((turn * 1_000 + n).to_bytes(32, "big") for n in range(INVENTORY_MAX))
        actions = left.on_announce(B, AnnounceTransactions(ids), turn)
        while actions:
            asked = [
                action.message.ids
                for action in actions
                if isinstance(action, SendTo) and isinstance(action.message, GetTransactions)
            ]
            actions = []
            for listed in asked:
                actions += left.on_transactions(B, Transactions((), listed), turn)
            reports += [action for action in actions if isinstance(action, Misbehaved)]
    assert Misbehaved(B, "undelivered") in reports


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Transactions((transaction(5).raw,)), "unsolicited"),
        (Transactions((b"\x90",)), "invalid-transaction-encoding"),
        (Transactions((transaction(5).raw + b"\0",)), "invalid-transaction-encoding"),
    ],
)
def test_bodies_that_nobody_asked_for_are_misbehaviour(message: Transactions, reason: str) -> None:
    left = TransactionGossip(lambda i: False, lambda i: None)
    left.joined(B, 0)
    assert left.on_transactions(B, message, 5) == [Misbehaved(B, reason)]


def test_a_late_body_is_welcome_and_no_offence() -> None:
    left = TransactionGossip(lambda i: False, lambda i: None)
    one = transaction(1)
    left.joined(B, 0)
    assert left.on_announce(B, AnnounceTransactions((one.id,)), 0) == [
        SendTo(B, GetTransactions((one.id,)))
    ]
    assert left.tick(rules.REQUEST_TIMEOUT_MS) == []
    late = left.on_transactions(B, Transactions((one.raw,)), 3_000)
    assert late == [TransactionsReceived(B, (one,))]
    again = left.on_transactions(B, Transactions((one.raw,)), 3_001)
    assert again == [Misbehaved(B, "unsolicited")]


def test_what_the_pool_refused_is_not_fetched_again_soon() -> None:
    net = Net()
    left, first, second = net.node(A), net.node(B), net.node(C)
    left.refuse = lambda each: True
    net.link(left, first)
    net.link(left, second)
    one = transaction(1)
    first.submit(one)
    net.run(500)
    second.submit(one)
    net.run(500)
    assert left.bodies[one.id] == 1
    third = net.node(b"d" * 32)
    third.submit(one)
    net.run(rules.RECENT_MS)
    left.refuse = lambda each: False
    net.link(left, third)
    net.run(500)
    assert one.id in left.pool


def test_memory_stays_bounded_under_a_flood_and_others_are_served() -> None:
    """Ten peers announce 400,000 ids that do not exist; an honest one still gets through."""
    left = TransactionGossip(lambda i: False, lambda i: None)
    liars = [bytes([10 + n]) * 32 for n in range(10)]
    for liar in liars:
        left.joined(liar, 0)
    left.joined(A, 0)
    for turn in range(40):
        for index, liar in enumerate(liars):
            ids = tuple(
                ((index * 40 + turn) * 1_000 + n).to_bytes(32, "big") for n in range(INVENTORY_MAX)
            )
            for action in left.on_announce(liar, AnnounceTransactions(ids), turn * 20):
                assert isinstance(action, SendTo)
        left.tick(turn * 20)
    one = transaction(1)
    assert left.on_announce(A, AnnounceTransactions((one.id,)), 800) == [
        SendTo(A, GetTransactions((one.id,)))
    ]
    counts = left.counts()
    assert counts["wanted"] <= rules.WANTED_MAX + 11 * rules.OFFERS_GUARANTEED
    assert counts["in_flight"] <= rules.IN_FLIGHT_MAX + 11 * rules.IN_FLIGHT_GUARANTEED
    for now_ms in range(1_000, 70_000, 50):
        left.tick(now_ms)
    assert left.counts()["in_flight"] == left.counts()["wanted"] == 0


def test_announcements_to_a_slow_reader_are_bounded() -> None:
    left = TransactionGossip(lambda i: True, lambda i: b"here")
    left.joined(B, 0)
    ids = [number.to_bytes(32, "big") for number in range(3 * rules.OUTBOX_MAX)]
    left.announce(ids, 1)
    assert left.counts()["outbox"] <= rules.OUTBOX_MAX
    frames = left.tick(100)
    assert all(
        isinstance(action, SendTo) and len(encode_frame(action.message)) < 40 * KILOBYTE
        for action in frames
    )


def test_strangers_are_ignored() -> None:
    left = TransactionGossip(lambda i: False, lambda i: None)
    one = transaction(1)
    assert left.on_announce(B, AnnounceTransactions((one.id,)), 0) == []
    assert left.on_get(B, GetTransactions((one.id,)), 0) == []
    assert left.on_transactions(B, Transactions((one.raw,)), 0) == []
    assert left.left(B, 0) == []
    assert left.counts()["wanted"] == 0


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), loss=st.floats(0.0, 0.5))
def test_loss_and_churn_never_break_gossip(seed: int, loss: float) -> None:
    """After the links heal every pool holds everything, and nothing stays open."""
    net = Net(seed=seed, jitter_ms=200)
    nodes = graph(net, 5, 2)
    net.loss = loss
    for number in range(60):
        nodes[net.rng.randrange(5)].submit(transaction(number))
        if net.rng.random() < 0.2:
            left, right = net.rng.sample(nodes, 2)
            if (left.key, right.key) in net.links:
                net.unlink(left, right)
            else:
                net.link(left, right)
        net.run(40)
    net.loss = 0.0
    net.run(3_000)
    for index, left in enumerate(nodes):  # heal: fresh links
        for right in nodes[:index]:
            if (left.key, right.key) in net.links:
                net.unlink(left, right)
            net.link(left, right)
    net.run(5_000)
    for node in nodes:
        assert len(node.pool) == 60
        assert node.gossip.counts()["wanted"] == 0
        assert node.gossip.counts()["in_flight"] == 0


def push(node: Node, producer: Node, *transactions: Transaction) -> None:
    """What a node does with a client's transactions while it knows a producer."""
    for each in transactions:
        node.pool[each.id] = each
    ids = [each.id for each in transactions]
    node.do(node.gossip.push(ids, producer.key))
    node.do(node.gossip.announce(ids, node.net.now_ms))


def test_the_producer_has_a_body_after_one_delay_and_the_others_ask() -> None:
    net = Net(delay_ms=15)
    nodes = graph(net, 3, 2)
    sent = transaction(1)
    push(nodes[0], nodes[1], sent)
    net.run(20)
    assert sent.id in nodes[1].pool, "one delay"
    assert sent.id not in nodes[2].pool
    net.run(200)
    assert all(sent.id in node.pool for node in nodes)
    assert set(net.bodies.values()) == {1}, "and still each body once over each link"
    assert all(node.bodies[sent.id] <= 1 for node in nodes)


def test_a_push_keeps_its_frames_small_and_is_made_once() -> None:
    net = Net()
    one, other = graph(net, 2, 1)
    many = [transaction(number, 20) for number in range(150)]
    push(one, other, *many)
    push(one, other, *many)
    net.run(200)
    assert len(other.pool) == 150 and set(other.bodies.values()) == {1}
    assert net.largest_frame < 256 * KILOBYTE


def test_what_the_producer_announced_itself_is_not_pushed_to_it() -> None:
    net = Net()
    one, other = graph(net, 2, 1)
    known = transaction(1)
    other.submit(known)
    net.run(200)
    push(one, other, known)
    net.run(200)
    assert other.bodies[known.id] == 0


def test_a_push_to_an_unlinked_producer_is_left_to_gossip() -> None:
    net = Net()
    one, other = graph(net, 2, 1)
    stranger = net.node(b"s" * 32)
    sent = transaction(1)
    push(one, stranger, sent)
    net.run(200)
    assert sent.id in other.pool and sent.id not in stranger.pool


def test_a_pushed_body_that_is_none_costs_the_sender_and_the_good_ones_count() -> None:
    net = Net()
    one, _ = graph(net, 2, 1)
    sender = net.nodes[bytes([66]) * 32].key
    good = transaction(1)
    one.receive(sender, PushTransactions((good.raw, b"\x90")))
    assert one.reported[sender] == ["invalid-transaction-encoding"]
    assert good.id in one.pool
    one.receive(b"x" * 32, PushTransactions((transaction(2).raw,)))
    assert len(one.pool) == 1, "nobody is linked under that key"
