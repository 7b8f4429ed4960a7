"""The torch backend in float32 on the CPU, one sequence on it, and what transformers says in its place."""

from pathlib import Path
from typing import Any

import torch

from openledger_node.backends.torch_lora.backend import TorchLoraBackend
from openledger_node.engine.backend import BackendSettings, BatchRow, Draw
from openledger_node.engine.blocks import blocks_for
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

from .batches import GREEDY

PROMPT = tuple(range(5, 45))
ADAPTER = AdapterId("0xaa")


def cpu_settings(base: Path | str | None, **changes: Any) -> BackendSettings:
    given = {"device": "cpu", "dtype": "float32", "threads": 1, "batch_max": 4, "context_max": 128, **changes}
    return BackendSettings(base_folder=str(base) if base else None, **given)


def open_backend(base: Path, **changes: Any) -> TorchLoraBackend:
    return TorchLoraBackend(cpu_settings(base, **changes))


def load(backend: TorchLoraBackend, folder: Path, adapter_id: AdapterId = ADAPTER) -> None:
    source = AdapterSource(id=adapter_id, folder=str(folder))
    backend.load_adapter(adapter_id, backend.read_adapter(source))


def row(
    name: str,
    ids: tuple[int, ...],
    position: int = 0,
    *,
    first: int = 0,
    draw: SamplingParams | None = GREEDY,
    is_tapped: bool = False,
) -> BatchRow:
    """A row whose blocks begin at `first`."""
    end = position + len(ids)
    return BatchRow(
        sequence_id=name,
        token_ids=ids,
        position=position,
        blocks=tuple(range(first, first + blocks_for(end))),
        draw=Draw(sampling=draw, position=end, is_tapped=is_tapped) if draw else None,
    )


def logits(
    backend: TorchLoraBackend, adapter_id: AdapterId | None = None, prompt: tuple[int, ...] = PROMPT
) -> torch.Tensor:
    """Logits after a prompt."""
    backend.join("s", adapter_id)
    found: torch.Tensor = backend.logits((row("s", prompt),))[0]
    backend.leave("s")
    return found


def generate(backend: TorchLoraBackend, adapter_id: AdapterId | None, count: int) -> list[int]:
    """The greedy tokens after PROMPT."""
    backend.join("s", adapter_id)
    drawn: list[int] = []
    ids, position = PROMPT, 0
    for _ in range(count):
        drawn.append(backend.step((row("s", ids, position=position),))["s"].token)
        position, ids = position + len(ids), (drawn[-1],)
    backend.leave("s")
    return drawn


@torch.inference_mode()
def wanted_logits(model: Any, prompt: tuple[int, ...] = PROMPT) -> torch.Tensor:
    """The same of a model of transformers or PEFT."""
    found: torch.Tensor = model(torch.tensor([prompt])).logits[0, -1]
    return found
