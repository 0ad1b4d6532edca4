"""The slot is what the clock says, though it was signed already."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="signs-again-when-the-clock-steps-back",
    engine="authority",
    rule="a clock that is set back gives no slot a second block",
    source="EOS, Lisk (no production after a clock step back)",
    rewrites=(
        Rewrite(
            "consensus.authority:AuthorityEngine._next_turn",
            "self._last_slot + 1, ",
            "",
        ),
    ),
    under="authority",
    faults=("clock-jump", "clock-skew"),
    minutes=0.5,
)
