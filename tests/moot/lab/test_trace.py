"""Traces: kept within bounds, written, read, cut to a span; and taken down without a trace."""

from __future__ import annotations

import msgspec
import pytest

from consensus.registry import engine_names
from moot.lab.cluster import Cluster
from moot.lab.replay import replay, span_of_interest
from moot.lab.report import Violation
from moot.lab.run import RunOptions, run
from moot.lab.trace import (
    InvalidTrace,
    TraceEvent,
    TraceFile,
    TraceHeader,
    TraceLog,
    read_lines,
    window,
    without,
    write_lines,
)
from moot.lab.tracer import Tracer

HEADER = TraceHeader(1, "by hand", "pbft", 7, ("n0", "n1"))


def by_hand() -> TraceFile:
    log = TraceLog(HEADER)
    start = log.add(0, "start", "n0")
    sent = log.add(5, "send", "n0", "Prepare", peer="n1", cause=start, fields={"view": 0})
    log.add(9, "receive", "n1", "Prepare", peer="n0", cause=sent, fields={"view": 0})
    log.add(9, "persist", "n1")
    return log.trace()


def test_a_trace_survives_as_lines() -> None:
    trace = by_hand()
    lines = list(write_lines(trace))
    assert len(lines) == 5
    assert read_lines(lines) == trace
    assert read_lines("".join(lines).splitlines()) == trace


def test_a_full_log_says_so_and_gives_out_no_causes() -> None:
    log = TraceLog(HEADER, events_max=2)
    assert [log.add(n, "timer", "n0") for n in range(5)] == [1, 2, 0, 0, 0]
    assert log.dropped == 3
    last = log.trace().events[-1]
    assert (last.number, last.kind) == (3, "note")
    assert last.what == "the recorder was full: 3 later events are not shown"


def test_a_log_keeps_its_span_only() -> None:
    log = TraceLog(HEADER, from_ms=10, to_ms=20)
    assert [log.add(at, "timer", "n0") for at in (9, 10, 20, 21)] == [0, 1, 2, 0]
    assert log.dropped == 0


def test_spans_and_selections_are_numbered_anew_and_forget_causes_outside() -> None:
    trace = by_hand()
    cut = window(trace, 5, 9)
    assert [(event.number, event.cause) for event in cut.events] == [(1, 0), (2, 1), (3, 0)]
    assert read_lines(write_lines(cut)) == cut
    assert [event.kind for event in without(trace, ("start", "persist")).events] == [
        "send",
        "receive",
    ]
    assert [event.kind for event in without(trace, (), ("Prepare",)).events] == ["start", "persist"]


GOOD = list(write_lines(by_hand()))


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([], "malformed-trace"),
        (["{}"], "malformed-trace"),
        ([GOOD[0].replace('"moot_trace":1', '"moot_trace":2')], "malformed-trace"),
        ([GOOD[0], "[]"], "malformed-trace"),
        ([GOOD[0], GOOD[2]], "malformed-trace"),  # out of order
        ([GOOD[0], GOOD[1].replace('"n0"', '"n9"')], "malformed-trace"),
        ([*GOOD[:3], GOOD[3].replace('"at_ms":9', '"at_ms":4')], "malformed-trace"),
        ([*GOOD[:3], GOOD[3].replace('"cause":2', '"cause":3')], "malformed-trace"),
        ([GOOD[0], GOOD[1].replace('"start"', '"dance"')], "malformed-trace"),
        ([*GOOD, GOOD[4].replace('"number":4', '"number":5')], "trace-too-long"),
        ([GOOD[0], "x" * 70_000], "trace-too-long"),
    ],
)
def test_lines_that_are_no_trace_are_refused(lines: list[str], code: str) -> None:
    with pytest.raises(InvalidTrace) as refused:
        read_lines(lines, events_max=4)
    assert refused.value.code == code


# --------------------------------------------------------------------------------- the tracer


def traced(engine: str) -> tuple[Cluster, Tracer]:
    cluster = Cluster(engine, 4, 7)
    names = tuple(node.name for node in cluster.nodes)
    header = TraceHeader(1, "", engine, 7, names)
    tracer = Tracer(header, cluster.world, cluster.network, cluster.nodes)
    return cluster, tracer


def play(cluster: Cluster) -> str:
    """A life with everything in it: a partition, a crash, a pause."""
    nodes = cluster.nodes
    cluster.start()
    cluster.load(300)
    cluster.run(1_500)
    cluster.network.partition(nodes[:1], nodes[1:])
    cluster.run(1_000)
    cluster.network.heal()
    nodes[2].crash()
    cluster.run(700)
    nodes[2].start()
    nodes[1].pause()
    cluster.run(200)
    nodes[1].resume()
    cluster.run(1_000)
    return cluster.world.trace_hash


@pytest.fixture(scope="module")
def story() -> TraceFile:
    cluster, tracer = traced("pbft")
    trace_hash = play(cluster)
    tracer.finish()
    assert trace_hash == play(Cluster("pbft", 4, 7)), "looking on changes nothing"
    return tracer.log.trace()


def test_what_happens_is_taken_down_in_order(story: TraceFile) -> None:
    kinds = [event.kind for event in story.events]
    for kind in ("cut", "heal", "crash", "pause", "resume"):
        assert kinds.count(kind) == 1, kind
    assert kinds.count("start") == 5
    (cut,) = [event for event in story.events if event.kind == "cut"]
    assert cut.what == "n0 | n1 n2 n3"
    order = [kind for kind in kinds if kind in ("cut", "heal", "crash", "pause", "resume")]
    assert order == ["cut", "heal", "crash", "pause", "resume"]
    assert read_lines(write_lines(story)) == story


def test_arrivals_are_caused_by_sends_and_votes_by_arrivals(story: TraceFile) -> None:
    by_number = {event.number: event for event in story.events}
    arrivals = [event for event in story.events if event.kind == "receive"]
    assert len(arrivals) > 500
    for event in arrivals:
        sent = by_number[event.cause]
        assert (sent.kind, sent.what, sent.fields) == ("send", event.what, event.fields)
        assert (sent.node, sent.peer) == (event.peer, event.node)
        assert 0 <= event.at_ms - sent.at_ms <= 500
    first = next(event for event in story.events if event.what == "Prepare")
    imported = by_number[first.cause]
    assert (imported.kind, imported.fields["origin"]) == ("import", "proposal")
    proposed = by_number[imported.cause]
    assert (proposed.kind, proposed.what, proposed.node) == ("receive", "PrePrepare", first.node)
    final = next(event for event in story.events if event.kind == "final")
    assert by_number[final.cause].what == "Commit"


def test_what_never_arrives_across_a_cut_is_there_as_sent_only(story: TraceFile) -> None:
    (start,) = [event.at_ms for event in story.events if event.kind == "cut"]
    (end,) = [event.at_ms for event in story.events if event.kind == "heal"]
    arrived = {event.cause for event in story.events if event.kind == "receive"}
    for event in story.events:
        if event.kind == "send" and start < event.at_ms < end and "n0" in (event.node, event.peer):
            assert event.number not in arrived


def test_finality_never_goes_back_in_the_picture(story: TraceFile) -> None:
    for node in story.header.nodes:
        heights = [e.fields["height"] for e in story.events if e.kind == "final" and e.node == node]
        assert heights == sorted(heights)
        assert len(heights) >= 5


def test_blocks_that_travel_without_votes_are_seen_too() -> None:
    cluster, tracer = traced("pow")
    cluster.start()
    cluster.run(8_000)
    trace = tracer.log.trace()
    types = {event.what for event in trace.events if event.kind == "receive"}
    assert {"AnnounceBlock", "BlockBody"} <= types
    blocks = [event for event in trace.events if event.kind == "import"]
    by_number = {event.number: event for event in trace.events}
    assert blocks
    for event in blocks:
        assert event.fields["origin"] == "own" or by_number[event.cause].what == "BlockBody"


def test_a_run_of_the_laboratory_is_the_same_when_it_is_replayed() -> None:
    options = RunOptions(engine="pbft", nodes=4, seed=3, minutes=0.1)
    plain = run(options)
    outcome, trace = replay(options, 2_000, 4_000)
    assert outcome == plain
    assert trace.header.replay.startswith("moot lab replay --engine pbft --nodes 4 --seed 3")
    assert {event.what for event in trace.events if event.kind == "head"} >= {"before"}
    assert all(2_000 <= event.at_ms <= 4_000 for event in trace.events)
    assert sum(event.kind == "receive" for event in trace.events) > 20


def test_what_is_shown_is_around_the_first_violation() -> None:
    outcome = run(RunOptions(engine="pbft", nodes=1, seed=1, minutes=0.05, faults=()))
    assert span_of_interest(outcome) == (0, 10_000)
    violations = [Violation("b", "later", 9_000), Violation("a", "first", 5_000)]
    bad = msgspec.structs.replace(outcome, violations=violations)
    assert span_of_interest(bad) == (1_000, 5_250)


def test_violations_are_taken_down_when_they_are_found() -> None:
    cluster = Cluster("pbft", 2, 1)
    found: list[Violation] = []
    header = TraceHeader(1, "", "pbft", 1, ("n0", "n1"))
    tracer = Tracer(header, cluster.world, cluster.network, cluster.nodes, found)
    cluster.start()
    cluster.run(300)
    found.append(Violation("agreement", "two blocks at height 3", 300))
    tracer.finish()
    last = tracer.log.trace().events[-1]
    assert last == TraceEvent(
        last.number, 300, "violation", what="agreement: two blocks at height 3"
    )


@pytest.mark.parametrize("engine", engine_names())
def test_the_checkers_see_the_engine_through_the_tracer(engine: str) -> None:
    """They look inside (what a server's term is, who counts on a lease), however it is wrapped."""
    options = RunOptions(engine=engine, nodes=4, seed=2, minutes=0.1)
    found, _ = replay(options)
    assert found.violations == []
    assert found.trace_hash == run(options).trace_hash
