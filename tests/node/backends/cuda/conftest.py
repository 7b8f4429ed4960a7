"""Kernels run on Triton's interpreter here, or under `make test-gpu` on the card, by the same tests."""

from support.on_card import IS_ON_CARD, set_up_kernels

set_up_kernels()

collect_ignore = ["test_graph.py"] if IS_ON_CARD else []
"""It plays a card's part with the interpreter; tests/gpu/ has the card's own graphs."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import triton.language as tl
from numpy.typing import NDArray
from triton.runtime import interpreter

from openledger_node.backends.cuda.kernels import lora


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The interpreter has one, and torch's products here are tiny."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture
def fewer_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter runs one program after the other, so rows are cut in fewer pieces."""
    monkeypatch.setattr(lora, "SPLITS", 2)
    monkeypatch.setattr(lora, "SHRINK_PROGRAMS", 1)


@pytest.fixture(autouse=True)
def overflow_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a card, in every thread that launches; numpy, which the interpreter computes with, would warn."""
    launch = interpreter.GridExecutor.__call__

    def silent(self: Any, *args: Any, **kwargs: Any) -> None:
        with np.errstate(all="ignore"):
            launch(self, *args, **kwargs)

    monkeypatch.setattr(interpreter.GridExecutor, "__call__", silent)


@pytest.fixture(autouse=True)
def bfloat16_is_rounded_to_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter cuts float32 to bfloat16, where every card rounds to the nearest, the even one of two."""
    cut = interpreter._convert_float

    def convert(numbers: NDArray[Any], from_type: tl.dtype, to_type: tl.dtype, rounding: Any) -> NDArray[Any]:
        if (from_type, to_type) != (tl.float32, tl.bfloat16):
            return cut(numbers, from_type, to_type, rounding)
        bits = numbers.view(np.uint32)
        rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
        return np.where(np.isnan(numbers), 0x7FC0, rounded).astype(np.uint16)

    monkeypatch.setattr(interpreter, "_convert_float", convert)
