"""A base's files as the compiled step reads them: compared with config.json, and chosen as the torch path does."""

import json
from pathlib import Path
from typing import Any

import pytest
from node.backends.narrow_checkpoints import change_config, change_tensors
from support.tiny import make_base

from openledger_node.backends.native.packed_base import pack_base
from openledger_node.backends.native.tensors import Tensors
from openledger_node.errors import ModelError
from openledger_node.models.decoder_config import read_config

ATTENTION, MLP = r"model\.layers\.0\.self_attn\.", r"model\.layers\.0\.mlp\."


@pytest.mark.parametrize(
    ("model_type", "field", "value", "place"),
    [
        ("llama", "vocab_size", 300, r"model\.embed_tokens\.weight has the shape \(260, 48\), .* \(300, 48\)"),
        ("llama", "intermediate_size", 96, MLP + r"gate_proj\.weight has the shape \(80, 48\), .* \(96, 48\)"),
        ("llama", "num_attention_heads", 8, ATTENTION + r"q_proj\.weight"),
        ("llama", "num_key_value_heads", 4, ATTENTION + r"k_proj\.weight"),
        ("llama", "num_hidden_layers", 3, r"the weights have no model\.layers\.2\."),
        ("qwen3", "head_dim", 16, ATTENTION + r"q_norm\.weight"),
    ],
)
def test_a_config_that_says_another_size_is_refused_by_the_tensor(
    model_type: str, field: str, value: int, place: str, tmp_path: Path
) -> None:
    base = make_base(tmp_path / "base", model_type=model_type)
    change_config(base, **{field: value})
    with pytest.raises(ModelError, match=place):
        pack_base(base, read_config(base))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("model.norm.weight", {}),
        ("lm_head.weight", {}),
        ("model.layers.1.input_layernorm.weight", {}),
        ("model.layers.1.self_attn.k_norm.weight", {"model_type": "qwen3"}),
        ("model.layers.1.self_attn.v_proj.bias", {"model_type": "qwen2"}),
        ("model.layers.1.self_attn.o_proj.bias", {"attention_bias": True}),
        ("model.layers.1.mlp.down_proj.weight", {}),
    ],
)
def test_every_tensor_of_another_shape_is_refused(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", **changes)
    change_tensors(base, lambda tensors: tensors.update({name: tensors[name][:-1].clone()}))
    with pytest.raises(ModelError, match=name.replace(".", r"\.") + " has the shape"):
        pack_base(base, read_config(base))


@pytest.mark.parametrize("heads", [3, 8])
def test_heads_that_keys_cannot_be_shared_out_to_are_refused(heads: int, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    change_config(base, num_key_value_heads=heads)
    with pytest.raises(ModelError, match=f"4 heads and {heads} key heads"):
        read_config(base)


def test_a_tensor_whose_bytes_are_not_its_shape_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}}).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    with pytest.raises(ModelError, match="x takes 8 bytes"):
        Tensors(file).bits("x")


@pytest.mark.parametrize("index", ["{", "{}", "[]", '{"weight_map": {"x": "no.safetensors"}}'])
def test_an_index_that_leads_nowhere_is_refused(index: str, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    (base / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelError, match=r"are not whole .*: pull the base again"):
        pack_base(base, read_config(base))
