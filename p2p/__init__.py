"""Conversation: wire format, peers, gossip, sync (all sans-I/O) and one aiohttp transport."""
