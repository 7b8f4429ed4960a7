"""CUDA graphs: a step's launches are recorded once for each bucket, and replayed with other numbers in its tables.

A decoding step of 32 layers has some 500 launches, each of which costs the processor time. A graph starts all of them
at once. What a step reads lies at fixed addresses, so a graph knows sizes and never rows.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from openledger_node.engine.faults import device_error_of

from .step import Sizes, idle

log = logging.getLogger(__name__)

Launch = Callable[[], None]
Capture = Callable[[Launch], Launch]
"""Records the launches of a function, and returns one that launches them again."""


@dataclass(slots=True, kw_only=True)
class Held:
    """A bucket's fixed inputs, its output, and its launches."""

    packed: Tensor  # (numbers,) int32
    hidden: Tensor  # (tokens, d_model)
    logits: Tensor = field(default_factory=lambda: torch.empty(0))  # (drawn, vocabulary); the last pass wrote it
    launch: Launch = lambda: None


Forward = Callable[[Tensor, Tensor, Sizes, Tensor | None], Tensor]
"""Runs a step from its packed tables and its embeddings to logits; the last argument receives what is tapped."""


class Graphs:
    """The buckets that were used, each captured when it is first needed."""

    def __init__(self, forward: Forward, capture: Capture) -> None:
        self._forward = forward
        self._capture = capture
        self._held: dict[tuple[Sizes, bool], Held] = {}

    def hold(
        self, sizes: Sizes, products: Tensor | None, *, d_model: int, dtype: torch.dtype, device: torch.device
    ) -> Held:
        """The inputs of a bucket, to be filled before `launch`.

        `products`: memory for those of a tapped step, the same for all steps of these sizes. Such steps have a graph
        of their own.
        """
        key = sizes, products is not None
        if (held := self._held.get(key)) is None:
            held = Held(
                packed=torch.from_numpy(idle(sizes)).to(device),
                hidden=torch.zeros(sizes.tokens, d_model, dtype=dtype, device=device),
            )
            held.launch = self._captured(held, sizes, products)
            self._held[key] = held
        return held

    def _captured(self, held: Held, sizes: Sizes, products: Tensor | None) -> Launch:
        def launch() -> None:
            held.logits = self._forward(held.packed, held.hidden, sizes, products)

        try:
            return self._capture(launch)
        except RuntimeError as error:
            if (fault := device_error_of(error)) and "out of memory" not in str(error):
                raise fault from error
            log.warning("this card can't record a step (%s): its kernels are launched one by one", error)
            self._capture = plain
            return launch


def plain(launch: Launch) -> Launch:
    """Return the launches themselves, so that every step starts each kernel by itself."""
    return launch


class CudaCapture:
    """Captures graphs that share one pool of memory, because only one of them runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, launch: Launch) -> Launch:
        """Record the launches of a function, which is first run once, because compiling can't be recorded."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            launch()
        torch.cuda.current_stream().wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        # Another thread may read an adapter meanwhile, and allocate.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            launch()
        return graph.replay


def capture_for(device: torch.device) -> Capture:
    """The way to record launches on a device."""
    return CudaCapture(device) if device.type == "cuda" else plain
