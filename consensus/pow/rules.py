"""What makes a block acceptable under proof of work. Pure: no clock, no memory."""

from __future__ import annotations

from chain.address import Address
from chain.block import BlockHead
from chain.changes import Mint, StateChange
from chain.errors import InvalidBlock, InvalidProof
from chain.hashing import BlockId
from chain.header import VERSION
from chain.proof import Evidence, Proof
from chain.validators import ValidatorSet
from chain.view import ChainView
from consensus.contract import Attestation, Properties
from consensus.pow.aserti3 import next_target
from consensus.pow.parameters import PowParameters, subsidy
from consensus.pow.target import bits_from_target, hash_as_number, target_from_bits, work

MEDIAN_SPAN = 11
"""A header's time must exceed the median of this many headers before it (Bitcoin Core)."""
VERSION_ROLLING_MASK = 0x1FFF_E000
"""Version bits that a miner may use as a second nonce (BIP320)."""

PROPERTIES = Properties(
    fault_model="honest-work-majority",
    synchrony="clocks",
    finality="depth",
    faults=lambda members: (members - 1) // 2,
    quorum=lambda members: 0,
    permissioned=False,
    has_validators=False,
    linearizable_reads=False,
    finalizes=False,
    mints_when_idle=True,
    membership="none",
    confirmed=(
        "So many blocks lie on top of it that undoing it would take all the work that went into "
        "them; with less than half of the hash power that is possible, but unlikely."
    ),
    needs=(
        "Honest miners hold more than half of the hash power, blocks travel much faster than they "
        "are found, and clocks agree within the chain's future limit (2 hours by default)."
    ),
)


class PowRules:
    """Rules of ``pow``; also WorkRules, so that builders and outside miners can prepare blocks."""

    def __init__(self, parameters: PowParameters) -> None:
        self.parameters = parameters
        self._limit = target_from_bits(parameters.pow_limit_bits)
        self._initial = target_from_bits(parameters.initial_bits)

    @property
    def properties(self) -> Properties:
        return PROPERTIES

    # ----------------------------------------------------------------------------- judging blocks

    def check_header(self, block: BlockHead, view: ChainView) -> None:
        """Raises InvalidBlock, the cheapest and costliest-to-fake test first: the work."""
        header, manifest = block.header, block.manifest
        target = self.target(header.bits)
        if hash_as_number(header.id) > target:
            raise InvalidBlock("insufficient-work", "the block's hash is above its target")
        if (header.version ^ VERSION) & ~VERSION_ROLLING_MASK:
            raise InvalidBlock(
                "bad-version", f"version {header.version:#010x} sets bits that are not free"
            )
        if manifest.claims:
            raise InvalidBlock("unexpected-claims", "a block under pow makes no claims")
        if block.seal:
            raise InvalidBlock("unexpected-seal", "a block under pow carries no seal")
        self._check_time(block, view)
        expected = self.next_bits(view, block.previous, header.time_s)
        if header.bits != expected:
            raise InvalidBlock(
                "bad-difficulty", f"bits are {header.bits:#010x}, the chain asks {expected:#010x}"
            )
        if manifest.reward != self.reward(block.height):
            raise InvalidBlock(
                "bad-reward",
                f"a block at height {block.height} mints {self.reward(block.height)} base units, "
                f"not {manifest.reward}",
            )

    def _check_time(self, block: BlockHead, view: ChainView) -> None:
        time_s, manifest_s = block.header.time_s, block.time_ms // 1_000
        if not 0 <= time_s - manifest_s <= self.parameters.future_limit_ms // 1_000:
            raise InvalidBlock(
                "bad-time", "the header's time is not the manifest's, nor rolled within the limit"
            )
        earliest = self.earliest_time_s(view, block.previous)
        if time_s < earliest:
            raise InvalidBlock(
                "time-too-old", f"the header's time must be {earliest} or later, it is {time_s}"
            )

    def earliest_ms(self, block: BlockHead) -> int:
        """A header may be ahead of the clock by the future limit, and no more."""
        return max(0, block.header.time_s * 1_000 - self.parameters.future_limit_ms)

    def author(self, block: BlockHead) -> Address:
        return block.manifest.producer

    def weight(self, block: BlockHead) -> int:
        return work(target_from_bits(block.header.bits))

    def state_changes(self, block: BlockHead, view: ChainView) -> tuple[StateChange, ...]:
        """Bitcoin's coinbase: reward (and fees) to the producer, spendable when it is mature.

        Also where the subsidy has run out, so that fees ripen like rewards.
        """
        return (
            Mint(
                block.manifest.producer,
                block.manifest.reward,
                block.height + self.parameters.maturity,
            ),
        )

    def check_proof(
        self, chain_id: bytes, block: BlockHead, proof: Proof, validators: ValidatorSet
    ) -> tuple[Attestation, ...]:
        raise InvalidProof("no-finality", "under pow no block is ever final, so no proof can be")

    def check_evidence(self, evidence: Evidence, validators: ValidatorSet) -> Address:
        raise InvalidProof("no-members", "under pow nobody signs, so nobody can contradict himself")

    def evidence_attestations(self, evidence: Evidence) -> tuple[Attestation, ...]:
        return ()

    def seal_attestations(self, block: BlockHead) -> tuple[Attestation, ...]:
        return ()

    # ---------------------------------------------------------------- WorkRules: preparing blocks

    def target(self, bits: int) -> int:
        """The target of ``bits``; InvalidBlock where they are malformed or above the limit."""
        target = target_from_bits(bits)
        if target > self._limit:
            raise InvalidBlock("bad-bits", "the target is easier than this chain ever allows")
        return target

    def reward(self, height: int) -> int:
        return subsidy(self.parameters, height)

    def next_bits(self, view: ChainView, parent: BlockId, time_s: int) -> int:
        """ASERT from the era's anchor, whatever ``time_s`` the child itself claims."""
        if self.parameters.fixed_difficulty:
            return self.parameters.initial_bits
        anchor_height = max(0, view.params(parent).from_height - 1)
        anchor = view.header(view.ancestor(parent, anchor_height))
        last = view.header(parent)
        spacing_ms = self.parameters.target_spacing_ms
        target = next_target(
            self._initial,
            elapsed_ms=(last.header.time_s - anchor.header.time_s) * 1_000 + spacing_ms,
            heights=last.height - anchor_height,
            spacing_ms=spacing_ms,
            half_life_ms=self.parameters.half_life_ms,
            limit=self._limit,
        )
        return bits_from_target(target)

    def earliest_time_s(self, view: ChainView, parent: BlockId) -> int:
        """One second past the median time of the last eleven headers.

        And not before the second of the parent's manifest, which the child's manifest must exceed
        and the child's header must not precede.
        """
        last = view.header(parent)
        times, block = [last.header.time_s], last
        while len(times) < MEDIAN_SPAN and block.height > 0:
            block = view.header(block.previous)
            times.append(block.header.time_s)
        return max(sorted(times)[len(times) // 2] + 1, (last.time_ms + 1) // 1_000)
