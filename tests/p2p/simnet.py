"""A network in memory: Sync objects over a pretended chain, links with delay, a virtual clock."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from functools import lru_cache

from chain.block import Block, BlockHead
from chain.errors import InvalidBlock, NotYet
from chain.hashing import ZERO_HASH, BlockId
from chain.header import Header
from chain.manifest import Manifest
from chain.merkle import merkle_root
from chain.proof import Proof
from p2p.actions import (
    Action,
    BlockReceived,
    Misbehaved,
    PeerKey,
    ProofReceived,
    SendTo,
    SyncingChanged,
)
from p2p.sync import Sync
from p2p.wire import (
    PROTOCOL_VERSION,
    AnnounceBlock,
    BlockBody,
    FinalityProof,
    GetBlocks,
    GetHeads,
    Heads,
    Hello,
    NoBlocks,
    PeerMessage,
    Status,
)

BAD_HEAD = b"bad-head"
"""Claims that make a head break the rules."""
BAD_STATE = b"bad-state"
"""Claims of a block whose head is fine and whose execution is not."""
START_MS = 1_000_000
BLOCK_MS = 1_000


def make_block(
    parent: Block | None, claims: bytes = b"", nonce: int = 0, time_ms: int | None = None
) -> Block:
    """A block without transactions; ``nonce`` adds to its weight and tells branches apart."""
    height = 0 if parent is None else parent.height + 1
    manifest = Manifest(
        height=height,
        time_ms=START_MS + height * BLOCK_MS if time_ms is None else time_ms,
        producer=bytes(33),
        state_root=bytes(32),
        next_validators=bytes(32),
        claims=claims,
        reward=0,
        extra_nonce=bytes(8),
    )
    previous = ZERO_HASH if parent is None else parent.id
    root = merkle_root((manifest.leaf,))
    return Block(Header(1, previous, root, manifest.time_ms // 1000, 0, nonce), manifest)


@lru_cache(maxsize=64)
def branch(parent: Block | None, count: int, nonce: int = 0) -> tuple[Block, ...]:
    """``count`` blocks above ``parent``."""
    blocks: list[Block] = []
    for _ in range(count):
        parent = make_block(parent, nonce=nonce)
        blocks.append(parent)
    return tuple(blocks)


GENESIS = make_block(None)


def proof_of(block: Block) -> Proof:
    return Proof("fake", block.id)


class FakeChain:
    """A tree of blocks. A block weighs 1 and its nonce; time is the virtual wall clock's."""

    def __init__(self, finalizes: bool = False, wall_ms: Callable[[], int] | None = None) -> None:
        self.finalizes = finalizes
        self.blocks: dict[BlockId, Block] = {GENESIS.id: GENESIS}
        self.weights: dict[BlockId, int] = {GENESIS.id: 0}
        self.proofs: dict[BlockId, Proof] = {}
        self.main: list[BlockId] = [GENESIS.id]
        self.final_height = 0
        self.refused: set[BlockId] = set()
        self.pruned_below = 0
        self.lacks_proofs: list[tuple[int, BlockId]] = []
        self._wall_ms = wall_ms or (lambda: 10**15)

    # ------------------------------------------------------------------------- SyncChain

    def knows(self, block: BlockId) -> bool:
        return block in self.blocks

    def head(self) -> BlockId:
        return self.main[-1]

    def finalized(self) -> BlockId:
        return self.main[self.final_height]

    def height(self, block: BlockId) -> int:
        return self.blocks[block].height

    def weight(self, block: BlockId) -> int:
        return self.weights[block]

    def locator(self) -> list[BlockId]:
        ids, height, step = [], len(self.main) - 1, 1
        while height > 0:
            ids.append(self.main[height])
            if len(ids) >= 10:
                step *= 2
            height -= step
        return [*ids, GENESIS.id]

    def heads_after(self, locator: Sequence[BlockId], stop: BlockId, count: int) -> list[BlockHead]:
        start = 0
        for block in locator:
            if self.on_main(block):
                start = self.height(block)
                break
        heads = []
        for block in self.main[start + 1 : start + 1 + count]:
            heads.append(self.blocks[block].head)
            if block == stop:
                break
        return heads

    def head_of(self, block: BlockId) -> BlockHead | None:
        found = self.blocks.get(block)
        return None if found is None else found.head

    def block(self, block: BlockId) -> Block | None:
        found = self.blocks.get(block)
        return found if found is not None and found.height >= self.pruned_below else None

    def proof(self, block: BlockId) -> Proof | None:
        return self.proofs.get(block)

    def unproven(self) -> Sequence[tuple[int, BlockId]]:
        return self.lacks_proofs

    def check_heads(self, heads: Sequence[BlockHead], earlier: Sequence[BlockHead] = ()) -> None:
        run = [*earlier, *heads]
        assert run[0].previous in self.blocks, "check_heads wants a known parent"
        for parent, head in itertools.pairwise(run):
            assert head.previous == parent.id
        for head in heads:
            if head.manifest.claims == BAD_HEAD or head.id in self.refused:
                raise InvalidBlock("bad-head", "breaks the pretended rules")
            if head.time_ms > self._wall_ms():
                raise NotYet(head.time_ms)

    # -------------------------------------------------------------------- the node's side

    def on_main(self, block: BlockId) -> bool:
        found = self.blocks.get(block)
        return (
            found is not None and found.height < len(self.main) and self.main[found.height] == block
        )

    def add(self, block: Block) -> bool:
        """Imports; whether it was valid."""
        assert block.previous in self.blocks, "sync must deliver parents first"
        block.check_body()
        if block.manifest.claims == BAD_STATE:
            self.refused.add(block.id)
            return False
        self.blocks[block.id] = block
        self.weights[block.id] = self.weights[block.previous] + 1 + block.header.nonce
        return True

    def move_head(self, block: BlockId) -> None:
        path = []
        while not self.on_main(block):
            path.append(block)
            block = self.blocks[block].previous
        del self.main[self.height(block) + 1 :]
        self.main += path[::-1]

    def grow(self, blocks: Sequence[Block], proven: bool = False) -> None:
        for block in blocks:
            assert self.add(block)
        self.move_head(blocks[-1].id)
        if proven:
            for block in blocks:
                self.proofs[block.id] = proof_of(block)
            self.final_height = blocks[-1].height


class Node:
    """Sync over a pretended chain; carries out its actions and lets the head follow weight."""

    def __init__(self, net: Net, key: PeerKey, chain: FakeChain) -> None:
        self.net = net
        self.key = key
        self.chain = chain
        self.sync = Sync(chain, random.Random(key))
        self.bodies: Counter[BlockId] = Counter()  # received, for each block
        self.delivered: list[Block] = []
        self.reported: dict[PeerKey, list[str]] = defaultdict(list)
        self.syncing_changes: list[bool] = []
        self._actions: deque[Action] = deque()  # carried out strictly in order, as the core does
        self._acting = False

    def hello(self) -> Hello:
        head = self.chain.head()
        return Hello(
            protocol_version=PROTOCOL_VERSION,
            chain_id=GENESIS.id,
            engine="fake",
            key=self.key,
            agent="test",
            height=self.chain.height(head),
            finalized_height=self.chain.final_height,
            listen_port=0,
        )

    def do(self, actions: Sequence[Action]) -> None:
        self._actions.extend(actions)
        if self._acting:
            return
        self._acting = True
        while self._actions:
            match self._actions.popleft():
                case SendTo(peer, message):
                    self.net.send(self.key, peer, message)
                case Misbehaved(peer, reason):
                    self.reported[peer].append(reason)
                case BlockReceived(_, block, proof, _):
                    self.delivered.append(block)
                    self.take(block, proof)
                case ProofReceived(_, block_id, proof):
                    self.take_proof(block_id, proof)
                case SyncingChanged(syncing):
                    self.syncing_changes.append(syncing)
        self._acting = False

    def take(self, block: Block, proof: Proof | None) -> None:
        """Import, choose the head, answer sync."""
        now = self.net.now_ms
        if not self.chain.knows(block.id) and not self.chain.add(block):
            self.do(self.sync.rejected(block.id, now))
            return
        self.do(self.sync.imported(block.id, now))
        if proof is not None:
            self.take_proof(block.id, proof)
        if not self.chain.finalizes:
            self.choose(block.id)

    def choose(self, block: BlockId) -> None:
        if self.chain.weight(block) > self.chain.weight(self.chain.head()):
            self.chain.move_head(block)
            self.do(self.sync.head_moved(self.net.now_ms))

    def take_proof(self, block_id: BlockId, proof: Proof) -> None:
        if proof.body != block_id or self.chain.height(block_id) <= self.chain.final_height:
            return
        self.chain.proofs[block_id] = proof
        if not self.chain.on_main(block_id):
            self.chain.move_head(block_id)
        self.chain.final_height = self.chain.height(block_id)
        self.do(self.sync.head_moved(self.net.now_ms))
        self.do(self.sync.finalized(self.net.now_ms))

    def mine(self, nonce: int = 0, proven: bool = False) -> Block:
        """A block of our own on our head."""
        block = make_block(self.chain.blocks[self.chain.head()], nonce=nonce)
        self.take(block, proof_of(block) if proven else None)
        return block

    def receive(self, sender: PeerKey, message: PeerMessage) -> None:
        now, sync = self.net.now_ms, self.sync
        match message:
            case Status():
                self.do(sync.on_status(sender, message, now))
            case AnnounceBlock():
                self.do(sync.on_announce_block(sender, message, now))
            case GetHeads():
                self.do(sync.on_get_heads(sender, message, now))
            case Heads():
                self.do(sync.on_heads(sender, message, now))
            case GetBlocks():
                self.do(sync.on_get_blocks(sender, message, now))
            case BlockBody():
                self.bodies[message.block.id] += 1
                self.do(sync.on_block(sender, message, now))
            case NoBlocks():
                self.do(sync.on_no_blocks(sender, message, now))
            case FinalityProof():
                self.do(sync.on_finality_proof(sender, message, now))

    def joined(self, peer: PeerKey, hello: Hello) -> None:
        self.do(self.sync.joined(peer, hello, self.net.now_ms))

    def left(self, peer: PeerKey) -> None:
        self.do(self.sync.left(peer, self.net.now_ms))

    def tick(self) -> None:
        self.do(self.sync.tick(self.net.now_ms))


Tamper = Callable[[PeerKey, PeerKey, PeerMessage], list[PeerMessage]]


class Net:
    """Links with a fixed delay. ``tamper`` may drop, change or multiply a sender's messages."""

    def __init__(self, seed: int = 1, delay_ms: int = 10, tick_ms: int = 50) -> None:
        self.now_ms = 0
        self.rng = random.Random(seed)
        self.delay_ms = delay_ms
        self.jitter_ms = 0
        self.tick_ms = tick_ms
        self.nodes: dict[PeerKey, Node] = {}
        self.links: dict[tuple[PeerKey, PeerKey], None] = {}
        self.tampers: dict[PeerKey, Tamper] = {}
        self.hellos: dict[PeerKey, Callable[[Hello], Hello]] = {}
        self.bodies_sent: Counter[tuple[PeerKey, PeerKey, BlockId]] = Counter()
        self.sent: Counter[str] = Counter()
        self._queue: list[tuple[int, int, PeerKey, PeerKey, PeerMessage]] = []
        self._count = itertools.count()

    def node(self, name: str, chain: FakeChain | None = None, finalizes: bool = False) -> Node:
        key = name.encode().ljust(32, b"-")
        node = self.nodes[key] = Node(self, key, chain or FakeChain(finalizes))
        return node

    def wall_ms(self) -> int:
        return START_MS + self.now_ms

    def link(self, left: Node, right: Node) -> None:
        self.links[(left.key, right.key)] = self.links[(right.key, left.key)] = None
        for node, other in ((left, right), (right, left)):
            hello = other.hello()
            change = self.hellos.get(other.key)
            node.joined(other.key, change(hello) if change is not None else hello)

    def unlink(self, left: Node, right: Node) -> None:
        for one, other in ((left, right), (right, left)):
            if self.links.pop((one.key, other.key), ()) is None:
                one.left(other.key)

    def send(self, sender: PeerKey, to: PeerKey, message: PeerMessage) -> None:
        if (sender, to) not in self.links:
            return
        tamper = self.tampers.get(sender)
        for each in [message] if tamper is None else tamper(sender, to, message):
            self.sent[type(each).__name__] += 1
            if isinstance(each, BlockBody):
                self.bodies_sent[(sender, to, each.block.id)] += 1
            delay_ms = self.delay_ms
            if self.jitter_ms:
                delay_ms += self.rng.randrange(self.jitter_ms)
            entry = (self.now_ms + delay_ms, next(self._count), sender, to, each)
            heapq.heappush(self._queue, entry)

    def run(self, until: Callable[[], bool] | None = None, limit_ms: int = 120_000) -> int:
        """Runs until the condition holds or the time is up; virtual milliseconds it took."""
        began_ms = self.now_ms
        while self.now_ms - began_ms < limit_ms:
            end_ms = self.now_ms + self.tick_ms
            while self._queue and self._queue[0][0] <= end_ms:
                due_ms, _, sender, to, message = heapq.heappop(self._queue)
                self.now_ms = max(self.now_ms, due_ms)
                if (sender, to) in self.links:
                    self.nodes[to].receive(sender, message)
            self.now_ms = end_ms
            for node in self.nodes.values():
                node.tick()
            if until is not None and until():
                return self.now_ms - began_ms
        assert until is None, "it did not happen in time"
        return self.now_ms - began_ms
