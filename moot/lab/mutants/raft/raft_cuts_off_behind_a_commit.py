"""What stands on a final block is dropped from the log."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-cuts-off-behind-a-commit",
    engine="raft",
    rule="the entries behind a snapshot that the log agrees with are kept",
    source="Ongaro and Ousterhout 2014, section 7, figure 13, rule 6",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.follower:Follower._finalize",
            "if not view.descends(self._record.tip, block):",
            'if self._record.tip != block and self._role != "leader":',
        ),
    ),
    nodes=3,
    minutes=0.5,
    faults=("partition", "delay"),
    load_tps=12.0,
)
