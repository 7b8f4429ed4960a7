"""A vLLM server as a backend, for operators with several GPUs or machines.

server.py starts a server or attaches to the operator's, stream.py says what is asked and what an event means, and
backend.py is the plug; the rest is shared (`served/`). vLLM runs in its own environment and is never imported here.
"""

from .backend import open_backend

__all__ = ["open_backend"]
