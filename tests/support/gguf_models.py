"""GGUF files of tiny models, written with llama.cpp's own library and by its converter's published rules."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import load_file, save_file

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "phi3": gguf.MODEL_ARCH.PHI3,
    "gemma2": gguf.MODEL_ARCH.GEMMA2,
    "gemma3_text": gguf.MODEL_ARCH.GEMMA3,
}
HALVES = {Type.Q4_K: (0, 2), Type.Q5_K: (0, 2), Type.Q6_K: (208,)}
"""Where a block of the K formats has its numbers of 16 bits; every other byte may be anything."""

TOKENS = ["<end>", *sorted(chr(letter) for letter in range(0x21, 0x7F)), "Ġ", "Ċ", "th", "the"]
MERGES = ["t h", "th e"]


class Packed(NamedTuple):
    """A tensor in one of GGUF's formats."""

    type: Type
    rows: np.ndarray  # uint8, (…, bytes of a row)

    @property
    def wide(self) -> np.ndarray:
        return gguf.dequantize(self.rows, self.type)


def pack(numbers: np.ndarray, type: Type, seed: int) -> Packed:
    """A tensor in a format; of the K formats, which the library can't write, random blocks of a like size."""
    if type not in HALVES:
        return Packed(type, np.ascontiguousarray(gguf.quantize(numbers, type)).view(np.uint8))
    random = np.random.default_rng(seed)
    count, size = gguf.GGML_QUANT_SIZES[type]
    blocks = random.integers(0, 256, (numbers.size // count, size), dtype=np.uint8)
    for at in HALVES[type]:
        halves = random.uniform(1e-4, 3e-4, len(blocks)).astype(np.float16)
        blocks[:, at : at + 2] = halves.view(np.uint8).reshape(-1, 2)
    return Packed(type, blocks.reshape(numbers.shape[0], -1))


def write_gguf(
    base: Path,
    file: Path,
    *,
    type_of: Callable[[str], Type] = lambda name: Type.F32,
    add: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
    wide: Path | None = None,
) -> Path:
    """Write the model of a Hugging Face folder as one GGUF file.

    `type_of`: the format of a matrix by its Hugging Face name. `add`: adds fields and tensors.
    `wide`: a folder to write with the same model, of the numbers that the formats hold.
    """
    config = json.loads((base / "config.json").read_text())
    kind = config["model_type"]
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[ARCHITECTURES[kind]])
    write_fields(writer, config)
    write_vocabulary(writer, config["vocab_size"])
    add(writer)
    names = gguf.get_tensor_name_map(ARCHITECTURES[kind], config["num_hidden_layers"])
    held = {}
    for seed, (name, numbers) in enumerate(load_file(base / "model.safetensors").items()):
        packed = pack(numbers, type_of(name) if numbers.ndim > 1 else Type.F32, seed)
        held[name] = packed.wide
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert found is not None, name
        packed = _as_converted(packed, name, kind, config)
        rows = packed.rows.view(np.float32) if packed.type == Type.F32 else packed.rows
        writer.add_tensor(found, np.ascontiguousarray(rows), raw_dtype=packed.type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if wide is not None:
        wide.mkdir()
        (wide / "config.json").write_text((base / "config.json").read_text())
        save_file(held, wide / "model.safetensors", {"format": "pt"})
    return file


def write_fields(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    """Write the fields that llama.cpp's converter writes for every model."""
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if config.get("head_dim"):
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    rope = config["rope_parameters"]
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    if config.get("sliding_window"):
        writer.add_sliding_window(config["sliding_window"])
    for kind in ("attn", "final"):
        if (cap := config.get(f"{kind}_logit_softcapping")) is not None:
            getattr(writer, f"add_{kind}_logit_softcapping")(cap)


def write_vocabulary(writer: gguf.GGUFWriter, count: int) -> None:
    """Write a byte-level vocabulary of `count` tokens; the first ends a text."""
    tokens = [*TOKENS, *(f"[PAD{number}]" for number in range(len(TOKENS), count))]
    unused = [int(gguf.TokenType.UNUSED)] * (count - len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [int(gguf.TokenType.CONTROL), *([int(gguf.TokenType.NORMAL)] * (len(TOKENS) - 1)), *unused]
    )
    writer.add_token_merges(MERGES)
    writer.add_eos_token_id(0)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")


def _as_converted(packed: Packed, name: str, kind: str, config: dict[str, Any]) -> Packed:
    """What llama.cpp's converter changes: the order of q's and k's rows in Llama, and Gemma's norms."""
    if kind.startswith("gemma") and name.endswith("norm.weight"):
        return Packed(Type.F32, (packed.rows.view(np.float32) + 1).view(np.uint8))
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    part = name.split(".")[-2]
    if kind not in ("llama", "mistral") or part not in heads:
        return packed
    # LlamaModel.permute of convert_hf_to_gguf.py
    rows = packed.rows.reshape(-1, 4) if packed.rows.ndim == 1 else packed.rows  # a bias has one number a row
    count = heads[part]
    swapped = rows.reshape(count, 2, len(rows) // count // 2, rows.shape[1]).swapaxes(1, 2)
    return Packed(packed.type, swapped.reshape(packed.rows.shape))
