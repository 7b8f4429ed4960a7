"""GGUF files of each family: config and weights are those of the model that was converted."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from support.gguf_models import write_gguf
from support.tiny import make_adapter, make_base
from support.tiny_gguf import make_gguf_base
from transformers import AutoModelForCausalLM

from openledger_node.errors import ModelError
from openledger_node.home import Home
from openledger_node.models.causal_lm import open_causal_lm
from openledger_node.models.decoder_config import OtherDecoderError, read_config
from openledger_node.models.gguf_files.describe import describe_gguf
from openledger_node.models.gguf_files.header import read_header
from openledger_node.models.gguf_files.lora import convert_lora, target_of_gguf

IDS = [5, 9, 200, 31, 77, 5, 18, 240, 3, 3, 64, 101]
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
PAIRS = np.linspace(1.0, 4.0, 6)
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": PAIRS.tolist(),
    "long_factor": (PAIRS * 2).tolist(),
    "original_max_position_embeddings": 64,
    "factor": 4.0,
}


def llama3_factors(writer: gguf.GGUFWriter) -> None:
    """The tensor that llama.cpp's converter computes for Llama 3 (LlamaModel.generate_extra_tensors)."""
    base, dim, old = 500_000.0, 12, 8192
    freqs = 1.0 / (base ** (np.arange(0, dim, 2, dtype=np.float32) / dim))
    factors = []
    for freq in freqs:
        wavelen = 2 * np.pi / freq
        if wavelen < old / 4:
            factors.append(1.0)
        elif wavelen > old:
            factors.append(8.0)
        else:
            smooth = (old / wavelen - 1) / 3
            factors.append(1 / ((1 - smooth) / 8 + smooth))
    writer.add_tensor("rope_freqs.weight", np.array(factors, np.float32))


def longrope_factors(writer: gguf.GGUFWriter) -> None:
    writer.add_rope_scaling_orig_ctx_len(64)
    writer.add_rope_dimension_count(12)
    writer.add_tensor("rope_factors_short.weight", PAIRS.astype(np.float32))
    writer.add_tensor("rope_factors_long.weight", (PAIRS * 2).astype(np.float32))


def linear_scaling(writer: gguf.GGUFWriter) -> None:
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(8.0)


def yarn_scaling(writer: gguf.GGUFWriter) -> None:
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(4.0)
    writer.add_rope_scaling_orig_ctx_len(64)


GEMMA3_ROPE = {
    "full_attention": {"rope_type": "linear", "rope_theta": 1_000_000.0, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
}
YARN = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 64}
PHI = {"pad_token_id": None}  # the family's default is beyond a tiny vocabulary
GEMMA = {"sliding_window": 8, "query_pre_attn_scalar": 12}

# tests/node/backends/test_gguf_bases.py serves the plain ones of each family.
CASES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}, None),
    "llama 3": ("llama", {"rope_parameters": LLAMA3_ROPE}, llama3_factors),
    "llama, linear": ("llama", {"rope_parameters": {**GEMMA3_ROPE["full_attention"]}}, linear_scaling),
    "llama, yarn": ("llama", {"rope_parameters": YARN}, yarn_scaling),
    "mistral with a window": ("mistral", {"sliding_window": 6}, None),
    "qwen3": ("qwen3", {}, None),
    "phi3 with a window": ("phi3", {**PHI, "sliding_window": 6}, None),
    "phi3, longrope": (
        "phi3",
        {**PHI, "rope_parameters": LONGROPE, "original_max_position_embeddings": 64},
        longrope_factors,
    ),
    "gemma3, linear": ("gemma3_text", {**GEMMA, "rope_parameters": GEMMA3_ROPE}, linear_scaling),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tiny.gguf"


@pytest.mark.parametrize("case", CASES)
def test_a_model_of_each_family_comes_back_whole(home: Home, tmp_path: Path, file: Path, case: str) -> None:
    model_type, changes, add = CASES[case]
    source = make_base(tmp_path / "source", model_type=model_type, **changes)
    write_gguf(source, file, **({"add": add} if add else {}))
    base = describe_gguf(home, file)
    theirs = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    ours = open_causal_lm(base.folder, torch.float32)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    with torch.inference_mode():
        found, wanted = (model(torch.tensor([IDS])).logits for model in (ours, theirs))
    assert (found - wanted).abs().max() < 1e-5


@pytest.mark.parametrize(
    "add",
    [
        lambda writer: writer.add_expert_count(8),
        lambda writer: writer.add_tensor("blk.0.attn_sub_norm.weight", np.ones(48, np.float32)),
    ],
    ids=["a mixture of experts", "a tensor that Llama has not"],
)
def test_a_variant_of_a_family_is_described_for_llama_cpp(home: Home, tmp_path: Path, file: Path, add: Any) -> None:
    # Else its experts, or its tensor, would be left out without a word.
    write_gguf(make_base(tmp_path / "source"), file, add=add)
    base = describe_gguf(home, file)
    with pytest.raises(OtherDecoderError, match="llama_variant"):
        read_config(base.folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"num_hidden_layers": 3}, r"blk\.2\.attn_q\.weight is missing"),
        ({"intermediate_size": 96}, r"blk\.0\.ffn_down\.weight is \(48, 80\)"),
        ({"num_key_value_heads": 4}, r"blk\.0\.attn_k\.weight is \(24, 48\)"),
        ({"hidden_size": 64}, r"no token_embd\.weight of width 64"),
        ({"num_hidden_layers": 1 << 30}, "1073741824 layers in 21 tensors"),
    ],
    ids=str,
)
def test_fields_that_contradict_the_tensors_are_refused(
    home: Home, tmp_path: Path, file: Path, change: dict[str, int], reason: str
) -> None:
    source = make_base(tmp_path / "source")
    write_gguf(source, file)
    content = file.read_bytes()
    keys = {
        "num_hidden_layers": b"llama.block_count",
        "intermediate_size": b"llama.feed_forward_length",
        "num_key_value_heads": b"llama.attention.head_count_kv",
        "hidden_size": b"llama.embedding_length",
    }
    ((name, number),) = change.items()
    at = content.index(keys[name]) + len(keys[name]) + 4
    file.write_bytes(content[:at] + number.to_bytes(4, "little") + content[at + 4 :])
    with pytest.raises(ModelError, match=reason):
        describe_gguf(home, file)
    assert not list(home.models.iterdir())


# ---- GGUF LoRA: each family's adapter changes the tensors of its GGUF base

FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
LORA_FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": {},
    "phi3": {"pad_token_id": 0},
    "gemma3_text": {"query_pre_attn_scalar": 12, "sliding_window": 64},
    "mistral": {},
}


@pytest.mark.parametrize("family", LORA_FAMILIES)
def test_an_adapter_of_each_family_has_the_names_and_shapes_of_its_gguf_base(tmp_path: Path, family: str) -> None:
    base = make_base(tmp_path / "hf", model_type=family, **LORA_FAMILIES[family])
    adapter = make_adapter(base, tmp_path / "lora", seed=3, **({"target_modules": FUSED} if family == "phi3" else {}))
    target = target_of_gguf(read_header(make_gguf_base(base, tmp_path / "gguf") / "model.gguf"))
    sites = convert_lora(adapter, target)
    assert sites
    assert all(target.shapes[name] == (len(b), a.shape[1]) for name, (a, b) in sites.items())
