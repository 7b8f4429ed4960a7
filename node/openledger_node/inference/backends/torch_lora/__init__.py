"""Our own engine in plain torch: the reference on every device, and the oracle of every test.

../../decoder_config.py (what the base is) → weights.py (its tensors, fused) → decoder.py (one ragged forward pass)
kv_cache.py (keys and values, a slot a sequence) · lora.py (adapters, and their batch-aligned stacks)
batch.py (rows → tensors) · torch_backend.py (the plug itself)
"""

from .torch_backend import open_backend

__all__ = ["open_backend"]
