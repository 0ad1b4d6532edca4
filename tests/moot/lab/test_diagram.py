"""Pictures: a small trace by hand, drawn in characters and as a page."""

from __future__ import annotations

import json
import re

import msgspec

from moot.lab.diagram import page, sendings, terminal
from moot.lab.trace import Kind, TraceFile, TraceHeader, TraceLog, read_lines, write_lines

NAMES = ("n0", "n1", "n2")


def story() -> TraceFile:
    """A proposal, of which one node hears nothing; a crash, a restart, finality."""
    log = TraceLog(TraceHeader(1, "by hand", "pbft", 7, NAMES, "moot lab replay --seed 7"))
    for name in NAMES:
        log.add(0, "start", name)
    log.add(10, "cut", what="n2 | n0 n1")
    fields = {"view": 0, "height": 1}
    heard = log.add(20, "send", "n1", "PrePrepare", peer="n0", fields=fields)
    log.add(20, "send", "n1", "PrePrepare", peer="n2", fields=fields)
    log.add(24, "receive", "n0", "PrePrepare", peer="n1", cause=heard, fields=fields)
    log.add(30, "crash", "n2")
    log.add(31, "heal")
    log.add(40, "final", "n0", fields={"height": 1})
    log.add(55, "start", "n2", "again")
    log.add(60, "violation", what="agreement: two blocks at height 1")
    return log.trace()


def test_the_terminals_picture() -> None:
    drawn = [line.text for line in terminal(story(), 100)]
    assert drawn == [
        "          by hand",
        "       ms        n0              n1              n2",
        "        0         ▲ start         ▲ start         ▲ start   n0 n1 n2: start",
        "       10 ── cut n2 | n0 n1 ──────────────────────────────",
        "       20         ◀───────────────●───────────────×         PrePrepare view 0, height 1",
        "       30         │               │               ✖ crash   n2: crash",
        "       31 ── heal ────────────────────────────────────────",
        "       40         ■ 1             │                         n0: final height 1",
        "       55         │               │               ▲ again   n2: start again",
        "       60 ── violation agreement: two blocks at height 1 ─",
    ]


def test_styles_say_what_matters() -> None:
    styles = {line.text.split()[0]: line.style for line in terminal(story(), 100)[3:]}
    assert styles == {
        "10": "fault",
        "20": "message",
        "30": "fault",
        "31": "fault",
        "40": "final",
        "55": "fault",
        "60": "violation",
    }


def test_arrows_pass_over_those_who_are_not_meant() -> None:
    log = TraceLog(TraceHeader(1, "", "pow", 1, NAMES))
    sent = log.add(1, "send", "n2", "GetBlocks", peer="n0")
    log.add(4, "receive", "n0", "GetBlocks", peer="n2", cause=sent)
    (line,) = terminal(log.trace(), 100)[2:]
    assert line.columns.strip() == "◀" + "─" * 15 + "┼" + "─" * 15 + "●"


def test_many_nodes_get_narrow_columns_and_marks_without_words() -> None:
    names = tuple(f"n{number}" for number in range(30))
    log = TraceLog(TraceHeader(1, "", "pbft", 1, names))
    log.add(1, "final", "n7", fields={"height": 12})
    lines = terminal(log.trace(), 100)
    assert "■ 12" not in lines[-1].columns
    assert "■" in lines[-1].columns
    assert lines[-1].label == "n7: final height 12"
    assert {len(line.columns) for line in lines[1:]} == {150}


def test_what_happens_alike_at_one_moment_shares_a_line() -> None:
    log = TraceLog(TraceHeader(1, "", "pbft", 1, NAMES))
    for name in ("n0", "n2"):
        log.add(7, "head", name, fields={"height": 3})
        log.add(7, "final", name, fields={"height": 3})
    log.add(7, "head", "n1", fields={"height": 3})
    log.add(8, "final", "n1", fields={"height": 3})
    labels = [line.label for line in terminal(log.trace())[2:]]
    assert labels == ["n0 n2: final height 3", "n1: head height 3", "n1: final height 3"]


def test_an_arrival_whose_sending_is_not_there_is_drawn_alone() -> None:
    log = TraceLog(TraceHeader(1, "", "pbft", 1, NAMES))
    log.add(1, "receive", "n1", "Commit", peer="n0")
    (entry,) = sendings(log.trace().events)
    assert entry.kind == "receive"  # type: ignore[union-attr]
    assert "Commit" in terminal(log.trace())[-1].text


def test_every_kind_of_event_can_be_drawn() -> None:
    log = TraceLog(TraceHeader(1, "", "pbft", 1, NAMES))
    kinds: tuple[Kind, ...] = Kind.__args__  # type: ignore[attr-defined]
    for at_ms, kind in enumerate(kinds):
        log.add(at_ms, kind, "n0", "word", peer="n1", fields={"height": 3})
    trace = log.trace()
    text = "\n".join(line.text for line in terminal(trace))
    for kind in kinds:
        if kind not in ("send", "receive"):
            assert f"n0: {kind} word height 3" in text
    assert read_lines(write_lines(trace)) == trace


# ------------------------------------------------------------------------------------ the page


def data_of(html: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="trace">(.*?)</script>', html, re.S)
    assert found is not None
    return dict(json.loads(found[1]))


def test_the_page_holds_the_whole_trace_and_asks_nobody() -> None:
    trace = story()
    html = page(trace)
    data = data_of(html)
    events = data["events"]
    assert isinstance(events, list)
    assert [event[0] for event in events] == list(range(1, len(trace.events) + 1))
    assert events[4] == [5, 20, "send", "n1", "PrePrepare", "n0", 0, {"view": 0, "height": 1}]
    assert data["header"] == json.loads(msgspec.json.encode(trace.header))
    assert "default-src 'none'" in html
    for outside in ("http://", "https://", "<link", "src=", "@import", "url("):
        assert outside not in html
    for left in ("__TITLE__", "__DATA__", "/*STYLE*/", "/*SCRIPT*/"):
        assert left not in html


def test_a_hostile_word_stays_a_word() -> None:
    word = "</script><img onerror=alert(1)>\u2028__DATA__ /*SCRIPT*/"
    log = TraceLog(TraceHeader(1, "<b>&__DATA__ title", "pbft", 1, NAMES))
    log.add(1, "note", "n0", word)
    html = page(log.trace())
    events = data_of(html)["events"]
    assert isinstance(events, list)
    assert events[0][4] == word
    assert html.count("</script>") == 2
    assert "<img" not in html
    assert "<title>&lt;b&gt;&amp;__DATA__ title</title>" in html
    assert "\u2028" not in html
