"""Mistakes in the rota of signers."""
