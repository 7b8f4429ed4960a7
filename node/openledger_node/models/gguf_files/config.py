"""The config of a GGUF model in Hugging Face's field names, from its metadata and its tensors.

A model of another family gets the fields that are the same everywhere, so that the backend llamacpp can serve it.
"""

from collections.abc import Callable
from math import pi, prod
from typing import Any

import numpy as np
from gguf import dequantize

from .header import GgufHeader, foreign
from .weights import PLAIN, stored_bits, unknown_tensors, unserved_type

Fields = dict[str, Any]

LLAMA3_ORIGINAL = 8192
LLAMA3_LOW, LLAMA3_HIGH = 1.0, 4.0
"""Published with every Llama 3.1, 3.2 and 3.3; the file has only the factors that follow from them."""

GEMMA_SLIDING_PERIOD = {"gemma2": 2, "gemma3": 6}
"""One of so many layers, the last, sees everything."""

GEMMA_27B_LAYERS = {"gemma2": 46, "gemma3": 62}
"""The 27B models scale attention by d_model / heads, the others by the size of a head. No field says so."""

GEMMA3_LOCAL_THETA = 10_000.0


def config_of(header: GgufHeader) -> Fields:
    """The content of config.json.

    Raises:
        ModelError: a field that every model has is missing, or contradicts a tensor.
    """
    fields = _common(header)
    if header.architecture in FAMILIES and not is_fast_family(header):
        fields["model_type"] = f"{header.architecture}_variant"  # a mixture of experts, or another addition
    elif family := FAMILIES.get(header.architecture):
        fields |= family(header, fields)
        if stored := stored_bits(header):
            unserved = unserved_type(header)
            fields["gguf"] = {
                "bits": stored[0],
                "bits_per_number": round(stored[1], 3),
                "unserved": unserved.name if unserved else "",  # read by `is_known_served`
            }
    return {key: value for key, value in fields.items() if value is not None}


def is_fast_family(header: GgufHeader) -> bool:
    """Return True if the engine's own decoder may run it; the others need llamacpp."""
    return header.architecture in FAMILIES and not _is_mixture(header) and not unknown_tensors(header)


def _common(header: GgufHeader) -> Fields:
    """The fields that all families have."""
    at = header.architecture
    num_heads = header.count(f"{at}.attention.head_count", 1)
    d_model = header.count(f"{at}.embedding_length")
    if (num_layers := header.count(f"{at}.block_count")) > len(header.tensors):
        raise foreign(header.file, f"{num_layers} layers in {len(header.tensors)} tensors")
    embedding = header.tensors.get("token_embd.weight")
    if embedding is None or embedding.shape[1:] != (d_model,):
        raise foreign(header.file, f"it has no token_embd.weight of width {d_model}")
    return {
        "model_type": at,
        "dtype": "float32",
        "vocab_size": embedding.shape[0],
        "hidden_size": d_model,
        "intermediate_size": header.count(f"{at}.feed_forward_length", 1),
        "num_hidden_layers": num_layers,
        "num_attention_heads": num_heads,
        "num_key_value_heads": header.count(f"{at}.attention.head_count_kv", num_heads),
        "head_dim": header.count(f"{at}.attention.key_length", max(1, d_model // num_heads)),
        "max_position_embeddings": header.count(f"{at}.context_length"),
        "tie_word_embeddings": "output.weight" not in header.tensors,
    }


def _decoder(header: GgufHeader, fields: Fields, *, kind: str, model_class: str) -> Fields:
    """The fields of all families of the fast path."""
    at = header.architecture
    value_dim = header.count(f"{at}.attention.value_length", fields["head_dim"])
    if value_dim != fields["head_dim"]:
        raise foreign(header.file, f"keys of {fields['head_dim']} numbers a head, and values of {value_dim}")
    rotated = header.count(f"{at}.rope.dimension_count", fields["head_dim"])
    share = rotated / fields["head_dim"]
    rope = {
        "rope_theta": _decimal(header.number(f"{at}.rope.freq_base", 10_000.0)),
        **_scaling(header, fields, rotated),
    }
    return {
        "model_type": kind,
        "architectures": [model_class],
        "hidden_act": "silu",
        "rms_norm_eps": _decimal(header.number(f"{at}.attention.layer_norm_rms_epsilon")),
        "rope_parameters": rope if share == 1 else {**rope, "partial_rotary_factor": share},
        "partial_rotary_factor": None if share == 1 else share,
    }


def _llama(header: GgufHeader, fields: Fields) -> Fields:
    window = _window(header)
    found = (
        _decoder(header, fields, kind="mistral", model_class="MistralForCausalLM")
        if window
        else _decoder(header, fields, kind="llama", model_class="LlamaForCausalLM")
    )
    has = header.tensors.__contains__
    return found | {
        "sliding_window": window,
        "attention_bias": has("blk.0.attn_q.bias") or None,
        "mlp_bias": has("blk.0.ffn_down.bias") or None,
    }


def _qwen2(header: GgufHeader, fields: Fields) -> Fields:
    return _decoder(header, fields, kind="qwen2", model_class="Qwen2ForCausalLM")


def _qwen3(header: GgufHeader, fields: Fields) -> Fields:
    return _decoder(header, fields, kind="qwen3", model_class="Qwen3ForCausalLM")


def _phi3(header: GgufHeader, fields: Fields) -> Fields:
    """Phi-3 and Phi-4; the converter writes a window of 0 for Phi-4, which has none."""
    original = header.count("phi3.rope.scaling.original_context_length", fields["max_position_embeddings"])
    return _decoder(header, fields, kind="phi3", model_class="Phi3ForCausalLM") | {
        "sliding_window": _window(header),
        "original_max_position_embeddings": original,
    }


def _gemma(header: GgufHeader, fields: Fields) -> Fields:
    at, period = header.architecture, GEMMA_SLIDING_PERIOD[header.architecture]
    is_27b = fields["num_hidden_layers"] == GEMMA_27B_LAYERS[at]
    layers = range(1, fields["num_hidden_layers"] + 1)
    return {
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": fields["hidden_size"] // fields["num_attention_heads"]
        if is_27b
        else fields["head_dim"],
        "sliding_window": _window(header),
        "layer_types": ["sliding_attention" if number % period else "full_attention" for number in layers],
    }


def _gemma2(header: GgufHeader, fields: Fields) -> Fields:
    caps = {kind: _cap(header, f"gemma2.{kind}") for kind in ("attn_logit_softcapping", "final_logit_softcapping")}
    return _decoder(header, fields, kind="gemma2", model_class="Gemma2ForCausalLM") | _gemma(header, fields) | caps


def _gemma3(header: GgufHeader, fields: Fields) -> Fields:
    """The text part of Gemma 3; layers with a window have positions of their own."""
    found = _decoder(header, fields, kind="gemma3_text", model_class="Gemma3ForCausalLM")
    local = _decimal(header.number("gemma3.rope.freq_base_swa", GEMMA3_LOCAL_THETA))
    ropes = {
        "full_attention": found["rope_parameters"],
        "sliding_attention": {"rope_theta": local, "rope_type": "default"},
    }
    return found | _gemma(header, fields) | {"rope_parameters": ropes}


FAMILIES: dict[str, Callable[[GgufHeader, Fields], Fields]] = {
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "phi3": _phi3,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
}
"""Architectures as llama.cpp calls them; Mistral is its llama."""


def _scaling(header: GgufHeader, fields: Fields, rotated: int) -> Fields:
    """The scaling of rotary positions: from fields, or from a tensor with a factor for each pair."""
    at = f"{header.architecture}.rope.scaling"
    context = fields["max_position_embeddings"]
    original = header.count(f"{at}.original_context_length", context)
    if "rope_freqs.weight" in header.tensors:
        return _llama3(_factors(header, "rope_freqs.weight", rotated), fields, header)
    if "rope_factors_long.weight" in header.tensors:
        return {
            "rope_type": "longrope",
            "short_factor": _factors(header, "rope_factors_short.weight", rotated),
            "long_factor": _factors(header, "rope_factors_long.weight", rotated),
            "factor": context / original,
            "original_max_position_embeddings": original,
            "attention_factor": _attention_factor(header, at),
        }
    kind = header.text(f"{at}.type", "none")
    if kind == "none":
        return {"rope_type": "default"}
    scaled = {"rope_type": kind, "factor": _decimal(header.number(f"{at}.factor"))}
    if kind == "yarn":
        scaled["original_max_position_embeddings"] = original
    elif kind != "linear":
        raise foreign(header.file, f"rope scaling {kind!r} without its factors")
    return scaled


def _attention_factor(header: GgufHeader, at: str) -> float | None:
    found = header.fields.get(f"{at}.attn_factor")
    return None if found is None else _decimal(header.number(f"{at}.attn_factor"))


def _llama3(factors: list[float], fields: Fields, header: GgufHeader) -> Fields:
    """Llama 3's scaling by its published numbers if they give these factors, else the factors themselves."""
    theta = header.number(f"{header.architecture}.rope.freq_base", 10_000.0)
    scaled: Fields = {"rope_type": "llama3", "factor": max(factors), "low_freq_factor": LLAMA3_LOW}
    scaled |= {"high_freq_factor": LLAMA3_HIGH, "original_max_position_embeddings": LLAMA3_ORIGINAL}
    if np.allclose(_llama3_factors(theta, len(factors), scaled["factor"]), factors, rtol=1e-5):
        return scaled
    same = {"short_factor": factors, "long_factor": factors, "attention_factor": 1.0, "factor": 1.0}
    return {"rope_type": "longrope", "original_max_position_embeddings": fields["max_position_embeddings"], **same}


def _llama3_factors(theta: float, num_pairs: int, factor: float) -> np.ndarray:
    turns = LLAMA3_ORIGINAL * theta ** -(np.arange(num_pairs) / num_pairs) / (2 * pi)
    kept = np.clip((turns - LLAMA3_LOW) / (LLAMA3_HIGH - LLAMA3_LOW), 0, 1)
    return np.asarray(1 / (kept + (1 - kept) / factor))


def _factors(header: GgufHeader, name: str, rotated: int) -> list[float]:
    """A tensor with a factor for each pair of a head's numbers."""
    tensor = header.tensors.get(name)
    if tensor is None or tensor.type not in PLAIN or prod(tensor.shape) != rotated // 2:
        raise foreign(header.file, f"{name} has not {rotated // 2} factors")
    with header.file.open("rb") as stream:
        stream.seek(tensor.offset)
        content = np.frombuffer(stream.read(tensor.size_bytes), np.uint8)
    found = dequantize(content, tensor.type)
    if not (np.isfinite(found).all() and (found > 0).all()):
        raise foreign(header.file, f"{name} has factors that are not above 0")
    return [_decimal(each) for each in found.tolist()]


def _cap(header: GgufHeader, key: str) -> float | None:
    return _decimal(header.number(key)) if key in header.fields else None


def _window(header: GgufHeader) -> int | None:
    key = f"{header.architecture}.attention.sliding_window"
    return header.count(key) if header.number(key, 0) else None


def _is_mixture(header: GgufHeader) -> bool:
    """Return True for a mixture of experts, which the engine's own decoder does not run."""
    found = header.fields.get(f"{header.architecture}.expert_count", 0)
    return not isinstance(found, int) or found > 0


def _decimal(number: float) -> float:
    """The shortest decimal number that is the same float32: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(number)))


def check_config(header: GgufHeader, fields: Fields) -> None:
    """Compare the tensors of a family of the fast path with its config.

    Raises:
        ModelError: a layer is missing, or a matrix has another shape.
    """
    if not is_fast_family(header):
        return
    heads, kv_heads, dim = fields["num_attention_heads"], fields["num_key_value_heads"], fields["head_dim"]
    d_model, q, kv = fields["hidden_size"], heads * dim, kv_heads * dim
    qkv = (
        {"attn_qkv": (q + 2 * kv, d_model)}
        if header.architecture == "phi3"
        else {"attn_q": (q, d_model), "attn_k": (kv, d_model), "attn_v": (kv, d_model)}
    )
    shapes = {**qkv, "attn_output": (d_model, q), "ffn_down": (d_model, fields["intermediate_size"])}
    for layer in range(fields["num_hidden_layers"]):
        for part, expected in shapes.items():
            found = header.tensors.get(f"blk.{layer}.{part}.weight")
            if found is None or found.shape != expected:
                shape = found.shape if found else "missing"
                raise foreign(header.file, f"blk.{layer}.{part}.weight is {shape}, and its fields say {expected}")
