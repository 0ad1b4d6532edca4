"""A new leader answers reads before an entry of its own term is committed."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-reads-before-it-knows",
    engine="raft",
    rule="a leader answers reads once an entry of its own term is committed",
    source="Ongaro and Ousterhout 2014, section 8; thesis, section 6.4",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.reads:Reads._try_read",
            'if self._role != "leader" or not self._unopened or not self._is_open:',
            'if self._role != "leader" or not self._unopened:',
        ),
    ),
    nodes=3,
    minutes=0.5,
    faults=("transfer", "selective-loss"),
    delay_ms=(5, 50),
    load_tps=20.0,
    parameters={"election_ms_min": 300, "election_ms_max": 600},
)
