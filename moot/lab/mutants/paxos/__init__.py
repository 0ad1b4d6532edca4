"""Mistakes in Paxos."""
