"""Backends, the plugs of `engine/backend.py`: one folder or file each."""
