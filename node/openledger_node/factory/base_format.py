"""The number format of a frozen base in a training: wide, or 4 bits (QLoRA) where memory asks for it."""

from dataclasses import dataclass
from typing import Final

from ..errors import ConfigError, ModelError
from ..models.bases import Base
from ..models.decoder_config import DecoderConfig, OtherDecoderError, read_config
from .estimate import Memory
from .job import Quantisation

AUTO: Final = "auto"
NARROW_TRAINER: Final = "peft_lora"
"""The trainer that keeps a base in 4 bits."""

ONLY_NARROW: Final = ("awq", "gptq", "bitsandbytes", "compressed-tensors")
"""Formats of files that transformers opens only with further libraries, and the engine's reader without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFormat:
    """The chosen format, and the reason in words."""

    quantisation: Quantisation
    why: str | None  # None: nothing else was possible, and nobody asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The memory that a training needs in either format, and what is free for it."""

    wide: Memory
    narrow: Memory
    free_bytes: int


def choose_format(wanted: str | None, config: DecoderConfig | None, needs: Needs | None, trainer: str) -> BaseFormat:
    """Choose the format of an order that is valid; `config` is None for a base that the engine does not read."""
    if wanted not in (None, AUTO):
        return BaseFormat(quantisation="int4" if wanted == "int4" else "none", why="as ordered")
    if config is None or needs is None or trainer != NARROW_TRAINER:
        return BaseFormat(quantisation="none", why=None)
    if config.stored and config.stored.method in ONLY_NARROW:
        return BaseFormat(quantisation="int4", why=f"its files have narrow weights ({config.stored.method})")
    told = f"about {_gb(needs.wide.total)} and {_gb(needs.free_bytes)} are free"
    if needs.wide.total <= needs.free_bytes:
        return BaseFormat(quantisation="none", why=f"with wide weights the training needs {told}")
    why = f"with wide weights the training would need {told}"
    if needs.narrow.total > needs.free_bytes:
        why += f", and in 4 bits it still needs {_gb(needs.narrow.total)}"
    return BaseFormat(quantisation="int4", why=why)


def check_format(wanted: str | None, base: Base, trainer: str) -> None:
    """Check an order for 4 bits, or for wide weights, before anything is stored.

    Raises:
        ConfigError: the base or the trainer has no such form.
    """
    if wanted == "int4":
        _check_narrow(base, trainer)
    elif wanted == "none" and trainer == NARROW_TRAINER:
        config = config_of(base)
        if config and config.stored and config.stored.method in ONLY_NARROW:
            raise ConfigError(
                f"base {base.name} can't be trained on with wide weights, because transformers opens its files "
                f"({config.stored.method}) only with libraries that this node does not install: leave out --quantize "
                "to keep them narrow, or choose another base"
            )


def _check_narrow(base: Base, trainer: str) -> None:
    if trainer != NARROW_TRAINER:
        raise ConfigError(
            f"the trainer {trainer} can't keep a base in 4 bits: leave out --quantize, or train with {NARROW_TRAINER}"
        )
    if base.folder is None:
        raise ConfigError(f"base {base.name} has no weights to keep in 4 bits: leave out --quantize")
    try:
        read_config(base.folder)
    except OtherDecoderError as error:
        raise ConfigError(
            f"base {base.name} can't be kept in 4 bits, because the engine does not read it ({error}): "
            "leave out --quantize, or choose another base"
        ) from error


def config_of(base: Base) -> DecoderConfig | None:
    """Return the configuration of a base that the engine reads, or None."""
    if base.folder is None:
        return None
    try:
        return read_config(base.folder)
    except ModelError:
        return None


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"
