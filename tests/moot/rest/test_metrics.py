"""/metrics: names, meanings, and the verdict of Prometheus's own tools."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from chain.storage.memory import MemoryStore
from chain.transaction import Transfer
from consensus.pbft.messages import ReadQuery
from moot.lab.cluster import Cluster
from moot.node.leadership import Leadership
from moot.node.metrics import STEPS_MAX, NodeMetrics, TimedStore
from p2p.wire import ConsensusFrame, Ping
from tests.support.one_node import FEE, KEYS, OneNode
from tests.support.rest_api import Api

PROMISED = {
    "moot_build_info",
    "moot_consensus_block_interval_seconds",
    "moot_consensus_byzantine_validators",
    "moot_consensus_evidence",
    "moot_consensus_fact",
    "moot_consensus_finalized_height",
    "moot_consensus_head_timestamp_seconds",
    "moot_consensus_height",
    "moot_consensus_joint",
    "moot_consensus_learners",
    "moot_consensus_missing_validators",
    "moot_consensus_open_votes",
    "moot_consensus_reorganisation_depth_blocks",
    "moot_consensus_round",
    "moot_consensus_step_duration_seconds",
    "moot_consensus_traces",
    "moot_consensus_validators",
    "moot_feed_clients",
    "moot_feed_slow_clients_dropped",
    "moot_ledger_entries",
    "moot_bodies_from",
    "moot_snapshot_height",
    "moot_snapshot_fetched_per_mille",
    "moot_snapshot_chunks",
    "moot_snapshot_chunks_refused",
    "moot_displaced_txs",
    "moot_mempool_evicted_txs",
    "moot_mempool_pending",
    "moot_mempool_rejected_txs",
    "moot_mempool_size",
    "moot_mempool_size_bytes",
    "moot_p2p_message_receive_bytes",
    "moot_p2p_message_receives",
    "moot_p2p_message_send_bytes",
    "moot_p2p_message_sends",
    "moot_p2p_peers",
    "moot_rest_request_duration_seconds",
    "moot_rest_requests",
    "moot_storage_fsync_duration_seconds",
    "moot_sync_progress_ratio",
    "moot_sync_syncing",
    "moot_sync_target_height",
    "process_cpu_seconds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
}
"""Families by name, counters without their ``_total``: dashboards are built on them."""


async def scrape(api: Api) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and labels."""
    answer = await api.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_what_a_node_tells(node: OneNode, api: Api) -> None:
    for _ in range(3):
        await node.final(node.sign(KEYS[0], [Transfer(KEYS[1].address, 5)]))
    queued = node.sign(KEYS[1], [Transfer(KEYS[0].address, 5)], nonce=2)
    cheap = node.sign(KEYS[2], [Transfer(KEYS[0].address, 5)], fee=1)
    await node.client.submit([queued.raw, cheap.raw])
    found = await scrape(api)
    assert found["moot_consensus_height", ()] == 3 == found["moot_consensus_finalized_height", ()]
    assert found["moot_consensus_validators", ()] == 1
    assert found["moot_mempool_size", ()] == 1
    assert found["moot_mempool_size_bytes", ()] == queued.size
    assert found["moot_mempool_pending", ()] == 0
    rejected = "moot_mempool_rejected_txs_total", (("reason", "fee-below-minimum"),)
    assert found[rejected] == 1
    assert found["moot_consensus_block_interval_seconds_count", ()] == 3
    spent = (
        node.core.ledger.header(node.core.ledger.head()).time_ms
        - node.core.ledger.header(node.core.ledger.chain_id).time_ms
    )
    assert found["moot_consensus_block_interval_seconds_sum", ()] == pytest.approx(spent / 1000)
    for step in ("prepared", "committed", "final"):
        name = "moot_consensus_step_duration_seconds_count"
        assert found[name, (("step", step),)] == 3, step
    assert found["moot_storage_fsync_duration_seconds_count", ()] >= 3
    assert 0 < found["moot_storage_fsync_duration_seconds_sum", ()] < 30
    assert found["moot_sync_progress_ratio", ()] == 1
    (info,) = [labels for name, labels in found if name == "moot_build_info"]
    assert dict(info)["engine"] == "pbft"
    posts = "moot_rest_requests_total", (("method", "POST"), ("status", "200"))
    assert found[posts] == 4


async def test_the_families_are_those_promised(api: Api) -> None:
    text = (await api.get("/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families.keys() >= PROMISED
    unknown = {name for name in families if name.startswith("moot_")} - PROMISED
    assert not unknown, "name it in the test, and so in what dashboards may rely on"
    for name, family in families.items():
        assert family.documentation and family.type != "unknown", name


async def test_traffic_is_told_by_message_type(node: OneNode, api: Api) -> None:
    links = node.runtime.transport
    links.bytes_in["Ping"], links.messages_in["Ping"] = 90, 3
    links.bytes_out["Pong"], links.messages_out["Pong"] = 60, 2
    found = await scrape(api)
    for name, kind, value in (
        ("receive_bytes", "Ping", 90),
        ("receives", "Ping", 3),
        ("send_bytes", "Pong", 60),
        ("sends", "Pong", 2),
    ):
        assert found[f"moot_p2p_message_{name}_total", (("message_type", kind),)] == value


@pytest.mark.parametrize("engine", ["raft", "multipaxos"])
async def test_the_leader_and_its_proposals_are_told_as_etcd_tells_them(
    tmp_path: Path, engine: str
) -> None:
    async with OneNode(tmp_path, engine) as node, Api(node.url) as api:
        await node.final(node.sign(KEYS[0], [Transfer(KEYS[1].address, 5)]))
        found = await scrape(api)
        height = found["moot_consensus_finalized_height", ()]
        expected = {
            "has_leader": 1,
            "is_leader": 1,
            "leader_changes_total": 1,
            "proposals_committed": height,
            "proposals_applied": height,
            "proposals_pending": 0,
            "proposals_failed_total": 0,
        }
        assert {name: found[f"moot_{engine}_{name}", ()] for name in expected} == expected


def test_a_proposal_that_another_one_replaced_has_failed() -> None:
    """A leader was cut off with a block of its own; the next one decided another instead."""
    cluster = Cluster("raft", 3, 1)
    cluster.start()
    cluster.run(1_000)
    (leader,) = [n for n in cluster.nodes if n.running.engine_status().leader == n.running.me]
    told = Leadership(leader.running)

    def tells(name: str) -> float:
        (found,) = [one for one in told.collect() if one.name == f"moot_raft_{name}"]
        return found.samples[0].value

    cluster.network.partition([leader], [one for one in cluster.nodes if one is not leader])
    cluster.transfer(cluster.world.rng("pay"), leader)
    cluster.run(100)
    assert (tells("proposals_pending"), tells("proposals_failed")) == (1, 0)
    cluster.run(2_000)
    assert tells("has_leader") == 0
    cluster.network.heal()
    cluster.run(3_000)
    assert (tells("proposals_pending"), tells("proposals_failed")) == (0, 1)
    assert (tells("has_leader"), tells("is_leader"), tells("leader_changes")) == (1, 0, 1)


async def test_reorganisations_and_the_miner_are_told(tmp_path: Path) -> None:
    async with OneNode(tmp_path, "pow") as node, Api(node.url) as api:
        tip = await node.mine()
        other = await node.mine(node.core.ledger.chain_id)
        await node.mine(other)
        assert tip != other
        found = await scrape(api)
        assert found["moot_consensus_reorganisation_depth_blocks_count", ()] == 1
        assert found["moot_consensus_reorganisation_depth_blocks_sum", ()] == 1
        assert found["moot_consensus_height", ()] == 2
        assert found["moot_consensus_finalized_height", ()] == 0


async def test_promtool_finds_nothing_to_say(node: OneNode, api: Api) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    await node.final(node.sign(KEYS[0], [Transfer(KEYS[1].address, 5)], fee=FEE))
    text = (await api.get("/metrics")).body
    process = await asyncio.create_subprocess_exec(
        promtool,
        "check",
        "metrics",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate(text)
    assert (process.returncode, said.decode()) == (0, "")


def test_two_nodes_in_one_process_do_not_share_numbers() -> None:
    one, other = NodeMetrics(lambda: 0.0), NodeMetrics(lambda: 0.0)
    one.answered("GET", 200, 0.1)
    assert b'moot_rest_requests_total{method="GET",status="200"} 1.0' in one.text()
    assert b"moot_rest_requests_total{" not in other.text()


def test_labels_are_bounded_whatever_a_client_or_an_engine_says() -> None:
    metrics = NodeMetrics(lambda: 0.0)
    for number in range(100):
        metrics.answered(f"METHOD{number}", 405, 0.1)
    assert metrics.text().count(b"moot_rest_requests_total{") == 1
    labels = {metrics.step_label(f"step {number}") for number in range(100)}
    assert len(labels) == STEPS_MAX + 1 and "other" in labels


def test_only_synced_writes_are_timed() -> None:
    times = iter((1.0, 1.25))
    seen: list[float] = []
    store = TimedStore(MemoryStore(), lambda: next(times), seen.append)
    store.write([(b"a", b"1")], sync=False)
    assert seen == []
    store.write([(b"b", b"2")], sync=True)
    assert seen == [0.25]
    assert (store.get(b"a"), list(store.scan(b""))) == (b"1", [(b"a", b"1"), (b"b", b"2")])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.slow
async def test_a_real_prometheus_scrapes_a_node(tmp_path: Path, node: OneNode) -> None:
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is not installed")
    await node.final(node.sign(KEYS[0], [Transfer(KEYS[1].address, 5)]))
    config, port = tmp_path / "prometheus.yml", free_port()
    target = node.url.removeprefix("http://")
    job = {"job_name": "moot", "static_configs": [{"targets": [target]}]}
    settings = {"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}
    config.write_text(json.dumps(settings))  # YAML holds JSON
    process = await asyncio.create_subprocess_exec(
        prometheus,
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert await _query(port, "moot_consensus_height") == "1"
        assert await _query(port, "up") == "1"
    finally:
        process.terminate()
        await process.wait()


async def _query(port: int, expression: str) -> str:
    """The value that Prometheus has for an expression, once it has one."""
    address = f"http://127.0.0.1:{port}/api/v1/query?query={expression}"
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(address) as response:
                    found = (await response.json())["data"]["result"]
            except (aiohttp.ClientError, KeyError):
                found = []
            if found:
                return str(found[0]["value"][1])
            await asyncio.sleep(0.2)


async def test_an_engines_messages_are_counted_under_their_own_names(node: OneNode) -> None:
    """Else votes and proposals could not be told apart; what a stranger makes up is one name."""
    name_of = node.runtime.transport._name_of
    assert name_of(node.core.gate.pack(ReadQuery(1))) == "ReadQuery"
    assert name_of(ConsensusFrame("pbft", 999, b"")) == name_of(ConsensusFrame("x", 1, b""))
    assert name_of(ConsensusFrame("pbft", 999, b"")) == "other"
    assert name_of(Ping(1)) == "Ping"
