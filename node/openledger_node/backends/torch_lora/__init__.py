"""Our own engine in plain torch: the reference on every device, and the oracle of the tests.

A step: batch.py (rows → tensors), decoder.py (one ragged forward pass), backend.py (logits → tokens).
Adapters: adapter_reader.py (files → blob), stacks.py (blobs side by side), lora.py (products for each row).
"""

import logging
from importlib import import_module
from pathlib import Path

from openledger_node.backends import cuda, native
from openledger_node.engine.backend import Backend, BackendSettings
from openledger_node.models.decoder_config import OtherDecoderError, read_config

log = logging.getLogger(__name__)


def open_backend(settings: BackendSettings) -> Backend:
    """Open the compiled CPU path or a card's own kernels if they are available, else plain torch.

    A base that our decoder does not support runs on transformers' model.

    Raises:
        ModelError: the base, the device or the number format is not available here.
    """
    for open_accelerated in (native.open_accelerated, cuda.open_accelerated):
        if (accelerated := open_accelerated(settings)) is not None:
            return accelerated
    if settings.base_folder and (reason := _reason_for_other(Path(settings.base_folder))):
        log.warning(reason)
        from openledger_node.backends.transformers_lora.backend import TransformersBackend

        return TransformersBackend(settings)
    from .backend import open_backend as open_torch

    return open_torch(settings)


def load_libraries() -> None:
    """Import torch before the base is known, unless the compiled step will probably serve it; it takes seconds."""
    if not native.will_probably_serve():
        import_module(f"{__package__}.backend")


def _reason_for_other(folder: Path) -> str:
    """The reason why our decoder does not support a base, or an empty string."""
    try:
        read_config(folder)
    except OtherDecoderError as error:
        return str(error)
    return ""
