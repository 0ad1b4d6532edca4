"""The second pre-prepare of a view replaces the first."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="second-proposal",
    engine="pbft",
    rule="only the first pre-prepare of a view is accepted",
    source="Castro and Liskov, OSDI'99, section 4.2",
    rewrites=(
        Rewrite(
            "consensus.pbft.book:Book.add",
            "    place[vote.sender] = known\n",
            "    place[vote.sender] = vote\n",
        ),
        Rewrite(
            "consensus.pbft.engine:PbftEngine._try_accept",
            "self._proposal is not None or ",
            "",
        ),
        Rewrite(
            "consensus.pbft.engine:PbftEngine._try_accept",
            "    if found is None:\n",
            (
                '    if found is None or found.block_id == getattr(self._proposal, "block_id", '
                "None):\n"
            ),
        ),
        Rewrite(
            "consensus.pbft.engine:PbftEngine._try_prepare",
            "record.prepare.view == record.view",
            "record.prepare == Choice(record.view, proposal.block_id)",
        ),
    ),
    liars=("two-faced-proposer",),
    faults=("kill",),
    minutes=0.6,
)
