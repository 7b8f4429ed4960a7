"""The accelerated CPU path of torch_lora: one C++ unit, one call a step, and no torch in the process.

engine.cpp includes the headers beside it and says in which order to read them. build.py compiles it once a machine,
and selfcheck.py tests the result; library.py is its Python interface.
packed_base.py and packed_adapter.py bring files into memory, in the layouts of tensors.py; backend.py is the plug.
"""

from .backend import open_accelerated, will_probably_serve

__all__ = ["open_accelerated", "will_probably_serve"]
