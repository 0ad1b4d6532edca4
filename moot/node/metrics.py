"""A node's metrics for Prometheus, with a registry of its own, so that several can live together.

Gauges and most counters are read from the node when it is scraped; only what has a history
(intervals, durations) is kept here, fed by the node's feed and by the driver's observer. Time comes
in as a clock that counts seconds.
"""

from __future__ import annotations

import platform
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from chain.errors import Invalid
from chain.membership import open_wishes
from chain.proof import Evidence
from chain.storage import Store
from consensus import contract
from consensus.contract import Effect, Event
from moot import __version__
from moot.node import feed
from moot.node.feed import News
from moot.node.leadership import Leadership

if TYPE_CHECKING:
    from moot.node.core import NodeCore

INTERVAL_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 600, 1800)
STEP_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
FSYNC_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.064, 0.256, 1)
REST_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
DEPTH_BUCKETS: Final = (1, 2, 3, 6, 12, 100)
HEIGHTS_TIMED: Final = 64
"""Heights whose steps are timed at once: more than any engine has in flight."""
STEPS_MAX: Final = 32
"""Names of steps that become labels; an engine that traces more has the others summed up."""
GUILTY_REMEMBERED: Final = 2_048

Clock = Callable[[], float]


class Links(Protocol):
    """What is counted of the links to peers (p2p.transport.Transport)."""

    @property
    def messages_in(self) -> Mapping[str, int]: ...
    @property
    def messages_out(self) -> Mapping[str, int]: ...
    @property
    def bytes_in(self) -> Mapping[str, int]: ...
    @property
    def bytes_out(self) -> Mapping[str, int]: ...


class TimedStore:
    """A store that tells how long its synced writes took, in seconds."""

    def __init__(self, store: Store, clock: Clock, observe: Callable[[float], None]) -> None:
        self._store, self._clock, self._observe = store, clock, observe
        self.get, self.scan, self.close = store.get, store.scan, store.close

    def write(self, changes: Sequence[tuple[bytes, bytes | None]], sync: bool) -> None:
        if not sync:
            self._store.write(changes, sync)
            return
        began_s = self._clock()
        self._store.write(changes, sync)
        self._observe(self._clock() - began_s)


class NodeMetrics:
    """Everything that one node tells. Parts are added as the node comes up."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Series of creation times would double the count, and nobody reads them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self._fsync = self._histogram(
            "moot_storage_fsync_duration_seconds", "Synced writes to the database.", FSYNC_BUCKETS
        )
        self._interval = self._histogram(
            "moot_consensus_block_interval_seconds",
            "Time between a block on the best chain and its parent, by their own times.",
            INTERVAL_BUCKETS,
        )
        self._steps = Histogram(
            "moot_consensus_step_duration_seconds",
            "Time from the step before at the same height (the first: from the block's import).",
            ["step"],
            registry=self.registry,
            buckets=STEP_BUCKETS,
        )
        self._depth = self._histogram(
            "moot_consensus_reorganisation_depth_blocks",
            "Blocks that a move of the head took off the best chain.",
            DEPTH_BUCKETS,
        )
        self._traces = Counter(
            "moot_consensus_traces_total",
            "Events that the engine traced, by name.",
            ["event"],
            registry=self.registry,
        )
        self._requests = Counter(
            "moot_rest_requests_total",
            "Requests answered, by method and status.",
            ["method", "status"],
            registry=self.registry,
        )
        self._answers = self._histogram(
            "moot_rest_request_duration_seconds", "Time to answer a request.", REST_BUCKETS
        )
        self._steps_named: dict[str, None] = {}
        self._since: OrderedDict[int, float] = OrderedDict()
        self._core: NodeCore | None = None

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, text, registry=self.registry, buckets=buckets)

    # ------------------------------------------------------------------------- adding the parts

    def timed(self, store: Store) -> Store:
        """The store, timed."""
        return TimedStore(store, self._clock, self._fsync.observe)

    def add_core(self, core: NodeCore, links: Links) -> None:
        """From now on the node itself is told about."""
        self._core = core
        self.registry.register(_NodeCollector(core, links))
        if core.rules.properties.leader_stays:
            self.registry.register(Leadership(core))
        core.feed.subscribe(self._hear)
        core.driver.observers.append(self._observe)

    def add_feed(self, clients: Callable[[], int], dropped: Callable[[], int]) -> None:
        """Tells about the WebSocket feed."""
        self.registry.register(_FeedCollector(clients, dropped))

    def answered(self, method: str, status: int, seconds: float) -> None:
        """A request of the REST API was answered."""
        known = method if method in ("GET", "HEAD", "POST", "OPTIONS") else "other"
        self._requests.labels(known, str(status)).inc()
        self._answers.observe(seconds)

    def text(self) -> bytes:
        """Prometheus's text format, version 0.0.4."""
        return generate_latest(self.registry)

    # ----------------------------------------------------------------------------- what happens

    def _hear(self, news: News) -> None:
        match news:
            case feed.HeadMovedTo(head=head, removed=removed, added=added):
                if removed:
                    self._depth.observe(removed)
                assert self._core is not None
                ledger = self._core.ledger
                for _ in range(min(added, head.height)):
                    parent = ledger.header(head.previous)
                    self._interval.observe((head.time_ms - parent.time_ms) / 1000)
                    head = parent
                self._step(news.head.height, "head")
            case feed.BecameFinal(head=head):
                self._step(head.height, "final")
            case feed.ConsensusTraced(name=name, fields=fields):
                label = self.step_label(name)
                self._traces.labels(label).inc()
                height = fields.get("height")
                if isinstance(height, int):
                    self._step(height, label)
            case _:
                pass

    def _observe(self, happened: Event | Effect) -> None:
        """A block that is being decided on has come in: its height's steps are timed from here."""
        if isinstance(happened, contract.BlockImported) and happened.origin not in (
            "sync",
            "replay",
        ):
            self._since.setdefault(happened.block.height, self._clock())
            while len(self._since) > HEIGHTS_TIMED:
                self._since.popitem(last=False)

    def _step(self, height: int, name: str) -> None:
        before_s = self._since.get(height)
        if before_s is not None:
            now_s = self._since[height] = self._clock()
            self._steps.labels(name).observe(now_s - before_s)

    def step_label(self, name: str) -> str:
        """The name as a label; "other" once there are too many."""
        if name not in self._steps_named:
            if len(self._steps_named) >= STEPS_MAX:
                return "other"
            self._steps_named[name] = None
        return name


class _FeedCollector(Collector):
    def __init__(self, clients: Callable[[], int], dropped: Callable[[], int]) -> None:
        self._clients, self._dropped = clients, dropped

    def collect(self) -> Iterable[Metric]:
        yield _gauge("moot_feed_clients", "Open WebSocket feeds.", self._clients())
        yield _counter(
            "moot_feed_slow_clients_dropped", "Feeds closed as too slow.", self._dropped()
        )


class _NodeCollector(Collector):
    """Reads the node at the moment of the scrape."""

    def __init__(self, core: NodeCore, links: Links) -> None:
        self._core, self._links = core, links
        self._guilty: OrderedDict[Evidence, bytes | None] = OrderedDict()

    def collect(self) -> Iterable[Metric]:
        yield from self._about()
        yield from self._consensus()
        yield from self._mempool()
        yield from self._network()
        yield from self._ledger()

    def _about(self) -> Iterable[Metric]:
        info = GaugeMetricFamily(
            "moot_build_info",
            "Always 1; the labels say what runs.",
            labels=["version", "engine", "python"],
        )
        info.add_metric([__version__, self._core.protocol.name, platform.python_version()], 1)
        yield info

    def _consensus(self) -> Iterable[Metric]:
        core = self._core
        ledger, status = core.ledger, core.engine_status()
        head, final = ledger.head(), ledger.confirmed()
        members = ledger.validators(head)
        yield _gauge("moot_consensus_height", "Height of the head.", ledger.height(head))
        yield _gauge(
            "moot_consensus_finalized_height",
            "Height of the last final (or confirmed) block.",
            ledger.height(final),
        )
        yield _gauge(
            "moot_consensus_head_timestamp_seconds",
            "Time of the head, as its manifest says.",
            ledger.header(head).time_ms / 1000,
        )
        yield _gauge("moot_consensus_round", "View, round or term of the engine.", status.round)
        yield _gauge("moot_consensus_validators", "Members entitled to decide.", len(members))
        newest = core.roll.sets[-1]
        yield _gauge(
            "moot_consensus_learners", "Members without a vote, newest set.", len(newest.learners)
        )
        yield _gauge(
            "moot_consensus_joint",
            "1 while a change of the members is being carried out.",
            int(bool(newest.outgoing)),
        )
        wishes = open_wishes(ledger.state(), ledger.height(head) + 1)
        yield _gauge(
            "moot_consensus_open_votes",
            "Votes on the members that count.",
            sum(len(each.holders) for each in wishes),
        )
        yield _gauge(
            "moot_consensus_missing_validators",
            "Members whose word the engine waits for.",
            len(status.missing),
        )
        yield _gauge(
            "moot_consensus_byzantine_validators",
            "Keys that are proven to have contradicted themselves.",
            len({guilty for e in core.evidence if (guilty := self._who(e)) is not None}),
        )
        yield _gauge("moot_consensus_evidence", "Contradictions held.", len(core.evidence))
        facts = GaugeMetricFamily(
            "moot_consensus_fact", "The engine's own numbers, in its own words.", labels=["fact"]
        )
        for fact, value in status.facts.items():
            if isinstance(value, int):
                facts.add_metric([fact], value)
        yield facts
        progress = core.sync.progress()
        yield _gauge("moot_sync_syncing", "1 while catching up.", int(progress.syncing))
        yield _gauge("moot_sync_target_height", "Best height that a peer told.", progress.target)
        yield _gauge(
            "moot_sync_progress_ratio",
            "Own height over the best that a peer told.",
            progress.height / progress.target if progress.target else 1.0,
        )
        grinder = core.shell.grinder
        if grinder is not None:
            yield _gauge(
                "moot_mining_hashes_per_second", "This node's own miner.", grinder.hash_rate()
            )

    def _who(self, evidence: Evidence) -> bytes | None:
        """The guilty, worked out once."""
        if evidence not in self._guilty:
            core = self._core
            validators = core.ledger.validators(core.ledger.head())
            try:
                self._guilty[evidence] = core.rules.check_evidence(evidence, validators)
            except Invalid:
                self._guilty[evidence] = None
            while len(self._guilty) > GUILTY_REMEMBERED:
                self._guilty.popitem(last=False)
        return self._guilty[evidence]

    def _mempool(self) -> Iterable[Metric]:
        pool = self._core.mempool
        yield _gauge("moot_mempool_size", "Transactions that wait.", len(pool))
        yield _gauge("moot_mempool_size_bytes", "Their bytes.", pool.size_bytes)
        yield _gauge("moot_mempool_pending", "Those executable now.", pool.waiting())
        rejected = CounterMetricFamily(
            "moot_mempool_rejected_txs", "Transactions refused, by reason.", labels=["reason"]
        )
        for reason, count in sorted(pool.rejected_total.items()):
            rejected.add_metric([reason], count)
        yield rejected
        yield _counter(
            "moot_mempool_evicted_txs", "Transactions that made room.", pool.evicted_total
        )
        yield _gauge(
            "moot_displaced_txs",
            "What a branch that lost had taken, and the winning one cannot take.",
            len(self._core.displaced),
        )

    def _network(self) -> Iterable[Metric]:
        yield _gauge("moot_p2p_peers", "Linked peers.", len(self._core.peers))
        for name, text, counts in (
            ("receive_bytes", "Bytes received", self._links.bytes_in),
            ("send_bytes", "Bytes sent", self._links.bytes_out),
            ("receives", "Messages received", self._links.messages_in),
            ("sends", "Messages sent", self._links.messages_out),
        ):
            family = CounterMetricFamily(
                f"moot_p2p_message_{name}",
                f"{text}, by type; the engine's own by their names.",
                labels=["message_type"],
            )
            for kind, count in sorted(counts.items()):
                family.add_metric([kind], count)
            yield family

    def _ledger(self) -> Iterable[Metric]:
        entries = GaugeMetricFamily(
            "moot_ledger_entries", "Entries held in memory, by kind.", labels=["kind"]
        )
        for kind, count in sorted(self._core.ledger.counts().items()):
            entries.add_metric([kind], count)
        yield entries
        ledger, keeper = self._core.ledger, self._core.snapshots
        kept, staged = keeper.kept, keeper.staged
        yield _gauge(
            "moot_bodies_from", "Least height of which blocks are kept.", max(1, ledger.bodies_from)
        )
        yield _gauge(
            "moot_snapshot_height",
            "Height of the newest snapshot that is served; 0: none.",
            kept[-1].height if kept else 0,
        )
        yield _gauge(
            "moot_snapshot_fetched_per_mille",
            "How much of the snapshot that is being fetched is here.",
            0 if staged is None else keeper.received_per_mille,
        )
        yield _counter("moot_snapshot_chunks_total", "Chunks taken in.", keeper.chunks_in)
        yield _counter(
            "moot_snapshot_chunks_refused_total",
            "Chunks that did not check.",
            keeper.chunks_refused,
        )


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, value=value)
