"""The memory plan of the kernels: all that they take is counted, and an 8B base fits a card of 8 GB with adapters."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.counted_memory import DEVICE, CountedMemory
from support.known_bases import SHAPES, config_of
from torch import Tensor

from openledger_node.backends.cuda import worst_step
from openledger_node.backends.cuda.arena import BOUNCE_BYTES, RANKS_MAX, Arena, _row_bytes, slots_for
from openledger_node.backends.cuda.decoder import empty_cache
from openledger_node.backends.cuda.draw import Drawer
from openledger_node.backends.cuda.forward import KNOWN_MAX, Forward
from openledger_node.backends.cuda.graph import plain
from openledger_node.backends.cuda.kernels import attention, lora, narrow, rows
from openledger_node.backends.cuda.step import BUCKETS
from openledger_node.backends.cuda.worst_step import free_bytes, worst_rows, worst_step_bytes
from openledger_node.backends.torch_lora.placement import Placement
from openledger_node.backends.torch_lora.weights import Weights, weights_from
from openledger_node.config import InferenceConfig
from openledger_node.engine import memory_plan
from openledger_node.engine.backend import BackendSettings
from openledger_node.engine.budget import fit
from openledger_node.engine.memory_plan import CONTEXT_BYTES, GRAPHS_BYTES, MIB, attention_splits, memory_needs
from openledger_node.models.decoder_config import GROUPS, DecoderConfig

GB, GIB = 10**9, 1 << 30
INFERENCE = InferenceConfig(quantisation="int4", context_max=2048)
PLACEMENT = Placement(DEVICE, torch.bfloat16)


@pytest.fixture(autouse=True)
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Launches need real memory; what they write to is allocated before."""
    launchers = (rows, "add_norm"), (rows, "turn_and_store"), (rows, "gate"), (attention, "attend")
    for owner, name in (*launchers, (lora, "shrink"), (lora, "expand"), (narrow, "product")):
        monkeypatch.setattr(owner, name, lambda *given, **named: None)


def settings_of(config: DecoderConfig, **changes: Any) -> BackendSettings:
    given = {"batch_max": 16, "context_max": 2048, "prefill_tokens_max": 512, "quantisation": "int4", **changes}
    return BackendSettings(base_folder=None, device="cuda", dtype="auto", threads=1, **given)


def loaded(config: DecoderConfig) -> Weights:
    """A base of any format: no temporary of the kernels depends on it."""
    return weights_from(tensors_of(config), config, device=DEVICE)


def tensors_of(config: DecoderConfig) -> Iterator[tuple[str, Tensor]]:
    """A base's tensors of untouched pages, which take no memory."""

    def empty(*size: int) -> Tensor:
        return torch.empty(size, dtype=torch.bfloat16)

    yield "embedding", empty(config.vocab_size, config.d_model)
    for number in range(config.num_layers):
        at = f"layers.{number}"
        for norm in ("attention_norm", "mlp_norm"):
            yield f"{at}.{norm}", empty(config.d_model)
        for group, modules in config.groups.items():
            dims = [config.site_dims[module] for module in modules]
            yield f"{at}.{group}.weight", empty(sum(d_out for _, d_out in dims), dims[0][0])
    yield "final_norm", empty(config.d_model)
    if not config.is_tied:
        yield "head", empty(config.vocab_size, config.d_model)


def forward_on(config: DecoderConfig, weights: Weights, arena: Arena, settings: BackendSettings) -> Forward:
    context = settings.context_max
    cache = empty_cache(config, 1, PLACEMENT)
    forward = Forward(
        config, weights, arena, cache=cache, context_max=context, batch_max=settings.batch_max, capture=plain
    )
    for number in range(settings.batch_max):
        forward.join(str(number), None)
    return forward


CHANGES: tuple[dict[str, int], ...] = ({"batch_max": 64}, {"prefill_tokens_max": 2048}, {"context_max": 32768})


@pytest.mark.parametrize(
    ("name", "changes"), [*((name, {}) for name in SHAPES), *(("Qwen3-4B", each) for each in CHANGES)]
)
def test_the_largest_steps_take_what_is_planned_for_them(name: str, changes: dict[str, int]) -> None:
    config = replace(config_of(name), num_layers=1)
    settings = settings_of(config, **changes)
    with CountedMemory() as memory:
        weights, arena = loaded(config), Arena(config, PLACEMENT, num_bytes=GIB)
        before = memory.used_bytes
        forward = forward_on(config, weights, arena, settings)
        drawer = Drawer(DEVICE, vocab_size=config.vocab_size, rows_max=settings.batch_max)
        cache_bytes = forward.cache.nbytes
        decoding, mixed = worst_rows(settings, settings.context_max)
        forward.run(mixed)
        mixed_bytes, memory.peak_bytes = memory.peak_bytes - before - cache_bytes, 0
        forward.run(decoding[: BUCKETS[-1]])
        held_bytes = memory.used_bytes - before - cache_bytes
    inference = replace(INFERENCE, **changes)
    planned = memory_needs(config, inference, is_on_gpu=True, number_bytes=2, has_kernels=True).step_bytes
    planned -= GRAPHS_BYTES + INFERENCE.adapter_cache_bytes // 64 + MIB
    assert drawer.size_bytes < planned / 10
    assert 0.5 * planned < mixed_bytes + (memory.peak_bytes - before - held_bytes) < planned


def test_the_plan_knows_the_kernels_numbers() -> None:
    """The planner runs without torch, so it has copies of them."""
    assert memory_plan.LOW_RANKS == RANKS_MAX
    assert (memory_plan.LOW_PIECES, memory_plan.LOW_PIECES_TOKENS) == (lora.SPLITS, lora.SPLIT_TOKENS_MAX)
    assert BUCKETS[-1] == memory_plan.GRAPH_ROWS_MAX
    assert (len(GROUPS), KNOWN_MAX) == (memory_plan.FUSED_MAPS, memory_plan.KNOWN_TOKENS)
    for context in (100, 2048, 5000, 131_072):
        for num_kv_heads in (1, 2, 8, 32):
            splits = attention.splits_for(context_max=context, num_kv_heads=num_kv_heads)
            assert attention_splits(context, num_kv_heads) == splits
    for name in SHAPES:
        config = config_of(name)
        extra_bytes = slots_for(config, GIB) * _row_bytes(config) + BOUNCE_BYTES
        assert extra_bytes <= GIB // memory_plan.ARENA_SHARE + MIB
        drawer = Drawer(torch.device("meta"), vocab_size=config.vocab_size, rows_max=16)
        planned = config.vocab_size * memory_plan.DRAWING_EIGHTHS // 8 + memory_plan.DRAWING_BYTES
        assert 0.5 * planned < drawer.size_bytes / 16 < planned


@pytest.mark.parametrize("kv_tokens", [4096, 8192])
def test_eight_adapters_and_thousands_of_tokens_fit_beside_8b_in_four_bits_on_8_gb(kv_tokens: int) -> None:
    """All that is allocated beside the base, counted, stays under the owner's cap with it."""
    config = config_of("Llama-3.1-8B")
    layer = replace(config, num_layers=1)  # layers have their temporaries in turn
    cap_bytes = 8 * GIB - GIB  # the driver and a desktop have the rest
    inference = replace(INFERENCE, kv_cache_bytes=kv_tokens * 2 * 32 * 1024 * 2)
    needs = memory_needs(config, inference, is_on_gpu=True, number_bytes=2, has_kernels=True)
    wanted = settings_of(config, kv_cache_bytes=inference.kv_cache_bytes)
    settings, adapter_bytes = fit(wanted, inference.adapter_cache_bytes, cap_bytes=cap_bytes, needs=needs)
    assert settings.kv_cache_bytes == inference.kv_cache_bytes
    assert adapter_bytes == settings.adapter_bytes >= 8 * memory_plan.adapter_bytes_of(config, 16, 2)
    weights = loaded(layer)
    with CountedMemory() as memory:
        arena = Arena(config, PLACEMENT, num_bytes=settings.adapter_bytes)
        cache = empty_cache(config, settings.kv_cache_bytes // (2 * 32 * 1024 * 2 * 16), PLACEMENT)
        drawer = Drawer(DEVICE, vocab_size=config.vocab_size, rows_max=settings.batch_max)
        forward = forward_on(layer, weights, arena, settings)
        decoding, mixed = worst_rows(settings, settings.context_max)
        forward.run(mixed)
        largest_bytes, before, memory.peak_bytes = memory.peak_bytes, memory.used_bytes, 0
        forward.run(decoding)
    recorded_bytes = memory.peak_bytes - before  # which a graph keeps
    assert cache.nbytes == settings.kv_cache_bytes
    assert drawer.size_bytes
    assert needs.base_bytes + largest_bytes + recorded_bytes + CONTEXT_BYTES + GRAPHS_BYTES <= cap_bytes


class Card:
    """The counters of a card's memory, as torch tells them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, free_bytes: int = 0, reserved_bytes: int = 0) -> None:
        self.memory = CountedMemory()
        for name, found in {
            "synchronize": lambda _: None,
            "empty_cache": lambda: None,
            "memory_allocated": lambda _: self.memory.used_bytes,
            "reset_peak_memory_stats": lambda _: setattr(self.memory, "peak_bytes", 0),
            "max_memory_allocated": lambda _: self.memory.peak_bytes,
            "mem_get_info": lambda _: (free_bytes, 24 * GB),
            "memory_reserved": lambda _: reserved_bytes,
        }.items():
            monkeypatch.setattr(torch.cuda, name, found)


@pytest.mark.parametrize("context", [2048, 131_072])
def test_a_measured_step_is_about_as_large_as_the_planned_one(monkeypatch: pytest.MonkeyPatch, context: int) -> None:
    config = replace(config_of("Llama-3.1-8B"), num_layers=1, context_max=context)
    settings = settings_of(config, context_max=context)
    card = Card(monkeypatch)
    tokens_with_adapters: set[int] = set()
    monkeypatch.setattr(lora, "shrink", lambda x, *given: tokens_with_adapters.add(len(x)))
    with card.memory:
        arena = Arena(config, PLACEMENT, num_bytes=GIB)
        found = worst_step_bytes(settings, config, loaded(config), arena, PLACEMENT, context_max=context)
    inference = replace(INFERENCE, context_max=context)
    planned = memory_needs(config, inference, is_on_gpu=True, number_bytes=2, has_kernels=True).step_bytes
    assert 0.5 * planned < found < planned
    assert tokens_with_adapters == {512 + 15, 512, 16, 2}, "their kernels are compiled before a request needs them"
    assert arena.free_bytes == arena.size_bytes


@pytest.mark.parametrize(
    ("cap_bytes", "expected"), [(0, 9 * GB), (12 * GB, 7 * GB - CONTEXT_BYTES), (20 * GB, 9 * GB)]
)
def test_the_cache_gets_no_more_than_the_owner_and_other_programs_leave(
    monkeypatch: pytest.MonkeyPatch, cap_bytes: int, expected: int
) -> None:
    Card(monkeypatch, free_bytes=9 * GB, reserved_bytes=5 * GB)
    assert free_bytes(torch.device("cuda"), cap_bytes) == expected


def test_the_worst_rows_are_a_full_batch_and_the_longest_piece_at_the_end_of_the_context() -> None:
    decoding, mixed = worst_rows(settings_of(config_of("Qwen3-4B"), batch_max=3, prefill_tokens_max=50), 256)
    assert [len(each.token_ids) for each in decoding] == [1, 1, 1]
    assert [len(each.token_ids) for each in mixed] == [50, 1, 1]
    assert all(each.position + len(each.token_ids) == 256 for each in (*decoding, *mixed))
    assert worst_step.MARGIN_PERCENT > 100
