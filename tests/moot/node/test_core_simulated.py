"""The production core in virtual time: crashes, power failures, partitions; the same every time."""

from __future__ import annotations

import pytest

from chain.hashing import show_id
from moot.lab.cluster import Cluster


def kill_everything(seed: int, rounds: int, *, power: bool, every_ms: int = 50) -> None:
    """All nodes are killed again and again; nothing that was final is lost, and it goes on.

    ``power``: a power failure, which also loses what was not synced.
    """
    cluster = Cluster("pbft", 4, seed)
    world, nodes = cluster.world, cluster.nodes
    rng = world.rng("test")
    cluster.start()
    cluster.load(every_ms)
    known: dict[int, bytes] = {}
    for _ in range(rounds):
        cluster.run(rng.randrange(500, 3_000))
        for node in nodes:
            ledger = node.running.ledger
            known[ledger.height(ledger.finalized())] = ledger.finalized()
        for node in rng.sample(nodes, len(nodes)):
            node.crash(rng if power else None)
            cluster.run(rng.randrange(0, 30))
        for node in rng.sample(nodes, len(nodes)):
            cluster.run(rng.randrange(0, 1_500))
            node.start()
        assert cluster.wait_final(max(known), 60_000), cluster.explain()
        for height, block in known.items():
            assert {node.running.ledger.id_at(height) for node in nodes} == {block}


@pytest.mark.parametrize("power", [False, True], ids=["kill", "power"])
def test_nothing_final_is_lost_when_everything_is_killed(power: bool) -> None:
    kill_everything(1, 6, power=power)


def test_a_proposal_that_others_decided_before_the_crash_gets_its_proof() -> None:
    """Seed 6, round 8: two nodes had finalized a block that the two others held undecided. Nobody
    sent these the proof, since the block was known to them, and four nodes stood still."""
    kill_everything(6, 8, power=False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 112))
def test_nothing_final_is_lost_over_many_lives(seed: int) -> None:
    kill_everything(seed, 15, power=seed % 2 == 0)


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    def trace(seed: int) -> str:
        cluster = Cluster("pbft", 4, seed)
        cluster.start()
        cluster.load(100)
        cluster.run(5_000)
        return cluster.world.trace_hash

    assert trace(3) == trace(3) != trace(4)


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 5, 7])
def test_pbft_decides_with_any_number_of_nodes(nodes: int) -> None:
    cluster = Cluster("pbft", nodes, 11)
    cluster.start()
    cluster.load(100)
    cluster.run(10_000)
    assert min(cluster.final_heights()) >= 20, cluster.explain()
    height = min(cluster.final_heights())
    assert len({node.running.ledger.id_at(height) for node in cluster.nodes}) == 1
    assert not any(node.misbehaviour for node in cluster.nodes)


def test_a_dead_primary_is_voted_out_and_comes_back() -> None:
    cluster = Cluster("pbft", 4, 5)
    cluster.start()
    cluster.load(100)
    cluster.run(3_000)
    leader = cluster.nodes[0].running.engine_status().leader
    victim = next(node for node in cluster.nodes if node.signer.address == leader)
    victim.crash()
    before = max(cluster.final_heights())
    cluster.run(6_000)
    assert min(cluster.final_heights()) > before + 5, cluster.explain()
    victim.start()
    assert cluster.wait_final(max(cluster.final_heights()), 20_000), cluster.explain()


def test_an_observer_that_joins_late_follows_by_proofs_and_never_votes() -> None:
    cluster = Cluster("pbft", 4, 8, observers=1)
    observer = cluster.nodes[4]
    for node in cluster.nodes[:4]:
        node.start()
    cluster.load(100)
    cluster.run(20_000)
    observer.start()
    assert cluster.wait_final(max(cluster.final_heights()), 20_000), cluster.explain()
    ledger = observer.running.ledger
    assert ledger.proof(ledger.finalized()) is not None


def test_a_minority_in_a_partition_decides_nothing_and_catches_up_after_it() -> None:
    cluster = Cluster("pbft", 4, 9)
    cluster.start()
    cluster.load(100)
    cluster.run(3_000)
    cluster.network.partition(cluster.nodes[:3], cluster.nodes[3:])
    cluster.run(1_000)
    alone = cluster.nodes[3].running.ledger
    before = alone.height(alone.finalized())
    cluster.run(15_000)
    assert alone.height(alone.finalized()) == before
    assert min(cluster.final_heights()[:3]) > before + 10, cluster.explain()
    cluster.network.heal()
    assert cluster.wait_final(max(cluster.final_heights()), 20_000), cluster.explain()


def test_two_halves_decide_nothing_and_go_on_when_joined() -> None:
    cluster = Cluster("pbft", 4, 10)
    cluster.start()
    cluster.load(100)
    cluster.run(3_000)
    cluster.network.partition(cluster.nodes[:2], cluster.nodes[2:])
    cluster.run(1_000)
    before = cluster.final_heights()
    cluster.run(30_000)
    assert max(cluster.final_heights()) <= max(before) + 1
    cluster.network.heal()
    assert cluster.wait_final(max(before), 60_000), cluster.explain()


def test_miners_apart_longer_than_the_depth_agree_on_the_heavier_branch_afterwards() -> None:
    """The side with more power wins; what only the other side had mined returns and is mined."""
    cluster = Cluster("pow", 5, 21, mean_find_ms=5_000)
    cluster.start()
    cluster.run(10_000)
    cluster.network.partition(cluster.nodes[:3], cluster.nodes[3:])
    rng = cluster.world.rng("test")
    for _ in range(30):
        # User 0 pays on both sides with the same nonces; users 1 and 2 on one side each.
        for node, payers in ((cluster.nodes[0], (0, 1)), (cluster.nodes[4], (0, 2))):
            for payer in payers:
                cluster.transfer(rng, node, cluster.users[payer])
        cluster.run(2_000)
    heavy, light = cluster.nodes[0].running, cluster.nodes[4].running
    fork_heights = (
        light.ledger.height(light.ledger.head()),
        heavy.ledger.height(heavy.ledger.head()),
    )
    assert min(fork_heights) > 10
    displaced = [
        payment
        for payment in cluster.submitted
        if light.ledger.transaction(payment.id) is not None
        and heavy.ledger.transaction(payment.id) is None
    ]
    assert displaced, "the test needs payments that only the lighter side mined"
    cluster.network.heal()
    cluster.run(60_000)
    ledgers = [node.running.ledger for node in cluster.nodes]
    height = min(ledger.height(ledger.head()) for ledger in ledgers) - 2
    heads = {ledger.ancestor(ledger.head(), height) for ledger in ledgers}
    assert len(heads) == 1, [show_id(head) for head in heads]
    returned = doubly_spent = 0
    for payment in displaced:
        if heavy.ledger.transaction(payment.id) or payment.id in heavy.mempool:
            returned += 1
        else:  # another payment of the same sender took its nonce on the heavier side
            assert payment.sender == cluster.users[0].address
            assert heavy.ledger.account(payment.sender).nonce > payment.nonce
            doubly_spent += 1
    assert returned
    assert doubly_spent
    height = min(ledger.height(ledger.confirmed()) for ledger in ledgers)
    roots = {ledger.header(ledger.id_at(height) or b"").manifest.state_root for ledger in ledgers}
    assert len(roots) == 1


@pytest.mark.parametrize("power", [False, True], ids=["kill", "power"])
def test_miners_that_are_killed_again_and_again_converge(power: bool) -> None:
    cluster = Cluster("pow", 3, 31, mean_find_ms=3_000)
    rng = cluster.world.rng("test")
    cluster.start()
    cluster.load(100)
    for _ in range(10):
        cluster.run(rng.randrange(2_000, 15_000))
        victim = rng.choice(cluster.nodes)
        victim.crash(rng if power else None)
        cluster.run(rng.randrange(0, 10_000))
        victim.start()
    cluster.run(30_000)
    ledgers = [node.running.ledger for node in cluster.nodes]
    height = min(ledger.height(ledger.confirmed()) for ledger in ledgers)
    assert height > 20
    assert len({ledger.id_at(height) for ledger in ledgers}) == 1
