"""Mutants of raft."""
