"""The pause is rounded the wrong way: with four signers it is one block."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="pause-too-short-when-even",
    engine="authority",
    rule="of floor(n/2) + 1 blocks in a row a signer signs one",
    source="EIP-225, SIGNER_LIMIT = floor(SIGNER_COUNT / 2) + 1",
    rewrites=(
        Rewrite(
            "consensus.authority:signed_recently",
            "range(len(signers) // 2)",
            "range((len(signers) - 1) // 2)",
        ),
    ),
    under="authority",
    faults=("kill", "partition"),
    nodes=4,
)
