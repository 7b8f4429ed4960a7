"""A device that computes wrong numbers does not serve: mistakes that devices have made, made on the CPU."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import make_base
from support.torch_bases import cpu_settings
from torch import Tensor

from openledger_node.backends.torch_lora import backend, batch, decoder, group_matrix, kv_cache, lora, selfcheck
from openledger_node.backends.torch_lora.placement import Placement
from openledger_node.backends.torch_lora.selfcheck import Case, Open, TorchEngine, check_device, fault_of
from openledger_node.engine.backend import BatchRow
from openledger_node.errors import ModelError

CPU = torch.device("cpu")
FORMATS = (torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The products are tiny, and threads would wait for each other longer than they compute."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_a_device_that_computes_right_passes_in_every_format(dtype: torch.dtype) -> None:
    check_device(Placement(CPU, dtype))


def test_another_token_is_a_fault_in_float32_however_near_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "TOLERANCES", dict.fromkeys(FORMATS, 0.1))

    class Swaps(TorchEngine):
        """Exchanges two logits where they hardly differ."""

        def logits(self, rows: tuple[BatchRow, ...]) -> tuple[tuple[BatchRow, ...], Tensor]:
            drawn, logits = super().logits(rows)
            first, second = logits.topk(2, dim=1).values.T
            near = first - second < 0.05 * logits.std()
            swapped = torch.where(logits == first[:, None], second[:, None], logits)
            swapped = torch.where(logits == second[:, None], first[:, None], swapped)
            return drawn, torch.where(near[:, None], swapped, logits)

    assert fault_of(Swaps, Placement(CPU, torch.float32)) == "other tokens"
    assert not fault_of(Swaps, Placement(CPU, torch.float16))


def wrong_add(right: Any) -> Any:
    """A product that is added to a slice of columns is not added."""

    def add(one: Any, places: slice, shrunk: Tensor, target: Tensor, bias: Tensor | None) -> None:
        if target.is_contiguous():
            right(one, places, shrunk, target, bias)

    return add


MISTAKES: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "keys that are written through a transposed view get lost": (
        kv_cache.KvCache,
        "write",
        lambda right: lambda cache, layer, places, keys, *rest: right(cache, layer, places, keys * 0, *rest),
    ),
    "blocks are not cleared, and NaN stays in their unwritten end": (
        kv_cache.KvCache,
        "clear",
        lambda right: lambda cache, blocks: None,
    ),
    "a slice of columns": (lora, "_add_map", wrong_add),
    "a mask that is cut on both sides is cut on one": (
        batch,
        "_is_seen",
        lambda right: lambda queries, keys, window: right(queries, keys, 0),
    ),
    "nibbles change places": (group_matrix, "unpack", lambda right: lambda packed: right(packed << 4 | packed >> 4)),
    "scores are not capped": (decoder, "capped", lambda right: lambda numbers, cap: numbers),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_device_that_makes_a_mistake_is_refused(
    mistake: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, wrong = MISTAKES[mistake]
    compute, right = selfcheck.checked_logits, getattr(owner, name)

    def logits(open_engine: Open, placement: Placement, cases: tuple[Case, ...]) -> list[Tensor]:
        if placement.device is CPU:  # the reference has a device object of its own
            monkeypatch.setattr(owner, name, wrong(right))
        return compute(open_engine, placement, cases)

    monkeypatch.setattr(selfcheck, "checked_logits", logits)
    with pytest.raises(ModelError, match=r"computes wrong numbers.*set \[inference\] device to \"cpu\""):
        check_device(Placement(CPU, dtype))


def test_every_device_but_the_cpu_is_checked_before_the_base_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(placement: Placement) -> None:
        raise ModelError(f"checked {placement.device}")

    monkeypatch.setattr(backend, "choose_placement", lambda *_: Placement(torch.device("meta"), torch.float32))
    monkeypatch.setattr(backend, "check_device", refuse)
    settings = cpu_settings(make_base(tmp_path / "base"), device="auto", dtype="auto", batch_max=1, context_max=64)
    with pytest.raises(ModelError, match="checked meta"):
        backend.TorchLoraBackend(settings)
