"""What PEFT writes is read to the last digit, and what the factory writes is read by PEFT to the last digit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from support.tiny import make_adapter, make_base
from torch import Tensor
from transformers import AutoModelForCausalLM

from openledger_node.models.adapter_files.layout import WEIGHTS_FILE, LoraSite, read_layout

SHAPES: dict[str, dict[str, Any]] = {
    "rank 8": {"r": 8, "lora_alpha": 16},
    "rank 16": {"r": 16, "lora_alpha": 16},
    "rank 64": {"r": 64, "lora_alpha": 16},
    "rsLoRA": {"r": 16, "lora_alpha": 16, "use_rslora": True},
    "DoRA": {"r": 8, "lora_alpha": 16, "use_dora": True},
    "DoRA with rsLoRA": {"r": 16, "lora_alpha": 8, "use_dora": True, "use_rslora": True},
    "patterns": {"r": 8, "rank_pattern": {"q_proj": 16, "layers.1.mlp.up_proj": 3}, "alpha_pattern": {"v_proj": 5}},
    "one layer": {"r": 8, "layers_to_transform": [1], "layers_pattern": "layers"},
    "a module left out": {"r": 8, "exclude_modules": ["k_proj"]},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("round-trip") / "base")


def load_in_peft(base: Path, folder: Path) -> Any:
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(folder))


def delta_by_our_layout(site: LoraSite, weights: dict[str, Tensor]) -> Tensor:
    return (weights[site.key_b].float() @ weights[site.key_a].float()) * site.scaling


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_every_module_has_the_numbers_that_peft_has(base: Path, tmp_path: Path, shape: dict[str, Any]) -> None:
    folder = make_adapter(base, tmp_path / "adapter", seed=1, **shape)
    layout, weights = read_layout(folder), load_file(folder / WEIGHTS_FILE)
    modules = dict(load_in_peft(base, folder).base_model.model.named_modules())
    changed = {path for path, module in modules.items() if "default" in getattr(module, "lora_A", {})}
    assert {site.path for site in layout.sites} == changed
    for site in layout.sites:
        module = modules[site.path]
        assert site.rank == module.r["default"]
        assert site.scaling == module.scaling["default"]
        assert torch.equal(weights[site.key_a], module.lora_A["default"].weight)
        assert torch.equal(weights[site.key_b], module.lora_B["default"].weight)
        assert torch.allclose(delta_by_our_layout(site, weights), module.get_delta_weight("default"), atol=1e-7)
        if shape.get("use_dora"):
            assert site.key_magnitude is not None
            assert torch.equal(weights[site.key_magnitude], module.lora_magnitude_vector["default"].weight)


def test_an_adapter_in_half_the_bits_is_read_as_peft_reads_it(base: Path, tmp_path: Path) -> None:
    folder = make_adapter(base, tmp_path / "adapter", seed=1, use_dora=True)
    weights = load_file(folder / WEIGHTS_FILE)
    for dtype, name in ((torch.bfloat16, "BF16"), (torch.float16, "F16")):
        save_file({key: tensor.to(dtype) for key, tensor in weights.items()}, folder / WEIGHTS_FILE)
        layout, halved = read_layout(folder), load_file(folder / WEIGHTS_FILE)
        assert layout.dtypes == (name,)
        modules = dict(load_in_peft(base, folder).base_model.model.named_modules())
        for site in layout.sites:
            found = modules[site.path].lora_A["default"].weight
            assert torch.equal(halved[site.key_a].float(), found.float())
