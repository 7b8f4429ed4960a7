"""Each family of the decoder against transformers, and its adapters against PEFT, in float32 on tiny random bases."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from support import torch_bases
from support.tiny import greedy, make_adapter, make_base, make_seeing_base
from support.torch_bases import ADAPTER, PROMPT, generate, load, logits, row, wanted_logits
from transformers import AutoModelForCausalLM

from openledger_node.backends.torch_lora import decoder
from openledger_node.engine.memory_plan import adapter_bytes_of
from openledger_node.errors import ModelError
from openledger_node.models.decoder_config import read_config
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

WINDOW = 7  # neither a block nor a divisor of one
CONTEXT = 64

open_backend = partial(torch_bases.open_backend, context_max=CONTEXT)

THETA = {"rope_theta": 100.0}
YARN = {**THETA, "rope_type": "yarn", "original_max_position_embeddings": 64, "factor": 4.0}
LONGROPE = {
    **THETA, "rope_type": "longrope", "original_max_position_embeddings": 64,
    "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [2.0, 3.0, 5.0, 8.0],
}  # fmt: skip
PHI4_MINI = {
    "model_type": "phi3", "partial_rotary_factor": 0.67, "tie_word_embeddings": True,
    "original_max_position_embeddings": 64, "rope_parameters": {**LONGROPE, "partial_rotary_factor": 0.67},
}  # fmt: skip
GEMMA = {"query_pre_attn_scalar": 20, "sliding_window": WINDOW, "num_hidden_layers": 3}

BASES: dict[str, dict[str, Any]] = {
    "llama 3": {
        "model_type": "llama",
        "rope_parameters": {**THETA, "rope_type": "llama3", "original_max_position_embeddings": 64, "factor": 8.0,
                            "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    },
    "mistral with a window": {"model_type": "mistral", "sliding_window": WINDOW},
    "qwen3 with windows and yarn": {
        "model_type": "qwen3", "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1,
        "rope_parameters": YARN,
    },
    "gemma 2": {"model_type": "gemma2", "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, **GEMMA},
    "gemma 3": {
        "model_type": "gemma3_text", **GEMMA,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
            "full_attention": {"rope_type": "linear", "rope_theta": 500.0, "factor": 8.0},
        },
    },
    "phi 3 with a window": {"model_type": "phi3", "sliding_window": WINDOW},
    "phi 4 mini": PHI4_MINI,
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "llama without grouped heads": {"model_type": "llama", "num_key_value_heads": 4},
    "llama with linear positions": {"rope_parameters": {**THETA, "rope_type": "linear", "factor": 4.0}},
    "qwen2 with yarn": {
        "model_type": "qwen2", "rope_parameters": {**YARN, "beta_fast": 8, "attention_factor": 1.3},
    },
    "qwen3": {"model_type": "qwen3"},
}  # fmt: skip
"""Configurations whose adapters are not tried."""

ADAPTERS: dict[str, dict[str, Any]] = {
    "rank-stabilised": {"use_rslora": True, "r": 3},
    "patterns": {"rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 6}, "alpha_pattern": {"v_proj": 1}},
    "top layer only": {"layers_to_transform": [1], "layers_pattern": "layers"},
    "rank 64": {"r": 64, "lora_alpha": 64},
    "a module left out": {"exclude_modules": ["k_proj"]},
    "DoRA with rsLoRA": {"r": 16, "lora_alpha": 8, "use_dora": True, "use_rslora": True},
    "DoRA with patterns": {
        "use_dora": True, "rank_pattern": {"q_proj": 2}, "target_modules": ["q_proj", "down_proj"],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base of each family."""
    root = tmp_path_factory.mktemp("families")
    return {
        name: make_base(root / name.replace(" ", "-"), **changes) for name, changes in {**BASES, **VARIANTS}.items()
    }


@pytest.mark.parametrize("name", [*BASES, *VARIANTS])
def test_a_base_of_each_family_equals_transformers(name: str, bases: dict[str, Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(bases[name], dtype=torch.float32)
    backend = open_backend(bases[name])
    for prompt in (PROMPT[:3], PROMPT):
        assert torch.allclose(logits(backend, None, prompt), wanted_logits(model, prompt), atol=1e-4)
    assert generate(backend, None, 20) == greedy(model, PROMPT, 20)


def test_a_phi_that_serves_long_contexts_has_the_long_positions_from_the_first_token_on(
    bases: dict[str, Path],
) -> None:
    model = AutoModelForCausalLM.from_pretrained(bases["phi 4 mini"], dtype=torch.float32)
    backend = open_backend(bases["phi 4 mini"], context_max=CONTEXT + 1)
    long = tuple(5 + 7 * at % 90 for at in range(CONTEXT + 1))
    assert torch.allclose(logits(backend, None, long), wanted_logits(model, long), atol=1e-4)
    assert not torch.allclose(logits(backend), wanted_logits(model), atol=1e-2)


@pytest.mark.parametrize("name", ["llama 3", "qwen3 with windows and yarn", "gemma 3"])
def test_a_ragged_batch_in_pieces_with_a_reused_beginning_equals_each_prompt_alone(
    name: str, bases: dict[str, Path]
) -> None:
    backend = open_backend(bases[name], kv_cache_bytes=1 << 24)
    prompts = {"a": PROMPT, "b": PROMPT[::-1], "c": PROMPT[:3], "d": (*PROMPT[:32], 99, 98)}
    alone = {name: [logits(backend, None, ids), logits(backend, None, (*ids, 7))] for name, ids in prompts.items()}
    backend._cache.fill(float("nan"))
    first = {name: 8 * number for number, name in enumerate(prompts)}
    for each in prompts:
        backend.join(each, None)

    def run(parts: dict[str, tuple[int, int]]) -> dict[str, torch.Tensor]:
        rows = tuple(
            row(each, (*prompts[each], 7)[start:end], position=start, first=first[each])
            for each, (start, end) in parts.items()
        )
        shared = tuple(
            replace(one, blocks=(0, 1, *one.blocks[2:])) if one.sequence_id == "d" else one for one in rows
        )
        return dict(zip(parts, backend.logits(shared), strict=True))

    found = run({"a": (0, 33), "b": (0, 21), "c": (0, 3)})
    assert torch.allclose(found["c"], alone["c"][0], atol=1e-4)
    found = run({"a": (33, 40), "b": (21, 22), "c": (3, 4), "d": (32, 34)})  # two blocks of d are those of a
    assert torch.allclose(found["a"], alone["a"][0], atol=1e-4)
    assert torch.allclose(found["c"], alone["c"][1], atol=1e-4)
    assert torch.allclose(found["d"], alone["d"][0], atol=1e-4)
    found = run({"a": (40, 41), "b": (22, 40), "d": (34, 35)})
    assert torch.allclose(found["a"], alone["a"][1], atol=1e-4)
    assert torch.allclose(found["b"], alone["b"][0], atol=1e-4)
    assert torch.allclose(found["d"], alone["d"][1], atol=1e-4)


def test_scores_that_are_capped_some_at_a_time_are_those_of_all_at_once(
    bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = open_backend(bases["gemma 2"])
    at_once = logits(backend)
    monkeypatch.setattr(decoder, "CAPPED_AT_ONCE", 9)
    assert torch.allclose(logits(backend), at_once, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((each, {"use_dora": each in ("llama 3", "gemma 3")}) for each in BASES),
        *(("llama 3", settings) for settings in ADAPTERS.values()),
    ],
    ids=[*BASES, *ADAPTERS],
)
def test_an_adapter_of_each_family_and_kind_equals_peft(
    name: str, settings: dict[str, Any], bases: dict[str, Path], tmp_path: Path
) -> None:
    base = bases[name]
    targets = {"target_modules": list(read_config(base).site_dims)} if settings.keys() == {"use_dora"} else {}
    folder = make_adapter(base, tmp_path / "a", seed=3, **targets, **settings)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), folder)
    backend = open_backend(base)
    load(backend, folder)
    found = logits(backend, ADAPTER)
    assert torch.allclose(found, wanted_logits(model), atol=1e-4)
    assert not torch.allclose(found, logits(backend), atol=1e-2)
    assert generate(backend, ADAPTER, 12) == greedy(model, PROMPT, 12)
    if settings == {"use_dora": False}:
        assert backend._stacks.blob(ADAPTER).size_bytes == adapter_bytes_of(read_config(base), 4, 4), "as planned"


# ---- Gemma 3 with its vision part: the text is served.


def test_the_text_of_a_base_that_sees_and_an_adapter_of_it_equal_peft_and_one_of_its_eyes_is_refused(
    tmp_path: Path,
) -> None:
    seeing = make_seeing_base(tmp_path / "base")  # as Gemma 3 from 4B on
    model, backend = AutoModelForCausalLM.from_pretrained(seeing, dtype=torch.float32), open_backend(seeing)
    assert torch.allclose(logits(backend), wanted_logits(model), atol=1e-4)
    assert generate(backend, None, 12) == greedy(model, PROMPT, 12)
    assert backend.profile.end_ids == (0,)
    names = r".*language_model\.layers\..*\.(q_proj|v_proj|down_proj)"
    folder = make_adapter(seeing, tmp_path / "text", seed=3, target_modules=names)
    load(backend, folder)
    assert torch.allclose(
        logits(backend, ADAPTER), wanted_logits(PeftModel.from_pretrained(model, folder)), atol=1e-4
    )
    both = make_adapter(seeing, tmp_path / "both", seed=3, target_modules=["q_proj"])
    with pytest.raises(AdapterRefusedError, match=r"vision_tower.*no such linear map"):
        load(backend, both, AdapterId("0xbb"))


# ---- Number formats.


@pytest.mark.parametrize(("name", "dtype"), [("gemma 2", "float16"), ("gemma 3", "bfloat16")])
def test_a_gemma_keeps_its_answers_in_narrow_formats_though_its_residual_is_large(
    name: str, dtype: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(bases[name], base)
    tensors = load_file(base / "model.safetensors")
    for key in tensors:
        if "post_feedforward" in key:
            tensors[key] = tensors[key] + 30_000  # more than float16 holds, after a few layers
        if "up_proj" in key:
            tensors[key] = tensors[key] * 1000  # and before the norm
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    wanted, found = logits(open_backend(base)), logits(open_backend(base, dtype=dtype))
    assert found.isfinite().all()
    assert (found - wanted).abs().max() < {"float16": 0.05, "bfloat16": 0.3}[dtype] * wanted.std()


# ---- Errors.


def test_longrope_factors_that_do_not_fit_the_heads_are_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    config = json.loads((bases["phi 4 mini"] / "config.json").read_text())
    config["rope_parameters"]["long_factor"] = [1.0]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"lists of \[1, 4\] factors.*4 pairs"):
        read_config(tmp_path)
