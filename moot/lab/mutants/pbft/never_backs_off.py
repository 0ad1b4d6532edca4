"""Each view gets as little time as the first."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="never-backs-off",
    engine="pbft",
    rule="the view timeout doubles with every view that fails",
    source="Castro and Liskov, OSDI'99, section 4.5.2",
    rewrites=(
        Rewrite(
            "consensus.pbft.parameters:PbftParameters.timeout_ms",
            "doublings = min(failed_views, 32)",
            "doublings = 0",
        ),
    ),
    delay_ms=(450, 600),
    parameters={"view_timeout_ms": 400},
)
