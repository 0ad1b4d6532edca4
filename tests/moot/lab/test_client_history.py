"""The ledger's order as a witness, and the histories of real runs, good and stale."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.block import Block
from chain.ledger import Ledger
from moot.lab.client_history import ClientHistory, judge
from moot.lab.history import Operation, Pay, Read, ReadAccount, Write
from moot.lab.models import AccountsModel, KeyValueModel
from moot.lab.node import SimulatedNode
from moot.lab.run import Laboratory, RunOptions
from moot.lab.witness import check_order
from tests.support.histories import brute_force, history, replays, respects_time

BANK = {"a": (0, 100), "b": (0, 100)}
PAID = Pay("a", 0, "b", 10, 1)
AGAIN = Pay("a", 1, "b", 10, 1)


def test_reads_find_their_place_in_the_ledgers_order() -> None:
    operations = history(
        ("A", PAID), ("R", ReadAccount("b")), ("R", None, (0, 100)), ("A", None, ""),
        ("B", AGAIN), ("R", ReadAccount("b")), ("R", None, (0, 110)),
        ("R", ReadAccount("b")), ("R", None, (0, 120)),
    )  # fmt: skip
    assert check_order(operations, [0, 2], AccountsModel(BANK)) is None


@pytest.mark.parametrize(
    ("operations", "order", "sentence"),
    [
        # a stale read
        (history(("A", PAID), ("A", None, ""), ("R", ReadAccount("b")), ("R", None, (0, 100))),
         [0], "no state gives this answer"),
        # back in time: the second reader sees less than the first did
        (history(("A", PAID), ("R", ReadAccount("b")), ("R", None, (0, 110)),
                 ("S", ReadAccount("b")), ("S", None, (0, 100))),
         [0], "no state gives this answer"),
        # from the future
        (history(("R", ReadAccount("b")), ("R", None, (0, 110)), ("A", PAID)),
         [1], "no state gives this answer"),
        # from a future that the ledger puts before something older
        (history(("B", Pay("b", 0, "a", 1, 1)), ("R", ReadAccount("b")), ("R", None, (1, 108)),
                 ("A", PAID)),
         [2, 0], "no state gives this answer"),
        # answered, and lost
        (history(("A", PAID), ("A", None, "")), [], "is not in the ledger"),
        # out of turn
        (history(("A", PAID), ("B", AGAIN)), [1, 0], "it meets the state"),
        # the ledger turns two around that did not overlap
        (history(("A", PAID), ("A", None, ""), ("B", Pay("b", 0, "a", 1, 1)), ("B", None, "")),
         [1, 0], "it had returned before"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    operations: list[Operation], order: list[int], sentence: str
) -> None:
    misfit = check_order(operations, order, AccountsModel(BANK))
    assert misfit is not None
    assert sentence in misfit.explain()


@settings(max_examples=250, deadline=None)
@given(st.integers(0, 2**32))
def test_the_witness_is_right_about_every_order(seed: int) -> None:
    """It accepts an order of writes if and only if some places for the reads exist."""
    rng = random.Random(seed)
    operations = small_history(rng)
    writes = [one.number for one in operations if isinstance(one.call, Write)]
    rng.shuffle(writes)
    kept = [n for n in writes if not operations[n].lost or rng.random() < 0.5]
    model = KeyValueModel()
    accepted = check_order(operations, kept, model) is None
    assert accepted == any_placement(operations, kept, model)
    if accepted:
        assert brute_force(operations, model, ("x",))


def small_history(rng: random.Random) -> list[Operation]:
    events = []
    open_: list[int] = []
    for number in range(6):
        client = f"c{number}"
        call = Write("x", rng.randrange(3)) if rng.random() < 0.5 else Read("x")
        events.append((client, call))
        open_.append(number)
        while open_ and rng.random() < 0.55:
            done = open_.pop(rng.randrange(len(open_)))
            answer = True if isinstance(events_call(events, done), Write) else rng.randrange(3)
            events.append((f"c{done}", None, answer))
    return history(*events)


def events_call(events: list[tuple[object, ...]], number: int) -> object:
    return next(event[1] for event in events if event[0] == f"c{number}" and len(event) == 2)


def any_placement(operations: list[Operation], order: list[int], model: KeyValueModel) -> bool:
    reads = [one for one in operations if isinstance(one.call, Read) and not one.lost]
    answered = [one for one in operations if isinstance(one.call, Write) and not one.lost]
    if any(one.number not in order for one in answered):
        return False
    sequence = [operations[number] for number in order]

    def place(left: list[Operation], so_far: list[Operation]) -> bool:
        if not left:
            return respects_time(so_far) and replays(so_far, model, ("x",))
        return any(
            place(left[1:], [*so_far[:at], left[0], *so_far[at:]]) for at in range(len(so_far) + 1)
        )

    return place(reads, sequence)


# ------------------------------------------------------------------------------------ real runs


def recorded(reader: str) -> tuple[Laboratory, ClientHistory]:
    """Ten seconds of PBFT under load, with one node cut off for a while, and reads every 150 ms.

    ``reader``: "foremost" reads where most is final, which no client can and every read must
    be like; "cut-off" always reads at the node that falls behind.
    """
    laboratory = Laboratory(RunOptions(engine="pbft", nodes=4, seed=9, faults=(), load_tps=8))
    cluster, world = laboratory.cluster, laboratory.world
    names = {user.address: f"u{number}" for number, user in enumerate(cluster.users)}
    taken = ClientHistory(lambda: world.now_ms, names)
    laboratory.clients.listeners.append(taken)
    rng = world.rng("reads")

    def final(node: SimulatedNode) -> int:
        ledger = node.running.ledger
        return ledger.height(ledger.confirmed())

    def read() -> None:
        world.after(150, read)
        address = rng.choice(cluster.users).address
        number = taken.begin_read(address)
        assert number is not None
        node = max(cluster.nodes, key=final) if reader == "foremost" else cluster.nodes[0]
        taken.end_read(number, address, node.running.ledger)

    cluster.start()
    laboratory.clients.start()
    world.after(150, read)
    cluster.run(3_000)
    laboratory.network.partition(cluster.nodes[:1], cluster.nodes[1:])
    cluster.run(5_000)
    laboratory.network.heal()
    cluster.run(2_000)
    return laboratory, taken


def confirmed(ledger: Ledger) -> list[Block]:
    found = []
    for height in range(1, ledger.height(ledger.confirmed()) + 1):
        block_id = ledger.id_at(height)
        block = None if block_id is None else ledger.block(block_id)
        assert block is not None
        found.append(block)
    return found


def test_a_runs_payments_and_reads_are_linearizable() -> None:
    laboratory, taken = recorded("foremost")
    ledger = max(
        (node.running.ledger for node in laboratory.nodes),
        key=lambda ledger: ledger.height(ledger.confirmed()),
    )
    verdict, misfit = taken.check(ledger.genesis, confirmed(ledger))
    assert (verdict.outcome, misfit) == ("linearizable", None)
    operations = taken.operations()
    assert sum(isinstance(one.call, ReadAccount) for one in operations) > 50
    paid = [one for one in operations if isinstance(one.call, Pay) and not one.lost]
    assert len(paid) > 30
    assert {one.number for one in paid} <= set(taken.order_in(confirmed(ledger)))


def test_reads_at_a_node_that_fell_behind_are_found_stale() -> None:
    laboratory, taken = recorded("cut-off")
    ledger = laboratory.nodes[1].running.ledger
    verdict, misfit = taken.check(ledger.genesis, confirmed(ledger))
    assert misfit is not None
    assert isinstance(misfit.operation.call, ReadAccount)
    assert verdict.violation is not None, verdict.outcome
    assert isinstance(verdict.violation.blocking.call, ReadAccount)
    assert "not linearizable" in verdict.violation.explain()


def test_a_payment_that_nobody_was_answered_may_be_read_but_not_taken_back() -> None:
    """A double spender's: two of one nonce, of which the ledger has the second."""
    events = [
        ("T", Pay("thief", 0, "a", 90, 1)), ("S", Pay("thief", 0, "b", 90, 1)),
        ("R", ReadAccount("b")), ("R", None, (0, 190)),
    ]  # fmt: skip
    initial = {**BANK, "thief": (0, 100)}
    verdict, misfit = judge(history(*events), [1], initial)
    assert (verdict.outcome, misfit) == ("linearizable", None)
    stale = history(*events, ("R", ReadAccount("b")), ("R", None, (0, 100)))
    verdict, misfit = judge(stale, [1], initial)
    assert misfit is not None
    assert verdict.outcome == "violated"
    both = history(*events, ("R", ReadAccount("a")), ("R", None, (0, 190)))
    verdict, misfit = judge(both, [1], initial)
    assert misfit is not None
    assert verdict.outcome == "violated"


def test_a_misfit_may_be_one_that_nobody_could_notice() -> None:
    """Two overlapping payments in either order: only the ledger's own is its witness."""
    operations = history(
        ("A", PAID), ("B", Pay("b", 0, "a", 200, 1)), ("A", None, ""),
        ("B", None, "insufficient-funds"),
    )  # fmt: skip
    verdict, misfit = judge(operations, [0, 1], BANK)
    assert (verdict.outcome, misfit) == ("linearizable", None)
    early = history(
        ("A", Pay("a", 0, "b", 100, 0)), ("B", Pay("b", 0, "a", 150, 0)), ("A", None, ""),
        ("B", None, "insufficient-funds"),
    )  # fmt: skip
    verdict, misfit = judge(early, [0, 1], BANK)
    assert misfit is not None
    assert verdict.outcome == "linearizable"
