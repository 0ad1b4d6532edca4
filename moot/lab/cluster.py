"""A whole simulated network: founders, funded users, and a steady load."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from chain.genesis import Allocation, Genesis
from chain.signatures import Verifier
from chain.transaction import MembershipVote, Transaction, Transfer
from chain.validators import Validator
from chain.verifiers import default_verifier
from consensus.registry import protocol
from moot.lab.network import Network
from moot.lab.node import SimulatedNode
from moot.lab.signer import CheapKey, CheapVerifier, SigningKey
from moot.lab.world import World
from moot.node.core import CoreSettings
from moot.node.founding import make_genesis
from wallet.development import development_key

USERS = 5
USER_UNITS = 10**12
FIRST_USER = 1_000
GENESIS_TIME_MS = 1_700_000_000_000
EASY_BITS = 0x207F_FFFF
"""Two hashes a block: in simulation the *time* of a find is drawn, the work is a formality."""
EASY_POW: dict[str, int | str] = {
    "fixed_difficulty": 1,
    "initial_bits": EASY_BITS,
    "pow_limit_bits": EASY_BITS,
}


class Cluster:
    """``nodes`` of one engine over one world. Not started; call ``start``."""

    def __init__(
        self,
        engine: str,
        nodes: int,
        seed: int,
        *,
        parameters: dict[str, int | str] | None = None,
        observers: int = 0,
        mean_find_ms: int = 3_000,
        real_signer: bool = False,
    ) -> None:
        """``real_signer``: Ed25519 instead of the cheap signatures, at 50 times the cost."""
        self.world = World(seed)
        self.network = Network(self.world)
        make_key: Callable[[int], SigningKey] = development_key if real_signer else CheapKey
        self.verifier: Verifier = default_verifier() if real_signer else CheapVerifier()
        self.users = [make_key(FIRST_USER + number) for number in range(USERS)]
        self.thief = make_key(FIRST_USER + USERS)
        """A funded account that nobody uses but liars."""
        keys = [make_key(number) for number in range(nodes + observers)]
        self.genesis = self._found(engine, keys, nodes, parameters or {})
        self.nodes = [
            SimulatedNode(
                self.world,
                self.network,
                self.genesis,
                key,
                f"n{number}",
                CoreSettings(mining=number < nodes),
                mean_find_ms=mean_find_ms,
                verifier=self.verifier,
            )
            for number, key in enumerate(keys)
        ]
        self.submitted: list[Transaction] = []
        self._load_rng = self.world.rng("load")

    def _found(
        self, engine: str, keys: list[SigningKey], nodes: int, parameters: dict[str, int | str]
    ) -> Genesis:
        """Members are the first ``nodes`` keys; all have coins, since votes cost a fee."""
        found = protocol(engine)
        has_validators = found.rules(found.parameters()).properties.has_validators
        return make_genesis(
            name="simulation",
            network="dev",
            engine=engine,
            parameters={**(EASY_POW if engine == "pow" else {}), **parameters},
            devnet_profile=True,
            validators=[
                Validator(key.address, 1, f"n{number}")
                for number, key in enumerate(keys[:nodes])
                if has_validators
            ],
            allocations=[
                Allocation(user.address, USER_UNITS)
                for user in (*self.users, self.thief, *(keys if has_validators else ()))
            ],
            faucet=None,
            time_ms=GENESIS_TIME_MS,
        )

    def start(self) -> None:
        for node in self.nodes:
            node.start()

    def run(self, milliseconds: int) -> None:
        self.world.run_until(self.world.now_ms + milliseconds)

    def load(self, every_ms: int) -> None:
        """A transfer now and then, from a random user through a random node that is up."""

        def send() -> None:
            self.world.after(every_ms, send)
            up = [node for node in self.nodes if node.core is not None]
            if up:
                self.transfer(self._load_rng, up[self._load_rng.randrange(len(up))])

        self.world.after(every_ms, send)

    def transfer(
        self, rng: random.Random, node: SimulatedNode, sender: SigningKey | None = None
    ) -> None:
        """One payment through ``node``; from a random user unless one is named."""
        core = node.running
        sender = sender or rng.choice(self.users)
        recipient = rng.choice([user for user in self.users if user is not sender])
        nonce = core.mempool.next_nonce(sender.address, core.ledger)
        draft = Transaction(
            sender.address, nonce, 2_000, 0, 0, (Transfer(recipient.address, rng.randrange(1, 99)),)
        )
        witness = sender.sign(draft.signing_bytes(core.ledger.chain_id))
        transaction = msgspec.structs.replace(draft, witness=(witness,))
        if node.submit([transaction])[0] is None:
            self.submitted.append(transaction)

    def vote(self, voter: int, vote: MembershipVote, via: int | None = None) -> Transaction:
        """A node's key casts a membership vote through its own node, or ``via`` another."""
        node = self.nodes[voter]
        core = self.nodes[voter if via is None else via].running
        nonce = core.mempool.next_nonce(node.signer.address, core.ledger)
        draft = Transaction(node.signer.address, nonce, 2_000, 0, 0, (vote,))
        witness = node.signer.sign(draft.signing_bytes(core.ledger.chain_id))
        transaction = msgspec.structs.replace(draft, witness=(witness,))
        (refused,) = self.nodes[voter if via is None else via].submit([transaction])
        assert refused is None, refused
        return transaction

    # ----------------------------------------------------------------------------- looking

    def final_heights(self) -> list[int]:
        return [
            node.core.ledger.height(node.core.ledger.finalized())
            for node in self.nodes
            if node.core is not None
        ]

    def wait_final(self, height: int, within_ms: int) -> bool:
        """Whether all nodes have more than ``height`` final within that time."""
        return self.world.run_until(
            self.world.now_ms + within_ms, lambda: min(self.final_heights()) > height
        )

    def explain(self) -> str:
        """Where every node stands, for a failing test."""
        return "\n".join(
            f"{node.name}: {node.running.engine_status().facts} "
            f"{node.running.engine_status().why} {list(node.log)[-3:]}"
            for node in self.nodes
            if node.core is not None
        )
