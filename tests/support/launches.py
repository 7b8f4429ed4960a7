"""Launches of a decoding step: what a card would be asked to start, counted on the CPU.

An operation of torch counts as one, unless it only makes a view or takes memory; a Triton kernel counts as one.
`python -m support.launches`, in tests/, prints both paths side by side.
"""

import os

if __name__ == "__main__":
    os.environ["TRITON_INTERPRET"] = "1"

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from triton.runtime.interpreter import GridExecutor

from openledger_node.backends.cuda.selfcheck import KernelEngine
from openledger_node.backends.torch_lora import selfcheck
from openledger_node.backends.torch_lora.adapter_blob import AdapterBlob, Shape, Site, num_numbers
from openledger_node.backends.torch_lora.placement import Placement
from openledger_node.backends.torch_lora.selfcheck import Open, TorchEngine
from openledger_node.backends.torch_lora.weights import weights_from
from openledger_node.engine.backend import BatchRow
from openledger_node.models.decoder_config import DecoderConfig
from openledger_protocol.primitives import AdapterId

PLACEMENT = Placement(torch.device("cpu"), torch.bfloat16)
NO_LAUNCH = ("empty", "new_empty", "empty_like", "detach_")
POSITION = 3
ROWS = {
    "bare": [""] * 4,
    "1 adapter": ["a"] * 4,
    "4 shapes": ["a", "b", "c", "d"],
    "16 shapes": [*"abcdefghijklmnop"],
}
"""Steps to count: the adapter of each row, each of a shape of its own; empty: the bare base."""


class Counter(TorchDispatchMode):
    """Counts operations of torch, but not those with which the interpreter runs a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.is_in_kernel = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        is_view = not func._schema.is_mutable and _places(result) <= _places((args, kwargs))
        self.count += not (self.is_in_kernel or is_view or func.overloadpacket.__name__ in NO_LAUNCH)
        return result


def _places(values: Any) -> set[int]:
    """The memory of all tensors in arguments or results."""
    return {each.untyped_storage().data_ptr() for each in tree_leaves(values) if isinstance(each, Tensor)}


@contextmanager
def counting() -> Iterator[Counter]:
    """Count what is launched meanwhile."""
    run = GridExecutor.__call__

    def launch(executor: Any, *args: Any, **named: Any) -> Any:
        counter.count += 1
        counter.is_in_kernel = True
        try:
            return run(executor, *args, **named)
        finally:
            counter.is_in_kernel = False

    GridExecutor.__call__ = launch
    try:
        with Counter() as counter:
            yield counter
    finally:
        GridExecutor.__call__ = run


def launches_a_layer(open_engine: Open, adapters: list[str], config: DecoderConfig = selfcheck.CONFIG) -> int:
    """The launches that one more layer costs a decoding step with these adapters."""
    fewer, more = (_launches(open_engine, adapters, replace(config, num_layers=layers)) for layers in (1, 2))
    return more - fewer


@torch.inference_mode()
def _launches(open_engine: Open, adapters: list[str], config: DecoderConfig) -> int:
    weights = weights_from(selfcheck._tensors(config, PLACEMENT.dtype), config, device=PLACEMENT.device)
    engine = open_engine(config, weights, PLACEMENT)
    for number, name in enumerate(sorted({*adapters} - {""})):
        shape = _shape(config, rank=2 + number)
        memory = torch.zeros(num_numbers(shape, config), dtype=PLACEMENT.dtype)
        engine.load(AdapterId(name), AdapterBlob(shape=shape, memory=memory))
    rows = []
    for number, name in enumerate(adapters):
        engine.join(str(number), AdapterId(name) if name else None)
        blocks = (number % selfcheck.NUM_BLOCKS,)
        rows.append(
            BatchRow(sequence_id=str(number), token_ids=(1,), position=POSITION, blocks=blocks, draw=selfcheck.GREEDY)
        )
    engine.logits(tuple(rows))  # what only a first step does, such as taking memory
    with counting() as counter:
        engine.logits(tuple(rows))
    return counter.count


def _shape(config: DecoderConfig, rank: int) -> Shape:
    sites = [(layer, module) for layer in range(config.num_layers) for module in sorted(config.site_dims)]
    return tuple(Site(layer, module, rank, False) for layer, module in sites)


def main() -> None:
    """Print the launches of a layer on both paths."""
    print(f"{'rows of a step':16} {'plain torch':>12} {'kernels':>8}")
    for name, adapters in ROWS.items():
        before, after = (launches_a_layer(each, adapters) for each in (TorchEngine, KernelEngine))
        print(f"{name:16} {before:12} {after:8}")


if __name__ == "__main__":
    main()
