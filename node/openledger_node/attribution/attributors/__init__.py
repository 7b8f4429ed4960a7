"""Plugs of the attributor socket, one file each."""
