"""Test of the kernels on a card before they serve: a tiny base with adapters, as `torch_lora/selfcheck.py` has it."""

from torch import Tensor

from openledger_node.backends.torch_lora.adapter_blob import AdapterBlob
from openledger_node.backends.torch_lora.placement import Placement
from openledger_node.backends.torch_lora.selfcheck import NUM_BLOCKS, Case, case_like, fault_of
from openledger_node.backends.torch_lora.weights import Weights
from openledger_node.engine.backend import BatchRow
from openledger_node.errors import ModelError
from openledger_node.models.decoder_config import DecoderConfig
from openledger_protocol.primitives import AdapterId

from .arena import Arena
from .decoder import empty_cache
from .forward import Forward
from .graph import capture_for

ARENA_BYTES = 8 << 20
BATCH_MAX = 8


def check_kernels(placement: Placement, config: DecoderConfig, quantisation: str) -> None:
    """Require that the kernels compute what torch computes on the CPU in float32, also as a recorded graph.

    Raises:
        ModelError: they do not, so they must not serve.
        Exception: of Triton, its compiler or the driver, if they can't run.
    """
    if fault := fault_of(KernelEngine, placement, (case_like(config, quantisation),)):
        raise ModelError(f"they compute wrong numbers in {placement.dtype} ({fault} of a self-check)")


class KernelEngine:
    """The arena and the forward pass of this backend, as the self-check uses them."""

    def __init__(self, config: DecoderConfig, weights: Weights, placement: Placement) -> None:
        self._arena = Arena(config, placement, num_bytes=ARENA_BYTES)
        self._forward = Forward(
            config,
            weights,
            self._arena,
            cache=empty_cache(config, NUM_BLOCKS, placement).fill_(float("nan")),
            context_max=config.context_max,
            batch_max=BATCH_MAX,
            capture=capture_for(placement.device),
        )
        self.join = self._forward.join

    def load(self, adapter_id: AdapterId, blob: AdapterBlob) -> None:
        """Bring an adapter to the device."""
        self._arena.load(adapter_id, self._arena.prepared(blob))

    def logits(self, rows: tuple[BatchRow, ...]) -> tuple[tuple[BatchRow, ...], Tensor]:
        """Run a step."""
        return self._forward.logits(rows)
