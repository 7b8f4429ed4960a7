"""Our own engine in plain torch: the reference on every device, and the oracle of the tests.

A step: batch.py (rows → tensors), decoder.py (one ragged forward pass), backend.py (logits → tokens).
Adapters: adapter_reader.py (files → blob), stacks.py (blobs side by side), lora.py (products for each row).
"""

from pathlib import Path

from openledger_node.backends.native import open_accelerated
from openledger_node.engine.backend import Backend, BackendSettings
from openledger_node.models.decoder_config import OtherDecoderError, read_config


def open_backend(settings: BackendSettings) -> Backend:
    """Open the compiled CPU path if it is available, else plain torch, which takes a second to import.

    A base that our decoder does not support runs on transformers' model.

    Raises:
        ModelError: the base, the device or the number format is not available here.
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
