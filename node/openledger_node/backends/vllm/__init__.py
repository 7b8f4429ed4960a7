"""A vLLM server behind the engine's socket, for operators with several GPUs or machines.

server.py (starts it, or finds the operator's) → parent_watch.py (ends it, however we end) → client.py (HTTP to it)
stream.py (one answer that it writes) · backend.py (the plug itself). vLLM is a program in an environment of its
own: nothing of it is ever imported here.
"""

from .backend import open_backend

__all__ = ["open_backend"]
