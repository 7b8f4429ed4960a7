"""GGUF LoRA: each family's adapter changes the tensors of its GGUF base, and DoRA is refused."""

from pathlib import Path
from typing import Any

import pytest
from support.tiny import make_adapter, make_base
from support.tiny_gguf import make_gguf_base

from openledger_node.models.gguf_files.header import read_header
from openledger_node.models.gguf_files.lora import convert_lora, target_of_gguf
from openledger_protocol.errors import AdapterRefusedError

FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": {},
    "phi3": {"pad_token_id": 0},
    "gemma3_text": {"query_pre_attn_scalar": 12, "sliding_window": 64},
    "mistral": {},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_of_each_family_has_the_names_and_shapes_of_its_gguf_base(tmp_path: Path, family: str) -> None:
    base = make_base(tmp_path / "hf", model_type=family, **FAMILIES[family])
    adapter = make_adapter(base, tmp_path / "lora", seed=3, **({"target_modules": FUSED} if family == "phi3" else {}))
    target = target_of_gguf(read_header(make_gguf_base(base, tmp_path / "gguf") / "model.gguf"))
    sites = convert_lora(adapter, target)
    assert sites
    assert all(target.shapes[name] == (len(b), a.shape[1]) for name, (a, b) in sites.items())


def test_dora_is_refused_with_the_way_out(tmp_path: Path) -> None:
    base = make_base(tmp_path / "hf")
    adapter = make_adapter(base, tmp_path / "dora", seed=3, use_dora=True)
    target = target_of_gguf(read_header(make_gguf_base(base, tmp_path / "gguf") / "model.gguf"))
    with pytest.raises(AdapterRefusedError, match="Use another backend"):
        convert_lora(adapter, target)
