"""Bases in GGUF files on the engine's paths, against transformers on the numbers that the formats hold."""

from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType as Type
from peft import PeftModel
from support.gguf_models import write_gguf
from support.tiny import greedy, make_adapter, make_base
from support.torch_bases import ADAPTER, PROMPT, generate, load, logits, open_backend, wanted_logits
from transformers import AutoModelForCausalLM

from openledger_node.backends.torch_lora.group_matrix import GroupMatrix
from openledger_node.backends.torch_lora.loading import load_weights
from openledger_node.backends.torch_lora.matrices import size_bytes_of
from openledger_node.backends.torch_lora.placement import choose_placement
from openledger_node.backends.torch_lora.weights import Weights
from openledger_node.home import Home
from openledger_node.models.decoder_config import read_config
from openledger_node.models.gguf_files.describe import describe_gguf

SIZES = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64, "initializer_range": 0.1}

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "phi3": {"pad_token_id": None},
    "gemma2": {"sliding_window": 7, "query_pre_attn_scalar": 64, "num_hidden_layers": 3},
    "gemma3_text": {"sliding_window": 7, "query_pre_attn_scalar": 64, "num_hidden_layers": 6},
}
AS_STORED = "int8"  # which keeps all that is stored in 8 bits or 4


def q4_k_m(name: str) -> Type:
    """The formats of the file that most people have: v and down of some layers, embedding and head are wider."""
    if "embed_tokens" in name or "lm_head" in name:
        return Type.Q6_K
    return Type.Q6_K if ".0." in name and ("v_proj" in name or "down_proj" in name) else Type.Q4_K


def made(home: Home, root: Path, model_type: str, type_of: Any) -> tuple[Path, Path]:
    """The folder of a GGUF base, and that of the same numbers in safetensors."""
    source = make_base(root / "source", model_type=model_type, **{**SIZES, **FAMILIES[model_type]})
    file = write_gguf(source, root / "tiny.gguf", type_of=type_of, wide=root / "wide")
    base = describe_gguf(home, file)
    return base.folder, root / "wide"


def stored_weights(folder: Path) -> Weights:
    return load_weights(folder, read_config(folder), choose_placement("cpu", "float32"), "stored", None)


def check_same(folder: Path, wide: Path, **changes: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(wide, dtype=torch.float32)
    backend = open_backend(folder, **changes)
    assert (logits(backend) - wanted_logits(model)).abs().max() < 1e-4
    assert generate(backend, None, 20) == greedy(model, PROMPT, 20)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_base_of_each_family_equals_transformers(home: Home, tmp_path: Path, model_type: str) -> None:
    check_same(*made(home, tmp_path, model_type, q4_k_m), quantisation=AS_STORED)


@pytest.mark.parametrize("type", [Type.F16, Type.Q5_1], ids=lambda type: type.name)
def test_a_base_in_one_format_equals_transformers(home: Home, tmp_path: Path, type: Type) -> None:
    """Each format is compared to the bit by test_gguf_matrices.py."""
    folder, wide = made(home, tmp_path, "llama", lambda _: type)
    check_same(folder, wide, quantisation="none")
    if type == Type.Q5_1:
        check_same(folder, wide, quantisation=AS_STORED)
        weights = stored_weights(folder)
        for matrix in (weights.head, *(each.weight for layer in weights.layers for each in layer.maps.values())):
            assert isinstance(matrix, GroupMatrix)


@pytest.mark.parametrize("quantisation", ["none", AS_STORED])
def test_an_adapter_on_a_gguf_base_equals_peft_on_its_numbers(home: Home, tmp_path: Path, quantisation: str) -> None:
    folder, wide = made(home, tmp_path, "llama", q4_k_m)
    adapter = make_adapter(wide, tmp_path / "adapter", seed=1, use_dora=True, exclude_modules=["v_proj"])
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(wide, dtype=torch.float32), adapter)
    backend = open_backend(folder, quantisation=quantisation)
    load(backend, adapter)
    found = logits(backend, ADAPTER)
    assert (found - wanted_logits(model)).abs().max() < 1e-4
    assert (found - logits(backend)).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("type_of", "bits"),
    [(q4_k_m, 4), (lambda _: Type.Q6_K, 8), (lambda _: Type.F16, None)],
    ids=["Q4_K_M", "Q6_K", "F16"],
)
def test_the_config_says_how_narrow_the_file_is(home: Home, tmp_path: Path, type_of: Any, bits: int | None) -> None:
    folder, _ = made(home, tmp_path, "llama", type_of)
    config = read_config(folder)
    assert (config.stored.bits if config.stored else None) == bits
    if config.stored:
        weights = stored_weights(folder)
        held = [size_bytes_of(each.weight) for layer in weights.layers for each in layer.maps.values()]
        count = config.num_layers * sum(d_in * d_out for d_in, d_out in config.site_dims.values())
        assert sum(held) == pytest.approx(count * config.stored.bits_per_number / 8, rel=1e-3)
