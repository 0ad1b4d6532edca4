"""The difficulty is computed with floating-point numbers."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="retarget-in-floats",
    engine="pow",
    rule="aserti3-2d is fixed-point, bit by bit",
    source="Bitcoin Cash, ASERT specification (2020)",
    rewrites=(
        Rewrite(
            "consensus.pow.aserti3:_power_of_two",
            "return RADIX + (",
            "return int(RADIX * 2.0 ** (fraction / RADIX))\n    return RADIX + (",
        ),
    ),
    under="pow",
    parameters={"fixed_difficulty": 0, "half_life_ms": 20000, "target_spacing_ms": 1000},
)
