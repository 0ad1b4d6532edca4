"""Keys and intent: derivation, keystore, signing, building transactions."""
