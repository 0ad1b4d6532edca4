"""A new head is announced to all, also to those from whom it came."""

from moot.lab.mutants import NODE, Mutant, Rewrite

MUTANT = Mutant(
    name="blocks-go-round",
    engine=NODE,
    rule="an announcement crosses each link once: who is known to have it is not told again",
    source="Bitcoin Core, net_processing: PeerHasHeader before a block is announced",
    under="pow",
    rewrites=(
        Rewrite(
            "p2p.sync.relay:Relay.flush",
            "if peer.known.add(block_id)",
            "if peer.known.add(block_id) or True",
        ),
    ),
)
