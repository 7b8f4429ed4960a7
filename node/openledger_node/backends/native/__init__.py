"""The accelerated CPU path of torch_lora: one C++ file, one call a step, no torch in the process.

engine.cpp (the step) · build.py (compiled once for a machine, and tried out by selfcheck.py) · library.py (as Python
sees it) · tensors.py (how weights lie) · packed_base.py, packed_adapter.py (files → memory)
backend.py (the socket)
"""

from .backend import open_accelerated

__all__ = ["open_accelerated"]
