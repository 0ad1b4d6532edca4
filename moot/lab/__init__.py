"""The laboratory: the production node over a simulated clock, network and disk."""
