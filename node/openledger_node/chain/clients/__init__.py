"""Plugs of the chain client socket."""
