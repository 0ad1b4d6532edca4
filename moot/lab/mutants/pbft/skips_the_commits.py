"""Decides as soon as a quorum has prepared."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="skips-the-commits",
    engine="pbft",
    rule="a block is final once a quorum has committed to it",
    source="Castro and Liskov, OSDI'99, section 4.2",
    rewrites=(
        Rewrite(
            "consensus.pbft.book:Book.committed",
            "for kind, view in places if kind == COMMIT",
            "for kind, view in places if kind == PREPARE",
        ),
        Rewrite(
            "consensus.pbft.book:Book.committed",
            "places[COMMIT, view].values()",
            "places[PREPARE, view].values()",
        ),
        Rewrite(
            "consensus.pbft.book:Book.committed",
            "self.voters(height, COMMIT, view, block)) < quorum",
            "self.voters(height, PREPARE, view, block)) < quorum - 1",
        ),
        Rewrite(
            "consensus.pbft.book:Book.committed",
            "self._signatures(COMMIT, height, view, block, members)",
            "self._signatures(PREPARE, height, view, block, members)",
        ),
        Rewrite(
            "consensus.pbft.book:Book.committed",
            "if len(commits) >= quorum",
            "if len(commits) >= quorum - 1",
        ),
        Rewrite(
            "consensus.pbft.certificates:check_commit_certificate",
            "quorum_byzantine(len(members))",
            "quorum_byzantine(len(members)) - 1",
        ),
    ),
)
