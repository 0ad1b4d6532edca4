"""What a seed draws, written down and done again, is the same run; and less of it is less."""

from __future__ import annotations

import msgspec
import pytest

from moot.lab.fault_kinds import KINDS
from moot.lab.recording import Case, play, record
from moot.lab.run import Laboratory, RunOptions, run
from moot.lab.steps import Crash, Delay, Disk, Moment, Partition, Pay, Script, Step, Timed, Wipe

OPTIONS = RunOptions(engine="pbft", nodes=4, seed=5, minutes=0.2)


def did(script: Script, engine: str = "pbft", nodes: int = 4) -> tuple[Laboratory, list[Step]]:
    """Plays a script, and tells which of its steps applied."""
    laboratories: list[Laboratory] = []
    options = RunOptions(engine=engine, nodes=nodes, seed=1)
    outcome = run(options, (laboratories.append,), script)
    assert outcome.violations == []
    (laboratory,) = laboratories
    return laboratory, [each.step for each in laboratory.faults.done]


@pytest.mark.parametrize(
    ("engine", "nodes", "seed", "liars"),
    [
        *[
            ("pbft", 4, 1, 0),
            ("pbft", 4, 3, 1),
            ("pbft", 7, 4, 2),
            ("pow", 3, 2, 0),
            ("pow", 4, 9, 1),
        ],
        *[("raft", 3, 1, 0), ("paxos", 3, 1, 0), ("multipaxos", 5, 1, 0)],
        *[("authority", 3, 1, 0), ("gossip", 3, 1, 0)],
    ],
)
def test_a_recorded_run_played_again_is_the_same_run(
    engine: str, nodes: int, seed: int, liars: int
) -> None:
    options = RunOptions(engine=engine, nodes=nodes, seed=seed, minutes=0.2, liars=liars)
    outcome, case = record(options)
    assert any(not isinstance(each.step, Pay) for each in case.script.steps)
    again = play(case)
    assert again.trace_hash == outcome.trace_hash
    assert again.exercised == outcome.exercised
    assert record(options)[1] == case


def test_every_kind_of_fault_is_recorded() -> None:
    options = msgspec.structs.replace(OPTIONS, faults=KINDS, minutes=0.5)
    outcome, case = record(options)
    assert play(case).trace_hash == outcome.trace_hash
    kinds = {each.step.text.split()[0] for each in case.script.steps}
    assert {"pay", "crash", "cut", "partition", "drop", "disk", "delay", "reset"} <= kinds


def test_what_is_left_out_does_not_happen_and_the_rest_does() -> None:
    _, case = record(OPTIONS)
    payments = tuple(each for each in case.script.steps if isinstance(each.step, Pay))
    fewer = Case(case.options, msgspec.structs.replace(case.script, steps=payments[:3]))
    outcome = play(fewer)
    assert outcome.violations == [] and outcome.faults == {}
    assert outcome.operations >= 3


def test_a_run_ends_as_soon_as_the_checker_has_spoken() -> None:
    options = msgspec.structs.replace(OPTIONS, mutant="fees-vanish", minutes=0.3, faults=())
    outcome, case = record(options)
    first = outcome.violations[0]
    assert play(case, until=first.checker).virtual_seconds < outcome.virtual_seconds
    assert play(case, until="no-such-checker").trace_hash == outcome.trace_hash


def test_a_step_that_cannot_be_is_left_undone_and_counted() -> None:
    crash = Timed(1_500, Crash("n1", for_ms=2_000))
    again = Timed(1_600, Crash("n1", for_ms=2_000))
    laboratory, done = did(Script(lasts_ms=3_000, steps=(crash, again)))
    assert done == [crash.step]
    assert laboratory.faults.idle == 1


def test_no_more_disks_are_lost_than_the_engine_bears_unless_the_script_says_so() -> None:
    steps = tuple(Timed(1_500 + n, Wipe(f"n{n}", for_ms=500)) for n in range(2))
    assert len(did(Script(lasts_ms=2_000, steps=steps))[1]) == 1
    beyond = Script(lasts_ms=2_000, steps=steps, healing="none", is_beyond=True)
    assert len(did(beyond)[1]) == 2


def test_a_crash_comes_at_its_moment_and_lasts_as_long_as_it_says() -> None:
    """Between the synced write and the word that rests on it."""
    seen: list[tuple[int, str]] = []
    after_persist = Crash("leader", moment=Moment("after", 1, "Persist"), for_ms=1_000)
    script = Script(lasts_ms=4_000, steps=(Timed(1_200, after_persist), Timed(1_300, Pay(0, 1, 5))))

    def prepare(laboratory: Laboratory) -> None:
        for node in laboratory.nodes:
            node.observe(
                lambda thing, node=node: seen.append(
                    (laboratory.world.now_ms, f"{node.name} {type(thing).__name__}")
                )
            )
            node.stopped.append(
                lambda node: seen.append((laboratory.world.now_ms, f"{node.name} died"))
            )
            node.started.append(
                lambda node: seen.append((laboratory.world.now_ms, f"{node.name} started"))
            )

    outcome = run(RunOptions(engine="pbft", nodes=4, seed=1), (prepare,), script)
    assert outcome.violations == []
    (at_ms, died) = next(each for each in seen if each[1].endswith("died"))
    name = died.split()[0]
    before = [what for _, what in seen[: seen.index((at_ms, died))] if what.startswith(name)]
    assert before[-1] == f"{name} Persist", "nothing was said between"
    assert (at_ms + 1_000, f"{name} started") in seen


def test_a_process_that_nobody_starts_again_stays_down_until_the_healing() -> None:
    down: list[bool] = []

    def prepare(laboratory: Laboratory) -> None:
        laboratory.world.after(4_900, lambda: down.append(laboratory.nodes[2].core is None))

    script = Script(lasts_ms=5_000, steps=(Timed(1_500, Crash("n2")),))
    outcome = run(RunOptions(engine="pbft", nodes=4, seed=1), (prepare,), script)
    assert down == [True]
    assert outcome.exercised["restarts"] == 1


def test_delays_that_overlap_end_where_they_began() -> None:
    steps = (
        Timed(1_200, Delay(("n0>n1",), 200, 300, for_ms=1_000)),
        Timed(1_700, Delay(("*>*",), 400, 500, 30, for_ms=1_000)),
    )
    laboratory, done = did(Script(lasts_ms=3_000, steps=steps, delay_ms=(2, 3), healing="none"))
    assert len(done) == 2
    assert {link.delay_ms for link in laboratory.network.faults.values()} == {(2, 3)}
    assert {link.tail for link in laboratory.network.faults.values()} == {0}


def test_torn_writes_and_partitions_are_what_their_steps_say() -> None:
    steps = (
        Timed(1_200, Partition((("n0", "n1"), ("n2", "n3")), for_ms=1_000)),
        Timed(1_300, Disk("n1", "torn", 0)),
        Timed(1_400, Pay(0, 1, 5)),
    )
    laboratory, done = did(Script(lasts_ms=6_000, steps=steps))
    assert len(done) == 3
    counts = laboratory.faults.injected
    assert counts["partition"] == 1
    assert laboratory.nodes[1].store.injected["torn-write"] == 1
