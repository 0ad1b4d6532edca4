"""The application that puts chain, consensus, p2p and wallet together. Nothing imports it."""

__version__ = "0.1.0"
