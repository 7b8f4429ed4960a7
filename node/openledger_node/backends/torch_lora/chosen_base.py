"""The base that the settings name and the format to serve it in, read before anything is loaded; and its profile."""

from pathlib import Path
from typing import NamedTuple

from openledger_node.engine.backend import BackendSettings, Profile
from openledger_node.engine.memory_plan import served_quantisation
from openledger_node.models.decoder_config import DecoderConfig, read_config

from .kv_cache import block_bytes
from .placement import Placement
from .quantised import check_quantisation
from .weights import Weights


class ChosenBase(NamedTuple):
    """A base on disk."""

    folder: Path
    config: DecoderConfig
    quantisation: str  # none, stored, int8, int4, nf4
    served: str  # the same, with the format's name for "stored"
    cache: Path | None  # for packed weights and adapters


def choose_base(settings: BackendSettings, placement: Placement) -> ChosenBase:
    """Read the base's configuration.

    Raises:
        ModelError: it can't be read, or the quantisation is unknown.
    """
    assert settings.base_folder is not None, "the caller has looked"
    folder = Path(settings.base_folder)
    config = read_config(folder)
    check_quantisation(settings.quantisation)
    quantisation = served_quantisation(
        config,
        settings.quantisation,
        is_on_gpu=placement.device.type != "cpu",
        number_bytes=placement.dtype.itemsize,
    )
    served = config.stored.served if config.stored and quantisation == "stored" else quantisation
    cache = Path(settings.cache_folder) if settings.cache_folder else None
    return ChosenBase(folder, config, quantisation, served, cache)


def profile_of(
    base: ChosenBase,
    weights: Weights,
    placement: Placement,
    *,
    kernel: str,
    threads: int,
    context_max: int,
    num_blocks: int,
) -> Profile:
    """The properties of a backend that serves a base, by whichever kernels."""
    return Profile(
        backend="torch_lora",
        kernel=kernel,
        device=placement.device.type,
        dtype=str(placement.dtype).removeprefix("torch."),
        quantisation=base.served,
        threads=threads,
        context_max=context_max,
        vocab_size=base.config.vocab_size,
        num_blocks=num_blocks,
        block_bytes=block_bytes(base.config, placement.dtype),
        base_bytes=weights.size_bytes,
        end_ids=base.config.end_ids,
    )
