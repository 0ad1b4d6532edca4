"""NodeCore: engine, ledger, mempool, gossip and sync joined; everything of a node but its shell.

Nothing here touches a clock, a socket, a disk or a process: the same core runs under asyncio and in
the simulator. The shell calls the inputs (``peer_joined``, ``peer_message``, ``timer_fired``,
``submit``...), and after any of them ``pump``; the core asks the shell through its ports.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from chain.address import Address, key_address
from chain.block import Block
from chain.errors import InvalidTransaction
from chain.hashing import BlockId, show_id
from chain.header import Header
from chain.ledger import HeadMoved, Ledger
from chain.mempool import Mempool, MempoolLimits
from chain.proof import Evidence
from chain.signatures import Verifier
from chain.transaction import Transaction
from consensus import contract
from consensus.contract import EngineConfig, EngineProtocol, Rules, Status, WorkRules
from consensus.registry import era_parameters
from moot.node import feed
from moot.node.builder import Builder
from moot.node.chain_for_sync import ChainForSync
from moot.node.consensus_inbox import ConsensusInbox
from moot.node.driver import Driver
from moot.node.eras import EraBook
from moot.node.feed import Feed
from moot.node.gate import Gate, Signer, members_only
from moot.node.importer import Arrival, Importer, Result
from moot.node.mining import MiningDesk
from moot.node.ports import Peer, Shell
from moot.node.requests import Requests
from moot.node.roll import Roll
from moot.node.snapshots import IDLE_MS, WORK_MS, SnapshotKeeper, SnapshotSettings
from moot.node.transactions import TransactionDesk
from p2p import actions, wire
from p2p.actions import Action
from p2p.sync import Sync
from p2p.sync.snapshots import FEATURE

TICK_MS = 50
"""How often gossip and sync look at their timeouts: well under any of them."""
EXPIRY_CHECK_MS = 10_000
"""How often an idle node looks for expired transactions."""


class CoreSettings(msgspec.Struct, frozen=True):
    """What an operator sets. ``payout``: who receives what this node mines (None: its own key)."""

    mining: bool = False
    payout: Address | None = None
    mempool: MempoolLimits = MempoolLimits()
    agent: str = "moot"
    snapshots: SnapshotSettings = SnapshotSettings()


class NodeCore:
    """One node. ``sign`` signs with the key whose address is ``me``."""

    def __init__(
        self,
        ledger: Ledger,
        me: Address,
        sign: Callable[[bytes], bytes],
        verifier: Verifier,
        shell: Shell,
        rng: random.Random,
        settings: CoreSettings,
    ) -> None:
        self.ledger = ledger
        self.me = me
        self.shell = shell
        self.settings = settings
        self.roll = Roll(ledger)
        self.feed = Feed()
        self.eras = EraBook()
        self.peers: dict[bytes, Peer] = {}
        self.producer: Address | None = None
        """The node that the engine names as next producer (a hint)."""
        era = ledger.params(ledger.head())
        self.protocol: EngineProtocol = self.eras.protocol(era)
        self.rules: Rules = self.eras.rules(era)
        self.eras.confirm(ledger)
        self.mempool = Mempool(
            settings.mempool, ledger.chain_id, ledger.genesis.limits, verifier, ledger.verified
        )
        self.gate = Gate(self.protocol, ledger.chain_id, verifier, members_only(self.rules))
        self.signer = Signer(me, sign, ledger.chain_id, self.protocol.name)
        self.importer = Importer(
            ledger,
            self.eras,
            self._block_settled,
            self._want,
            self._hold_until,
            self.gate.verified,
        )
        self.builder = Builder(ledger, self.mempool, self.eras, self._built, self._wake_builder)
        self.mining = MiningDesk(ledger, self.builder, self.eras)
        self.snapshots = SnapshotKeeper(ledger, self.eras, self.gate, settings.snapshots, shell.log)
        self.sync = Sync(self._chain_for_sync(), rng, self.snapshots)
        config = EngineConfig(ledger.chain_id, era_parameters(era), settings.mining, self.payout)
        engine = self.protocol.engine(me, config, rng, ledger.record())
        self.driver = Driver(engine, ledger, self, shell.clock)
        self._actions: deque[Action] = deque()
        self._performing = False
        self._started = self._rests = False
        self._confirmed = ledger.confirmed()
        self.transactions = TransactionDesk(
            ledger,
            self.mempool,
            self.feed,
            shell,
            self._do,
            self.driver.post,
            self._wake_waiting_builds,
        )
        self.gossip, self.displaced = self.transactions.gossip, self.transactions.displaced
        self.requests = Requests(ledger, self.driver.post)
        self.inbox = ConsensusInbox(
            ledger,
            self.eras,
            self.rules,
            self.gate,
            self.roll,
            shell,
            self.peers,
            self.driver.post,
        )

    def _chain_for_sync(self) -> ChainForSync:
        finalizes, clock = self.rules.properties.finalizes, self.shell.clock
        return ChainForSync(
            self.ledger, self.eras, self.importer, finalizes, lambda: clock().wall_ms
        )

    # ------------------------------------------------------------------------------- inputs

    @property
    def payout(self) -> Address:
        """Who receives the rewards of blocks that anyone may make."""
        return self.settings.payout or self.me

    def start(self) -> None:
        """Re-executes what lies above the flushed state, then starts the engine."""
        stored_head = self.ledger.stored_head()
        for block in self.ledger.replay():
            self.importer.offer(Arrival(block, "replay", None), self.shell.clock().wall_ms)
        if self.ledger.knows(stored_head) and self.ledger.descends(
            stored_head, self.ledger.finalized()
        ):
            self.ledger.set_head(stored_head)
        self._confirmed = self.ledger.confirmed()
        self._started = True
        self.shell.timers.set(("tick",), TICK_MS)
        self.shell.timers.set(("expiry",), EXPIRY_CHECK_MS)
        self.shell.timers.set(("chores",), WORK_MS)
        self.driver.post(contract.Started(self.sync.syncing, self.ledger.rebased))
        self.shell.wake()

    def pump(self) -> None:
        """Does everything that is to be done now. Call after inputs, from the event loop."""
        self.driver.run()
        while self._actions and not self._performing:
            self._perform_actions()
            self.driver.run()

    def hello(self, listen_port: int) -> wire.Hello:
        """What we say of ourselves on a new link (the transport adds the dialer's proof)."""
        return wire.Hello(
            protocol_version=wire.PROTOCOL_VERSION,
            chain_id=self.ledger.chain_id,
            engine=self.protocol.name,
            key=self.me[1:],
            agent=self.settings.agent,
            height=self.ledger.height(self.ledger.head()),
            finalized_height=self.ledger.height(self.ledger.confirmed()),
            listen_port=listen_port,
            features=(FEATURE,),
        )

    def peer_joined(self, peer: Peer) -> None:
        self.peers[peer.key] = peer
        self.feed.publish(feed.PeerChanged(peer.key, True, ""))
        now_ms = self._steady()
        self._do(self.sync.joined(peer.key, peer.hello, now_ms))
        self._do(self.gossip.joined(peer.key, now_ms))

    def peer_left(self, key: bytes, reason: str) -> None:
        if self.peers.pop(key, None) is None:
            return
        self.feed.publish(feed.PeerChanged(key, False, reason))
        now_ms = self._steady()
        self._do(self.sync.left(key, now_ms))
        self._do(self.gossip.left(key, now_ms))

    def peer_message(self, key: bytes, message: wire.PeerMessage) -> None:
        """A decoded frame of a linked peer. What is wrong with it costs the peer."""
        if key not in self.peers:
            return
        now_ms = self._steady()
        match message:
            case wire.ConsensusFrame():
                self.inbox.frame(key, message)
            case wire.AnnounceTransactions():
                self._do(self.gossip.on_announce(key, message, now_ms))
            case wire.GetTransactions():
                self._do(self.gossip.on_get(key, message, now_ms))
            case wire.Transactions():
                self._do(self.gossip.on_transactions(key, message, now_ms))
            case wire.PushTransactions():
                self._pushed(key, message)
            case wire.Status():
                self._do(self.sync.on_status(key, message, now_ms))
            case wire.AnnounceBlock():
                self._do(self.sync.on_announce_block(key, message, now_ms))
            case wire.GetHeads():
                self._do(self.sync.on_get_heads(key, message, now_ms))
            case wire.Heads():
                self._do(self.sync.on_heads(key, message, now_ms))
            case wire.GetBlocks():
                self._do(self.sync.on_get_blocks(key, message, now_ms))
            case wire.BlockBody():
                self._do(self.sync.on_block(key, message, now_ms))
            case wire.NoBlocks():
                self._do(self.sync.on_no_blocks(key, message, now_ms))
            case wire.FinalityProof():
                self._do(self.sync.on_finality_proof(key, message, now_ms))
            case (
                wire.Holdings()
                | wire.GetSnapshot()
                | wire.SnapshotBody()
                | wire.GetChunk()
                | wire.ChunkBody()
                | wire.NoSnapshot()
            ):
                self._do(self.sync.on_snapshot_message(key, message, now_ms))
            case wire.EvidenceFound():
                self.inbox.evidence_found(key, message.evidence)
            case _:
                self.shell.network.misbehaved(key, "unexpected-message")

    def timer_fired(self, key: tuple[str | int, ...]) -> None:
        """A timer that was set through the Timers port."""
        now = self.shell.clock()
        match key[0]:
            case "engine":
                self.driver.post(contract.TimerFired(key[1:]))
            case "tick":
                self.shell.timers.set(("tick",), TICK_MS)
                self._do(self.gossip.tick(now.steady_ms))
                self._do(self.sync.tick(now.steady_ms))
            case "chores":
                self._rests = not self.snapshots.work()
                self.shell.timers.set(("chores",), IDLE_MS if self._rests else WORK_MS)
            case "expiry":
                self.shell.timers.set(("expiry",), EXPIRY_CHECK_MS)
                self.transactions.look(HeadMoved((), ()))
            case "held":
                self.importer.release(now.wall_ms)
            case "build":
                self.builder.wake(self._producer(), now)
            case _:
                raise AssertionError(f"no such timer: {key}")

    def submit(
        self, transactions: Sequence[Transaction], source: bytes | None = None
    ) -> list[InvalidTransaction | None]:
        """Offers transactions to the mempool; None for each that was taken.

        ``source``: the peer that brought them; None: a client of ours.
        """
        return self.transactions.submit(transactions, source)

    def work_found(self, request: int, header: Header, block: Block) -> None:
        """The grinder found a header for a block that the engine asked to grind."""
        found = Block(header, block.manifest, block.transactions, block.seal)
        self.driver.post(contract.WorkFound(request, found))
        self.shell.wake()

    def offer_mined(self, block: Block) -> Result:
        """A block whose work somebody outside found."""
        result = self.importer.offer(Arrival(block, "own", None), self.shell.clock().wall_ms)
        self.shell.wake()
        return result

    def stop_requested(self, grace_ms: int) -> None:
        """Asks the engine to hand over; the shell's ``stopped`` follows, at the latest after
        ``grace_ms`` by the shell's own timer."""
        self.driver.post(contract.StopRequested(self._steady() + grace_ms))

    def engine_status(self) -> Status:
        return self.driver.engine.status(self.ledger, self.shell.clock())

    @property
    def idle_since_ms(self) -> int:
        """Steady time of the last progress: the head moved, or something began to wait."""
        return self.transactions.idle_since_ms

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Contradictions seen, oldest first."""
        return self.inbox.evidence.all()

    # --------------------------------------------------------------- effects (driver.House)

    def persist(self, effect: contract.Persist) -> None:
        self.ledger.persist(effect.record, effect.blocks)

    def send(self, effect: contract.Send) -> None:
        message = self.signer.sign(effect.message)
        if effect.to == self.me:
            self.driver.post(contract.MessageReceived(self.me, message))
        elif effect.to[1:] in self.peers:
            self.shell.network.send(effect.to[1:], self.gate.pack(message))

    def broadcast(self, effect: contract.Broadcast) -> None:
        message = self.signer.sign(effect.message)
        frame = self.gate.pack(message)
        listed = self.roll.listed
        for key in self.peers:
            if not listed or key_address(key) in listed:
                self.shell.network.send(key, frame)
        self.driver.post(contract.MessageReceived(self.me, message))

    def import_block(self, effect: contract.Import) -> None:
        arrival = Arrival(effect.block, effect.origin, None)
        self.importer.offer(arrival, self.shell.clock().wall_ms)

    def build(self, effect: contract.Build) -> None:
        self.builder.build(effect, self._producer(), self.shell.clock())

    def grind(self, effect: contract.Grind) -> None:
        grinder, block, request = self.shell.grinder, effect.block, effect.request
        if grinder is None:
            return
        if block is None:
            grinder.cancel()
            return
        grinder.start(
            request,
            block.header,
            effect.target,
            lambda job, header: self.work_found(job, header, block),
        )

    def set_timer(self, effect: contract.SetTimer) -> None:
        self.shell.timers.set(("engine", *effect.key), effect.delay_ms)

    def cancel_timer(self, effect: contract.CancelTimer) -> None:
        self.shell.timers.cancel(("engine", *effect.key))

    def set_head(self, effect: contract.SetHead) -> None:
        moved = self.ledger.set_head(effect.block)
        if not moved.removed and not moved.added:
            return
        self.mining.head_moved()
        self.transactions.head_moved(moved)
        head = self.ledger.header(effect.block)
        count = len(moved.added[-1].transactions) if moved.added else 0
        self.feed.publish(feed.HeadMovedTo(head, count, len(moved.removed), len(moved.added)))
        self._do(self.sync.head_moved(self._steady()))
        if not self.rules.properties.finalizes:
            self.snapshots.head_moved()
            self._soon_to_chores()
            self._publish_confirmed()
        self.transactions.announce_waiting()

    def finalize(self, effect: contract.Finalize) -> None:
        self.snapshots.before_final(effect.block)
        newly = self.ledger.finalize(effect.block, effect.proof)
        for block in newly:
            self.feed.publish(feed.BecameFinal(block.head, len(block.transactions)))
        self._soon_to_chores()
        if newly:
            self._do(self.sync.finalized(self._steady()))
        self.requests.finalized()

    def _soon_to_chores(self) -> None:
        """A snapshot in the making need not wait until the node looks again by itself."""
        if self._rests and self.snapshots.making is not None:
            self._rests = False
            self.shell.timers.set(("chores",), WORK_MS)

    def serve_read(self, effect: contract.ServeRead) -> None:
        self.requests.may_be_served(effect.request, effect.height)

    def set_producer(self, effect: contract.SetProducer) -> None:
        self.producer = effect.node
        self.transactions.producer = None if effect.node is None else effect.node[1:]

    def answer(self, effect: contract.Answer) -> None:
        self.requests.answered(effect.request, effect.outcome)

    def fetch(self, effect: contract.Fetch) -> None:
        self._want(effect.blocks, None if effect.hint is None else effect.hint[1:])

    def report(self, effect: contract.Report) -> None:
        if effect.evidence is not None:
            self.inbox.spread(effect.evidence, None)
        if effect.peer is not None and effect.peer != self.me:
            self.shell.network.misbehaved(effect.peer[1:], effect.reason or "reported-by-engine")

    def trace(self, effect: contract.Trace) -> None:
        self.feed.publish(feed.ConsensusTraced(effect.name, effect.fields))
        self.shell.log("debug", effect.name, effect.fields)

    def stop(self, effect: contract.Stop) -> None:
        self.shell.stopped()

    def _pushed(self, key: bytes, message: wire.PushTransactions) -> None:
        """Members push to whom they take for the producer; nobody else sends what is not asked."""
        if key_address(key) in self.ledger.validators(self.ledger.head()).listed:
            self._do(self.gossip.on_push(key, message, self._steady()))
        else:
            self.shell.network.misbehaved(key, "unsolicited")

    # ------------------------------------------------------------------- blocks and proofs

    def _block_settled(self, arrival: Arrival, result: Result) -> None:
        if not self._started:
            return
        block, now_ms = arrival.block, self._steady()
        if result.outcome == "rejected":
            self.shell.log(
                "warning",
                "block-rejected",
                {"block": show_id(block.id), "code": result.code, "why": result.sentence},
            )
            if arrival.peer is not None:
                self.shell.network.misbehaved(arrival.peer, "invalid-block")
            self.driver.post(contract.BlockRejected(block.id, arrival.origin, result.sentence))
            self._do(self.sync.rejected(block.id, now_ms))
        else:
            if result.outcome == "imported":
                self.transactions.side_block(block)
            self.driver.post(contract.BlockImported(block.head, arrival.origin))
            self._do(self.sync.imported(block.id, now_ms))

    def _built(self, request: int, block: Block | None) -> None:
        if block is not None and not isinstance(self.rules, WorkRules):
            # Where work is needed the block is not one before that has been found.
            block = self.signer.seal(self.rules, block)
            result = self.importer.offer(Arrival(block, "own", None), self.shell.clock().wall_ms)
            # Held: the clock was set back since the engine chose the block's time.
            assert result.outcome in ("imported", "known", "held"), result
        self.driver.post(contract.BlockBuilt(request, block))

    def _publish_confirmed(self) -> None:
        confirmed = self.ledger.confirmed()
        start = self.ledger.height(self._confirmed)
        for height in range(start + 1, self.ledger.height(confirmed) + 1):
            block_id = self.ledger.id_at(height)
            block = None if block_id is None else self.ledger.block(block_id)
            if block is not None:
                self.feed.publish(feed.BecameFinal(block.head, len(block.transactions)))
        self._confirmed = confirmed

    def _want(self, blocks: tuple[BlockId, ...], hint: bytes | None) -> None:
        if self._started:
            self._do(self.sync.want(blocks, hint, self._steady()))

    # ------------------------------------------------------------------------------ actions

    def _do(self, wanted: Sequence[Action]) -> None:
        if wanted:
            self._actions.extend(wanted)
            self.shell.wake()

    def _perform_actions(self) -> None:
        self._performing = True
        try:
            while self._actions:
                self._perform(self._actions.popleft())
        finally:
            self._performing = False

    def _perform(self, action: Action) -> None:
        match action:
            case actions.SendTo(peer=peer, message=message):
                if peer in self.peers:
                    self.shell.network.send(peer, message)
            case actions.Misbehaved(peer=peer, reason=reason):
                self.shell.network.misbehaved(peer, reason)
            case actions.Disconnect(peer=peer, reason=reason, sentence=sentence):
                self.shell.network.disconnect(peer, reason, sentence)
            case actions.TransactionsReceived(peer=peer, transactions=transactions):
                self.transactions.received(peer, transactions)
            case actions.BlockReceived(peer=peer, block=block, proof=proof, origin=origin):
                self.importer.offer(Arrival(block, origin, peer), self.shell.clock().wall_ms)
                if proof is not None:
                    self.inbox.proof(block.id, proof, peer)
            case actions.ProofReceived(peer=peer, block_id=block_id, proof=proof):
                self.inbox.proof(block_id, proof, peer)
            case actions.SyncingChanged(syncing=syncing):
                self.driver.post(contract.SyncChanged(syncing))
            case actions.SnapshotReady(block=block):
                self.shell.log("info", "snapshot-ready", {"block": show_id(block)})
                if self.shell.reopen is not None:
                    self.shell.reopen()

    # ------------------------------------------------------------------------------- small

    def _producer(self) -> Address:
        """Who stands as producer in a block made here: members are named by their own key."""
        return self.me if self.rules.properties.has_validators else self.payout

    def _steady(self) -> int:
        return self.shell.clock().steady_ms

    def _hold_until(self, wall_ms: int) -> None:
        delay_ms = max(1, wall_ms - self.shell.clock().wall_ms)
        self.shell.timers.set(("held",), delay_ms)

    def _wake_waiting_builds(self) -> None:
        if self.builder.waiting:
            self.builder.wake(self._producer(), self.shell.clock())

    def _wake_builder(self, steady_ms: int) -> None:
        self.shell.timers.set(("build",), max(0, steady_ms - self._steady()))
