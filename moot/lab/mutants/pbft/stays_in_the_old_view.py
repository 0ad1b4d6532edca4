"""Goes on voting in the view that it asked to leave."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="stays-in-the-old-view",
    engine="pbft",
    rule="nothing of the old view is accepted after the view change",
    source="Castro and Liskov, OSDI'99, section 4.4",
    rewrites=(
        Rewrite(
            "consensus.pbft.engine:PbftEngine._start_view_change",
            "self._replace(view=view, active=False, proposal=None)",
            (
                "self._replace(view=view, active=False, proposal=None)\n    "
                "self._replace(view=view - 1, active=True)"
            ),
        ),
    ),
    faults=("selective-loss", "loss"),
    minutes=1.0,
    parameters={"view_timeout_ms": 300},
)
