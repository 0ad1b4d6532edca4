"""Work for miners who stand outside the node: templates out, headers in."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from chain.address import Address
from chain.block import Block
from chain.errors import InvalidBlock
from chain.header import Header
from chain.ledger import Ledger
from consensus.contract import WorkRules
from moot.node.builder import Builder
from moot.node.eras import EraBook

JOBS_MAX = 64
"""Templates kept at once; a miner of a forgotten job is told that it is stale."""


class Job(msgspec.Struct, frozen=True):
    """A block to find work for. ``target``: the largest id (as an integer) that will do."""

    name: str
    block: Block
    target: int


class NoWork(Exception):
    """This chain's blocks need no work."""


class MiningDesk:
    """Hands out templates and takes found headers back."""

    def __init__(self, ledger: Ledger, builder: Builder, eras: EraBook) -> None:
        self._ledger = ledger
        self._builder = builder
        self._eras = eras
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._count = 0

    def head_moved(self) -> None:
        """Jobs on an older head are stale from now on."""
        self._jobs.clear()

    def is_current(self, job_name: str) -> bool:
        """Whether the job still builds on the head."""
        return job_name in self._jobs

    def template(self, payout: Address, wall_ms: int) -> Job:
        """A block on the head that pays ``payout``. Raises NoWork."""
        head = self._ledger.head()
        rules = self._eras.rules_after(self._ledger, head)
        if not isinstance(rules, WorkRules):
            raise NoWork("blocks of this chain need no work: its engine is not proof of work")
        time_s = max(wall_ms // 1000, rules.earliest_time_s(self._ledger, head))
        bits = rules.next_bits(self._ledger, head, time_s)
        self._count += 1
        block = self._builder.make(
            head,
            claims=b"",
            bits=bits,
            reward=rules.reward(self._ledger.height(head) + 1),
            producer=payout,
            wall_ms=wall_ms,
            extra_nonce=self._count.to_bytes(8, "big"),
        )
        job = Job(f"{self._count:x}", block, rules.target(bits))
        self._jobs[job.name] = job
        while len(self._jobs) > JOBS_MAX:
            self._jobs.popitem(last=False)
        return job

    def found(self, job_name: str, header: Header) -> Block:
        """The whole block for a header that a miner found.

        Raises InvalidBlock ("stale-job", "other-work"); whether the work suffices is for import
        to judge.
        """
        job = self._jobs.get(job_name)
        if job is None:
            raise InvalidBlock(
                "stale-job", "this job is unknown or its parent is no longer the head"
            )
        ours = job.block.header
        if (header.previous, header.merkle_root, header.bits) != (
            ours.previous,
            ours.merkle_root,
            ours.bits,
        ):
            raise InvalidBlock("other-work", "the header does not belong to this job")
        return Block(header, job.block.manifest, job.block.transactions)
