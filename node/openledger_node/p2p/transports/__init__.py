"""Plugs of the transport socket."""
