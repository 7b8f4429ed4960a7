"""The engine on a card gives the CPU's answers: every number format, many adapters, recorded steps, late adapters."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from node.backends.cuda.kernel_backends import KINDS
from support.batches import GREEDY, Orders, generate, load, source_of
from support.on_card import DEVICE, IS_ON_CARD, open_on_card
from support.plain_adapter import write_adapter
from support.tiny import make_base
from support.torch_bases import cpu_settings

from openledger_node.backends.cuda.backend import CudaBackend
from openledger_node.backends.cuda.graph import plain
from openledger_node.backends.cuda.selfcheck import KernelEngine
from openledger_node.backends.torch_lora.backend import TorchLoraBackend
from openledger_node.backends.torch_lora.placement import BFLOAT16_CAPABILITY, DTYPES, Placement
from openledger_node.backends.torch_lora.selfcheck import check_device, fault_of
from openledger_node.engine.backend import Backend, BackendSettings, BatchRow, Drawn
from openledger_node.engine.taps import Taps, joined_taps
from openledger_protocol.primitives import AdapterId

HAS_BFLOAT16 = IS_ON_CARD and torch.cuda.get_device_capability() >= BFLOAT16_CAPABILITY
FORMATS = [name for name in DTYPES if name != "bfloat16" or HAS_BFLOAT16] if IS_ON_CARD else ["float32"]

NAMES = [AdapterId(f"a{number}") for number in range(len(KINDS))]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and the adapters beside it."""
    root = tmp_path_factory.mktemp("card")
    base = make_base(root / "base", num_hidden_layers=2 if IS_ON_CARD else 1)
    for seed, (name, kind) in enumerate(zip(NAMES, KINDS, strict=True)):
        write_adapter(base, root / name, seed=seed, **kind)
    return root


def settings_of(base: Path, dtype: str = "float32") -> BackendSettings:
    return cpu_settings(base, dtype=dtype, batch_max=20, adapter_bytes=4 << 20, acceleration="off")


def orders_for(adapters: list[AdapterId | None]) -> Orders:
    """A prompt for each adapter, of different lengths."""
    return {f"s{n}": (tuple((7 * n + at) % 250 + 1 for at in range(1 + n % 5)), a) for n, a in enumerate(adapters)}


def answers(backend: Backend, root: Path, adapters: list[AdapterId | None], count: int = 6) -> dict[str, list[int]]:
    for name in dict.fromkeys(filter(None, adapters)):
        load(backend, source_of(root, name))
    return generate(backend, orders_for(adapters), count=count)


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_card_computes_what_the_cpu_computes(dtype: str) -> None:
    placement = Placement(DEVICE, DTYPES[dtype])
    check_device(placement)
    if IS_ON_CARD:  # the interpreter takes a minute for it
        assert not fault_of(KernelEngine, placement)


@pytest.mark.parametrize(
    "family",
    [
        {"model_type": "llama", "tie_word_embeddings": True},
        {"model_type": "qwen3"},
        {"model_type": "gemma2", "query_pre_attn_scalar": 20, "sliding_window": 7, "attn_logit_softcapping": 2.0},
    ],
    ids=lambda family: family["model_type"],
)
def test_greedy_answers_in_float32_are_the_cpus(family: dict[str, Any], tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", **family)
    write_adapter(base, tmp_path / NAMES[0], seed=0, **KINDS[0])
    adapters = [NAMES[0], None, NAMES[0]]
    wanted = answers(TorchLoraBackend(settings_of(base)), tmp_path, adapters)
    assert answers(open_on_card(settings_of(base)), tmp_path, adapters) == wanted


def test_eight_adapters_of_eight_shapes_answer_as_on_the_cpu(root: Path) -> None:
    wanted = answers(TorchLoraBackend(settings_of(root / "base")), root, [*NAMES, None], count=3)
    assert len({tuple(ids) for ids in wanted.values()}) > len(NAMES) // 2, "adapters matter"
    assert answers(open_on_card(settings_of(root / "base")), root, [*NAMES, None], count=3) == wanted


def test_a_recorded_step_gives_the_bits_of_plain_launches(root: Path) -> None:
    """Twice with other rows: a graph that remembered its first rows would repeat their answers."""
    settings = settings_of(root / "base")
    recorded = open_on_card(settings)
    launched = CudaBackend(replace(settings, device=DEVICE.type), Placement(DEVICE, torch.float32), capture=plain)
    for adapters in (NAMES[3:6], [NAMES[5], None, NAMES[7]]):
        found = [answers(backend, root, list(adapters), count=3) for backend in (recorded, launched)]
        assert found[0] == found[1]
        for backend in (recorded, launched):
            for name in dict.fromkeys(filter(None, adapters)):
                backend.unload_adapter(name)


def test_recorded_steps_and_replays_have_the_taps_of_the_cpu(root: Path) -> None:
    """Greedy in float32, so that both draw the same tokens; a graph of tapped steps beside that of others."""
    names = [NAMES[0], None, NAMES[4], NAMES[6]]
    card, cpu = open_on_card(settings_of(root / "base")), TorchLoraBackend(settings_of(root / "base"))
    found, wanted = (tapped_answers(backend, root, names) for backend in (card, cpu))
    assert found.keys() == wanted.keys()
    for name, taps in found.items():
        assert taps.is_residual.tolist() == wanted[name].is_residual.tolist()
        np.testing.assert_allclose(taps.activations, wanted[name].activations, atol=1e-3)
        np.testing.assert_allclose(taps.top_logits, wanted[name].top_logits, atol=1e-3)
    assert np.array_equal(card.unembedding((3, 200)), cpu.unembedding((3, 200)))


def tapped_answers(backend: Any, root: Path, adapters: list[AdapterId | None], count: int = 4) -> dict[str, Taps]:
    """The taps of steps, in which every second row with an adapter is tapped, and of a replay of each answer."""
    for adapter_id in filter(None, adapters):
        load(backend, source_of(root, adapter_id))
    orders = orders_for(adapters)
    tapping = _Taps(backend, [name for name, (_, adapter_id) in orders.items() if adapter_id][::2])
    drawn = generate(tapping, orders, count=count)
    found = {name: joined_taps(parts[:count]) for name, parts in tapping.taps.items()}
    assert len(found) == len(orders) // 2
    for name, (prompt, adapter_id) in orders.items():
        if adapter_id:
            backend.join(name, adapter_id)
            ids = (*prompt, *drawn[name][:-1])
            row = BatchRow(sequence_id=name, token_ids=ids, position=0, blocks=(0, 1))
            found[f"{name} again"] = backend.replay(row, tuple(drawn[name])).taps
            backend.leave(name)
    for name in tapping.taps:
        np.testing.assert_allclose(found[name].activations, found[f"{name} again"].activations, atol=1e-3)
    return found


class _Taps:
    """A backend that runs every step twice, and the second time taps some of its sequences."""

    def __init__(self, backend: Backend, names: list[str]) -> None:
        self._backend = backend
        self.taps: dict[str, list[Taps]] = {name: [] for name in names}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def step(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        plain = self._backend.step(rows)
        asked = [
            replace(row, draw=replace(row.draw, is_tapped=row.sequence_id in self.taps)) if row.draw else row
            for row in rows
        ]
        found = self._backend.step(tuple(asked))
        assert {name: each.token for name, each in plain.items()} == {
            name: each.token for name, each in found.items()
        }
        for name, each in found.items():
            if name in self.taps:
                self.taps[name].append(each.taps)
        return found


def test_an_adapter_that_comes_while_others_answer_disturbs_nobody(root: Path) -> None:
    """It is copied beside the others' steps, and its first step waits for the copy."""
    late = NAMES[4]
    backend, alone = open_on_card(settings_of(root / "base")), open_on_card(settings_of(root / "base"))
    wanted = answers(alone, root, [NAMES[0], None, late], count=4)
    load(backend, source_of(root, NAMES[0]))
    orders = orders_for([NAMES[0], None, late])
    first = {name: orders[name] for name in ("s0", "s1")}
    host = backend.read_adapter(source_of(root, late))
    loading = _LoadsAtStep(backend, 2, lambda: backend.load_adapter(late, host))
    assert generate(loading, first, count=4) == {name: wanted[name] for name in first}
    assert loading.num_steps > 2, "it came in the middle"
    assert generate(backend, {"s2": orders["s2"]}, count=4)["s2"] == wanted["s2"]


class _LoadsAtStep:
    """A backend that does something between two of its steps."""

    def __init__(self, backend: Backend, step: int, work: Any) -> None:
        self._backend, self._step, self._work = backend, step, work
        self.num_steps = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def step(self, rows: Any) -> Any:
        if self.num_steps == self._step:
            self._work()
        self.num_steps += 1
        return self._backend.step(rows)


def test_drawn_tokens_are_those_of_the_cpu(root: Path) -> None:
    """In float32 the logits differ by less than any draw of this seed decides on."""
    warm = replace(GREEDY, temperature=0.8, top_p=0.95)
    orders = orders_for([None, None, None])
    wanted = generate(TorchLoraBackend(settings_of(root / "base")), orders, sampling=warm, count=4)
    assert generate(open_on_card(settings_of(root / "base")), orders, sampling=warm, count=4) == wanted
