"""Genesis: what all nodes of a chain agree on before the first block, and eras."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

import msgspec

from chain import codec
from chain.address import PREFIXES, Address
from chain.codec import Record, Uint
from chain.errors import InvalidEncoding
from chain.hashing import ZERO_HASH
from chain.validators import VALIDATORS_MAX, Validator, ValidatorSet, validator_set

COIN = 100_000_000
"""Base units in a coin."""
SUPPLY_MAX = 2**62
"""No sum of balances may pass this: sums of any two amounts stay inside 63 bits."""
FORMAT = 2
"""2: validator sets may be joint (``outgoing``) and members learners (weight 0)."""

Parameter = tuple[str, int | str]


class Era(Record, frozen=True):
    """From ``from_height`` on, ``engine`` decides, under ``parameters`` (sorted by name)."""

    from_height: Uint
    engine: str
    parameters: tuple[Parameter, ...] = ()

    def parameter(self, name: str) -> int | str:
        """The value of one parameter; KeyError where genesis did not set it."""
        return dict(self.parameters)[name]


class Allocation(Record, frozen=True):
    """Base units that an address owns at height 0."""

    address: Address
    amount: Uint


class Limits(Record, frozen=True):
    """What bounds blocks and transactions on this chain (bytes, blocks, base units)."""

    block_size_max: Annotated[int, msgspec.Meta(ge=1_000, le=8 * 1024 * 1024)] = 2 * 1024 * 1024
    transaction_size_max: Annotated[int, msgspec.Meta(ge=300, le=64 * 1024)] = 64 * 1024
    validator_lag: Annotated[int, msgspec.Meta(ge=2, le=1_000)] = 2
    fee_per_kilobyte_min: Uint = 1_000


class Genesis(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True):
    """The first facts. The chain's id is the id of the block made from them (chain.ledger)."""

    format: Uint
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    network: Annotated[str, msgspec.Meta(max_length=8)]
    time_ms: Uint
    eras: Annotated[tuple[Era, ...], msgspec.Meta(min_length=1, max_length=64)]
    validators: tuple[Validator, ...]
    allocations: tuple[Allocation, ...]
    limits: Limits
    faucet: Address | None = None

    @property
    def prefix(self) -> str:
        """Human-readable prefix of this network's addresses."""
        return PREFIXES[self.network]

    @cached_property
    def validator_set(self) -> ValidatorSet:
        return validator_set(self.validators)

    def check(self) -> None:
        """Raises InvalidEncoding with a sentence for the first thing that is wrong."""
        if self.format != FORMAT:
            raise InvalidEncoding(
                "genesis-format",
                f"genesis format {self.format} where this Moot knows {FORMAT}; make a new genesis "
                "with it, or run the chain with the Moot that made it",
            )
        if self.network not in PREFIXES:
            raise InvalidEncoding("genesis-network", f"network must be one of {list(PREFIXES)}")
        if self.time_ms // 1000 >= 2**32:
            raise InvalidEncoding("genesis-time", "the time does not fit a header's 32-bit seconds")
        if self.eras[0].from_height != 0:
            raise InvalidEncoding("genesis-eras", "the first era begins at height 0")
        heights = [era.from_height for era in self.eras]
        if heights != sorted(set(heights)):
            raise InvalidEncoding("genesis-eras", "eras stand in order of height, each once")
        for era in self.eras:
            names = [name for name, _ in era.parameters]
            if names != sorted(set(names)):
                raise InvalidEncoding("genesis-parameters", "parameters are sorted, each once")
        if len({v.address for v in self.validators}) != len(self.validators):
            raise InvalidEncoding("genesis-validators", "a validator is listed twice")
        if len(self.validators) > VALIDATORS_MAX:
            raise InvalidEncoding("genesis-validators", f"more than {VALIDATORS_MAX} validators")
        if self.validators and not any(v.weight for v in self.validators):
            raise InvalidEncoding(
                "genesis-validators", "no validator has a vote (a weight above 0)"
            )
        owners = [allocation.address for allocation in self.allocations]
        if len(set(owners)) != len(owners):
            raise InvalidEncoding("genesis-allocations", "an address is given coins twice")
        if sum(allocation.amount for allocation in self.allocations) > SUPPLY_MAX:
            raise InvalidEncoding("genesis-allocations", "more coins than may ever exist")

    @cached_property
    def raw(self) -> bytes:
        return codec.encode(self)


def era_at(eras: tuple[Era, ...], height: int) -> Era:
    """The era that rules ``height``: the last that began at or below it."""
    return max((era for era in eras if era.from_height <= height), key=lambda e: e.from_height)


GENESIS_PREVIOUS = ZERO_HASH
