"""How long the ledger takes. Run: python tests/bench/bench_ledger.py [ACCOUNTS] [BLOCKS]

Blocks of 1,000 transfers between random accounts, signatures taken as verified, on a real LevelDB:
CPU time (all threads, LevelDB's compaction too) a transaction, for insert, set_head and finalize.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

from chain.block import parse_block
from chain.genesis import FORMAT, Allocation, Era, Genesis, Limits
from chain.hashing import sha256
from chain.ledger import Ledger
from chain.membership import FIXED
from chain.storage.leveldb import open_leveldb
from chain.transaction import Transaction, Transfer
from tests.support.chains import FEE, START_MS, TrustingVerifier, make_block

TRANSACTIONS = 1_000


def main(accounts: int, blocks: int) -> None:
    rng = random.Random(1)
    owners = [b"\0" + sha256(b"account %d" % number) for number in range(accounts)]
    allocations = tuple(Allocation(owner, 10**12) for owner in owners)
    genesis = Genesis(
        FORMAT, "bench", "dev", START_MS, (Era(0, "test"),), (), allocations, Limits()
    )
    nonces = dict.fromkeys(owners, 0)
    steps: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        store = open_leveldb(Path(folder) / "db", create=True)
        ledger = Ledger(
            store, genesis, TrustingVerifier(), finalizes=True, membership=lambda era: FIXED
        )
        for _ in range(blocks):
            transactions = []
            for _ in range(TRANSACTIONS):
                sender, recipient = rng.choice(owners), rng.choice(owners)
                actions = (Transfer(recipient, 5),)
                witness = (rng.randbytes(64),)
                transactions.append(
                    Transaction(sender, nonces[sender], FEE, 0, 0, actions, witness)
                )
                nonces[sender] += 1
            block = parse_block(make_block(ledger, ledger.head(), transactions).raw)
            for transaction in block.transactions:
                ledger.verified.add(transaction.id)
            begin = time.process_time()
            ledger.insert(block, 1, ())
            inserted = time.process_time()
            ledger.set_head(block.id)
            headed = time.process_time()
            ledger.finalize(block.id, None)
            steps.append((inserted - begin, headed - inserted, time.process_time() - headed))
        store.close()
    print(f"{accounts} accounts, {blocks} blocks of {TRANSACTIONS}, us a transaction (CPU):")
    show("in all", [sum(step) for step in steps])
    for position, name in enumerate(("insert", "set_head", "finalize")):
        show(name, [step[position] for step in steps])


def show(name: str, seconds: list[float]) -> None:
    ordered = [second * 1e6 / TRANSACTIONS for second in sorted(seconds)]
    print(f"  {name:9} median {ordered[len(ordered) // 2]:6.1f}   best {ordered[0]:6.1f}")


if __name__ == "__main__":
    main(*(int(word) for word in (sys.argv[1:] or ["10000", "16"])))
