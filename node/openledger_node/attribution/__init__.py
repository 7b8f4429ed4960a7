"""Proof of Attribution: whose rows an answer came from."""
