"""``/api/...``: the Esplora REST API (blocks, transactions, addresses, mempool, tip).

Under the account model a transaction has one ``vin``, the debit of its sender (all that moved, plus
the fee), and one ``vout`` for each transfer that was done. A block's manifest stands where Bitcoin
has the coinbase: its id is the Merkle tree's first leaf, its outputs are whom reward and fees went
to. What asks for unspent outputs has no meaning here and is answered by 404 with that sentence.
"""

from moot.node.rest.esplora import addresses, blocks, mempool, transactions

TABLES = (blocks.table, transactions.table, addresses.table, mempool.table)
