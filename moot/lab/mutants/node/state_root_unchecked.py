"""A block's state root is believed."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="state-root-unchecked",
    engine="node",
    rule="a block is valid only if executing it gives the state that it names",
    source="Wood, Ethereum yellow paper, section 4.3",
    rewrites=(
        Rewrite(
            "chain.ledger.ledger:Ledger._execute",
            "executed.state.root != manifest.state_root",
            "False",
        ),
    ),
    liars=("invalid-proposer",),
    faults=("kill",),
    minutes=0.6,
)
