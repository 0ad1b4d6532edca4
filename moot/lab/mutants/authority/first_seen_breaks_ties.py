"""Of two equal branches each signer keeps what it saw first."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="first-seen-breaks-ties",
    engine="authority",
    rule="of equal branches all choose the smaller id",
    source="Clique networks halted on equal forks (go-ethereum)",
    rewrites=(
        Rewrite(
            "consensus.authority:AuthorityEngine._is_better",
            " or (weights[0] == weights[1] and block < than)",
            "",
        ),
    ),
    under="authority",
    faults=("partition", "kill", "delay"),
)
