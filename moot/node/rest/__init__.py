"""The REST API of a node: one aiohttp server, loopback by default."""
