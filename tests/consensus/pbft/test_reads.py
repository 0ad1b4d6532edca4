"""Linearizable reads: a quorum is asked after the read; neither silence nor lies make it stale."""

from __future__ import annotations

import pytest

from chain.address import Address
from chain.validators import Validator, ValidatorSet, validator_set
from consensus import contract
from consensus.contract import Answer, Broadcast, Effect, Event, Message, Now, ServeRead, SetTimer
from consensus.pbft import PROTOCOL
from consensus.pbft.messages import Commit, ReadQuery, ReadReply
from consensus.pbft.reads import (
    CANNOT_ASK,
    NO_QUORUM,
    QUERIES_MAX,
    READ_TIMER,
    READS_MAX,
    TOO_MANY,
    Reads,
)
from tests.support.engine_cluster import Cluster, Node, make_address

# ------------------------------------------------------------------------------- whole clusters


class Readers:
    """A cluster whose reads are watched: request to (height, when, how much was final there)."""

    def __init__(self, n: int, **options: object) -> None:
        self.cluster = Cluster(PROTOCOL, n, **options)  # type: ignore[arg-type]
        self.served: dict[int, tuple[int, int]] = {}
        self.queries = 0
        self.cluster.observer = self._listen
        self.cluster.start()

    def _listen(self, node: Node, what: Event | Effect) -> None:
        if isinstance(what, ServeRead):
            self.served[what.request] = (what.height, node.finalized_height)
        self.queries += isinstance(what, Broadcast) and isinstance(what.message, ReadQuery)

    def decide(self, height: int, at_least: int) -> None:
        """Until so many nodes have that height final."""
        self.cluster.submit()
        self.cluster.run_until(
            lambda: sum(h >= height for h in self.cluster.heights()) >= at_least, limit_ms=5_000
        )

    def read(self, number: int, request: int) -> None:
        node = self.cluster.nodes[number]
        node.post(contract.ReadRequested(request))
        node.run()


@pytest.mark.parametrize("n", range(1, 8))
def test_a_replica_answers_with_the_word_of_a_quorum(n: int) -> None:
    readers = Readers(n, seed=n)
    readers.decide(1, n)
    readers.read(n - 1, 5)
    assert (5 in readers.served) == (n == 1), "others must be asked first, where there are any"
    readers.cluster.run_until(lambda: 5 in readers.served, limit_ms=500)
    assert readers.served[5] == (1, 1)
    assert not any(node.answers or node.reports for node in readers.cluster.nodes)


def test_reads_that_come_meanwhile_share_the_next_question() -> None:
    readers = Readers(4)
    for request in range(10):
        readers.read(0, request)
    readers.cluster.run_until(lambda: len(readers.served) == 10, limit_ms=500)
    assert readers.queries == 2


def deaf(cluster: Cluster, number: int) -> None:
    """It hears no commits of others; what it says is heard."""
    reader = cluster.nodes[number]
    cluster.drop = lambda source, target, message: target is reader and isinstance(message, Commit)


@pytest.mark.parametrize("lie", [None, 0, 1 << 62])
def test_what_is_final_elsewhere_is_waited_for(lie: int | None) -> None:
    """Replica 3 has missed the commits. One liar says that nothing, or that everything, was."""
    readers = Readers(4, seed=3, background_sync_ms=None)
    cluster = readers.cluster
    deaf(cluster, 3)
    if lie is not None:
        liar = cluster.nodes[2]
        liar.honest = False

        def rewrite(
            node: Node, effect: contract.Send | contract.Broadcast
        ) -> list[tuple[Address | None, Message]] | None:
            if isinstance(effect, contract.Send) and isinstance(effect.message, ReadReply):
                return [(effect.to, ReadReply(effect.message.number, lie))]
            return None

        liar.rewrite = rewrite
    readers.decide(1, 3)
    assert cluster.nodes[3].finalized_height == 0
    readers.read(3, 8)
    cluster.run_for(300)
    assert readers.served == {}, "it does not have what was final when the read began"
    cluster.drop = lambda source, target, message: False
    cluster.run_until(lambda: 8 in readers.served, limit_ms=20_000)
    assert readers.served[8] == (1, 1)


def test_a_commit_that_was_said_counts_before_anybody_is_known_to_have_decided() -> None:
    """Somebody out of sight may have gathered the quorum, and told a client."""
    readers = Readers(4, background_sync_ms=None)
    cluster = readers.cluster
    cluster.drop = lambda source, target, message: isinstance(message, Commit)
    cluster.submit()
    cluster.run_for(100)
    assert all(node.traces[-1].name == "prepared" for node in cluster.nodes)
    readers.read(0, 1)
    cluster.run_for(200)
    assert readers.served == {}
    cluster.drop = lambda source, target, message: False
    cluster.run_until(lambda: 1 in readers.served, limit_ms=20_000)
    assert readers.served[1] == (1, 1)


def test_a_replica_that_is_cut_off_refuses_in_the_end_and_another_serves() -> None:
    readers = Readers(4)
    readers.decide(1, 4)
    readers.cluster.partition([3], [0, 1, 2])
    readers.read(3, 1)
    readers.read(0, 2)
    node = readers.cluster.nodes[3]
    readers.cluster.run_until(lambda: bool(node.answers), limit_ms=60_000)
    assert [(one.request, one.outcome) for one in node.answers] == [(1, NO_QUORUM)]
    assert list(readers.served) == [2]
    readers.cluster.heal()
    readers.read(3, 3)
    readers.cluster.run_until(lambda: 3 in readers.served, limit_ms=500)


def test_a_lost_question_is_said_again() -> None:
    readers = Readers(4)
    readers.decide(1, 4)
    readers.cluster.drop = lambda source, target, message: isinstance(message, ReadQuery)
    readers.read(1, 4)
    readers.cluster.run_for(100)
    assert readers.served == {}
    readers.cluster.drop = lambda source, target, message: False
    readers.cluster.run_until(lambda: 4 in readers.served, limit_ms=5_000)


def test_who_only_follows_refuses_at_once_and_answers_nobody() -> None:
    readers = Readers(4, observers=1)
    observer, behind = readers.cluster.nodes[4], readers.cluster.nodes[3]
    behind.post(contract.SyncChanged(True))
    behind.run()
    for node in (observer, behind):
        node.post(contract.ReadRequested(6))
        node.run()
        assert [(one.request, one.outcome) for one in node.answers] == [(6, CANNOT_ASK)]
    said: list[Message] = []
    readers.cluster.observer = lambda node, what: (
        said.append(what.message) if isinstance(what, contract.Send) else None
    )
    behind.post(contract.MessageReceived(make_address(0), ReadQuery(1)))
    behind.run()
    assert said == []


# ------------------------------------------------------------------------------ the rounds alone

MEMBERS = validator_set(Validator(make_address(number), 1, "") for number in range(4))
OTHERS = validator_set(Validator(make_address(number), 1, "") for number in range(2, 6))
NOW = Now(1_000, 0)


def advance(reads: Reads, final: int, members: ValidatorSet = MEMBERS) -> list[Effect]:
    return reads.advance(members, final, True, NOW)


def asked(reads: Reads) -> int:
    """One read is asked for; the question's number."""
    reads.requested(1)
    query, timer = advance(reads, 5)
    assert isinstance(query, Broadcast) and isinstance(query.message, ReadQuery)
    assert isinstance(timer, SetTimer)
    return query.message.number


def replied(reads: Reads, number: int, heights: dict[int, int]) -> None:
    for member, height in heights.items():
        reads.replied(make_address(member), ReadReply(number, height))


def serves(effects: list[Effect]) -> list[tuple[int, int]]:
    return [(one.request, one.height) for one in effects if isinstance(one, ServeRead)]


def test_replies_to_another_question_strangers_and_repetitions_do_not_count() -> None:
    reads = Reads(100)
    number = asked(reads)
    replied(reads, number, {0: 5, 1: 5, 9: 5})
    replied(reads, number, {1: 5})
    replied(reads, number - 1, {2: 5})
    replied(reads, number + 1, {3: 5})
    assert serves(advance(reads, 5)) == []
    replied(reads, number, {2: 5})
    assert serves(advance(reads, 5)) == [(1, 5)]
    assert advance(reads, 6) == []


def test_the_least_height_that_a_member_named_counts() -> None:
    """It was true after the read began; a later, higher one must not delay the read for ever."""
    reads = Reads(100)
    number = asked(reads)
    replied(reads, number, {0: 6, 1: 5, 2: 5})
    assert serves(advance(reads, 5)) == []
    replied(reads, number, {0: 7})
    assert serves(advance(reads, 6)) == [(1, 6)]


def test_other_members_are_asked_anew() -> None:
    reads = Reads(100)
    number = asked(reads)
    replied(reads, number, {0: 5, 1: 5})
    query, _ = advance(reads, 6, OTHERS)
    assert isinstance(query, Broadcast) and isinstance(query.message, ReadQuery)
    assert query.message.number > number
    replied(reads, number, {2: 6, 3: 6, 4: 6})
    replied(reads, query.message.number, {0: 6, 1: 6, 2: 6})
    assert serves(advance(reads, 6, OTHERS)) == [], "two of three are no members any more"
    replied(reads, query.message.number, {3: 6, 4: 6})
    assert serves(advance(reads, 6, OTHERS)) == [(1, 6)]


def test_a_question_is_said_a_bounded_number_of_times() -> None:
    reads = Reads(100)
    number = asked(reads)
    for _ in range(QUERIES_MAX - 1):
        reads.timer_fired((READ_TIMER, number))
        query, _ = advance(reads, 5)
        assert query == Broadcast(ReadQuery(number))
        assert advance(reads, 5) == []
    reads.timer_fired((READ_TIMER, number - 1))
    assert advance(reads, 5) == [], "an old timer means nothing"
    reads.timer_fired((READ_TIMER, number))
    assert Answer(1, NO_QUORUM) in advance(reads, 5)


def test_open_reads_are_bounded() -> None:
    reads = Reads(100)
    for request in range(READS_MAX + 1):
        reads.requested(request)
    effects = advance(reads, 5)
    assert [one for one in effects if isinstance(one, Answer)] == [Answer(READS_MAX, TOO_MANY)]
    refused = reads.advance(MEMBERS, 5, False, NOW)
    assert len([one for one in refused if isinstance(one, Answer)]) == READS_MAX
    assert asked(reads) > 0, "there is room again"


def test_numbers_rise_over_restarts() -> None:
    first, second = Reads(100), Reads(100)
    number = asked(first)
    second.requested(1)
    effects = second.advance(MEMBERS, 5, True, Now(2_000, 0))
    assert effects[0] == Broadcast(ReadQuery(2_000))
    assert number < 2_000
