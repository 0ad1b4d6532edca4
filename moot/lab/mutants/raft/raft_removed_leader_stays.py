"""A leader that was voted out never hands over."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-removed-leader-stays",
    engine="raft",
    rule="a removed leader steps down once the change is committed",
    source="Ongaro and Ousterhout 2014, section 6; thesis, section 4.2.2",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.leaving:Leaving._try_leave",
            "if self._has_opened and self._final != self._record.tip:",
            "if True:",
        ),
    ),
    nodes=4,
    minutes=0.5,
    faults=("membership",),
)
