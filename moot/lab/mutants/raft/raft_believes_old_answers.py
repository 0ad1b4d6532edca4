"""An acknowledgement of an earlier term is counted."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-believes-old-answers",
    engine="raft",
    rule="answers of another term are dropped",
    source="Ongaro and Ousterhout 2014, section 5.1 and figure 2",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.leader:Leader._on_append_reply",
            'if self._role != "leader" or message.term < self._term:',
            'if self._role != "leader":',
        ),
    ),
    nodes=5,
    minutes=0.5,
    faults=("delay", "transfer"),
    parameters={"election_ms_min": 100, "election_ms_max": 200, "heartbeat_ms": 20},
    load_tps=6.0,
    delay_ms=(2, 20),
)
