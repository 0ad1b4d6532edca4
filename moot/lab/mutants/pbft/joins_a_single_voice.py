"""One replica that asks for another view takes all with it."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="joins-a-single-voice",
    engine="pbft",
    rule="a replica joins a view change that f + 1 others ask for",
    source="Castro and Liskov, OSDI'99, section 4.5.2",
    rewrites=(
        Rewrite(
            "consensus.pbft.view_change:view_to_join",
            "if len(asked) > faults_byzantine(len(members)) else None",
            "if asked else None",
        ),
    ),
    liars=("lone-voice",),
    load_tps=1.0,
    delay_ms=(100, 110),
)
