"""A base's files as the compiled step reads them: compared with config.json, and chosen as the torch path does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import make_base

from openledger_node.backends.native.packed_base import pack_base
from openledger_node.backends.native.tensors import Tensors
from openledger_node.backends.torch_lora.weights import read_tensors
from openledger_node.errors import ModelError
from openledger_node.models.decoder_config import read_config
from openledger_node.models.packed_cache import base_stamps

ATTENTION, MLP = r"model\.layers\.0\.self_attn\.", r"model\.layers\.0\.mlp\."


def base_of(folder: Path, model_type: str = "llama", **changes: Any) -> Path:
    return make_base(folder, model_type=model_type, **changes)


def lie(base: Path, **fields: Any) -> None:
    file = base / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


@pytest.mark.parametrize(
    ("model_type", "field", "value", "place"),
    [
        ("llama", "vocab_size", 300, r"model\.embed_tokens\.weight has the shape \(260, 48\), .* \(300, 48\)"),
        ("llama", "hidden_size", 64, r"model\.embed_tokens\.weight"),
        ("llama", "intermediate_size", 96, MLP + r"gate_proj\.weight has the shape \(80, 48\), .* \(96, 48\)"),
        ("llama", "head_dim", 16, ATTENTION + r"q_proj\.weight"),
        ("llama", "num_attention_heads", 8, ATTENTION + r"q_proj\.weight"),
        ("llama", "num_key_value_heads", 4, ATTENTION + r"k_proj\.weight"),
        ("llama", "num_hidden_layers", 3, r"the weights have no model\.layers\.2\."),
        ("qwen3", "head_dim", 16, ATTENTION + r"q_norm\.weight"),
    ],
)
def test_a_config_that_says_another_size_is_refused_by_the_tensor(
    model_type: str, field: str, value: int, place: str, tmp_path: Path
) -> None:
    base = base_of(tmp_path / "base", model_type)
    lie(base, **{field: value})
    with pytest.raises(ModelError, match=place):
        pack_base(base, read_config(base))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("model.norm.weight", {}),
        ("lm_head.weight", {}),
        ("model.layers.1.input_layernorm.weight", {}),
        ("model.layers.1.post_attention_layernorm.weight", {}),
        ("model.layers.1.self_attn.k_norm.weight", {"model_type": "qwen3"}),
        ("model.layers.1.self_attn.v_proj.bias", {"model_type": "qwen2"}),
        ("model.layers.1.self_attn.o_proj.bias", {"attention_bias": True}),
        ("model.layers.1.mlp.up_proj.bias", {"mlp_bias": True}),
        ("model.layers.1.mlp.down_proj.weight", {}),
    ],
)
def test_every_tensor_of_another_shape_is_refused(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    base = base_of(tmp_path / "base", **changes)
    tensors = load_file(base / "model.safetensors")
    tensors[name] = tensors[name][:-1].clone()
    save_file(tensors, base / "model.safetensors")
    with pytest.raises(ModelError, match=name.replace(".", r"\.") + " has the shape"):
        pack_base(base, read_config(base))


@pytest.mark.parametrize("heads", [3, 8])
def test_heads_that_keys_cannot_be_shared_out_to_are_refused(heads: int, tmp_path: Path) -> None:
    base = base_of(tmp_path / "base")
    lie(base, num_key_value_heads=heads)
    with pytest.raises(ModelError, match=f"4 heads and {heads} key heads"):
        read_config(base)


def test_a_tensor_whose_bytes_are_not_its_shape_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}}).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    with pytest.raises(ModelError, match="x takes 8 bytes"):
        Tensors(file).bits("x")


def split(base: Path) -> None:
    """Two files that an index names, where the second has a wrong copy of what the index looks for in the first."""
    tensors = load_file(base / "model.safetensors")
    names = sorted(tensors)
    halves = {"one.safetensors": names[: len(names) // 2], "two.safetensors": names[len(names) // 2 :]}
    wrong = {name: torch.zeros_like(tensors[name]) for name in halves["one.safetensors"]}
    save_file({name: tensors[name] for name in halves["one.safetensors"]}, base / "one.safetensors")
    save_file({**wrong, **{name: tensors[name] for name in halves["two.safetensors"]}}, base / "two.safetensors")
    index = {"weight_map": {name: file for file, names in halves.items() for name in names}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    (base / "model.safetensors").unlink()


def stray(base: Path) -> None:
    """One more file beside the base's own, of the same names."""
    tensors = load_file(base / "model.safetensors")
    save_file({name: torch.zeros_like(each) for name, each in tensors.items()}, base / "stray.safetensors")


@pytest.mark.parametrize("change", [split, stray])
def test_tensors_come_from_the_files_that_torch_reads_them_from(change: Any, tmp_path: Path) -> None:
    base = base_of(tmp_path / "base")
    config = read_config(base)
    packed, read = pack_base(base, config), dict(read_tensors(base, config, torch.float32))
    change(base)
    again = pack_base(base, config)
    assert all(np.array_equal(again[name], array) for name, array in packed.items())
    assert all(torch.equal(read[name], each) for name, each in read_tensors(base, config, torch.float32))


def rename(base: Path) -> None:
    """Weights under a name of their own, and no index."""
    (base / "model.safetensors").rename(base / "weights.safetensors")


def list_too_much(base: Path) -> None:
    """An index that lists what its file has not, and nobody wants."""
    split(base)
    file = base / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    index["weight_map"]["model.rotary_emb.inv_freq"] = "one.safetensors"
    file.write_text(json.dumps(index))


@pytest.mark.parametrize("change", [rename, list_too_much])
def test_a_base_with_all_that_is_wanted_is_packed(change: Any, tmp_path: Path) -> None:
    base = base_of(tmp_path / "base")
    packed = pack_base(base, read_config(base))
    change(base)
    again = pack_base(base, read_config(base))
    assert all(np.array_equal(again[name], array) for name, array in packed.items())


@pytest.mark.parametrize("index", ["{", "{}", "[]", '{"weight_map": {"x": "no.safetensors"}}'])
def test_an_index_that_leads_nowhere_is_refused(index: str, tmp_path: Path) -> None:
    base = base_of(tmp_path / "base")
    (base / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelError, match=r"are not whole .*: pull the base again"):
        pack_base(base, read_config(base))


def test_a_base_whose_index_changed_is_packed_anew(tmp_path: Path) -> None:
    base = base_of(tmp_path / "base")
    before = base_stamps(base)
    split(base)
    middle = base_stamps(base)
    (base / "model.safetensors.index.json").write_text("{}")
    assert len({repr(before), repr(middle), repr(base_stamps(base))}) == 3
