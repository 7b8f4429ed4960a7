"""Plugs of the trainer socket, loaded by name."""
