"""Opens the GPU path if a card can run its kernels: with Triton, a C compiler, and right answers of a self-check."""

import logging
import os
from pathlib import Path

from openledger_node.backends.native.backend import will_find_gpu
from openledger_node.card import missing_for_kernels
from openledger_node.engine.backend import Backend, BackendSettings
from openledger_node.engine.opening import tell
from openledger_node.errors import ModelError
from openledger_node.models.decoder_config import DecoderConfig, read_config

log = logging.getLogger(__name__)

WITHOUT = "the card runs without the node's own kernels (%s), more slowly: %s"

ANOTHER_TRITON = 'install another torch with its Triton, or hide this by [inference] acceleration = "off"'

WIDTH_MAX = 8192
"""The widest residual stream: a row of it stays in a program's registers."""


def open_accelerated(settings: BackendSettings) -> Backend | None:
    """Open the GPU path. Return None without a card, and if the kernels can't run on it or can't serve the base.

    Raises:
        ModelError: the base can't be read, or does not fit the card.
    """
    if (config := _config_for_card(settings)) is None:
        return None
    if trouble := missing_for_kernels():
        log.warning(WITHOUT, trouble.found, trouble.fix)
        return None
    if config.d_model > WIDTH_MAX:
        log.warning(WITHOUT, f"rows of {config.d_model} numbers are too wide for them", "choose a smaller base")
        return None
    if settings.cache_folder:
        os.environ.setdefault("TRITON_CACHE_DIR", str(Path(settings.cache_folder) / "kernels"))
    return _open_checked(settings)


def _config_for_card(settings: BackendSettings) -> DecoderConfig | None:
    """The configuration of the base, if it is one of ours and there is a card to serve it on."""
    is_wanted = settings.acceleration != "off" and settings.device in ("auto", "cuda")
    if not is_wanted or settings.base_folder is None or not will_find_gpu():
        return None
    try:
        return read_config(Path(settings.base_folder))
    except ModelError:
        return None  # torch_lora reports the error, or serves the base in another way


def _open_checked(settings: BackendSettings) -> Backend | None:
    """Check the kernels before anything is loaded, and open the backend if they are right."""
    from openledger_node.backends.torch_lora.chosen_base import choose_base
    from openledger_node.backends.torch_lora.device_memory import explained
    from openledger_node.backends.torch_lora.placement import choose_placement

    try:
        from .selfcheck import fault_on_card
    except (ImportError, OSError) as error:
        log.warning(WITHOUT, f"Triton can't be loaded: {error}", ANOTHER_TRITON)
        return None
    placement = choose_placement(settings.device, settings.dtype)
    tell("checking")
    if fault := fault_on_card(choose_base(settings, placement), placement):
        log.warning(WITHOUT, fault, ANOTHER_TRITON)
        return None
    from .backend import CudaBackend

    with explained(settings):
        return CudaBackend(settings, placement)
