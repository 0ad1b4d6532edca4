"""Mutants of what every engine shares: storage, ledger, sync, mempool, gate."""
