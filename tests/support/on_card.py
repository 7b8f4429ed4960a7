"""Tests of the GPU path on a card (`make test-gpu`), or of those tests themselves on Triton's interpreter.

The kernels' own tests have tensors on the host, for the interpreter. On a card each launch takes copies there and
brings the results back, as the interpreter does for tensors of a card, so the same tests check the compiled kernels.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from openledger_node.engine.backend import Backend, BackendSettings
from openledger_node.plugs import load_plug

CARD_VARIABLE: Final = "GPU_FOR_TESTS"
ON_CARD, REHEARSAL = "1", "rehearsal"
MODE: Final = os.environ.get(CARD_VARIABLE, "")
IS_ON_CARD: Final = MODE == ON_CARD
DEVICE: Final = torch.device("cuda" if IS_ON_CARD else "cpu")


def set_up_kernels() -> None:
    """Prepare for kernels on the card, or for a rehearsal; tests/conftest.py has chosen between the two."""
    if MODE == REHEARSAL:
        np.seterr(all="ignore")  # below the interpreter it warns of what a card does in silence
    if IS_ON_CARD:
        from triton.runtime.jit import JITFunction

        if not hasattr(JITFunction.run, "__wrapped__"):
            JITFunction.run = through(DEVICE, JITFunction.run)
            torch.cuda.get_device_capability = for_host(DEVICE, torch.cuda.get_device_capability)
    else:
        from .quick_interpreter import quicken_interpreter

        quicken_interpreter()


def open_on_card(settings: BackendSettings) -> Backend:
    """Open the GPU path as a node with this card does, or in a rehearsal on the interpreter; never plain torch."""
    if IS_ON_CARD:
        backend: Backend = load_plug("backend", "torch_lora")(replace(settings, device="cuda", acceleration="auto"))
    else:
        from openledger_node.backends.cuda.backend import CudaBackend
        from openledger_node.backends.torch_lora.placement import DTYPES, Placement

        backend = CudaBackend(settings, Placement(DEVICE, DTYPES[settings.dtype]))
    assert backend.profile.kernel == "triton", "the log says why the kernels do not run here"
    return backend


def through(device: torch.device, run: Callable[..., Any]) -> Callable[..., Any]:
    """Let a kernel's `run` take tensors of the host too, and leave its results in them."""

    def run_there(*args: Any, **named: Any) -> Any:
        copies = _Copies(device)
        there = [copies.there(each) for each in args], {name: copies.there(each) for name, each in named.items()}
        result = run(*there[0], **there[1])
        copies.bring_back()
        return result

    run_there.__wrapped__ = run  # type: ignore[attr-defined]
    return run_there


def for_host(device: torch.device, ask: Callable[..., Any]) -> Callable[..., Any]:
    """Answer a question about the host's device for the card, because its tensors go there."""

    def ask_there(about: Any = None) -> Any:
        is_host = isinstance(about, torch.device) and about.type == "cpu"
        return ask(device if is_host else about)

    return ask_there


class _Copies:
    """Copies of whole pieces of memory, so that tensors that share one still do."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies: dict[int, tuple[Tensor, Tensor]] = {}  # by address: all bytes here and there

    def there(self, argument: Any) -> Any:
        """A tensor of the host as one on the device; anything else as it is."""
        if not isinstance(argument, Tensor) or argument.device.type != "cpu":
            return argument
        memory = argument.untyped_storage()
        if memory.data_ptr() not in self._copies:
            here = torch.empty(0, dtype=torch.uint8).set_(memory)
            self._copies[memory.data_ptr()] = here, here.to(self._device, copy=True)
        copied = self._copies[memory.data_ptr()][1].untyped_storage()
        empty = torch.empty(0, dtype=argument.dtype, device=self._device)
        return empty.set_(copied, argument.storage_offset(), argument.size(), argument.stride())

    def bring_back(self) -> None:
        """Copy everything back, which waits for the kernel."""
        for here, there in self._copies.values():
            here.copy_(there)
