"""A base as a model of transformers, from its safetensors or from its GGUF file; imports torch."""

from pathlib import Path
from typing import Any

import torch
from peft.utils.integrations import init_empty_weights
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedModel,
)

from ..errors import ModelError
from .bases import gguf_of
from .gguf_files.weights import open_weights


def open_causal_lm(folder: Path, dtype: torch.dtype, **options: Any) -> PreTrainedModel:
    """Open a base from its files only, and never run code from them. GGUF weights are widened.

    Raises:
        ModelError: its GGUF file can't be read.
        OSError, ValueError, KeyError, ImportError, RuntimeError: transformers can't open it.
    """
    if gguf := gguf_of(folder):
        return _from_gguf(folder, gguf, dtype, options)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True, **options
    )
    return model


def empty_causal_lm(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Make a base without the numbers of its weights, for a loader that brings them one by one.

    Raises:
        OSError, ValueError: transformers can't read its configuration.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if hasattr(config, "quantization_config"):  # the loader reads the narrow format itself
        del config.quantization_config
    with init_empty_weights(include_buffers=False):  # buffers, such as angles of positions, are computed
        auto_class: Any = AutoModelForCausalLM
        model: PreTrainedModel = auto_class.from_config(config, dtype=dtype, trust_remote_code=False)
    return model


def _from_gguf(folder: Path, gguf: Path, dtype: torch.dtype, options: dict[str, Any]) -> PreTrainedModel:
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    weights = open_weights(gguf)
    state = {name: torch.from_numpy(weights.floats(name)).to(dtype) for name in weights}
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    model, found = model_class.from_pretrained(
        None, config=config, state_dict=state, dtype=dtype, output_loading_info=True, **options
    )
    if wrong := [*found["missing_keys"], *found["unexpected_keys"], *found["mismatched_keys"]]:
        raise ModelError(f"{gguf} does not fit the config in {folder} ({wrong[0]}): delete {folder} and add it again")
    opened: PreTrainedModel = model
    opened.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    opened.name_or_path = str(folder)  # as from_pretrained does; PEFT looks there for the config
    return opened
