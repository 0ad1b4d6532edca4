"""A node extends its own branch only, whatever the others have."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="sticks-to-its-branch",
    engine="gossip",
    rule="a higher branch takes the head, wherever it comes from",
    source="Demers et al. 1987, section 1.3; Shapiro et al. 2011 (convergence)",
    rewrites=(
        Rewrite(
            "consensus.gossip.engine:GossipEngine._on_imported",
            "if _rank(block.id, view) > _rank(self._head, view):",
            "if block.previous == self._head:",
        ),
    ),
    under="gossip",
    faults=("partition", "delay"),
)
