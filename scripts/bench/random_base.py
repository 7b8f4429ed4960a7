"""Bases of random numbers in the shapes of real ones, without a file of weights: they are made while they are read.

A base is a folder with a config.json. `open_backend` opens the node's own torch_lora, whose reader of checkpoints
makes each tensor instead of reading it. All else is the path that a real base takes.
"""

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from openledger_node.backends.torch_lora import open_backend as open_torch_lora
from openledger_node.backends.torch_lora import weights
from openledger_node.backends.torch_lora.placement import choose_placement
from openledger_node.engine.backend import Backend, BackendSettings
from openledger_node.models.decoder_config import DecoderConfig, read_config

POOL: Final = 1 << 26
"""Random numbers that are drawn once. Each tensor begins at another place among them: 16 GB are made in seconds."""

SIZE: Final = 0.02
"""The standard deviation of weights: what most bases are initialised with."""

OUTER_SIZE: Final = 0.055
"""The same of the output head, so that tokens are as likely as in a chat. At a width of 4,096 and a temperature of
0.7, nine tenths of the probability are on about a dozen tokens of 128,000."""

INTERPRETED_BYTES: Final = 16 << 20
"""Of adapters on the interpreter, which allocates them at the start."""

COMMON: Final = {"hidden_act": "silu", "rms_norm_eps": 1e-5, "attention_bias": False, "eos_token_id": 0}
SHAPES: Final[dict[str, dict[str, Any]]] = {
    "llama-3.1-8b": {
        **COMMON,
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 128_256,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 131_072,
        "tie_word_embeddings": False,
        "rope_theta": 500_000.0,
    },
    "qwen3-4b": {
        **COMMON,
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": 151_936,
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40_960,
        "tie_word_embeddings": True,
        "rope_theta": 1_000_000.0,
    },
    "tiny": {
        **COMMON,
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 300,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 512,
        "tie_word_embeddings": False,
        "rope_theta": 10_000.0,
    },
}
"""config.json of each shape. "tiny" is for tests of the benchmark itself."""


class RandomReader:
    """Makes the tensors of a checkpoint by their names."""

    def __init__(self, config: DecoderConfig, dtype: torch.dtype) -> None:
        self._config = config
        self._dtype = dtype

    def __call__(self, name: str) -> Tensor:
        """One tensor; norms are ones."""
        shape = self.shape(name)
        if len(shape) == 1:
            return torch.ones(shape, dtype=self._dtype)
        outer = shape[0] == self._config.vocab_size
        return random_tensor(name, shape, self._dtype) * (OUTER_SIZE / SIZE if outer else 1)

    def matrix(self, name: str) -> Tensor:
        """One matrix."""
        return self(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, by the module that it belongs to."""
        module = name.split(".")[-2]
        if module in ("embed_tokens", "lm_head"):
            return self._config.vocab_size, self._config.d_model
        if module in ("q_norm", "k_norm"):
            return (self._config.head_dim,)
        if dims := self._config.site_dims.get(module):
            return dims[1], dims[0]
        return (self._config.d_model,)


def random_tensor(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor of this name, the same in every process."""
    count = 1
    for size in shape:
        count *= size
    numbers = _pool(dtype)
    first = zlib.crc32(name.encode()) % len(numbers)
    times = -(-(first + count) // len(numbers))
    return (numbers.repeat(times) if times > 1 else numbers)[first : first + count].view(shape)


@cache
def _pool(dtype: torch.dtype) -> Tensor:
    numbers = int(os.environ.get("RANDOM_BASE_POOL", POOL))
    return (torch.randn(numbers, generator=torch.Generator().manual_seed(0)) * SIZE).to(dtype)


def write_base(folder: Path, shape: str) -> Path:
    """Describe a base of this shape, with a tokenizer of bytes."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(SHAPES[shape]))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={"<end>": 0, **{c: n for n, c in enumerate(alphabet, 1)}}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    return folder


def open_backend(settings: BackendSettings) -> Backend:
    """Open torch_lora, or its accelerated path, on random numbers."""
    with random_weights():
        return open_interpreted(settings) if is_interpreted(settings) else open_torch_lora(settings)


def is_interpreted(settings: BackendSettings) -> bool:
    """True if the path of a card is to run on Triton's interpreter, to try out a benchmark without one."""
    is_wanted = os.environ.get("TRITON_INTERPRET") == "1" and settings.acceleration == "auto"
    return is_wanted and settings.device == "cpu"


def open_interpreted(settings: BackendSettings) -> Backend:
    """The path of a card on the interpreter."""
    from openledger_node.backends.cuda.backend import CudaBackend  # imports Triton, which reads the variable then
    from openledger_node.backends.cuda.kernels import lora

    lora.SPLITS, lora.SHRINK_PROGRAMS = 2, 1  # type: ignore[misc]  # programs run one after the other
    np.seterr(all="ignore")  # as a card, which overflows in silence
    torch.set_num_threads(1)
    placement = choose_placement(settings.device, settings.dtype)
    return CudaBackend(replace(settings, adapter_bytes=min(settings.adapter_bytes, INTERPRETED_BYTES)), placement)


@contextmanager
def random_weights() -> Iterator[None]:
    """Let torch_lora make the tensors of bases instead of reading them."""
    usual = weights.open_reader
    weights.open_reader = lambda folder, config, dtype: RandomReader(read_config(folder), dtype)
    try:
        yield
    finally:
        weights.open_reader = usual
