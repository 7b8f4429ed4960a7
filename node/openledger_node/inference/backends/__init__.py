"""The plugs of `inference/backend.py`."""
