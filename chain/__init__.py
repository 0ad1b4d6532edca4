"""Facts: what blocks, transactions and state are. No clock, no sockets, no opinions."""
