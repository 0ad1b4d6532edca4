"""Mutants of pow."""
