"""A vLLM server as a backend, for operators with several GPUs or machines.

server.py starts a server or attaches to the operator's, parent_watch.py ends it with us, client.py speaks HTTP,
stream.py reads one answer, and backend.py is the plug. vLLM runs in its own environment and is never imported here.
"""

from .backend import open_backend

__all__ = ["open_backend"]
