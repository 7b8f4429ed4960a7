"""The memory that loading takes, in the real shapes of bases, on a device that only counts."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.counted_memory import DEVICE, CountedMemory
from support.known_bases import config_of
from support.tiny import make_base
from torch import Tensor

from openledger_node.backends.torch_lora import backend, quantised
from openledger_node.backends.torch_lora.loading import host_tensors, load_weights
from openledger_node.backends.torch_lora.placement import Placement
from openledger_node.backends.torch_lora.weights import weights_from
from openledger_node.engine.memory_plan import CONTEXT_BYTES
from openledger_node.models.decoder_config import DecoderConfig, read_config

GB = 10**9

BITS = {"none": 16, "int8": 8, "nf4": 4.5}  # a number; nf4 has a float32 for 64 numbers


@pytest.mark.parametrize(
    ("name", "quantisation"),
    [("Llama-3.2-3B", "none"), ("Llama-3.2-3B", "int8"), ("Llama-3.1-8B", "none"), ("Llama-3.1-8B", "nf4")],
)
def test_loading_takes_the_final_size_and_one_layer_at_most(
    name: str, quantisation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised, "_bitsandbytes", lambda: FOUR_BITS)
    config = config_of(name)
    with CountedMemory() as memory:
        weights = weights_from(tensors_of(config), config, device=DEVICE, quantisation=quantisation)
    layer_bytes = 2 * map_numbers(config)
    final = memory.used_bytes
    assert final == pytest.approx(weights.size_bytes, rel=0.01)
    assert final == pytest.approx(
        2 * outer_numbers(config) + config.num_layers * map_numbers(config) * BITS[quantisation] / 8, rel=0.01
    )
    assert memory.peak_bytes <= final + layer_bytes
    assert memory.peak_bytes <= final + GB


def test_eight_billion_parameters_in_four_bits_load_on_twelve_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "_bitsandbytes", lambda: FOUR_BITS)
    config = config_of("Llama-3.1-8B")
    with CountedMemory() as memory:
        weights_from(tensors_of(config), config, device=DEVICE, quantisation="nf4")
    assert memory.peak_bytes < 7 * GB


def test_quantised_numbers_do_not_depend_on_the_rows_that_are_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(50, 8, dtype=torch.bfloat16)
    whole = quantised.quantise(weight, "int8")
    monkeypatch.setattr(quantised, "ROWS_AT_ONCE", 7)
    pieces = quantised.quantise(weight, "int8")
    assert isinstance(whole, quantised.Int8Matrix)
    assert isinstance(pieces, quantised.Int8Matrix)
    assert torch.equal(whole.numbers, pieces.numbers)
    assert torch.equal(whole.scales, pieces.scales)


@pytest.mark.parametrize(
    ("device", "quantisation", "num_packed"), [("cpu", "none", 1), ("cpu", "int8", 0), ("meta", "none", 0)]
)
def test_only_a_base_whose_packed_pages_are_its_weights_is_written_a_second_time(
    tmp_path: Path, device: str, quantisation: str, num_packed: int
) -> None:
    base, cache = make_base(tmp_path / "base"), tmp_path / "cache"
    load_weights(base, read_config(base), Placement(torch.device(device), torch.bfloat16), quantisation, cache)
    assert len(list(cache.glob("*"))) == num_packed


def test_a_streamed_base_is_the_same_as_a_packed_one(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    config = read_config(base)
    streamed, packed = (
        dict(host_tensors(base, config, torch.float32, cache)) for cache in (None, tmp_path / "cache")
    )
    assert streamed.keys() == packed.keys()
    assert all(torch.equal(streamed[name], packed[name]) for name in streamed)


def test_memory_that_loading_freed_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [4 * GB]
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: free.__setitem__(0, 10 * GB))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free[0], 12 * GB))
    assert backend.available_bytes(torch.device("cuda"), 0) == 10 * GB * backend.FREE_SHARE
    assert backend.available_bytes(torch.device("cuda"), 3 * GB) == 7 * GB
    assert backend.available_bytes(torch.device("cuda"), 11 * GB) == 2.5 * GB


def test_the_owners_cap_is_enforced_on_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=16 * GB))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, _: shares.append(share))
    backend.enforce_cap(torch.device("cuda"), 12 * GB)
    backend.enforce_cap(torch.device("cuda"), 0)
    backend.enforce_cap(torch.device("cpu"), 12 * GB)
    assert shares == [(12 * GB - CONTEXT_BYTES) / (16 * GB)]


def map_numbers(config: DecoderConfig) -> int:
    """Numbers in the linear maps of a layer."""
    return sum(d_in * d_out for d_in, d_out in config.site_dims.values())


def outer_numbers(config: DecoderConfig) -> int:
    return (1 if config.is_tied else 2) * config.vocab_size * config.d_model


def tensors_of(config: DecoderConfig) -> Iterator[tuple[str, Tensor]]:
    """As `read_tensors`, but of untouched pages, which take no memory."""

    def empty(*size: int) -> Tensor:
        return torch.empty(size, dtype=torch.bfloat16)

    d = config.d_model
    yield "embedding", empty(config.vocab_size, d)
    for number in range(config.num_layers):
        yield f"layers.{number}.attention_norm", empty(d)
        yield f"layers.{number}.mlp_norm", empty(d)
        yield f"layers.{number}.qkv.weight", empty(config.d_q + 2 * config.d_kv, d)
        yield f"layers.{number}.o.weight", empty(d, config.d_q)
        yield f"layers.{number}.gate_up.weight", empty(2 * config.d_mlp, d)
        yield f"layers.{number}.down.weight", empty(d, config.d_mlp)
    yield "final_norm", empty(d)
    if not config.is_tied:
        yield "head", empty(config.vocab_size, d)


def _quantize_4bit(weight: Tensor, *, quant_type: str, blocksize: int) -> tuple[Tensor, Any]:
    """The sizes that bitsandbytes returns."""
    numbers = torch.empty((weight.numel() // 2, 1), dtype=torch.uint8, device=weight.device)
    return numbers, SimpleNamespace(absmax=torch.empty(weight.numel() // blocksize, device=weight.device))


FOUR_BITS = SimpleNamespace(quantize_4bit=_quantize_4bit)
