"""Our own engine in plain torch: the reference on every device, and the oracle of every test.

models/decoder_config.py, models/rope.py (what the base is) → weights.py (its tensors, fused)
batch.py, lora.py (rows → tensors) → decoder.py (one ragged forward pass) → backend.py (the plug: logits → tokens)
kv_cache.py (keys and values in blocks)
adapter_reader.py (files → one blob, adapter_blob.py) → lora.py, stacks.py (blobs side by side, batch-aligned)
"""

from pathlib import Path

from openledger_node.backends.native import open_accelerated
from openledger_node.engine.backend import Backend, BackendSettings
from openledger_node.models.decoder_config import OtherDecoderError, read_config


def open_backend(settings: BackendSettings) -> Backend:
    """Open the compiled CPU path where it can be had, else plain torch, which takes a second to import.

    A base that the decoder written here does not have runs through transformers' own model.

    Raises:
        ModelError: the base, the device or the number format can't be had here.
    """
    if (accelerated := open_accelerated(settings)) is not None:
        return accelerated
    if settings.base_folder and _is_other(Path(settings.base_folder)):
        from openledger_node.backends.transformers_lora.backend import TransformersBackend

        return TransformersBackend(settings)
    from .backend import open_backend as open_torch

    return open_torch(settings)


def _is_other(folder: Path) -> bool:
    try:
        read_config(folder)
    except OtherDecoderError:
        return True
    return False
