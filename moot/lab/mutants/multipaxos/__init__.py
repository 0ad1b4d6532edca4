"""Mistakes in Multi-Paxos."""
