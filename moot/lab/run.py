"""One run: a cluster, its clients, faults drawn from the seed, and the checkers; then a healing.

First safety: for the given time arbitrary faults, and nothing that must hold may be violated. Then
liveness: a quorum is healed, and must make progress within a bound.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Final

import msgspec

from chain.errors import Invalid
from chain.hashing import BlockId
from chain.ledger import Ledger, genesis_block
from chain.ledger.reading import CONFIRMATION_DEPTH
from consensus.contract import Effect, Event, Fetch, Report, SyncChanged, Trace
from consensus.pbft import PbftParameters
from consensus.raft import RaftParameters
from consensus.registry import era_parameters, protocol
from moot.lab.checkers import (
    FOR_ALL_HEIGHTS,
    Agreement,
    Auditor,
    Bounds,
    Clock,
    ForkChoice,
    Keeping,
    Leases,
    Promises,
    Relaying,
    Returned,
    Speech,
    Views,
    check_indexes,
    watch_raft,
)
from moot.lab.clients import Clients
from moot.lab.cluster import Cluster
from moot.lab.double_spender import DoubleSpender
from moot.lab.fault_kinds import MEMBERSHIP, OPERATORS, chosen_kinds
from moot.lab.faults import Faults
from moot.lab.keeping import DRAWN, body_of, keep
from moot.lab.liars import make_liars, make_named_liars
from moot.lab.mutants import find_mutant
from moot.lab.node import SimulatedNode
from moot.lab.readers import Readers
from moot.lab.report import Findings, Violation
from moot.lab.steps import Healing, Script, Vote
from moot.lab.swarm import BASE_DELAYS_MS, Swarm
from moot.lab.ways import message_tags
from moot.lab.world import STEP

if TYPE_CHECKING:
    from moot.lab.liars_views import ViewPartitions

WARM_UP_MS: Final = 1_000
PROGRESS_MS_MAX: Final = 180_000
"""After the healing: time for a quorum to finalize HEIGHTS_EXPECTED more, and all that clients
have under way. Six view time-outs at the ceiling of the devnet profile."""
HEIGHTS_EXPECTED: Final = 2
CONVERGENCE_MS: Final = 30_000
"""Where nothing is final: how long the nodes have to agree on the branch, once it is healed."""
OPERATIONS_PER_MINUTE_MIN: Final = 6
"""A run with fewer acknowledged payments a minute has shown nothing."""
FLUSHES: Final = ((64, 16), (16, 4), (8, 2), (1, 1))
"""Where nothing is final: how many blocks stay in memory (at least as many as confirm one), and by
how many the base moves. Short runs with the production node's (the first) never take back what is
on disk already."""
MEMBERSHIP_CHANCE: Final = 0.4
"""Of the runs of engines whose members can change: in how many the seed has them change."""
OPERATORS_CHANCE: Final = 0.4
"""For each thing that operators do: in how many of the runs where it matters they do it."""
FIND_MS: Final = 1_000
"""Mean time between blocks under work, in the whole network."""


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What one run is; two runs of equal options are equal, event for event.

    ``minutes``: of virtual time with faults; the healing comes after it. ``faults`` None: the seed
    draws which kinds come and how often; else exactly these (moot.lab.faults.KINDS). ``liars``: how
    many nodes lie; ``liar_kinds``: how (moot.lab.liars), None: the seed draws that. ``mutant``: a
    planted mistake (moot.lab.mutants).
    ``load_tps``: payments a second. ``delay_ms``: least and greatest delay of a link that nothing
    is wrong with; None: the seed draws it. ``flush_depth``: blocks that a ledger without finality
    keeps in memory, also drawn if None. ``snapshots``: what nodes keep (moot.lab.keeping.keep).
    """

    engine: str
    nodes: int
    seed: int
    minutes: float = 1.0
    faults: tuple[str, ...] | None = None
    parameters: dict[str, int | str] = {}
    real_signer: bool = False
    liars: int = 0
    liar_kinds: tuple[str, ...] | None = None
    mutant: str | None = None
    load_tps: float = 2.0
    delay_ms: tuple[int, int] | None = None
    flush_depth: int | None = None
    snapshots: str = DRAWN


class Outcome(msgspec.Struct, frozen=True):
    """What came of it. ``operations``: payments that clients were told are final. ``faults``: how
    often each kind was injected. ``exercised``: what else the run went through. ``valid``: enough
    happened to mean anything."""

    engine: str
    nodes: int
    seed: int
    virtual_seconds: float
    trace_hash: str
    height: int
    finalized_height: int
    operations: int
    faults: dict[str, int]
    violations: list[Violation]
    valid: bool
    exercised: dict[str, int]
    events: int


class Laboratory:
    """The parts of one run, wired. ``prepare`` hooks of a run get it before the nodes start."""

    def __init__(self, options: RunOptions, script: Script | None = None) -> None:
        """``script``: what is done to it; None: what the seed draws."""
        self.options = options
        self.findings = Findings()
        self.lasting = ExitStack()
        """What lasts as long as the run, and is undone after it."""
        self.view_partitions: ViewPartitions | None = None
        self.liars: list[tuple[str, str]] = []
        self.is_beyond = script is not None and script.is_beyond
        self.stop: Callable[[], bool] = lambda: False
        """Asked after each event: whether what the run was for has been seen."""
        self.cluster = cluster = Cluster(
            options.engine,
            options.nodes,
            options.seed,
            parameters=options.parameters,
            mean_find_ms=FIND_MS * options.nodes,
            real_signer=options.real_signer,
        )
        self.world, self.network, self.nodes = cluster.world, cluster.network, cluster.nodes
        self.network.redials = True
        era = cluster.genesis.eras[0]
        self.protocol = protocol(era.engine)
        self.properties = self.protocol.rules(era_parameters(era)).properties
        self.chain_id = genesis_block(cluster.genesis).id
        self.clients = Clients(
            self.world,
            self.nodes,
            cluster.users,
            self.chain_id,
            self.findings,
            options.load_tps if script is None else script.load_tps,
        )
        self.auditor = Auditor(cluster.genesis, cluster.verifier, self.findings)
        keeper = self.auditor.keeper
        payers = {cluster.thief.address: "thief"}
        self.readers = Readers(self.clients, self.findings, self.properties, keeper, payers)
        self.agreement = Agreement(self.findings, self.auditor.audit, self.auditor.audit_proof)
        self.bounds = Bounds(self.findings)
        self.forks: dict[bytes, ForkChoice] = {}
        self.keeping: dict[bytes, Keeping] = {}
        self.returned: dict[bytes, Returned] = {}
        self._leases: Leases | None = None
        self._set_flush_depth()
        self._script = script
        self.changes_members = self._draws_membership()
        self.bearable = options.nodes if self.is_beyond else self._bearable()
        rng = self.world.rng("faults")
        drawn = rng.choice(BASE_DELAYS_MS) if options.delay_ms is None else options.delay_ms
        self.delay_ms = drawn if script is None else script.delay_ms
        self.faults = Faults(
            self.world,
            self.network,
            self.nodes,
            self.clients,
            self.findings,
            self.properties,
            self.bearable,
            self._highest,
            self.delay_ms,
        )
        self.faults.places.tags.update(message_tags(self.protocol))
        self._prepare_steps(rng)

    def _prepare_steps(self, rng: random.Random) -> None:
        """What is done to it, from the script or as the seed draws it."""
        if self._script is not None:
            self.faults.plan(self._script.steps)
            return
        options = self.options
        self.clients.do = self.faults.do
        chance = self.world.rng("swarm")
        kinds = tuple(kind for kind in chosen_kinds(options.faults, chance) if kind != MEMBERSHIP)
        if self.changes_members:
            kinds = (*kinds, MEMBERSHIP)
        kinds = (*kinds, *self.doings)
        calm = 1.0 if options.faults is not None else 2 ** chance.uniform(0, 3)
        swarm = Swarm(self.world, self.nodes, self.faults, self.clients, kinds, rng, calm)
        self.world.after(WARM_UP_MS, swarm.start, STEP)

    @property
    def doings(self) -> tuple[str, ...]:
        """What operators do, as the seed draws it: where a majority follows a leader."""
        properties = self.properties
        leads = properties.finalizes and properties.fault_model == "crash"
        if self.options.faults is not None or not leads:
            return ()
        chance = self.world.rng("operators")
        return tuple(kind for kind in OPERATORS if chance.random() < OPERATORS_CHANCE)

    def _set_flush_depth(self) -> None:
        """Where nothing is final. Raises Invalid: what is confirmed must be at hand."""
        if self.properties.finalizes:
            return
        depth, blocks = self.world.rng("flush").choice(FLUSHES)
        least, chosen = self._confirming_blocks(), self.options.flush_depth
        if chosen is not None and chosen < least:
            raise Invalid(
                "flush-depth", f"{chosen} blocks in memory are fewer than the {least} that confirm"
            )
        for node in self.nodes:
            node.flush = (max(depth, least), blocks) if chosen is None else (chosen, 1)

    def _bearable(self) -> int:
        """How many nodes may forget: f, less those that lie."""
        nodes = self.options.nodes - self.changes_members
        faults = self.properties.faults(nodes) if self.properties.finalizes else (nodes - 1) // 2
        liars = self.options.liars if self._script is None else len(self._script.liars)
        return max(0, faults - liars)

    @property
    def _archives(self) -> int:
        """How many nodes prune nothing. Where nothing is final whoever is behind needs all blocks.

        One more than may fail, so that each majority of the voters has one of them among it: it
        confirms by itself, and may prune then. And one more where the members change, since one of
        these may be voted out.
        """
        return 0 if self.properties.finalizes else self.bearable + 1 + self.changes_members

    def _draws_membership(self) -> bool:
        """Whether the members change: one of them may be gone, so that fewer bear the faults."""
        options, left = self.options, self.options.nodes - 1
        if self._script is not None:
            return any(isinstance(each.step, Vote) for each in self._script.steps)
        if self.properties.membership == "none" or left < 1:
            return False
        if options.faults is not None:
            return MEMBERSHIP in options.faults and options.liars <= self.properties.faults(left)
        drawn = self.world.rng("membership").random() < MEMBERSHIP_CHANCE
        return drawn and options.liars <= self.properties.faults(left)

    def _highest(self) -> int:
        if self.properties.finalizes:
            return len(self.agreement.final)
        ledgers = [node.core.ledger for node in self.nodes if node.core is not None]
        return max((each.height(each.confirmed()) for each in ledgers), default=0)

    @property
    def lasts_ms(self) -> int:
        """When the healing begins."""
        if self._script is not None:
            return self._script.lasts_ms
        return max(WARM_UP_MS, round(self.options.minutes * 60_000))

    @cached_property
    def healing(self) -> Healing:
        if self._script is not None:
            return self._script.healing
        return "quorum" if self.world.rng("healing").random() < 0.3 else "all"

    @property
    def recovery_tps(self) -> float:
        return self.options.load_tps if self._script is None else self._script.recovery_tps

    @property
    def honest(self) -> list[SimulatedNode]:
        return [node for node in self.nodes if node.is_honest]

    def watch(self) -> None:
        """Puts the checkers on all honest nodes; after whatever else wraps their engines."""
        keep(self.world, self.nodes, self.options.snapshots, self._archives)
        for node in self.honest:
            self.forks[node.key] = ForkChoice(node, self.findings)
            self.keeping[node.key] = Keeping(node, self.findings)
            self.returned[node.key] = Returned(node, self.findings)
            Speech(node, self.findings)
            Relaying(node, self.findings)
            Clock(node, self.findings)
            if self.protocol.name in FOR_ALL_HEIGHTS:
                for_all = FOR_ALL_HEIGHTS[self.protocol.name]
                Promises(node, self.honest, self.findings, for_all)
            node.observe(self._count, Trace, SyncChanged, Fetch, Report)
            node.after_input = self._look
        if FOR_ALL_HEIGHTS.get(self.protocol.name):
            self._leases = Leases(self.honest, self.findings)
        parameters = era_parameters(self.cluster.genesis.eras[0])
        if isinstance(parameters, RaftParameters):
            watch_raft(self.honest, parameters, self.findings)
        if isinstance(parameters, PbftParameters):
            for node in self.honest:
                Views(node, self.findings, self.view_partitions is not None)
        self.world.after(1_000, self._look_around)

    def _count(self, thing: Event | Effect) -> None:
        exercised = self.findings.exercised
        match thing:
            case Trace(name=name):
                exercised[name] += 1
            case SyncChanged(syncing=True):
                exercised["syncs"] += 1
            case Fetch():
                exercised["fetches"] += 1
            case Report(evidence=evidence) if evidence is not None:
                exercised["evidence"] += 1

    def _look(self, node: SimulatedNode) -> None:
        with node.store.looked_at():
            self.agreement.look(node)
            self.forks[node.key].look()
            self.returned[node.key].look()
            if self._leases is not None:
                self._leases.look(node)

    def _look_around(self) -> None:
        self.world.after(1_000, self._look_around)
        for node in self.honest:
            if node.core is not None:
                with node.store.looked_at():
                    self.bounds.look(node)
                    self.keeping[node.key].look()

    # ------------------------------------------------------------------------------ the run

    def run(self) -> Outcome:
        world = self.world
        self.watch()
        self.cluster.start()
        self.clients.start()
        if not self.properties.finalizes and self.properties.fault_model == "crash":
            user = self.cluster.thief
            DoubleSpender(world, self.nodes, user, self.clients, self.findings).start()
        self.readers.start()
        if world.run_until(self.lasts_ms, self.stop) or self.healing == "none":
            return self._outcome(self.honest)
        self.clients.recover(self.recovery_tps)
        spare = self.bearable if self.healing == "quorum" else 0
        resting = world.rng("healing/resting")
        healthy = [node for node in self.faults.heal(spare, resting) if node.is_honest]
        # Where something wrong was done already, nothing need be waited for.
        recovered = not self.findings.violations and Recovery(self, healthy).wait()
        with ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node.store.looked_at())
            if recovered:
                self._check_the_end(healthy)
            for node in self.honest:
                if node.core is not None:
                    self.auditor.keeper.compare(node)
            self.readers.check(self.cluster.genesis)
            return self._outcome(healthy)

    def _check_the_end(self, healthy: list[SimulatedNode]) -> None:
        up = [node for node in healthy if node.core is not None]
        for node in up:
            self.agreement.look_at_all(node)
        reference = max(up, key=lambda node: _weight(node.running.ledger))
        ledger = reference.running.ledger
        if not ledger.finalizes:
            for height in range(self.auditor.height + 1, ledger.height(ledger.head()) + 1):
                block_id = ledger.id_at(height)
                block = None if block_id is None else body_of(up, block_id)
                assert block is not None, "nobody has a block of the head's branch"
                self.auditor.audit(block, None, self.world.now_ms)
        self.auditor.count(self.world.now_ms)
        self.faults.check_answers()
        users = [user.address for user in self.cluster.users]
        for node in up:
            check_indexes(node, users, self.findings)
        # A branch may overtake another that was confirmed by policy only; then it is no fault.
        deepest = self.findings.exercised["reorganisation_depth_max"]
        may_be_reverted = not ledger.finalizes and deepest >= self._confirming_blocks()
        self.clients.check(
            reference,
            lambda block: self.auditor.block(block) or body_of(up, block),
            may_be_reverted=may_be_reverted,
        )

    def _confirming_blocks(self) -> int:
        """How many blocks on top confirm one, where nothing is final."""
        by_depth = dict(self.cluster.genesis.eras[0].parameters).get("confirmation_depth")
        if by_depth is not None:
            return int(by_depth)
        return self.properties.quorum(self.options.nodes) or CONFIRMATION_DEPTH

    def _outcome(self, healthy: list[SimulatedNode]) -> Outcome:
        options = self.options
        ledgers = [node.core.ledger for node in healthy if node.core is not None]
        operations = len(self.clients.acknowledged)
        exercised = self.findings.exercised
        faults = self.faults.counts()
        for node in self.nodes:
            for event, count in node.keeping.items():
                exercised[event] += count
        exercised["messages"] = sum(self.network.messages.values())
        exercised["writes_synced"] = sum(node.store.syncs for node in self.nodes)
        return Outcome(
            engine=options.engine,
            nodes=options.nodes,
            seed=options.seed,
            virtual_seconds=self.world.now_ms / 1_000,
            trace_hash=self.world.trace_hash,
            height=max((each.height(each.head()) for each in ledgers), default=0),
            finalized_height=max((each.height(each.confirmed()) for each in ledgers), default=0),
            operations=operations,
            faults=faults,
            violations=self.findings.violations,
            valid=operations >= max(1, OPERATIONS_PER_MINUTE_MIN * options.minutes),
            exercised={name: exercised[name] for name in sorted(exercised) if exercised[name]},
            events=self.world.events,
        )


class Recovery:
    """After the faults: whether those that were healed go on, within the bound."""

    def __init__(self, laboratory: Laboratory, healthy: list[SimulatedNode]) -> None:
        self._lab = laboratory
        self._healthy = healthy
        self._states: list[bytes] = []
        self._start = max(self._heights(), default=0)

    def _heights(self) -> list[int]:
        return [
            0 if node.core is None else node.core.ledger.height(node.core.ledger.confirmed())
            for node in self._healthy
        ]

    def wait(self) -> bool:
        """Runs the world until all is well; False, and a violation, if it does not become so."""
        lab, world = self._lab, self._lab.world
        started_ms = world.now_ms
        end_ms = started_ms + PROGRESS_MS_MAX
        while not self._went_on():
            if world.now_ms >= end_ms:
                self._complain("no height beyond it became final")
                return False
            world.run_until(world.now_ms + 1_000)
            self._states.append(self._fingerprint())
        lab.clients.is_spending = False
        lab.readers.ask_until_served()
        while lab.clients.open or lab.readers.open:
            if world.now_ms >= end_ms:
                payments, reads = len(lab.clients.open), len(lab.readers.open)
                self._complain(f"{payments} payments and {reads} reads are still under way")
                return False
            world.run_until(world.now_ms + 1_000)
            self._states.append(self._fingerprint())
        lab.findings.deepest("recovery_ms_max", world.now_ms - started_ms)
        return lab.properties.finalizes or self._converged()

    def _went_on(self) -> bool:
        return min(self._heights()) >= self._start + HEIGHTS_EXPECTED

    def _converged(self) -> bool:
        """Where nothing is final: one branch, up to what is confirmed."""
        world = self._lab.world
        world.run_until(world.now_ms + CONVERGENCE_MS, self._agree)
        if self._agree():
            return True
        self._lab.findings.violated(
            "convergence", "healed nodes confirm different blocks", world.now_ms
        )
        return False

    def _agree(self) -> bool:
        if any(node.core is None for node in self._healthy):
            return False
        height = min(self._heights())
        found: dict[BlockId | None, None] = {}
        for node in self._healthy:
            with node.store.looked_at():
                found[node.running.ledger.id_at(height)] = None
        return len(found) == 1

    def _fingerprint(self) -> bytes:
        """What the nodes' future depends on, as far as it can be seen from outside."""
        digest = hashlib.sha256()
        for node in self._healthy:
            if node.core is None:
                continue
            core = node.core
            with node.store.looked_at():
                status = core.engine_status()
                digest.update(core.ledger.head() + (core.ledger.record() or b""))
                digest.update(f"{status.round} {status.leader!r} {core.sync.syncing}".encode())
        return digest.digest()

    def _complain(self, what: str) -> None:
        seconds = PROGRESS_MS_MAX // 1_000
        period = lasso(self._states)
        where = "; ".join(f"{node.name}: {_why(node)}" for node in self._healthy)
        if period:
            message = f"the same {period} states come again and again: {what}; {where}"
            self._lab.findings.violated("lasso", message, self._lab.world.now_ms)
        else:
            message = f"{seconds} s after the healing {what} (height {self._start}); {where}"
            self._lab.findings.violated("progress", message, self._lab.world.now_ms)


def lasso(states: list[bytes]) -> int:
    """The period in which the last states repeat, over at least three rounds; 0: they do not."""
    for period in range(1, len(states) // 3 + 1):
        tail = states[-3 * period :]
        if tail[:period] == tail[period : 2 * period] == tail[2 * period :]:
            return period
    return 0


def _why(node: SimulatedNode) -> str:
    if node.core is None:
        return "down"
    with node.store.looked_at():
        return " ".join(node.core.engine_status().why) or "waits for nothing"


def _weight(ledger: Ledger) -> tuple[int, int]:
    head = ledger.head()
    return (ledger.weight(head), ledger.height(ledger.confirmed()))


def run(
    options: RunOptions,
    prepare: tuple[Callable[[Laboratory], None], ...] = (),
    script: Script | None = None,
) -> Outcome:
    """Runs it. ``prepare`` hooks may change the laboratory before anything starts.

    ``script``: what is done to it, in the place of what the seed draws (faults, liars, payments).

    Raises UnknownEngine, ConfigError (parameters), Invalid (faults, liars, mutants).
    """
    with ExitStack() as stack:
        if options.mutant is not None:
            stack.enter_context(find_mutant(options.mutant).apply())
        laboratory = Laboratory(options, script)
        stack.enter_context(laboratory.lasting)
        if script is not None:
            make_named_liars(laboratory, script.liars)
        elif options.liars:
            make_liars(laboratory, options.liar_kinds, options.liars)
        for hook in prepare:
            hook(laboratory)
        return laboratory.run()


def command_of(options: RunOptions, commit: str = "") -> str:
    """The line that repeats a run."""
    words = [
        "moot lab simulate",
        f"--engine {options.engine}",
        f"--nodes {options.nodes}",
        f"--seed {options.seed}",
    ]
    default = RunOptions(engine=options.engine, nodes=options.nodes, seed=options.seed)
    if options.minutes != default.minutes:
        words.append(f"--minutes {options.minutes:g}")
    if options.faults is not None:
        words.append(f"--faults {','.join(options.faults) or 'none'}")
    if options.load_tps != default.load_tps:
        words.append(f"--tps {options.load_tps:g}")
    if options.delay_ms is not None:
        words.append(f"--delay {options.delay_ms[0]}-{options.delay_ms[1]}")
    if options.flush_depth is not None:
        words.append(f"--flush-depth {options.flush_depth}")
    words += [f"--set {key}={value}" for key, value in sorted(options.parameters.items())]
    if options.real_signer:
        words.append("--real-signer")
    if options.liars:
        words.append(f"--liars {options.liars}")
    if options.liar_kinds:
        words.append(f"--liar-kinds {','.join(options.liar_kinds)}")
    if options.mutant:
        words.append(f"--mutant {options.mutant}")
    if options.snapshots != default.snapshots:
        words.append(f"--snapshots {options.snapshots}")
    return " ".join(words) + (f"  # at commit {commit}" if commit else "")
