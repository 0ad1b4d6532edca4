"""Mutants of pbft."""
