"""The gate lets messages through whose signatures are nobody's."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="signatures-unchecked",
    engine="node",
    rule="every signature is checked on the way in",
    source="Castro and Liskov, OSDI'99, section 4.2",
    rewrites=(
        Rewrite(
            "moot.node.gate:Gate.verified",
            "if fresh and not all(self._verifier.verify(fresh)):",
            "if False:",
        ),
    ),
    liars=("impersonator",),
)
