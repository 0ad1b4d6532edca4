"""Parameters that contradict themselves, and the subsidy."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.genesis import COIN, SUPPLY_MAX, Era
from consensus.pow import PROTOCOL, PowParameters
from consensus.pow.parameters import subsidy
from consensus.registry import era_parameters, parameter_list


def test_defaults_and_devnet_are_sound_and_survive_genesis() -> None:
    devnet = msgspec.convert(dict(PROTOCOL.devnet_parameters), PowParameters)
    for parameters in (PowParameters(), devnet):
        assert era_parameters(Era(0, "pow", parameter_list(parameters))) == parameters


@pytest.mark.parametrize(
    "changes",
    [
        {"initial_bits": 0x1D80FFFF},
        {"initial_bits": 0x1D000000},
        {"initial_bits": 0x2000FFFF},
        {"pow_limit_bits": 0x01003456},
        {"subsidy": SUPPLY_MAX, "halving_interval": 1},
        {"half_life_ms": 0},
        {"target_spacing_ms": 0},
        {"halving_interval": 0},
        {"confirmation_depth": 0},
        {"fixed_difficulty": 2},
        {"unheard_of": 1},
    ],
)
def test_contradictions_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(changes, PowParameters)


def test_subsidy_halves_and_ends() -> None:
    parameters = PowParameters(subsidy=50 * COIN, halving_interval=10)
    assert [subsidy(parameters, height) for height in (0, 9, 10, 19, 20)] == [
        50 * COIN,
        50 * COIN,
        25 * COIN,
        25 * COIN,
        1_250_000_000,
    ]
    assert subsidy(parameters, 32 * 10) == 50 * COIN >> 32 == 1
    assert subsidy(parameters, 33 * 10) == 0


@pytest.mark.parametrize("halvings", [63, 64, 65, 128, 2**40])
def test_subsidy_after_sixty_four_halvings(halvings: int) -> None:
    """BIP42: in C a shift by 64 begins the coins anew."""
    parameters = PowParameters(subsidy=SUPPLY_MAX // 4, halving_interval=1)
    assert subsidy(parameters, halvings) == 0


@given(st.integers(0, SUPPLY_MAX), st.integers(1, 10**9))
def test_no_parameters_mint_more_than_may_exist(amount: int, interval: int) -> None:
    """CVE-2010-5139's lesson for parameters: sums stay inside 63 bits."""
    try:
        parameters = PowParameters(subsidy=amount, halving_interval=interval)
    except ValueError:
        assert 2 * amount * interval > SUPPLY_MAX
    else:
        minted = sum(subsidy(parameters, era * interval) * interval for era in range(65))
        assert minted <= SUPPLY_MAX
