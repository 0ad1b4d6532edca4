"""``moot fault``: a running devnet, broken and mended from a second terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import stat
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from moot.client.answers import NodeStatus
from moot.client.errors import ClientError, NodeRefused, NodeUnreachable
from moot.client.node import NodeClient
from moot.node.rest.control import Fault, FaultOutcome
from tests.support.commands import Background, moot, moot_json

WAIT_S = 40.0


class Devnet:
    """A devnet of four in the background, and its folder."""

    def __init__(self, directory: Path, output: Path, process: Background) -> None:
        self.directory = directory
        self.output = output
        self.process = process
        plan = json.loads((directory / "devnet.json").read_text())
        self.urls = [f"http://127.0.0.1:{node['rest_port']}" for node in plan["nodes"]]

    def fault(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = moot_json(
            "fault", *arguments, "--dir", str(self.directory), "--json"
        )
        return found

    def refused(self, *arguments: str) -> str:
        outcome = moot("fault", *arguments, "--dir", str(self.directory))
        assert outcome.returncode == 1, outcome.stdout
        return outcome.stderr

    async def until(self, index: int, holds: Callable[[NodeStatus], bool], what: str) -> NodeStatus:
        async with NodeClient(self.urls[index]) as client, asyncio.timeout(WAIT_S):
            while True:
                with contextlib.suppress(NodeUnreachable):
                    if holds(status := await client.status()):
                        return status
                await asyncio.sleep(0.1)
        raise AssertionError(what)

    async def final(self, index: int) -> int:
        async with NodeClient(self.urls[index]) as client:
            return (await client.status()).finalized.height


@contextlib.contextmanager
def running(tmp_path: Path, *arguments: str) -> Iterator[Devnet]:
    directory, output = tmp_path / "net", tmp_path / "out.txt"
    words = ["devnet", "--rest-port", "0", "--dir", str(directory), *arguments]
    with Background(words, output) as process:
        process.wait_for("moot fault kill leader")
        yield Devnet(directory, output, process)
        process.end()


def state_of(outcome: dict[str, Any]) -> list[str]:
    return [node["state"] for node in outcome["nodes"]]


async def test_a_killed_leader_is_no_death_and_comes_back(tmp_path: Path) -> None:
    with running(tmp_path, "--nodes", "4") as devnet:
        killed = devnet.fault("kill", "leader")
        assert state_of(killed).count("killed") == 1
        victim = state_of(killed).index("killed")
        other = (victim + 1) % 4
        name = killed["nodes"][victim]["name"]
        assert killed["sentence"] == f"killed {name}"
        height = await devnet.final(other)
        await devnet.until(other, lambda s: s.finalized.height > height, "others go on")
        with pytest.raises(NodeUnreachable):
            await devnet.final(victim)
        assert f"{name} does not run" in devnet.refused("pause", name)
        assert state_of(devnet.fault("restart", name)) == ["running"] * 4
        height = await devnet.final(other)
        await devnet.until(victim, lambda s: s.finalized.height >= height, "it catches up")
        assert devnet.process.process.poll() is None


@pytest.mark.slow
async def test_pause_cut_and_heal_do_what_they_say(tmp_path: Path) -> None:
    with running(tmp_path, "--nodes", "4") as devnet:
        outcome = devnet.fault("pause", "2")
        assert state_of(outcome) == ["running", "paused", "running", "running"]
        assert "is paused already" in devnet.refused("pause", "node2")
        # Cut while it sleeps: it hears of it when it is awake again.
        outcome = devnet.fault("cut", "node2", "node1", "node3")
        assert [node["cut"] for node in outcome["nodes"]] == [
            ["node2"], ["node1", "node3"], ["node2"], [],
        ]  # fmt: skip
        devnet.fault("resume", "node2")
        await devnet.until(1, lambda s: s.peers == 1, "only node4 is left to it")
        # A cut outlasts the restart of one of its ends.
        devnet.fault("restart", "node1")
        await devnet.until(0, lambda s: s.peers == 2, "node1 has the two others")
        devnet.fault("cut", "node4")
        await devnet.until(3, lambda s: s.peers == 0, "node4 is alone")
        await devnet.until(1, lambda s: s.peers == 0, "node2 too")
        stuck = await devnet.final(0)
        outcome = devnet.fault("heal")
        assert outcome["sentence"] == "healed 5 links"
        for index in range(4):
            await devnet.until(index, lambda s: s.peers == 3, "all links are back")
        await devnet.until(1, lambda s: s.finalized.height > stuck, "and blocks")
        assert devnet.fault("heal")["sentence"] == "nothing was cut"


@pytest.mark.slow
def test_a_running_devnet_is_found_and_its_secrets_are_its_users_alone(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    nothing = moot("fault", "list", MOOT_HOME=home)
    assert nothing.returncode == 1
    assert "no devnet runs" in nothing.stderr
    output, directory = tmp_path / "out.txt", tmp_path / "net"
    words = ["devnet", "--rest-port", "0", "--nodes", "2", "--dir", str(directory)]
    with Background(words, output, MOOT_HOME=home) as process:
        process.wait_for("moot fault kill leader")
        found = moot_json("fault", "list", "--json", MOOT_HOME=home)
        assert [node["name"] for node in found["nodes"]] == ["node1", "node2"]
        assert "running" in moot("fault", "list", MOOT_HOME=home).stdout
        for name in ("control.json", "admin.token"):
            assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600, name
        outcome = moot("fault", "kill", "nobody", MOOT_HOME=home)
        assert "there is no node 'nobody'; there are node1, node2" in outcome.stderr
        secret = directory / "control.json"
        true = secret.read_text()
        secret.write_text(true.replace(json.loads(true)["token"], "0" * 64))
        outcome = moot("fault", "kill", "1", MOOT_HOME=home)
        assert outcome.returncode == 1
        assert "somebody else's" in outcome.stderr
        assert process.end() == 0, process.text()
    assert not list((tmp_path / "home" / "devnets").iterdir())
    assert not (directory / "control.json").exists()
    outcome = moot("fault", "list", "--dir", str(directory))
    assert "no devnet runs in" in outcome.stderr


@pytest.mark.slow
def test_what_was_broken_stands_in_the_report_and_is_whole_at_the_end(tmp_path: Path) -> None:
    directory, output = tmp_path / "net", tmp_path / "out.txt"
    words = ["devnet", "--rest-port", "0", "--dir", str(directory)]
    words += ["--load", "20", "--seconds", "12", "--json"]
    with Background(words, output) as process:
        process.wait_for("moot fault kill leader")
        where = ("--dir", str(directory))
        moot_json("fault", "kill", "node3", *where, "--json")
        moot_json("fault", "cut", "node1", "node2", *where, "--json")
        assert process.process.wait(90) == 0, process.text()
    text = process.text()
    report = json.loads(text[text.index("{") :])
    assert report["agreement"] is True
    assert report["pending"] == 0
    assert report["submitted"] == report["finalized"] + report["failed"] == 240
    assert report["restarts"] == 1
    told = [(e["event"], e.get("node"), e["by"]) for e in report["events"] if "by" in e]
    assert told == [
        ("kill", "node3", "hand"),
        ("cut", "node1", "hand"),
        ("restart", "node3", "end"),
        ("heal", None, "end"),
    ]


async def refusal(work: Awaitable[Any]) -> NodeRefused:
    with pytest.raises(NodeRefused) as caught:
        await work
    return caught.value


@pytest.mark.slow
async def test_the_nodes_pass_faults_on_for_their_pages(tmp_path: Path) -> None:
    with running(tmp_path, "--nodes", "3") as devnet:
        async with NodeClient(devnet.urls[0], timeout_s=60) as client:
            found = await client.get("/moot/devnet", FaultOutcome)
            assert [node.state for node in found.nodes] == ["running"] * 3
            body = Fault("pause", ("node3",))
            found = await client.post("/moot/devnet/fault", body, FaultOutcome)
            assert found.sentence == "paused node3"
            assert [node.state for node in found.nodes] == ["running", "running", "paused"]
            refused = await refusal(client.post("/moot/devnet/fault", body, FaultOutcome))
            assert (refused.status, refused.code) == (409, "impossible")
            # A page of another origin must not break anything through its reader's browser.
            headers = {"Origin": "http://evil.example", "Content-Type": "application/json"}
            url = client.url("/moot/devnet/fault")
            async with client.session.post(url, json={}, headers=headers) as response:
                assert response.status == 403
            devnet.process.end()
            with contextlib.suppress(ClientError):
                await client.status()
