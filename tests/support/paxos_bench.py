"""One node of the Paxos family on its own: the test speaks for all the others."""

from __future__ import annotations

from typing import Any, TypeVar

from chain.block import Block, BlockHead
from consensus import contract
from consensus.contract import Effect, EngineProtocol, Message
from consensus.paxos.ballot import Ballot
from consensus.paxos.messages import Accept, Accepted, Certificate, Prepare, Promise, Signed, Vote
from tests.support.engine_cluster import START_MS, Cluster, Node, make_address, make_block, sign

M = TypeVar("M", bound=Message)


class Bench:
    """Node ``me`` of ``n``; what it says and does is held in order."""

    def __init__(
        self,
        protocol: EngineProtocol,
        parameters: Any,
        me: int = 0,
        n: int = 3,
        *,
        starts: bool = True,
    ) -> None:
        self.cluster = Cluster(protocol, n, parameters=parameters, background_sync_ms=None)
        self.node: Node = self.cluster.nodes[me]
        self.effects: list[Effect] = []
        self.cluster.observer = self._listen
        if starts:
            self.node.start()
            self.node.run()

    def _listen(self, node: Node, what: contract.Event | Effect) -> None:
        if isinstance(what, Effect):
            self.effects.append(what)

    @property
    def engine(self) -> Any:
        return self.node.engine

    @property
    def height(self) -> int:
        return self.node.finalized_height

    # ------------------------------------------------------------------------------- material

    def address(self, number: int) -> bytes:
        return make_address(number)

    def block(self, producer: int, extra: int = 0, parent: BlockHead | None = None) -> Block:
        above = self.cluster.genesis.head if parent is None else parent
        producer_address = make_address(producer)
        return make_block(above, producer_address, self.cluster.validators, START_MS, extra=extra)

    def certificate(
        self, block: Block, ballot: Ballot, acceptors: tuple[int, ...] = (1, 2)
    ) -> Certificate:
        """Signed acceptances of those members."""
        accepts = []
        for number in sorted(acceptors):
            draft = Accepted(ballot, block.height, block.id, make_address(number))
            (one,) = draft.attestations()
            accepts.append(Signed(one.signer, sign(one.signer, one.slot, one.content)))
        return Certificate(block.height, ballot, block.id, tuple(accepts))

    # ------------------------------------------------------------------------------- speaking

    def hear(self, sender: int, message: Message) -> list[Message]:
        """Delivers a message of that member; what the node then said, in order."""
        before = len(self.effects)
        source = self.cluster.nodes[sender]
        self.node.post(contract.MessageReceived(source.address, self.cluster.sign(source, message)))
        self.node.run()
        return said_in(self.effects[before:])

    def post(self, event: contract.Event) -> list[Effect]:
        before = len(self.effects)
        self.node.post(event)
        self.node.run()
        return self.effects[before:]

    def run_for(self, milliseconds: int) -> list[Effect]:
        before = len(self.effects)
        self.cluster.run_for(milliseconds)
        return self.effects[before:]

    def prepare(self, sender: int, round_: int, height: int = 1) -> list[Message]:
        return self.hear(sender, Prepare(Ballot(round_, make_address(sender)), height))

    def promise(
        self, sender: int, ballot: Ballot, accepted: Vote | None = None, height: int = 1
    ) -> list[Message]:
        return self.hear(sender, Promise(ballot, height, accepted))

    def accept(self, sender: int, round_: int, block: Block) -> list[Message]:
        ballot = Ballot(round_, make_address(sender))
        return self.hear(sender, Accept(ballot, block.height, block.id, block))

    def accepted(self, sender: int, ballot: Ballot, block: Block) -> list[Message]:
        return self.hear(sender, Accepted(ballot, block.height, block.id, make_address(sender)))

    # ------------------------------------------------------------------------------ listening

    def said(self, kind: type[M]) -> list[M]:
        return [message for message in said_in(self.effects) if isinstance(message, kind)]

    def effects_of(self, kind: type[Effect]) -> list[Any]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def submit(self) -> None:
        self.cluster.submit(1, [self.node.number])

    def crash(self) -> None:
        """A power failure: only what was written stays."""
        self.node.crash()

    def restart(self, *, wiped: bool = False) -> None:
        if self.node.up:
            self.node.crash()
        if wiped:
            disk = self.node.disk
            genesis = self.cluster.genesis
            disk.record, disk.bodies, disk.proofs = None, {genesis.id: genesis}, {}
            disk.finalized = disk.finalized_unsynced = genesis.id
        self.node.start()
        self.node.run()


def said_in(effects: list[Effect]) -> list[Message]:
    """The messages of Send and Broadcast, in order."""
    return [
        effect.message
        for effect in effects
        if isinstance(effect, (contract.Send, contract.Broadcast))
    ]
