"""Mining: the hashing kernel, worker processes, and the standalone miner.

``kernel`` is pure; ``worker`` is the process that hashes; ``workers`` keeps a pool of them and is
the node's grinder; ``standalone`` mines for a node elsewhere. Imported lazily, part by part: the
worker process must start in milliseconds.
"""
