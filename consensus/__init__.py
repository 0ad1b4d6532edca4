"""Decisions: the contract, and one module or package for each engine. Pure machines."""
