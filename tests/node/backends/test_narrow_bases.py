"""Bases that are stored in narrow formats: served as they are, they say what their dequantised twins say."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from node.backends.narrow_checkpoints import (
    FORMATS,
    SIZES,
    awq,
    change_config,
    change_tensors,
    gptq,
    nf4,
    write_checkpoint,
)
from peft import PeftModel
from safetensors.torch import load_file, safe_open
from support.tiny import greedy, make_adapter, make_base
from support.torch_bases import ADAPTER, PROMPT, generate, load, logits, open_backend, wanted_logits
from transformers import AutoModelForCausalLM

from openledger_node.backends.torch_lora.backend import TorchLoraBackend
from openledger_node.backends.torch_lora.group_matrix import GroupMatrix
from openledger_node.backends.torch_lora.matrices import wide_of
from openledger_node.backends.torch_lora.narrow_files import BitsandbytesFiles
from openledger_node.backends.torch_lora.tensor_files import TensorFiles
from openledger_node.backends.torch_lora.weights import read_tensors
from openledger_node.engine import memory_plan
from openledger_node.errors import ModelError
from openledger_node.models.decoder_config import read_config
from openledger_node.models.stored_format import StoredFormat
from openledger_protocol.primitives import AdapterId

COUNT = 12
RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no base fits in full width."""
    monkeypatch.setattr(memory_plan, "usable_bytes", lambda: 0)


def run(backend: TorchLoraBackend, adapter_id: AdapterId | None = None) -> tuple[list[int], torch.Tensor]:
    """The greedy tokens after the prompt, and the logits of the first."""
    return generate(backend, adapter_id, COUNT), logits(backend, adapter_id)


def twin_of(folder: Path, adapter: Path | None = None) -> tuple[list[int], torch.Tensor]:
    """The same of transformers, and of PEFT if there is an adapter."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    if adapter:
        model = PeftModel.from_pretrained(model, adapter).eval()
    return greedy(model, PROMPT, COUNT), wanted_logits(model)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.usefixtures("small_memory")
def test_a_narrow_base_says_what_its_dequantised_twin_says(name: str, tmp_path: Path) -> None:
    chosen = FORMATS[name]
    narrow, twin = write_checkpoint(tmp_path, chosen)
    backend = open_backend(narrow)
    tokens, found = run(backend)
    expected_tokens, expected = twin_of(twin)
    assert tokens == expected_tokens
    assert torch.allclose(found, expected, atol=1e-4)
    assert backend.profile.quantisation == chosen.served
    wide = load_file(twin / "model.safetensors")
    stored = read_config(narrow).stored
    assert stored
    assert stored.bits == chosen.bits
    held = dict(read_tensors(narrow, read_config(narrow), torch.float32))
    for layer in range(2):
        for group, module in (("o", "self_attn.o_proj"), ("down", "mlp.down_proj")):
            matrix = held[f"layers.{layer}.{group}.weight"]
            assert isinstance(matrix, GroupMatrix)
            assert matrix.bits == chosen.bits
            assert torch.equal(matrix.wide(), wide[f"model.layers.{layer}.{module}.weight"]), "to the bit"
        parts = [wide[f"model.layers.{layer}.self_attn.{each}_proj.weight"] for each in "qkv"]
        assert torch.equal(wide_of(held[f"layers.{layer}.qkv.weight"]), torch.cat(parts))


@pytest.mark.parametrize("name", ["gptq, desc_act", "nf4, nested"])
@pytest.mark.usefixtures("small_memory")
def test_an_adapter_on_a_narrow_base_answers_as_in_peft_on_its_twin(name: str, tmp_path: Path) -> None:
    narrow, twin = write_checkpoint(tmp_path, FORMATS[name])
    folder = make_adapter(twin, tmp_path / "adapter", seed=3, use_dora=name == "nf4, nested")
    backend = open_backend(narrow)
    load(backend, folder)
    tokens, found = run(backend, ADAPTER)
    expected_tokens, expected = twin_of(twin, folder)
    assert tokens == expected_tokens
    assert torch.allclose(found, expected, atol=1e-4)
    assert tokens != run(backend)[0]


@pytest.mark.usefixtures("small_memory")
def test_maps_that_a_checkpoint_leaves_wide_stay_wide(tmp_path: Path) -> None:
    narrow, twin = write_checkpoint(tmp_path, FORMATS["awq"])
    wide = load_file(twin / "model.safetensors")

    def widen(tensors: dict[str, torch.Tensor]) -> None:
        for module in ("self_attn.k_proj", "mlp.down_proj"):
            for part in ("qweight", "qzeros", "scales"):
                del tensors[f"model.layers.1.{module}.{part}"]
            tensors[f"model.layers.1.{module}.weight"] = wide[f"model.layers.1.{module}.weight"]

    change_tensors(narrow, widen)
    assert run(open_backend(narrow))[0] == twin_of(twin)[0]


def test_int4_keeps_maps_that_are_as_narrow_and_narrows_embedding_and_head(tmp_path: Path) -> None:
    narrow, _ = write_checkpoint(tmp_path, FORMATS["awq"])
    config = read_config(narrow)
    kept = open_backend(narrow, quantisation="int4").profile
    again = open_backend(make_base(tmp_path / "wide", **SIZES), quantisation="int4").profile
    assert kept.quantisation == again.quantisation == "int4"
    maps = config.num_layers * sum(d_in * d_out for d_in, d_out in config.site_dims.values())
    assert kept.base_bytes < maps * 0.56 + 2 * 260 * 128 * 1.1
    assert kept.base_bytes < again.base_bytes, "AWQ's groups of 64 have fewer scales than our own of 32"


# ---- bitsandbytes' own numbers, which it computed once


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["plain", "nested"])
def test_nf4_is_read_to_the_bit_as_bitsandbytes_reads_it(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    file = RECORDED / "bitsandbytes_nf4.safetensors"
    (tmp_path / "model.safetensors").symlink_to(file)
    stored = StoredFormat(method="bitsandbytes", bits=4, group=64, is_float=True)
    files = BitsandbytesFiles(stored, TensorFiles(tmp_path), dtype)
    assert files.shape(kind) == (132, 128)
    numbers = files.matrix(kind).wide().contiguous().view(torch.uint8).numpy()
    with safe_open(file, framework="pt") as recorded:
        digests = recorded.metadata()
    assert hashlib.sha256(numbers.tobytes()).hexdigest() == digests[f"{kind}.{str(dtype).removeprefix('torch.')}"]


# ---- what is not whole, or contradicts itself

AT = "model.layers.1.mlp.down_proj"


def drop(part: str) -> Any:
    return lambda tensors: tensors.pop(AT + part)


def cut(part: str) -> Any:
    return lambda tensors: tensors.update({AT + part: tensors[AT + part][:-1].clone()})


AWQ, GPTQ, NF4 = awq(32), gptq(32, has_order=True), nf4(is_nested=True)
TORN = {
    "awq without zeros": (AWQ, drop(".qzeros"), r"no model\.layers\.1\.mlp\.down_proj\.qzeros"),
    "awq with too few scales": (AWQ, cut(".scales"), r"scales has the shape \(5, 128\), where .* says \(6, 128\)"),
    "gptq with too few groups": (GPTQ, cut(".g_idx"), r"g_idx has the shape \(191,\)"),
    "gptq with uneven groups": (GPTQ, lambda tensors: tensors[AT + ".g_idx"][:3].zero_(), "without desc_act"),
    "nf4 without scales of scales": (NF4, drop(".weight.nested_absmax"), r"nested_absmax"),
    "nf4 with too few numbers": (NF4, cut(".weight"), r"weight has the shape"),
    "nf4 with a damaged state": (
        NF4,
        lambda tensors: tensors[f"{AT}.weight.quant_state.bitsandbytes__nf4"][5:6].zero_(),
        "no whole quant_state",
    ),
    "an embedding of another size": (
        AWQ,
        lambda tensors: tensors.update({"model.embed_tokens.weight": torch.zeros(9, 128)}),
        r"embedding has the shape \(9, 128\), where config.json says \(260, 128\)",
    ),
}


@pytest.mark.parametrize("name", TORN)
def test_a_checkpoint_that_is_not_whole_is_refused_by_its_first_tensor(name: str, tmp_path: Path) -> None:
    chosen, change, message = TORN[name]
    narrow, _ = write_checkpoint(tmp_path, chosen)
    change_tensors(narrow, change)
    with pytest.raises(ModelError, match=message):
        list(read_tensors(narrow, read_config(narrow), torch.float32))


LIES = {
    "other groups": (AWQ, {**AWQ.config, "group_size": 64}, r"q_proj\.qzeros has the shape .*groups of 64"),
    "other bits": (GPTQ, {**GPTQ.config, "bits": 8}, r"quantization_config \(gptq, 8 bits"),
    "a method whose tensors are not there": (AWQ, NF4.config, r"q_proj\.weight"),
    "none at all": (AWQ, None, "no quantization_config"),
    "one over wide tensors": (None, AWQ.config, "remove quantization_config"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_config_that_contradicts_its_tensors_is_refused_before_any_is_read(name: str, tmp_path: Path) -> None:
    chosen, config, message = LIES[name]
    narrow = write_checkpoint(tmp_path, chosen)[0] if chosen else make_base(tmp_path / "wide", **SIZES)
    change_config(narrow, quantization_config=config)
    with pytest.raises(ModelError, match=message):
        next(read_tensors(narrow, read_config(narrow), torch.float32))


def test_blocks_of_bitsandbytes_that_cross_rows_are_refused(tmp_path: Path) -> None:
    narrow, _ = write_checkpoint(tmp_path, replace(NF4, changes={"hidden_size": 96}))
    with pytest.raises(ModelError, match="blocks of 64 that fill rows"):
        next(read_tensors(narrow, read_config(narrow), torch.float32))
