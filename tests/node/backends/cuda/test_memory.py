"""The memory plan of the kernels: all that they take is counted, and an 8B base fits a card of 8 GB with adapters."""

from dataclasses import replace

import pytest
import torch
from node.backends.counted_memory import DEVICE, CountedMemory, tensors_of
from support.known_bases import SHAPES, config_of

from openledger_node.backends.cuda.arena import Arena
from openledger_node.backends.cuda.decoder import empty_cache
from openledger_node.backends.cuda.draw import Drawer
from openledger_node.backends.cuda.forward import Forward
from openledger_node.backends.cuda.graph import plain
from openledger_node.backends.cuda.kernels import attention, lora, narrow, rows
from openledger_node.backends.cuda.step import BUCKETS
from openledger_node.backends.cuda.worst_step import free_bytes, worst_rows
from openledger_node.backends.torch_lora.placement import Placement
from openledger_node.backends.torch_lora.weights import weights_from
from openledger_node.config import InferenceConfig
from openledger_node.engine.backend import BackendSettings
from openledger_node.engine.memory_plan import CONTEXT_BYTES, GRAPHS_BYTES, MIB, memory_needs

GB, GIB = 10**9, 1 << 30
INFERENCE = InferenceConfig(quantisation="int4", context_max=2048)
PLACEMENT = Placement(DEVICE, torch.bfloat16)


@pytest.fixture(autouse=True)
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Launches need real memory; what they write to is allocated before."""
    launchers = (rows, "add_norm"), (rows, "turn_and_store"), (rows, "gate"), (attention, "attend")
    for owner, name in (*launchers, (lora, "shrink"), (lora, "expand"), (narrow, "product")):
        monkeypatch.setattr(owner, name, lambda *given, **named: None)


CHANGES: tuple[dict[str, int], ...] = ({"batch_max": 64}, {"prefill_tokens_max": 2048}, {"context_max": 32768})


@pytest.mark.parametrize(
    ("name", "changes"), [*((name, {}) for name in SHAPES), *(("Qwen3-4B", each) for each in CHANGES)]
)
def test_the_largest_steps_take_what_is_planned_for_them(name: str, changes: dict[str, int]) -> None:
    config = replace(config_of(name), num_layers=1)
    given = {"batch_max": 16, "context_max": 2048, "prefill_tokens_max": 512, "quantisation": "int4", **changes}
    settings = BackendSettings(base_folder=None, device="cuda", dtype="auto", threads=1, **given)
    sizes = {"context_max": settings.context_max, "batch_max": settings.batch_max}
    with CountedMemory() as memory:
        weights = weights_from(
            tensors_of(config), config, device=DEVICE
        )  # of any format: the kernels' memory is the same
        arena = Arena(config, PLACEMENT, num_bytes=GIB)
        before = memory.used_bytes
        cache = empty_cache(config, 1, PLACEMENT)
        forward = Forward(config, weights, arena, cache=cache, capture=plain, **sizes)
        for number in range(settings.batch_max):
            forward.join(str(number), None)
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


@pytest.mark.parametrize(
    ("cap_bytes", "expected"), [(0, 9 * GB), (12 * GB, 7 * GB - CONTEXT_BYTES), (20 * GB, 9 * GB)]
)
def test_the_cache_gets_no_more_than_the_owner_and_other_programs_leave(
    monkeypatch: pytest.MonkeyPatch, cap_bytes: int, expected: int
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (9 * GB, 24 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 5 * GB)
    assert free_bytes(torch.device("cuda"), cap_bytes) == expected
