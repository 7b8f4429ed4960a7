"""The accelerated GPU path of torch_lora: Triton kernels over paged keys and values, and adapters at exact ranks.

A step: step.py (rows → one array of integers), graph.py (recorded launches), decoder.py (one forward pass over
kernels/), draw.py (logits → tokens); forward.py puts them together. arena.py holds the adapters. opening.py decides
whether the card can run all this, and backend.py is the plug.
"""

from .opening import open_accelerated

__all__ = ["open_accelerated"]
