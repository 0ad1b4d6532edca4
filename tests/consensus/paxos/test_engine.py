"""What both engines of the family do alike: reads, lost records, catching up, bad messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chain.errors import DamagedStore
from chain.validators import Validator, ValidatorSet, validator_set
from consensus import contract
from consensus.contract import EngineProtocol, Message, ReadRequested, Report, ServeRead
from consensus.multipaxos import PROTOCOL as MULTIPAXOS
from consensus.multipaxos import MultiPaxosParameters
from consensus.paxos import PROTOCOL as PAXOS
from consensus.paxos import PaxosParameters
from consensus.paxos.ballot import NO_BALLOT, Ballot
from consensus.paxos.messages import (
    Accept,
    Accepted,
    Ask,
    Decided,
    Prepare,
    Promise,
    Tell,
    parse_proof,
)
from consensus.paxos.reads import READ_PATIENCE_MS
from tests.support.engine_cluster import Cluster, Node, make_address
from tests.support.paxos_bench import Bench

ENGINES: list[tuple[EngineProtocol, Any]] = [
    (PAXOS, PaxosParameters(retry_ms=200, retry_ms_max=1_600)),
    (
        MULTIPAXOS,
        MultiPaxosParameters(lease_ms=400, renew_ms=80, election_ms=150, election_ms_max=1_200),
    ),
]
both = pytest.mark.parametrize(("protocol", "parameters"), ENGINES, ids=["paxos", "multipaxos"])


def of(round_: int, number: int) -> Ballot:
    return Ballot(round_, make_address(number))


def decided(cluster: Cluster, height: int, within_ms: int = 6_000) -> None:
    cluster.run_until(lambda: min(cluster.heights()) >= height, within_ms)


# ---------------------------------------------------------------------------------------- reads


class Readers:
    """Which reads were served, at which node and height."""

    def __init__(self, cluster: Cluster) -> None:
        self.served: dict[tuple[int, int], int] = {}
        cluster.observer = self._listen

    def _listen(self, node: Node, what: object) -> None:
        if isinstance(what, ServeRead):
            self.served[(node.number, what.request)] = what.height


@both
@pytest.mark.parametrize("seed", range(8))
def test_a_read_sees_all_that_was_final_when_it_came(
    protocol: EngineProtocol, parameters: Any, seed: int
) -> None:
    """At every node and at every moment, through loss and duels: the heart of linearizability."""
    cluster = Cluster(protocol, 3, seed=seed, parameters=parameters, loss=0.1)
    readers = Readers(cluster)
    cluster.start()
    cluster.run_for(1_000)
    known: dict[tuple[int, int], int] = {}
    for request in range(40):
        if request % 4 == 0:
            cluster.submit()
        node = cluster.rng.choice(cluster.nodes)
        known[(node.number, request)] = max(cluster.final)
        node.post(ReadRequested(request))
        node.run()
        cluster.run_for(cluster.rng.randint(1, 150))
    cluster.loss = 0.0
    cluster.run_for(4_000)
    assert len(readers.served) == 40
    for read, height in readers.served.items():
        assert height >= known[read], read
    final = min(cluster.heights())
    assert all(height <= final for height in readers.served.values()), "each can be answered"


@both
def test_a_read_without_a_majority_is_refused_in_the_end(
    protocol: EngineProtocol, parameters: Any
) -> None:
    bench = Bench(protocol, parameters)
    bench.post(ReadRequested(7))
    bench.run_for(READ_PATIENCE_MS + 1_000)
    assert not bench.effects_of(ServeRead)
    (answer,) = bench.node.answers
    assert answer.request == 7 and "no majority answered" in answer.outcome


@both
def test_a_read_counts_only_answers_to_its_own_question(
    protocol: EngineProtocol, parameters: Any
) -> None:
    """An answer to an earlier question, or of a node that lost its record, is of no use."""
    bench = Bench(protocol, parameters)
    bench.post(ReadRequested(1))
    (ask,) = bench.said(Ask)
    bench.hear(1, Tell(ask.number - 1, 1, False, NO_BALLOT, True))
    bench.hear(1, Tell(ask.number, 1, False, NO_BALLOT, False))
    assert not bench.effects_of(ServeRead)
    bench.post(ReadRequested(2))  # waits for the next question: it came after this one was asked
    bench.hear(1, Tell(ask.number, 1, False, NO_BALLOT, True))
    assert bench.effects_of(ServeRead) == [ServeRead(1, 0)]
    again = bench.said(Ask)[-1]
    assert again.number == ask.number + 1
    bench.hear(2, Tell(again.number, 1, True, of(1, 1), True))
    assert bench.effects_of(ServeRead)[-1] == ServeRead(2, 1), "it may be decided already"


@both
def test_a_read_by_one_without_a_vote_is_refused(protocol: EngineProtocol, parameters: Any) -> None:
    cluster = Cluster(protocol, 3, observers=1, parameters=parameters)
    cluster.start()
    observer = cluster.nodes[3]
    observer.post(ReadRequested(3))
    observer.run()
    assert "no vote" in observer.answers[0].outcome


@both
def test_a_read_while_catching_up_is_refused(protocol: EngineProtocol, parameters: Any) -> None:
    bench = Bench(protocol, parameters)
    bench.post(ReadRequested(1))
    bench.post(contract.SyncChanged(True))
    assert "catching up" in bench.node.answers[0].outcome


def test_a_reader_of_paxos_finishes_what_is_open() -> None:
    """A vote that nobody finishes: the reader proposes it itself, and is answered."""
    cluster = Cluster(PAXOS, 3, seed=3, parameters=ENGINES[0][1], background_sync_ms=None)
    readers = Readers(cluster)
    cluster.start()
    block = None
    cluster.drop = lambda source, target, message: isinstance(message, (Accept, Accepted))
    cluster.submit(1, [0])
    voter = cluster.nodes[0]
    cluster.run_until(lambda: voter.engine._acceptor.accepted is not None, 2_000)
    block = voter.engine._acceptor.accepted.block_id
    cluster.heal()
    reader = cluster.nodes[2]
    reader.post(ReadRequested(5))
    reader.run()
    cluster.run_for(3_000)
    assert cluster.final[1] == block
    assert readers.served[(2, 5)] in (0, 1)


# --------------------------------------------------------------------------------- a lost record


def wipe(node: Node, cluster: Cluster) -> None:
    if node.up:
        node.crash()
    disk, genesis = node.disk, cluster.genesis
    disk.record, disk.bodies, disk.proofs = None, {genesis.id: genesis}, {}
    disk.finalized = disk.finalized_unsynced = genesis.id


@both
def test_a_lost_record_speaks_again_only_after_everybody_answered(
    protocol: EngineProtocol, parameters: Any
) -> None:
    """One other member is down: the wiped node listens, for ever if need be."""
    cluster = Cluster(protocol, 5, seed=2, parameters=parameters)
    cluster.start()
    cluster.submit()
    decided(cluster, 1)
    cluster.nodes[4].crash()
    wipe(cluster.nodes[3], cluster)
    cluster.restart(3)
    for _ in range(4):
        cluster.submit()
        cluster.run_for(1_500)
    wiped = cluster.nodes[3]
    assert wiped.finalized_height >= 4, "it follows"
    assert wiped.engine._record_lost
    status = wiped.engine.status(wiped.tree, wiped.now())
    assert "every other member has said its ballot" in status.why[0]
    cluster.restart(4)
    cluster.run_for(1_000)
    for _ in range(3):
        cluster.submit()
        cluster.run_for(1_500)
    assert not wiped.engine._record_lost


@both
def test_a_lost_record_waits_until_what_it_forgot_cannot_matter(
    protocol: EngineProtocol, parameters: Any
) -> None:
    """It votes at no height up to one above the highest that was open when it asked."""
    bench = Bench(protocol, parameters, 0, starts=False)
    bench.node.disk.record = None
    bench.node.start()
    bench.node.run()
    bench.run_for(500)
    assert bench.said(Ask), "it asks until it is answered"
    for number, height in ((1, 3), (2, 2)):
        bench.hear(number, Tell(0, height, True, of(5, 2), True))
    parent, ballot = bench.cluster.genesis.head, of(6, 1)
    for height in range(1, 6):
        block = bench.block(1, parent=parent)
        said = bench.hear(1, Accept(ballot, height, block.id, block))
        voted = any(isinstance(message, Accepted) for message in said)
        assert voted == (height > 4), height
        bench.node.offer(block, "sync")
        bench.hear(1, Decided(bench.certificate(block, ballot)))
        assert bench.height == height
        parent = block.head
    # One decree a height under paxos; under multipaxos the highest ballot of all others holds.
    floor = of(6, 1) if protocol is MULTIPAXOS else NO_BALLOT
    assert bench.engine._acceptor.promised == floor


@both
def test_a_lost_record_takes_the_highest_ballot_of_all_others(
    protocol: EngineProtocol, parameters: Any
) -> None:
    if protocol is PAXOS:
        return  # promises are of one height, and it votes at no height of that time
    bench = Bench(protocol, parameters, 0, starts=False)
    bench.node.disk.record = None
    bench.node.start()
    bench.node.run()
    for number in (1, 2):
        bench.hear(number, Tell(0, 1, False, of(7 + number, number), True))
    parent = bench.cluster.genesis.head
    for _ in range(2):
        block = bench.block(1, parent=parent)
        bench.hear(1, Decided(bench.certificate(block, of(3, 1))))
        parent = block.head
        bench.node.offer(block, "sync")
        bench.node.run()
    assert not bench.engine._record_lost
    assert bench.engine._acceptor.promised == of(9, 2)


@both
def test_a_damaged_record_is_no_lost_one(protocol: EngineProtocol, parameters: Any) -> None:
    bench = Bench(protocol, parameters, starts=False)
    bench.node.disk.record = b"\x00"
    with pytest.raises(DamagedStore):
        bench.node.start()


# ----------------------------------------------------------------------------- others' heights


@both
def test_who_is_behind_is_told_and_catches_up(protocol: EngineProtocol, parameters: Any) -> None:
    """A partition, blocks meanwhile, and no sync service: a certificate is enough."""
    cluster = Cluster(protocol, 3, seed=4, parameters=parameters, background_sync_ms=None)
    cluster.start()
    cluster.submit()
    decided(cluster, 1)
    cluster.partition([2], [0, 1])
    for _ in range(3):
        cluster.submit(1, [0, 1])
        cluster.run_for(2_500)
    assert cluster.heights()[2] == 1 and max(cluster.heights()) >= 2
    cluster.heal()
    goal = max(cluster.heights()) + 1
    cluster.submit()
    decided(cluster, goal)


@both
def test_messages_for_the_next_height_wait_for_it(
    protocol: EngineProtocol, parameters: Any
) -> None:
    """The accept of height 2 overtakes the decision of height 1."""
    bench = Bench(protocol, parameters, 2)
    first = bench.block(0)
    second = bench.block(0, parent=first.head)
    ballot = of(1, 0)
    assert not any(
        isinstance(message, Accepted)
        for message in bench.hear(0, Accept(ballot, 2, second.id, second))
    )
    bench.node.offer(first, "sync")
    bench.node.run()
    said = bench.hear(0, Decided(bench.certificate(first, ballot, (0, 1))))
    assert bench.height == 1
    bench.run_for(10)
    assert [m.block_id for m in bench.said(Accepted)] == [second.id], said


@both
def test_what_comes_too_early_is_bounded(protocol: EngineProtocol, parameters: Any) -> None:
    """One message of each kind and sender for the next height, none for later ones."""
    bench = Bench(protocol, parameters, 2)
    for round_ in range(1, 50):
        for height in (2, 3, 1_000):
            bench.hear(0, Prepare(of(round_, 0), height))
            bench.hear(0, Accepted(of(round_, 0), height, bytes(32), make_address(0)))
            bench.hear(0, Accept(of(round_, 0), height, bytes(32)))
    assert len(bench.engine._early) <= 3


# ---------------------------------------------------------------------------------- membership


def _grown(n: int) -> Callable[[int], ValidatorSet]:
    """Three members up to height 2, ``n`` from height 3 on."""
    members = [Validator(make_address(number), 1) for number in range(n)]
    return lambda height: validator_set(members[:3] if height < 3 else members)


@both
@pytest.mark.parametrize("n", [4, 5])
def test_new_members_count_from_their_height_on(
    protocol: EngineProtocol, parameters: Any, n: int
) -> None:
    """Of five a majority is three; the leader runs phase 1 again where it lacks promises."""
    cluster = Cluster(protocol, n, seed=5, parameters=parameters)
    cluster.validator_sets = _grown(n)
    cluster.start()
    for height in range(1, 6):
        cluster.submit()
        decided(cluster, height)
    for node in cluster.nodes:
        proof = node.disk.proofs[cluster.final[5]]
        assert len(parse_proof(protocol.name, proof).accepts) >= n // 2 + 1


@both
def test_a_removed_member_falls_silent_and_the_rest_goes_on(
    protocol: EngineProtocol, parameters: Any
) -> None:
    cluster = Cluster(protocol, 4, seed=6, parameters=parameters)
    members = [Validator(make_address(number), 1) for number in range(4)]
    cluster.validator_sets = lambda height: validator_set(members[1:] if height > 2 else members)
    cluster.start()
    for height in range(1, 6):
        cluster.submit()
        cluster.run_until(
            lambda height=height: min(cluster.heights()[1:]) >= height,  # type: ignore[misc]
            6_000,
        )
    gone = cluster.nodes[0]
    cluster.run_for(2_000)
    assert gone.finalized_height >= 5, "it follows as an observer"
    assert not gone.engine._can_speak
    assert gone.engine.status(gone.tree, gone.now()).facts["role"] == "observer"


# -------------------------------------------------------------------------------- bad messages


@both
def test_a_bad_message_is_reported_and_changes_nothing(
    protocol: EngineProtocol, parameters: Any
) -> None:
    bench = Bench(protocol, parameters, 1)
    block, other = bench.block(0), bench.block(0, extra=1)
    bench.accept(0, 1, block)
    before = bench.engine._record
    bad: list[tuple[Message, str]] = [
        (Prepare(of(9, 2), 1), "another-ballot"),
        (Prepare(Ballot(0, make_address(0)), 1), "another-ballot"),
        (Accept(of(9, 2), 1, block.id, block), "another-ballot"),
        (Accept(of(9, 0), 1, other.id, block), "another-block"),
        (Accept(of(9, 0), 2, block.id, block), "another-block"),
        (Accepted(of(1, 0), 1, block.id, make_address(2), bytes(64)), "another-acceptor"),
        (Decided(bench.certificate(block, of(1, 0), (0,))), "decided-no-majority"),
        (Decided(bench.certificate(block, of(1, 0), (0, 7))), "decided-not-a-member"),
    ]
    for message, code in bad:
        effects = bench.post(contract.MessageReceived(make_address(0), message))
        assert effects == [Report(peer=make_address(0), reason=code)], message
    assert bench.engine._record == before
    assert bench.height == 0


@both
def test_strangers_are_not_heard(protocol: EngineProtocol, parameters: Any) -> None:
    bench = Bench(protocol, parameters, 1)
    stranger = make_address(9)
    for message in (
        Prepare(Ballot(5, stranger), 1),
        Accept(Ballot(5, stranger), 1, bytes(32)),
        Ask(1, 1),
        Promise(of(1, 1), 1, None),
    ):
        assert bench.post(contract.MessageReceived(stranger, message)) == []
    assert bench.engine._acceptor.promised == NO_BALLOT


@both
def test_a_block_on_another_parent_or_that_does_not_execute_is_not_accepted(
    protocol: EngineProtocol, parameters: Any
) -> None:
    bench = Bench(protocol, parameters, 1)
    first = bench.block(0)
    aside = bench.block(2, parent=bench.block(2).head)
    bench.node.offer(bench.block(2), "sync")
    bench.node.run()
    bench.accept(0, 1, first)
    bench.hear(0, Decided(bench.certificate(first, of(1, 0), (0, 2))))
    assert bench.height == 1
    bench.accept(2, 5, aside)
    assert bench.effects_of(Report)[-1].reason == "another-parent"
    poisoned = bench.block(9, parent=first.head)  # its producer has no vote
    bench.accept(2, 6, poisoned)
    assert bench.effects_of(Report)[-1].reason == "invalid-block"
    assert bench.engine._acceptor.accepted is None
    good = bench.block(2, parent=first.head)
    assert any(isinstance(message, Accepted) for message in bench.accept(2, 7, good))


@both
def test_an_unknown_block_is_fetched_from_its_proposer(
    protocol: EngineProtocol, parameters: Any
) -> None:
    bench = Bench(protocol, parameters, 1)
    block = bench.block(0)
    bench.hear(0, Accept(of(1, 0), 1, block.id))
    (fetch,) = bench.effects_of(contract.Fetch)
    assert (fetch.blocks, fetch.hint) == ((block.id,), make_address(0))
    bench.node.offer(block, "sync")
    bench.node.run()
    assert [message.block_id for message in bench.said(Accepted)] == [block.id]


@both
def test_the_status_is_plain_at_every_step(protocol: EngineProtocol, parameters: Any) -> None:
    """Facts are numbers and texts, rows of a table have equal keys, and a stall is explained."""
    cluster = Cluster(protocol, 3, seed=8, parameters=parameters)
    seen: set[str] = set()

    def look(node: Node, what: object) -> None:
        status = node.engine.status(node.tree, node.now())
        seen.add(str(status.facts["phase"]))
        assert all(isinstance(value, (int, str)) for value in status.facts.values())
        for rows in status.tables.values():
            assert len({tuple(row) for row in rows}) <= 1

    cluster.observer = look
    cluster.start()
    cluster.submit()
    decided(cluster, 1)
    cluster.nodes[1].crash()
    cluster.nodes[2].crash()
    cluster.submit()
    cluster.run_for(4_000)
    node = cluster.nodes[0]
    status = node.engine.status(node.tree, node.now())
    assert "1 of 2 needed" in status.why[0]
    assert "Check that they run" in status.why[-1]
    assert set(status.missing) == {make_address(1), make_address(2)}
    assert len(seen) >= 4


def test_who_leaves_the_floor_says_so() -> None:
    bench = Bench(PAXOS, ENGINES[0][1], 1)
    bench.submit()
    bench.prepare(0, 4)
    status = bench.engine.status(bench.node.tree, bench.node.now())
    assert "ballot (4, node 0) is under way" in status.why[0]
    assert status.facts["phase"] == "leaves the floor to node 0"
