"""The memory that loading takes, in the real shapes of bases, on a device that only counts."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from node.backends.counted_memory import DEVICE, CountedMemory, tensors_of
from support.known_bases import config_of
from support.tiers import depth
from support.tiny import make_base

from openledger_node.backends.torch_lora import device_memory, quantised
from openledger_node.backends.torch_lora.group_matrix import NUMBERS_AT_ONCE, GroupMatrix
from openledger_node.backends.torch_lora.loading import host_tensors
from openledger_node.backends.torch_lora.matrices import size_bytes_of, wide_of
from openledger_node.backends.torch_lora.weights import weights_from
from openledger_node.config import InferenceConfig
from openledger_node.engine.memory_plan import CONTEXT_BYTES, memory_needs
from openledger_node.models.decoder_config import read_config

GB = 10**9

BITS = {"none": 16, "int8": 8, "int4": 4.625, "nf4": 4.5}  # a number with its share of scales


@pytest.mark.parametrize(
    ("name", "quantisation"), [*(("Llama-3.2-3B", each) for each in BITS), ("Llama-3.1-8B", "int8")]
)
def test_loading_takes_the_final_size_and_the_largest_matrix_at_most(name: str, quantisation: str) -> None:
    config = config_of(name)
    layers, vocab = depth(light=(1, 1 << 13), deep=(config.num_layers, config.vocab_size))  # all layers are alike
    config = replace(config, num_layers=layers, vocab_size=vocab)
    with CountedMemory() as memory:
        weights = weights_from(tensors_of(config), config, device=DEVICE, quantisation=quantisation)
    final = memory.used_bytes
    host_bytes = 0 if config.is_tied else size_bytes_of(weights.embedding)
    assert final == pytest.approx(weights.size_bytes - host_bytes, rel=0.01)
    map_numbers = sum(d_in * d_out for d_in, d_out in config.site_dims.values())
    head_bytes = config.vocab_size * config.d_model * (2 if quantisation == "none" else 1)
    assert final == pytest.approx(head_bytes + config.num_layers * map_numbers * BITS[quantisation] / 8, rel=0.01)
    settings = replace(InferenceConfig(), quantisation=quantisation)
    needs = memory_needs(config, settings, is_on_gpu=True, number_bytes=2)
    assert final == pytest.approx(needs.base_bytes, rel=0.01)
    assert memory.peak_bytes <= needs.base_bytes + needs.load_bytes + GB // 50
    assert needs.load_bytes <= 0.7 * GB


@pytest.mark.parametrize("quantisation", ["int8", "int4", "nf4"])
def test_quantised_numbers_do_not_depend_on_the_rows_that_are_taken_at_once(
    quantisation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = torch.randn(50, 64, dtype=torch.bfloat16)
    whole = quantised.quantise(weight, quantisation)
    monkeypatch.setitem(NUMBERS_AT_ONCE, "cpu", 7 * 64)
    pieces = quantised.quantise(weight, quantisation)
    assert isinstance(whole, GroupMatrix)
    assert isinstance(pieces, GroupMatrix)
    assert torch.equal(whole.numbers, pieces.numbers)
    assert torch.equal(whole.wide(), pieces.wide())


def test_a_streamed_base_is_the_same_as_a_packed_one(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    config = read_config(base)
    streamed, packed = (
        dict(host_tensors(base, config, torch.float32, cache)) for cache in (None, tmp_path / "cache")
    )
    assert streamed.keys() == packed.keys()
    assert all(torch.equal(wide_of(streamed[name]), wide_of(packed[name])) for name in streamed)


def test_the_owners_cap_is_enforced_on_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=16 * GB))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, _: shares.append(share))
    device_memory.enforce_cap(torch.device("cuda"), 12 * GB)
    device_memory.enforce_cap(torch.device("cuda"), 0)
    device_memory.enforce_cap(torch.device("cpu"), 12 * GB)
    assert shares == [(12 * GB - CONTEXT_BYTES) / (16 * GB)]
