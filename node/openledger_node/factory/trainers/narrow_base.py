"""A base for training whose weights stay in 4 bits, read and quantised tensor by tensor as the engine does it.

The model of transformers is made without any numbers. Each linear map then gets its matrix in the engine's int4, or
as the files have it if that is as narrow; embedding and head get 8 bits. So loading takes the final size and one
matrix more, and the adapter learns above the numbers that a node serves.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from ...models.causal_lm import empty_causal_lm
from ...models.decoder_config import DecoderConfig, read_config
from .narrow_maps import NarrowEmbedding, NarrowLinear
from .narrow_matrix import OUTER, GroupMatrix, Reader, checked_reader, narrowed, prefix_in, whole_files
from .split_model import text_model

FORMAT = "int4"
HOST = torch.device("cpu")


def open_narrow_base(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """Open a base in 4 bits; products are computed in `dtype`.

    Raises:
        ModelError: its decoder or its format is one that the engine does not read, or its files are not whole.
        OSError, ValueError: transformers does not know its architecture.
    """
    config = read_config(folder)
    model: Any = empty_causal_lm(folder, dtype)
    _leave_only_text(model)
    with whole_files(folder):
        _fill(model, checked_reader(folder, config, dtype), config, device)
    with suppress(OSError):
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return model.to(device)


def _leave_only_text(model: Any) -> None:
    """Remove the parts that take images: rows are text, and they would stay without numbers."""
    decoder = text_model(model)
    if decoder is not model.model:
        for name, part in list(model.model.named_children()):
            if part is not decoder:
                setattr(model.model, name, None)


def _fill(model: Any, read: Reader, config: DecoderConfig, device: torch.device) -> None:
    decoder, prefix = text_model(model), prefix_in(read, config)

    def matrix(name: str, quantisation: str, at: torch.device = device) -> GroupMatrix:
        found = narrowed(read.matrix(name), at, quantisation)
        assert isinstance(found, GroupMatrix), "a single matrix in int4 or int8 is one"
        return found

    embedding = matrix(f"{prefix}embed_tokens.weight", OUTER[FORMAT], device if config.is_tied else HOST)
    scale = getattr(decoder.embed_tokens, "scalar_embed_scale", None)
    decoder.embed_tokens = NarrowEmbedding(embedding, scale)
    model.lm_head = NarrowLinear(embedding if config.is_tied else matrix("lm_head.weight", OUTER[FORMAT]))
    for name, module in list(decoder.named_modules()):
        if type(module) is nn.Linear:
            bias = None if module.bias is None else read(f"{prefix}{name}.bias").to(device)
            _replace(decoder, name, NarrowLinear(matrix(f"{prefix}{name}.weight", FORMAT), bias))
    for name, parameter in list(decoder.named_parameters()):
        if parameter.is_meta:
            owner, _, last = name.rpartition(".")
            setattr(decoder.get_submodule(owner), last, _frozen(read(f"{prefix}{name}"), device))


def _replace(decoder: nn.Module, name: str, module: nn.Module) -> None:
    owner, _, last = name.rpartition(".")
    setattr(decoder.get_submodule(owner), last, module)


def _frozen(tensor: Tensor, device: torch.device) -> nn.Parameter:
    return nn.Parameter(tensor.to(device), requires_grad=False)
