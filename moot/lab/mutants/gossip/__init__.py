"""Mistakes in what only converges."""
