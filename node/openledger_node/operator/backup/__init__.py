"""Backups: one encrypted file with everything that a node needs to come back, and its restore."""
