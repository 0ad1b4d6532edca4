"""Sync and gossip inside whole nodes: real ledgers, rules and engines over a simulated network."""

from __future__ import annotations

import msgspec

from chain.genesis import FORMAT, Allocation, Era, Genesis, Limits, Parameter
from chain.transaction import Transaction, Transfer
from chain.validators import Validator
from consensus.pow import PowParameters
from consensus.registry import parameter_list, protocol
from moot.lab.network import Network
from moot.lab.node import SimulatedNode
from moot.lab.signer import CheapKey
from moot.lab.world import World
from moot.node.core import CoreSettings

KEYS = [CheapKey(number) for number in range(5)]
START_MS = 1_800_000_000_000


def make_genesis(engine: str, parameters: tuple[Parameter, ...], members: int) -> Genesis:
    return Genesis(
        FORMAT,
        "sync",
        "dev",
        START_MS,
        (Era(0, engine, parameters),),
        tuple(Validator(key.address, 1, f"v{n}") for n, key in enumerate(KEYS[:members])),
        tuple(Allocation(key.address, 10**12) for key in KEYS),
        Limits(),
    )


def payment(chain_id: bytes, nonce: int) -> Transaction:
    unsigned = Transaction(
        KEYS[0].address, nonce, 10_000, 0, 0, (Transfer(KEYS[1].address, 5),), ()
    )
    signature = KEYS[0].sign(unsigned.signing_bytes(chain_id))
    return msgspec.structs.replace(unsigned, witness=(signature,))


def height(node: SimulatedNode) -> int:
    ledger = node.running.ledger
    return ledger.height(ledger.head())


def assert_agree(nodes: list[SimulatedNode]) -> None:
    assert len({node.running.ledger.head() for node in nodes}) == 1
    for node in nodes:
        assert node.misbehaviour == {}
        assert not node.running.sync.syncing
        assert sum(node.running.sync.counts().values()) == 0


def test_miners_relay_and_a_late_node_catches_up() -> None:
    parameters = PowParameters(
        target_spacing_ms=1_000,
        half_life_ms=60_000,
        initial_bits=0x207F_FFFF,
        pow_limit_bits=0x207F_FFFF,
        fixed_difficulty=1,
        maturity=6,
    )
    genesis = make_genesis("pow", parameter_list(parameters), 0)
    world = World(11)
    net = Network(world)
    miners = [
        SimulatedNode(world, net, genesis, key, f"n{n}", CoreSettings(mining=True), 3_000)
        for n, key in enumerate(KEYS[:3])
    ]
    late = SimulatedNode(world, net, genesis, KEYS[4], "late")
    for node in miners:
        node.start()
    assert world.run_until(240_000, lambda: min(height(node) for node in miners) >= 100)
    late.start()
    top = height(miners[0])
    assert world.run_until(world.now_ms + 5_000, lambda: height(late) >= top)
    net.partition([miners[0], late], miners[1:])
    world.run_until(world.now_ms + 30_000)
    net.heal()
    nodes = [*miners, late]
    assert world.run_until(
        world.now_ms + 30_000,
        lambda: len({node.running.ledger.head() for node in nodes}) == 1,
    )
    world.run_until(world.now_ms + 200)
    assert_agree(nodes)


def test_replicas_send_each_other_no_bodies_and_an_observer_follows_with_proofs() -> None:
    found = protocol("pbft")
    parameters = parameter_list(found.parameters(**dict(found.devnet_parameters)))
    genesis = make_genesis("pbft", parameters, 4)
    world = World(12)
    net = Network(world)
    replicas = [SimulatedNode(world, net, genesis, key, f"n{n}") for n, key in enumerate(KEYS[:4])]
    observer = SimulatedNode(world, net, genesis, KEYS[4], "observer")
    for node in replicas:
        node.start()
    chain_id = replicas[0].running.ledger.chain_id
    for nonce in range(40):
        replicas[nonce % 4].submit([payment(chain_id, nonce)])
        world.run_until(world.now_ms + 500)
    assert net.messages.get("BlockBody", 0) == 0
    pushed = net.messages["PushTransactions"]
    # From each but the primary itself, and to the primary alone; who just started knows none yet.
    assert 40 * 3 // 4 - 4 <= pushed <= 40 * 3 // 4
    # The primary has it so early that its block may be there before the others have asked.
    assert net.messages["Transactions"] <= 40 * 3 - pushed, "each body at most once to each node"
    assert net.messages.get("FinalityProof", 0) < 20
    top = height(replicas[0])
    assert top >= 20
    observer.start()
    assert world.run_until(
        world.now_ms + 5_000,
        lambda: observer.running.ledger.height(observer.running.ledger.finalized()) >= top,
    )
    for nonce in range(40, 50):
        replicas[nonce % 4].submit([payment(chain_id, nonce)])
        world.run_until(world.now_ms + 500)
    world.run_until(world.now_ms + 1_000)
    assert_agree([*replicas, observer])
    ledger = observer.running.ledger
    assert all(
        ledger.proof(block) is not None
        for block in (ledger.id_at(n) for n in range(1, height(observer) + 1))
        if block is not None
    )


def test_a_newcomer_is_told_what_waits_in_the_pools() -> None:
    """Two of four replicas decide nothing; what they hold must reach those who come later."""
    found = protocol("pbft")
    parameters = parameter_list(found.parameters(**dict(found.devnet_parameters)))
    genesis = make_genesis("pbft", parameters, 4)
    world = World(13)
    net = Network(world)
    nodes = [SimulatedNode(world, net, genesis, key, f"n{n}") for n, key in enumerate(KEYS[:4])]
    nodes[0].start()
    nodes[1].start()
    paid = payment(nodes[0].running.ledger.chain_id, 0)
    nodes[0].submit([paid])
    world.run_until(2_000)
    nodes[2].start()
    world.run_until(2_200)
    pool = nodes[2].running
    assert paid.id in pool.mempool or pool.ledger.transaction(paid.id) is not None
