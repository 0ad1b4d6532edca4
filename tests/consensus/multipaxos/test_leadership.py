"""Who leads, in networks of every shape: a quorum that is connected has one working leader."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from consensus import contract
from consensus.contract import Message
from consensus.multipaxos import PROTOCOL, MultiPaxosParameters
from consensus.multipaxos.messages import Renewal
from consensus.paxos.ballot import Ballot
from tests.support.engine_cluster import Cluster, Node

PARAMETERS = MultiPaxosParameters(lease_ms=400, renew_ms=80, election_ms=150, election_ms_max=1_200)
Way = tuple[int, int]


def led(n: int, seed: int = 1, background_sync_ms: int | None = 200) -> tuple[Cluster, int]:
    """A cluster that decided a block, and the number of its leader."""
    cluster = Cluster(
        PROTOCOL,
        n,
        seed=seed,
        parameters=PARAMETERS,
        latency_ms=(1, 5),
        background_sync_ms=background_sync_ms,
    )
    cluster.start()
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()) >= 1, 5_000)
    cluster.run_for(200)
    (leader,) = leaders(cluster)
    return cluster, leader


def leaders(cluster: Cluster) -> list[int]:
    return [node.number for node in cluster.nodes if node.up and node.engine._leading]


def ballot_of(cluster: Cluster, number: int) -> Ballot:
    ballot: Ballot = cluster.nodes[number].engine._proposer.ballot
    return ballot


def cut(cluster: Cluster, ways: set[Way]) -> None:
    """Nothing passes from the first to the second of each pair."""

    def drop(source: Node, target: Node, message: Message) -> bool:
        return (source.number, target.number) in ways

    cluster.drop = drop


def both_ways(pairs: list[Way]) -> set[Way]:
    return {(a, b) for a, b in pairs} | {(b, a) for a, b in pairs}


def decides(cluster: Cluster, numbers: list[int], within_ms: int = 6_000) -> None:
    """A payment everywhere becomes final at those nodes."""
    goal = max(cluster.heights()) + 1
    cluster.submit()
    nodes = [cluster.nodes[number] for number in numbers]
    cluster.run_until(lambda: min(node.finalized_height for node in nodes) >= goal, within_ms)


@pytest.mark.parametrize("n", [3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_one_cut_link_leaves_the_leader_in_peace(n: int, seed: int) -> None:
    """The follower at its end hears no renewals, canvasses, and finds no support."""
    cluster, leader = led(n, seed)
    ballot = ballot_of(cluster, leader)
    other = (leader + 1) % n
    cut(cluster, both_ways([(leader, other)]))
    for _ in range(4):
        decides(cluster, list(range(n)))
        cluster.run_for(1_000)
    assert leaders(cluster) == [leader]
    cut(cluster, set())
    decides(cluster, list(range(n)))
    cluster.run_for(2_000)
    assert leaders(cluster) == [leader]
    assert ballot_of(cluster, leader) == ballot


@pytest.mark.parametrize("seed", range(4))
def test_a_follower_that_cannot_hear_the_leader_does_not_depose_it(seed: int) -> None:
    """One way only: its own messages do arrive everywhere."""
    cluster, leader = led(3, seed)
    ballot, deaf = ballot_of(cluster, leader), (leader + 1) % 3
    cut(cluster, {(leader, deaf)})
    for _ in range(4):
        decides(cluster, [0, 1, 2])
        cluster.run_for(1_000)
    assert leaders(cluster) == [leader]
    assert ballot_of(cluster, leader) == ballot


@pytest.mark.parametrize("n", [3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_a_leader_that_hears_nobody_resigns(n: int, seed: int) -> None:
    """One way only: its renewals do arrive, and would bind the others for ever."""
    cluster, deaf = led(n, seed)
    cut(cluster, {(other, deaf) for other in range(n) if other != deaf})
    decides(cluster, [number for number in range(n) if number != deaf])
    (leader,) = leaders(cluster)
    assert leader != deaf


@pytest.mark.parametrize("seed", range(4))
def test_where_only_one_node_reaches_a_majority_that_node_leads(seed: int) -> None:
    """Omni-Paxos's "quorum loss": all links are cut but those of one node, not the leader."""
    cluster, leader = led(5, seed)
    hub = (leader + 2) % 5
    pairs = [(a, b) for a in range(5) for b in range(a) if hub not in (a, b)]
    cut(cluster, both_ways(pairs))
    decides(cluster, [0, 1, 2, 3, 4])
    assert leaders(cluster) == [hub]
    ballot = ballot_of(cluster, hub)
    cluster.run_for(5_000)
    assert ballot_of(cluster, hub) == ballot


@pytest.mark.parametrize("seed", range(4))
def test_the_ends_of_a_chain_do_not_take_the_lead_in_turns(seed: int) -> None:
    """Omni-Paxos's "chained" scenario: two that cannot hear each other, and one that hears both."""
    cluster, leader = led(3, seed)
    cut(cluster, both_ways([(leader, (leader + 1) % 3)]))
    ballot = ballot_of(cluster, leader)
    for _ in range(5):
        cluster.run_for(1_000)
        decides(cluster, [0, 1, 2])
    assert ballot_of(cluster, leader) == ballot


@pytest.mark.parametrize("n", [3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_a_node_that_comes_back_deposes_nobody(n: int, seed: int) -> None:
    """However long it was cut off, it used up no ballot."""
    cluster, leader = led(n, seed)
    ballot, away = ballot_of(cluster, leader), (leader + 1) % n
    cluster.partition([away], [number for number in range(n) if number != away])
    cluster.run_for(8_000)
    decides(cluster, [number for number in range(n) if number != away])
    cluster.heal()
    decides(cluster, list(range(n)))
    cluster.run_for(2_000)
    assert leaders(cluster) == [leader]
    assert ballot_of(cluster, leader) == ballot


@pytest.mark.parametrize("seed", range(4))
def test_a_leader_in_the_minority_is_replaced_and_follows(seed: int) -> None:
    cluster, leader = led(5, seed)
    minority = [leader, (leader + 1) % 5]
    majority = [number for number in range(5) if number not in minority]
    cluster.partition(minority, majority)
    decides(cluster, majority)
    cluster.run_for(2_000)
    (new,) = leaders(cluster)
    assert new in majority
    cluster.heal()
    decides(cluster, [0, 1, 2, 3, 4])
    assert leaders(cluster) == [new]


@pytest.mark.parametrize("seed", range(6))
def test_a_killed_leader_is_missed_for_a_lease_and_an_election(seed: int) -> None:
    cluster, leader = led(3, seed)
    cluster.nodes[leader].crash()
    others = [number for number in range(3) if number != leader]
    bound_ms = PARAMETERS.lease_ms + 2 * PARAMETERS.election_ms + 200
    decides(cluster, others, within_ms=3 * bound_ms)
    assert leaders(cluster)[0] in others


def test_a_healthy_leader_takes_a_higher_ballot_along_with_a_strayed_acceptor() -> None:
    """An acceptor that promised more than the leader's ballot is brought in, not given up."""
    cluster, leader = led(3)
    strayed = cluster.nodes[(leader + 1) % 3]
    strayed.crash()
    record = strayed.engine._record
    far = Ballot(record.promised.round + 5, strayed.address)
    strayed.disk.record = type(record)(height=record.height, promised=far).raw
    cluster.restart(strayed.number)
    cluster.run_for(3_000)
    assert leaders(cluster) == [leader]
    assert ballot_of(cluster, leader) > far
    decides(cluster, [0, 1, 2])
    assert strayed.engine._acceptor.promised == ballot_of(cluster, leader)


# ---------------------------------------------------------------------------------- handing over


def command(node: Node, *arguments: str, name: str = "transfer") -> str | None:
    """What it says of it at once."""
    node.post(contract.CommandGiven(77, name, arguments))
    node.run()
    return outcome_of(node)


def outcome_of(node: Node) -> str | None:
    return next((each.outcome for each in node.answers if each.request == 77), None)


def test_an_operator_moves_the_leadership_and_hears_so_once_the_other_leads() -> None:
    cluster, leader = led(3)
    node, target = cluster.nodes[leader], cluster.nodes[(leader + 1) % 3]
    assert command(node, target.address.hex()) is None, "nobody leads yet"
    cluster.run_until(lambda: outcome_of(node) is not None, 60)  # far less than a lease
    assert outcome_of(node) == f"node {target.number} leads now"
    assert leaders(cluster) == [target.number]
    decides(cluster, [0, 1, 2], within_ms=200)
    assert len(node.answers) == 1


def test_a_successor_wins_over_all_others_also_right_after_an_election() -> None:
    """The old leader was promised a ballot just now, and yet the floor is not its any more."""
    for seed in range(1, 11):
        cluster = Cluster(PROTOCOL, 3, seed=seed, parameters=PARAMETERS, latency_ms=(10, 14))
        cluster.start()
        cluster.run_until(lambda c=cluster: leaders(c) != [], 5_000)  # type: ignore[misc]
        (leader,) = leaders(cluster)
        cluster.run_for(30)
        node, target = cluster.nodes[leader], cluster.nodes[(leader + 1) % 3]
        command(node, target.address.hex())
        cluster.run_until(lambda n=node: outcome_of(n) is not None, 600)  # type: ignore[misc]
        assert outcome_of(node) == f"node {target.number} leads now", seed


def test_an_operator_hears_that_somebody_else_was_elected() -> None:
    cluster, leader = led(3)
    node, target, other = (cluster.nodes[(leader + step) % 3] for step in range(3))
    target.crash()
    command(node, target.address.hex())
    cut(cluster, {(leader, other.number)})  # so that it is the other one that hears no canvass
    cluster.run_for(100)
    cut(cluster, set())
    cluster.run_until(lambda: leaders(cluster) != [], 3_000)
    cluster.run_for(20)
    (elected,) = leaders(cluster)
    assert outcome_of(node) == f"refused: node {elected} was elected instead"


def test_an_operator_hears_in_time_that_nobody_took_over() -> None:
    cluster, leader = led(3)
    node, target = cluster.nodes[leader], cluster.nodes[(leader + 1) % 3]
    cut(cluster, {(one, other) for one in range(3) for other in range(3)})
    command(node, target.address.hex())
    patience_ms = PARAMETERS.lease_ms + PARAMETERS.election_ms
    cluster.run_for(patience_ms - 1)
    assert outcome_of(node) is None
    cluster.run_for(1)
    said = f"refused: node {target.number} did not take over within {patience_ms} ms"
    assert outcome_of(node) == said


def test_an_own_renewal_that_was_under_way_does_not_pass_for_an_election() -> None:
    cluster, leader = led(3)
    node, target = cluster.nodes[leader], cluster.nodes[(leader + 1) % 3]
    ballot = ballot_of(cluster, leader)
    renewal = Renewal(ballot, cluster.now_ms, node.engine._height)
    node.post(contract.CommandGiven(77, "transfer", (target.address.hex(),)))
    node.post(contract.MessageReceived(node.address, renewal))
    node.run()
    assert outcome_of(node) is None
    cluster.run_until(lambda: outcome_of(node) is not None, 600)
    assert outcome_of(node) == f"node {target.number} leads now"


def test_an_operator_hears_of_a_stop_that_comes_between() -> None:
    cluster, leader = led(3)
    node = cluster.nodes[leader]
    command(node)
    node.post(contract.StopRequested(9_999))
    node.run()
    assert outcome_of(node) == "refused: this node stops before anybody else leads"
    assert node.stopped


def test_a_leader_that_stops_hands_over_first() -> None:
    cluster, leader = led(3)
    node = cluster.nodes[leader]
    node.post(contract.StopRequested(9_999))
    node.run()
    assert node.stopped
    cluster.run_for(60)
    assert leaders(cluster) and leaders(cluster) != [leader]


@pytest.mark.parametrize(
    ("asked", "arguments", "name", "expected"),
    [
        ("follower", (), "transfer", "does not lead"),
        ("leader", ("nobody",), "transfer", "no other member 'nobody'"),
        ("leader", (), "dance", "knows no 'dance'"),
    ],
)
def test_a_command_that_cannot_be_done_is_refused_with_the_reason(
    asked: str, arguments: tuple[str, ...], name: str, expected: str
) -> None:
    cluster, leader = led(3)
    node = cluster.nodes[leader if asked == "leader" else (leader + 1) % 3]
    outcome = command(node, *arguments, name=name)
    assert outcome is not None and outcome.startswith("refused") and expected in outcome
    assert leaders(cluster) == [leader]


def test_a_lone_leader_has_nobody_to_hand_over_to() -> None:
    cluster, leader = led(1)
    assert "no other member" in (command(cluster.nodes[leader]) or "")
    cluster.nodes[0].post(contract.StopRequested(9_999))
    cluster.nodes[0].run()
    assert cluster.nodes[0].stopped


def test_transactions_are_pushed_to_the_leader() -> None:
    """SetProducer names it everywhere, and nobody while there is none."""
    named: dict[int, object] = {}

    def listen(node: Node, what: object) -> None:
        if isinstance(what, contract.SetProducer):
            named[node.number] = what.node

    cluster = Cluster(PROTOCOL, 3, seed=3, parameters=PARAMETERS, latency_ms=(1, 5))
    cluster.observer = listen
    cluster.start()
    cluster.run_for(1_500)
    (leader,) = leaders(cluster)
    address = cluster.nodes[leader].address
    assert named == {0: address, 1: address, 2: address}
    cluster.nodes[leader].crash()
    survivor = cluster.nodes[(leader + 1) % 3]
    gone: Callable[[], bool] = lambda: named[survivor.number] != address  # noqa: E731
    cluster.run_until(gone, 3_000)
