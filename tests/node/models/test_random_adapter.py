"""Adapters of random numbers: real files that everything which reads adapters reads."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.tiny import make_base

from openledger_node.models.adapter_files.layout import WEIGHTS_FILE, read_layout
from openledger_node.models.adapter_files.random_adapter import MODULES, NOISE, read_linears, write_random_adapter


@pytest.mark.parametrize("model_type", ["llama", "starcoder2"])
def test_every_linear_map_of_a_base_is_found(tmp_path: Path, model_type: str) -> None:
    linears = read_linears(make_base(tmp_path / "base", model_type=model_type))
    assert len(linears) == 2 * (len(MODULES) if model_type == "llama" else 4)
    sizes = {linear.path: (linear.d_in, linear.d_out) for linear in linears}
    assert model_type != "llama" or sizes["model.layers.1.mlp.down_proj"] == (80, 48)
    assert sizes["model.layers.0.self_attn.k_proj"] == (48, 24)


def test_it_is_a_sound_adapter_of_the_rank_asked_for_in_bfloat16(tmp_path: Path) -> None:
    linears = read_linears(make_base(tmp_path / "base"))
    source = write_random_adapter(tmp_path / "adapter", linears, rank=16, seed=1)
    layout = read_layout(Path(source.folder))
    assert {(site.rank, site.scaling) for site in layout.sites} == {(16, 1.0)}
    assert len(layout.sites) == len(linears)
    tensors = load_file(tmp_path / "adapter" / WEIGHTS_FILE)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    numbers = torch.cat([t.flatten().float() for name, t in tensors.items() if "lora_B" in name]).numpy()
    np.testing.assert_allclose([numbers.mean(), numbers.std()], [0, NOISE], atol=0.002)
