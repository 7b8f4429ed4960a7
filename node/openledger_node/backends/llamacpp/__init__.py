"""A llama.cpp server as a backend, for GGUF models on any card that llama.cpp knows.

plan.py divides the memory, server.py finds the program and says its arguments, adapters.py converts adapters to GGUF,
slots.py keeps payers apart, stream.py says what is asked and what an event means, and backend.py is the plug; the
rest is shared (`served/`). [Why a server, and why turns](docs/decisions/roads-not-taken.md#39-llamacpp-as-a-library).
"""

from .backend import open_backend

__all__ = ["open_backend"]
